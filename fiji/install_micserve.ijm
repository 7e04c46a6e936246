// Installs the micserve toolset into this ImageJ or Fiji, or brings it up to date: press Run.
// It comes from http://127.0.0.1:8000/fiji/ and becomes the file macros/toolsets/micserve.ijm.
requires("1.53f");
text = File.openUrlAsString("http://127.0.0.1:8000/fiji/micserve.ijm");
if (startsWith(text, "<Error") || indexOf(text, "micserve_predict") < 0) exit("The server http://127.0.0.1:8000 does not answer.\nIs this computer in the institute's network?\n" + substring(text, 0, minOf(200, lengthOf(text))));
macros = getDirectory("macros");
if (macros == "") { macros = getDirectory("imagej") + "macros" + File.separator; File.makeDirectory(macros); }
folder = macros + "toolsets" + File.separator;
if (!File.exists(folder)) File.makeDirectory(folder);
path = folder + "micserve.ijm"; lasting = File.exists(folder);
if (!lasting) path = getDirectory("temp") + "micserve.ijm";
File.saveString(text, path);
call("ij.Prefs.set", "micserve.server", "http://127.0.0.1:8000"); call("ij.Prefs.savePreferences");
run("Install...", "install=[" + path + "]");
after = "It stays: after a restart choose micserve\nin the menu >> at the right end of the toolbar.";
if (!lasting) after = "The folder " + folder + "\ncannot be written, so the tools are there until you close ImageJ.";
showMessage("micserve", "The micserve tools are in the toolbar now.\nOpen an image and press F8.\n" + after);
