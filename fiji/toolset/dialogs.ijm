// micserve, the toolset: one dialog for each tool. Each ends in one call of the library, and prints that call.

function micserve_about() {
	showMessage("About micserve", "<html><h2>micserve</h2><p>Runs the deep learning models of your imaging facility's server on the images that are open here.</p>"
	+ "<p>Server: " + micserve_server() + "</p><p>Montpellier Ressources Imagerie, BioCampus Montpellier, CNRS, INSERM, University of Montpellier</p>"
	+ "<p>Please cite the paper of the network that you use; the page of each model names it.</p></html>");
}

function micserve_help() { run("URL...", "url=" + micserve_server() + "/fiji/"); }

function micserve_info() {
	micserve_on_error("dialog");
	lines = micserve_models(); name = micserve_setting("model", "");
	for (i = 1; i < lines.length; i++) {
		this = micserve_cell(lines[i], 0);
		if (this == name) {
			production = micserve_cell(lines[i], 1); if (production == "") production = "none yet";
			size = micserve_cell(lines[i], 8); if (size == "") size = "not said"; else size = size + " &micro;m";
			showMessage("micserve: " + name, "<html><h2>" + name + "</h2><p>" + micserve_cell(lines[i], 6) + ": " + micserve_cell(lines[i], 5) + ".</p>"
			+ "<p>Axes " + micserve_cell(lines[i], 4) + ", channels " + micserve_cell(lines[i], 7) + ", pixel size of the training images " + size + "</p>"
			+ "<p>Version in production: " + production + ", newest: " + micserve_cell(lines[i], 2) + "</p>"
			+ "<p>More: " + micserve_server() + "/v1/models/" + name + "</p></html>");
			return;
		}
	}
	if (lines.length > 0) showMessage("micserve", "Select a model first, with the menu left of this tool.");
}

function micserve_ask_server() {
	micserve_on_error("dialog");
	Dialog.create("micserve: Server...");
	Dialog.addString("address", micserve_server(), 30);
	Dialog.addString("access token", micserve_setting("token", ""), 30);
	Dialog.addNumber("longest wait", parseFloat(micserve_setting("patience", "600")), 0, 6, "seconds");
	Dialog.addString("curl", micserve_setting("curl", "curl"), 30);
	Dialog.addMessage("The token is needed only where the server has accounts.\nIt is kept in ImageJ's preferences on this computer.");
	Dialog.addHelp("" + micserve_server() + "/fiji/");
	Dialog.show();
	micserve_set("server", String.trim(Dialog.getString())); micserve_set("token", String.trim(Dialog.getString()));
	micserve_set("patience", maxOf(1, Dialog.getNumber())); micserve_set("curl", String.trim(Dialog.getString()));
	done = call("ij.Prefs.savePreferences");
	lines = micserve_models();
	micserve_remember_menu(lines);
	if (lines.length > 0) showMessage("micserve", "The server at " + micserve_server() + " answers.\nIt has " + (lines.length - 1) + " models.");
}

function micserve_areas() { if (micserve_has_area()) return newArray("selection", "image"); return newArray("image"); }

function micserve_plane_choices() {
	getDimensions(width, height, channels, slices, frames);
	choices = newArray("all", "slice");
	if (channels * slices * frames == 1) choices = newArray("all");
	if (channels > 1 && slices * frames > 1) choices = Array.concat(choices, "channel");
	return choices;
}

// The part of a dialog that says what is processed; read back as words.
function micserve_add_part() {
	areas = micserve_areas(); planes = micserve_plane_choices();
	Dialog.addChoice("process the", areas, areas[0]);
	Dialog.addChoice("of a stack", planes, planes[0]);
}

function micserve_read_part() {
	area = Dialog.getChoice(); planes = Dialog.getChoice(); words = "";
	if (area != "image") words += " area=" + area;
	if (planes != "all") words += " planes=" + planes;
	return words;
}

function micserve_ask_predict() {
	micserve_on_error("dialog");
	if (nImages == 0) { showMessage("micserve: Predict", "Open an image first. For a whole folder use Batch folder (f10)."); return; }
	source = getImageID();
	lines = micserve_fitting(",n2v,care,unet,fnet,");
	if (lines.length == 0) { failed = micserve_error(); if (failed == "") showMessage("micserve: Predict", "The server has no model for images yet."); return; }
	labels = micserve_labels_of(lines);
	Dialog.create("micserve: Predict");
	Dialog.addMessage("Image: " + getTitle());
	Dialog.addChoice("model", labels, micserve_last(labels, "model"));
	micserve_add_part();
	Dialog.addCheckbox("change parameters", false);
	Dialog.addCheckbox("preview on a crop", false);
	Dialog.addHelp("" + micserve_server() + "/fiji/");
	Dialog.show();
	model = micserve_pinned("" + Dialog.getChoice()); part = micserve_read_part();
	change = Dialog.getCheckbox(); preview = Dialog.getCheckbox();
	micserve_remember("model", model);
	if (change) if (!micserve_ask_parameters(model)) return;
	selectImage(source);
	words = String.trim("" + micserve_chosen(model) + part);
	if (preview) if (!micserve_preview(source, model, "" + micserve_chosen(model))) return;
	selectImage(source);
	micserve_record("micserve_predict(\"" + model + "\", \"" + words + "\");");
	micserve_predict(model, words);
}

