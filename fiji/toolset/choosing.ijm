// micserve, the toolset: which models there are, the fitting ones first, and what each may be asked.

function micserve_select(item) {
	micserve_on_error("dialog");
	if (item == "Read the list again") {
		lines = micserve_models();
		if (lines.length > 1) showMessage("micserve: models", "The server has " + (lines.length - 1) + " models. They are in the menu\nwhen the toolset is chosen again with >>.");
		micserve_remember_menu(lines);
		return;
	}
	if (item == "no list yet") { showMessage("micserve: models", "Choose 'Read the list again' first."); return; }
	micserve_set("model", item); micserve_set("nuclei", item);
	showStatus("micserve: " + item + " is selected");
}

function micserve_remember_menu(lines) {
	names = newArray(0);
	for (i = 1; i < lines.length; i++) { name = micserve_cell(lines[i], 0); names = Array.concat(names, name); }
	if (names.length > 0) micserve_set("menu", String.join(names, ","));
}

// How well a model's line fits the active image: 0 well, 1 slice by slice, 2 other pixel size, 3 not.
function micserve_fit(line) {
	if (nImages == 0) return 0;
	getDimensions(width, height, channels, slices, frames);
	if (bitDepth() == 24) channels = 3;
	axes = micserve_cell(line, 4); needed = parseInt(micserve_cell(line, 7)); size = parseFloat(micserve_cell(line, 8));
	fit = 0;
	if (axes == "ZYX" && slices == 1) return 3;
	if (axes == "YX" && slices > 1) fit = 1;
	if (needed > 1 && needed != channels) return 3;
	getPixelSize(unit, pixel, pixelHeight);
	if (unit == "microns" || unit == "micron" || unit == "um" || charCodeAt(unit, 0) == 181) {
		if (!isNaN(size)) if (pixel > 2 * size || pixel < size / 2) fit = 2;
	}
	return fit;
}

// Lines of the models whose family is one of `families` (with commas around, "" for all): the fitting ones first, and
// of those the ones in production.
function micserve_fitting(families) {
	lines = micserve_models(); found = newArray(0);
	micserve_remember_menu(lines);
	for (rank = 0; rank < 8; rank++) {
		for (i = 1; i < lines.length; i++) {
			family = micserve_cell(lines[i], 3);
			wanted = (families == "" || indexOf(families, "," + family + ",") >= 0);
			fit = 2 * micserve_fit("" + lines[i]); production = micserve_cell(lines[i], 1); if (production == "") fit++;
			if (wanted) if (fit == rank) found = Array.concat(found, lines[i]);
		}
	}
	return found;
}

function micserve_label(line) {
	words = newArray("", ", slice by slice", ", trained on other pixel sizes", ", does not fit this image");
	version = micserve_cell(line, 1); state = "";
	if (version == "") { version = micserve_cell(line, 2); state = ", not in production"; }
	fit = micserve_fit(line);
	return "" + micserve_cell(line, 0) + "@" + version + " (" + micserve_cell(line, 6) + state + words[fit] + ")";
}

function micserve_pinned(label) { return substring(label, 0, indexOf(label, " (")); }

function micserve_labels_of(lines) {
	labels = newArray(lines.length);
	for (i = 0; i < lines.length; i++) labels[i] = micserve_label(lines[i]);
	return labels;
}

// The label of the model that was used last, or the first.
function micserve_last(labels, key) {
	name = micserve_setting(key, "");
	for (i = 0; i < labels.length; i++) if (startsWith(labels[i], name + "@") && indexOf(labels[i], "does not fit") < 0) return "" + labels[i];
	return "" + labels[0];
}

function micserve_remember(key, pinned) { micserve_set(key, substring(pinned, 0, indexOf(pinned, "@"))); }

// The parameters of a model that were changed from their defaults, as words.
function micserve_chosen(pinned) { return "" + micserve_setting("parameters." + substring(pinned, 0, indexOf(pinned, "@")), ""); }

// A dialog with the model's own parameters, their ranges and defaults as the server says them. False when it was left.
function micserve_ask_parameters(model) {
	micserve_on_error("dialog");
	if (model == "") { showMessage("micserve", "Select a model first."); return false; }
	name = model; if (indexOf(model, "@") < 0) model += "@production";
	at = indexOf(model, "@"); name = substring(model, 0, at);
	lines = micserve_lines("/v1/models/" + micserve_encode(name) + "/parameters.tsv?" + micserve_pointer(model));
	if (lines.length < 2) return false;
	before = micserve_setting("parameters." + name, "");
	help = "<html><h2>" + name + "</h2>";
	Dialog.create("micserve: parameters of " + name);
	for (k = 1; k < lines.length; k++) {
		key = micserve_cell(lines[k], 0);
		help += "<p><b>" + key + "</b>: " + micserve_cell(lines[k], 6) + "</p>";
		default = micserve_cell(lines[k], 2);
		micserve_add_field("" + lines[k], "" + micserve_word(before, key, default));
	}
	Dialog.addCheckbox("back_to_defaults", false);
	Dialog.addHelp(help);
	Dialog.show();
	words = "";
	for (k = 1; k < lines.length; k++) {
		value = micserve_read_field("" + lines[k]);
		default = micserve_cell(lines[k], 2);
		if (value != default && value != "") words += " " + micserve_cell(lines[k], 0) + "=" + replace(value, " ", "");
	}
	if (Dialog.getCheckbox()) words = "";
	micserve_set("parameters." + name, String.trim(words));
	return true;
}

function micserve_add_field(line, value) {
	key = micserve_cell(line, 0); kind = micserve_cell(line, 1);
	low = micserve_cell(line, 3); high = micserve_cell(line, 4); range = "";
	if (low != "" && high != "") range = " (" + low + " to " + high + ")";
	else if (low != "") range = " (" + low + " or more)";
	choices = split(micserve_cell(line, 5), "|");
	if (kind == "choice") Dialog.addChoice(key, choices, value);
	else if (kind == "boolean") Dialog.addCheckbox(key, (value == "true"));
	else Dialog.addString(key + range, value, 10);
}

function micserve_read_field(line) {
	kind = micserve_cell(line, 1);
	if (kind == "choice") return Dialog.getChoice();
	if (kind == "boolean") { if (Dialog.getCheckbox()) return "true"; return "false"; }
	return String.trim(Dialog.getString());
}
