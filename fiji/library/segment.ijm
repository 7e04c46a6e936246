// micserve, functions for macros: objects found in the active image, as labels, outlines and a table.

// Segments the active image. Gives the number of rows of the table: one per object and frame.
//   parameters  as for micserve_predict, and rois=add|replace|none overlay=true|false table=true|false
// The label image is then the active image. The outlines are in the ROI Manager, and on the source as its overlay
// unless it has one of its own.
function micserve_segment(model, parameters) {
	if (nImages == 0) return micserve_fail("input", "There is no image open.");
	source = getImageID(); title = getTitle();
	area = micserve_word(parameters, "area", "image"); planes = micserve_word(parameters, "planes", "all");
	if (area == "selection" && !micserve_has_area()) return micserve_fail("input", "The image has no selection that could be cut out. Draw one, or process the whole image.");
	start = getTime(); body = micserve_copy(area, planes); list = micserve_temp(".tsv");
	ok = micserve_list_model(model, micserve_query(parameters), body, list);
	micserve_delete(body);
	if (!ok) { micserve_delete(list); return -1; }
	made = micserve_made(model);
	micserve_remarks();
	files = split(micserve_read(list), "\n"); micserve_delete(list);
	labels = micserve_fetch(files, "labels.tif"); rois = ""; table = "";
	if (labels != "") rois = micserve_fetch(files, "RoiSet.zip");
	if (rois != "") table = micserve_fetch(files, "table.csv");
	if (table == "") { micserve_delete(labels); micserve_delete(rois); return -1; }
	rows = split(micserve_read(table), "\n");
	if (rows.length > 1) micserve_show_outlines(rois, parameters, source, area, planes);
	micserve_delete(rois);
	count = micserve_show_table(table, title, parameters);
	result = micserve_show(labels, micserve_result_title(title, made + "-labels"));
	micserve_delete(labels);
	micserve_colour_labels();
	Property.set("micserve.model", made); Property.set("micserve.source", title);
	micserve_say("" + made + " on " + title + " (" + area + ", " + planes + "): " + count + " objects, " + d2s((getTime() - start) / 1000, 1) + " s");
	showStatus("micserve: " + count + " objects by " + made);
	return count;
}

// The model's whole result as a list of files: name, bytes, address.
function micserve_list_model(model, query, body, list) {
	micserve_keep("wait.words", model + " is at work"); micserve_keep("made", "");
	ok = micserve_request("POST", "/v1/models/" + micserve_name(model) + "/predict?" + query + micserve_pointer(model), body, "text/tab-separated-values", list);
	if (ok) ok = micserve_expect("text/tab-separated-values");
	return ok;
}

// Fetches one file of such a list; "" when that fails.
function micserve_fetch(files, name) {
	for (i = 1; i < files.length; i++) {
		this = micserve_cell(files[i], 0);
		if (this == name) {
			address = micserve_cell(files[i], 2); slash = lastIndexOf(name, "/");
			out = micserve_temp("-" + substring(name, slash + 1));
			ok = micserve_request("GET", address, "", "*/*", out);
			if (ok) return out;
			micserve_delete(out);
			return "";
		}
	}
	micserve_fail("server", "The server's result has no file " + name + ".");
	return "";
}

function micserve_show_outlines(path, parameters, source, area, planes) {
	how = micserve_word(parameters, "rois", "add");
	if (how == "none") return;
	selectImage(source);
	if (how == "replace" && roiManager("count") > 0) roiManager("reset");
	before = roiManager("count");
	roiManager("Open", path);
	after = roiManager("count");
	if (after == before) return;
	ours = Array.slice(Array.getSequence(after), before, after);
	roiManager("select", ours);
	if (area == "selection") roiManager("translate", parseInt(micserve_kept("origin.x")), parseInt(micserve_kept("origin.y")));
	if (planes == "slice" && nSlices > 1) RoiManager.setPosition(getSliceNumber());
	roiManager("deselect");
	shown = micserve_word(parameters, "overlay", "true");
	if (shown == "true") micserve_overlay(source, before, after);
	run("Select None");
}

function micserve_overlay(source, before, after) {
	selectImage(source);
	if (Overlay.size > 0) { micserve_say("" + getTitle() + " has an overlay of its own, which stays; the outlines are in the ROI Manager."); return; }
	if (before == 0) { run("From ROI Manager"); return; }
	for (i = before; i < after; i++) { roiManager("select", i); Overlay.addSelection; }
	Overlay.show;
}

function micserve_show_table(path, title, parameters) {
	shown = micserve_word(parameters, "table", "true");
	if (shown != "true") { lines = split(micserve_read(path), "\n"); micserve_delete(path); return lines.length - 1; }
	name = "Results";
	if (isOpen("Results")) name = "Results of " + title;
	if (isOpen(name)) close(name);
	Table.open(path);
	Table.rename(Table.title, name);
	micserve_delete(path);
	return Table.size(name);
}