// Runs the model on a crop of what is shown (of the selection, or of the middle), and asks whether to go on.
function micserve_preview(source, model, words) {
	selectImage(source); title = getTitle();
	setBatchMode(true);
	run("Duplicate...", "title=micserve-preview");
	width = minOf(256, getWidth()); height = minOf(256, getHeight());
	makeRectangle(floor((getWidth() - width) / 2), floor((getHeight() - height) / 2), width, height);
	run("Crop");
	rename("preview of " + title);
	setBatchMode("exit and display");
	crop = getImageID();
	result = micserve_predict(model, words);
	if (result == 0) { selectImage(crop); close(); return false; }
	go = getBoolean("This is a crop of the image, before and after.\nProcess the image?", "Process", "Stop here");
	if (go) { selectImage(crop); close(); selectImage(result); close(); }
	return go;
}

function micserve_ask_segment() {
	micserve_on_error("dialog");
	if (nImages == 0) { showMessage("micserve: Segment nuclei", "Open an image first. For a whole folder use Batch folder (f10)."); return; }
	source = getImageID();
	lines = micserve_fitting(",stardist,unet,");
	if (lines.length == 0) { failed = micserve_error(); if (failed == "") showMessage("micserve: Segment nuclei", "The server has no segmentation model yet."); return; }
	labels = micserve_labels_of(lines);
	Dialog.create("micserve: Segment nuclei");
	Dialog.addMessage("Image: " + getTitle());
	Dialog.addChoice("model", labels, micserve_last(labels, "nuclei"));
	micserve_add_part();
	Dialog.addCheckbox("empty the ROI Manager first", false);
	Dialog.addCheckbox("change parameters", false);
	Dialog.addHelp("" + micserve_server() + "/fiji/");
	Dialog.show();
	model = micserve_pinned("" + Dialog.getChoice()); part = micserve_read_part();
	if (Dialog.getCheckbox()) part += " rois=replace";
	change = Dialog.getCheckbox();
	micserve_remember("nuclei", model);
	if (change) if (!micserve_ask_parameters(model)) return;
	selectImage(source);
	words = String.trim("" + micserve_chosen(model) + part);
	micserve_record("micserve_segment(\"" + model + "\", \"" + words + "\");");
	micserve_segment(model, words);
}

function micserve_ask_evaluate() {
	micserve_on_error("dialog");
	if (nImages < 2) { showMessage("micserve: Evaluate", "Open the prediction and its ground truth first, and the image\nthat the prediction was made from if you have it."); return; }
	titles = getList("image.titles"); none = Array.concat("none", titles);
	Dialog.create("micserve: Evaluate");
	Dialog.addChoice("prediction", titles, getTitle());
	Dialog.addChoice("ground truth", titles, titles[0]);
	Dialog.addChoice("source", none, "none");
	Dialog.addMessage("With the source, the report says too whether a plain filter would have done as well.");
	Dialog.addHelp("" + micserve_server() + "/fiji/");
	Dialog.show();
	prediction = Dialog.getChoice(); truth = Dialog.getChoice(); source = Dialog.getChoice();
	if (source == "none") source = "";
	micserve_record("micserve_qc(\"" + prediction + "\", \"" + truth + "\", \"" + source + "\");");
	micserve_qc(prediction, truth, source);
}

function micserve_ask_evaluate_options() {
	browser = micserve_kept("browser");
	Dialog.create("micserve: Evaluate options");
	Dialog.addCheckbox("open the report in the browser", (browser != "off"));
	Dialog.show();
	if (Dialog.getCheckbox()) micserve_keep("browser", "on"); else micserve_keep("browser", "off");
}

function micserve_ask_batch() {
	micserve_on_error("dialog");
	lines = micserve_fitting("");
	if (lines.length == 0) return;
	labels = newArray(lines.length);
	for (i = 0; i < lines.length; i++) labels[i] = replace(micserve_label(lines[i]), ", does not fit this image", "");
	Dialog.create("micserve: Batch folder");
	Dialog.addDirectory("images", micserve_setting("batch.input", ""));
	Dialog.addDirectory("results", micserve_setting("batch.output", ""));
	Dialog.addChoice("model", labels, micserve_last(labels, "model"));
	Dialog.addCheckbox("change parameters", false);
	Dialog.addMessage("All TIFF and PNG files of the folder; those that have a result already are skipped.");
	Dialog.addHelp("" + micserve_server() + "/fiji/");
	Dialog.show();
	input = replace(Dialog.getString(), "\\", "/"); output = replace(Dialog.getString(), "\\", "/"); label = Dialog.getChoice(); change = Dialog.getCheckbox();
	if (input == "" || output == "") { showMessage("micserve: Batch folder", "Choose a folder with images and one for the results."); return; }
	model = micserve_pinned(label);
	micserve_set("batch.input", input); micserve_set("batch.output", output); micserve_remember("model", model);
	if (change) if (!micserve_ask_parameters(model)) return;
	outlines = "false"; if (indexOf(label, "StarDist") >= 0) outlines = "true";
	micserve_record("micserve_batch(\"" + input + "\", \"" + output + "\", \"" + model + "\", \"" + micserve_chosen(model) + "\", " + outlines + ");");
	micserve_batch(input, output, model, "" + micserve_chosen(model), (outlines == "true"));
}
