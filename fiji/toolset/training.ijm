// micserve, the toolset: training. A first dialog says what is trained on which images, the others what depends on that.

function micserve_families() { lines = micserve_lines("/v1/families.tsv"); return lines; }

// Family, preset and changed parameters as they were left; the parameters belong to one family.
function micserve_family() { return "" + micserve_setting("family", "n2v"); }

function micserve_ask_train() {
	micserve_on_error("dialog");
	lines = micserve_families();
	if (lines.length < 2) return;
	labels = newArray(0); last = ""; chosen = micserve_family();
	for (i = 1; i < lines.length; i++) {
		name = micserve_cell(lines[i], 0);
		label = name + " (" + micserve_cell(lines[i], 1) + ")"; labels = Array.concat(labels, label);
		if (name == chosen) last = label;
	}
	if (last == "") last = labels[0];
	places = micserve_places();
	if (places.length == 0) { showMessage("micserve: Train", "Open the images to train on first: this server has no folder\nand no data set that you could train on."); return; }
	targets = Array.concat("none", places);
	first = 0;
	Dialog.create("micserve: Train");
	Dialog.addChoice("network", labels, last);
	Dialog.addString("name of the model", micserve_setting("train.name", "n2v-mine"), 20);
	Dialog.addChoice("dimensions", newArray("2D", "3D"), micserve_setting("train.ndim", "2D"));
	Dialog.addChoice("preset", newArray("recommended", "quick", "zerocost"), micserve_setting("train.preset", "recommended"));
	Dialog.addChoice("images", places, places[0]);
	Dialog.addChoice("targets, where the network learns from pairs", targets, "none");
	Dialog.addCheckbox("change parameters", false);
	Dialog.addMessage("The training goes on the server, in 'recommended' for an hour or more, in 'quick' for minutes.\nA name that is there already gets its next version; nothing is overwritten.");
	Dialog.addHelp("" + micserve_server() + "/fiji/");
	Dialog.show();
	family = Dialog.getChoice(); family = substring(family, 0, indexOf(family, " (")); name = String.trim(Dialog.getString());
	dimensions = Dialog.getChoice(); preset = Dialog.getChoice(); source = Dialog.getChoice(); target = Dialog.getChoice(); change = Dialog.getCheckbox();
	if (target == "none") target = "";
	micserve_set("family", family); micserve_set("train.name", name); micserve_set("train.ndim", dimensions); micserve_set("train.preset", preset);
	if (change) if (!micserve_ask_training_parameters(family)) return;
	paired = micserve_is_paired(lines, family);
	if (source == "the open images") { source = micserve_send_open(name, paired); target = micserve_kept("train.target"); if (source == "") return; }
	words = String.trim("ndim=" + substring(dimensions, 0, 1) + " preset=" + preset + " " + micserve_setting("training." + family, ""));
	micserve_record("micserve_train(\"" + family + "\", \"" + name + "\", \"" + source + "\", \"" + target + "\", \"" + words + "\");");
	made = micserve_train(family, name, source, target, words);
	if (made == "") return;
	micserve_remember("model", made); if (family == "stardist") micserve_remember("nuclei", made);
	showMessage("micserve: Train", "" + made + " is trained. It is selected: try it with Predict (f8).\nIts report is on " + micserve_server() + "/models/" + name);
}

function micserve_is_paired(lines, family) {
	for (i = 1; i < lines.length; i++) {
		name = micserve_cell(lines[i], 0);
		if (name == family) { paired = micserve_cell(lines[i], 2); if (paired == "true") return true; }
	}
	return false;
}

// Where images may be: open ones, folders of the server, data sets.
function micserve_places() {
	places = newArray(0);
	if (nImages > 0) places = Array.concat(places, "the open images");
	lines = micserve_lines("/v1/places.tsv");
	for (i = 1; i < lines.length; i++) { place = micserve_cell(lines[i], 0); places = Array.concat(places, place); }
	return places;
}

// Asks which open images are meant, and sends them. Gives the place of the images; that of the targets is kept.
function micserve_send_open(name, paired) {
	titles = getList("image.titles"); partners = Array.concat("not used", titles);
	Dialog.create("micserve: images to train on");
	for (k = 0; k < titles.length; k++) {
		if (paired) Dialog.addChoice(titles[k] + "  has the target", partners, "not used"); else Dialog.addCheckbox(titles[k], true);
	}
	Dialog.show();
	used = newArray(0); targets = newArray(0);
	for (k = 0; k < titles.length; k++) {
		if (paired) { partner = Dialog.getChoice(); if (partner != "not used") { used = Array.concat(used, titles[k]); targets = Array.concat(targets, partner); } }
		else if (Dialog.getCheckbox()) used = Array.concat(used, titles[k]);
	}
	micserve_keep("train.target", "");
	if (used.length == 0) { showMessage("micserve: Train", "No image was chosen."); return ""; }
	place = micserve_upload(name, used);
	if (place == "" || !paired) return place;
	target = replace(place, "/images", "/targets");
	ok = micserve_upload_to(target, targets, used);
	if (!ok) return "";
	micserve_keep("train.target", target);
	return place;
}

// A dialog with the parameters of a family; false when it was left. Kept for the next trainings of that family.
function micserve_ask_training_parameters(family) {
	micserve_on_error("dialog");
	ndim = substring(micserve_setting("train.ndim", "2D"), 0, 1);
	lines = micserve_lines("/v1/families/" + family + "/parameters.tsv?ndim=" + ndim + "&preset=" + micserve_setting("train.preset", "recommended"));
	if (lines.length < 2) return false;
	before = micserve_setting("training." + family, "");
	help = "<html><h2>Training parameters of " + family + "</h2>"; rare = ",auto_steps_limit,weights,channel,target_channel,pixel_size_um,seed,author,license,compile,mixed_precision,"; shown = newArray(0);
	Dialog.create("micserve: training parameters of " + family);
	for (k = 1; k < lines.length; k++) {
		key = micserve_cell(lines[k], 0);
		help += "<p><b>" + key + "</b>: " + micserve_cell(lines[k], 6) + "</p>";
		if (indexOf(rare, "," + key + ",") < 0) {
			default = micserve_cell(lines[k], 2);
			micserve_add_field("" + lines[k], "" + micserve_word(before, key, default));
			shown = Array.concat(shown, lines[k]);
		}
	}
	Dialog.addString("others, as a=1 b=2", micserve_only(before, rare), 25);
	Dialog.addCheckbox("back_to_defaults", false);
	Dialog.addHelp(help);
	Dialog.show();
	words = "";
	for (k = 0; k < shown.length; k++) {
		value = micserve_read_field("" + shown[k]);
		default = micserve_cell(shown[k], 2);
		if (value != default && value != "") words += " " + micserve_cell(shown[k], 0) + "=" + replace(value, " ", "");
	}
	words += " " + String.trim(Dialog.getString());
	if (Dialog.getCheckbox()) words = "";
	micserve_set("training." + family, String.trim(words));
	return true;
}

// The words of "a=1 b=2" whose names are in a list with commas around.
function micserve_only(words, names) {
	all = split(words, " "); kept = "";
	for (i = 0; i < all.length; i++) {
		equals = indexOf(all[i], "=");
		if (equals > 0) if (indexOf(names, "," + substring(all[i], 0, equals) + ",") >= 0) kept += " " + all[i];
	}
	return String.trim(kept);
}
