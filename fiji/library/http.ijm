// micserve, functions for macros: talking to the server.
//
// One request is one run of curl, which Windows 10, macOS and Linux bring along. It runs beside the macro, so that
// ESC works while an image is on its way. Knows HTTP and files; knows nothing of images or models.
// What the last request said is kept in Java properties "micserve.*", because a library must not need "var" lines:
//   status  HTTP status, 0 where there was no answer      kind  what was wrong, one word      error  the same, for people

function micserve_kept(key) { return call("java.lang.System.getProperty", "micserve." + key, ""); }
function micserve_keep(key, value) { before = call("java.lang.System.setProperty", "micserve." + key, "" + value); }
function micserve_setting(key, fallback) { return call("ij.Prefs.get", "micserve." + key, fallback); }
function micserve_set(key, value) { done = call("ij.Prefs.set", "micserve." + key, "" + value); }

// Address of the server, without a slash at its end.
function micserve_server() {
	address = micserve_setting("server", "http://127.0.0.1:8000");
	while (endsWith(address, "/")) address = substring(address, 0, lengthOf(address) - 1);
	return address;
}

// What was wrong with the last call: "" or sentences for a person. Its kind is one of away, login, model, too-large,
// input, busy, time-out, cancelled, broken, server, curl.
function micserve_error() { return "" + micserve_kept("error"); }
function micserve_error_kind() { return "" + micserve_kept("kind"); }

// What happens when a call fails: "stop" ends the macro with the sentence (the default), "return" gives 0, false or ""
// back and leaves the sentence in micserve_error().
function micserve_on_error(what) { micserve_keep("on-error", what); }

function micserve_fail(kind, words) {
	micserve_keep("kind", kind);
	micserve_keep("error", words);
	showProgress(1);
	mode = micserve_kept("on-error");
	if (mode == "return") return false;
	if (mode == "dialog") {
		showMessage("micserve: " + micserve_title(kind), words);
		return false;
	}
	exit("micserve: " + micserve_title(kind) + "\n" + words);
}

function micserve_title(kind) {
	if (kind == "away") return "the server does not answer";
	if (kind == "login") return "not logged in";
	if (kind == "model") return "not found on the server";
	if (kind == "too-large") return "the image is too large";
	if (kind == "busy") return "the server is busy";
	if (kind == "time-out") return "it took too long";
	if (kind == "cancelled") return "cancelled";
	if (kind == "broken") return "the connection ended";
	if (kind == "curl") return "curl is missing";
	if (kind == "input") return "this cannot be done";
	return "the server could not do it";
}

// A folder of our own below the user's home; left-overs of a day ago are removed once per session.
function micserve_folder() {
	folder = replace(call("java.lang.System.getProperty", "user.home", ""), "\\", "/") + "/.micserve/";
	if (!File.exists(folder)) {
		File.makeDirectory(folder);
		if (File.separator == "/") exec("chmod", "700", folder);
	}
	cleaned = micserve_kept("cleaned");
	if (cleaned == "") {
		micserve_keep("cleaned", "yes");
		names = getFileList(folder);
		for (i = 0; i < names.length; i++) {
			if (!endsWith(names[i], "/")) micserve_remove_old(folder + names[i]);
		}
	}
	return folder;
}

function micserve_remove_old(path) {
	age = getTime() - File.lastModified(path);
	if (age > 24 * 3600 * 1000) File.delete(path);
}

function micserve_temp(ending) {
	folder = micserve_folder();
	return folder + "x" + IJ.pad(floor(random * 1e9), 9) + "-" + floor(getTime() % 1e9) + ending;
}

// In bytes. File.length alone is compared as text: there "9" is more than "29".
function micserve_size(path) { return parseFloat("" + File.length(path)); }

function micserve_delete(path) { if (path != "") { if (File.exists(path)) done = File.delete(path); } }

// A text file as UTF-8, whatever this computer's own encoding is.
function micserve_read(path) {
	if (!File.exists(path)) return "";
	if (File.length(path) == 0) return "";
	raw = File.openAsRawString(path, 4000000);
	return call("java.net.URLDecoder.decode", call("java.net.URLEncoder.encode", raw, "ISO-8859-1"), "UTF-8");
}

// For a part of an address, accents too.
function micserve_encode(text) {
	return replace(call("java.net.URLEncoder.encode", "" + text, "UTF-8"), "+", "%20");
}

function micserve_quote(text) { return "\"" + replace(replace(text, "\\", "\\\\"), "\"", "\\\"") + "\""; }

// One request. body: "" or the path of a file. out: where the answer goes. True when the server did what it was asked.
function micserve_request(method, path, body, accept, out) {
	return micserve_exchange(method, path, body, newArray(0), accept, out);
}

// A form with two or three files, "name=path" each.
function micserve_form(path, fields, accept, out) {
	return micserve_exchange("POST", path, "", fields, accept, out);
}

function micserve_exchange(method, path, body, fields, accept, out) {
	stem = micserve_temp("");
	micserve_keep("status", 0); micserve_keep("kind", ""); micserve_keep("error", ""); micserve_keep("head", "");
	micserve_keep("wait.errors", stem + ".err"); micserve_keep("wait.head", stem + ".head"); micserve_keep("wait.out", out);
	File.saveString(micserve_config(method, path, body, accept), stem + ".curl");
	curl = micserve_setting("curl", "curl"); c = stem + ".curl"; h = stem + ".head"; e = stem + ".err";
	setOption("WaitForCompletion", false);
	if (fields.length == 2) said = "" + exec(curl, "-q", "-K", c, "-o", out, "-D", h, "--stderr", e, "-F", fields[0], "-F", fields[1]);
	else if (fields.length == 3) said = "" + exec(curl, "-q", "-K", c, "-o", out, "-D", h, "--stderr", e, "-F", fields[0], "-F", fields[1], "-F", fields[2]);
	else if (body != "") said = "" + exec(curl, "-q", "-K", c, "-o", out, "-D", h, "--stderr", e, "-T", body);
	else said = "" + exec(curl, "-q", "-K", c, "-o", out, "-D", h, "--stderr", e);
	if (said == "" || said == "null") micserve_wait(); else micserve_keep("wait.state", "no-curl");
	state = micserve_kept("wait.state");
	if (state == "waiting" && File.separator == "/") exec("pkill", "-f", stem);
	micserve_delete(c);
	errors = micserve_read(e); micserve_delete(e);
	micserve_keep("head", micserve_read(h)); micserve_delete(h);
	return micserve_judge(state, said, errors, out);
}

function micserve_config(method, path, body, accept) {
	c = "url = " + micserve_quote("" + micserve_server() + path) + "\nrequest = " + micserve_quote(method) + "\n";
	c += "silent\nshow-error\ngloboff\nconnect-timeout = 10\nmax-time = " + micserve_setting("patience", "600") + "\n";
	c += "header = " + micserve_quote("X-Request-Id: fiji-" + IJ.pad(floor(random * 1e9), 9) + "-" + floor(getTime() % 1e9)) + "\n";
	c += "user-agent = " + micserve_quote("micserve-macro ImageJ/" + getVersion()) + "\n";
	c += "header = " + micserve_quote("Accept: " + accept) + "\nheader = \"Expect:\"\n";
	token = micserve_setting("token", "");
	if (token != "") c += "header = " + micserve_quote("Authorization: Bearer " + token) + "\n";
	type = "application/octet-stream"; if (endsWith(body, ".json")) type = "application/json";
	if (body != "") c += "header = " + micserve_quote("Content-Type: " + type) + "\n";
	return c;
}

// Until curl has ended: it has written why not, or the head of the answer and as many bytes as the head promised.
// Runs as a macro of its own: ESC ends that macro and not the one that called.
function micserve_wait() {
	micserve_keep("wait.state", "waiting");
	done = eval("p = 'java.lang.System.getProperty'; errors = call(p, 'micserve.wait.errors', ''); head = call(p, 'micserve.wait.head', ''); "
	+ "out = call(p, 'micserve.wait.out', ''); words = call(p, 'micserve.wait.words', 'waiting for the server'); "
	+ "start = getTime(); pause = 10; done = false; before = -1; still = 0; "
	+ "while (!done) { wait(pause); if (pause < 100) pause += 5; "
	+ "if (File.exists(errors)) { if (File.length(errors) > 0) { wait(100); done = true; } } "
	+ "if (!done) if (File.exists(head)) if (File.length(head) > 0) { t = toLowerCase(File.openAsRawString(head, 20000)); "
	+ "if (endsWith(t, '\\r\\n\\r\\n')) { i = lastIndexOf(t, 'content-length:'); got = 0; if (File.exists(out)) got = parseFloat('' + File.length(out)); "
	+ "if (i >= 0) { n = parseInt(String.trim(substring(t, i + 15, indexOf(t, '\\n', i)))); if (got >= n) done = true; } "
	+ "else if (indexOf(t, 'chunked') < 0) done = true; "
	+ "else { if (got == before) still++; else still = 0; before = got; if (still > 20) done = true; } } } "
	+ "s = floor((getTime() - start) / 1000); if (s > 0) showStatus('micserve: ' + words + ', ' + s + ' s (ESC cancels)'); } "
	+ "x = call('java.lang.System.setProperty', 'micserve.wait.state', 'done');");
}
