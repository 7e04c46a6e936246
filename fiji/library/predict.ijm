// micserve, functions for macros: a model run on the active image.

// Runs a model on the active image and gives the ID of the result, which is then the active image.
//   model       "n2v-spots@3" (a version never changes), "n2v-spots@production" or "n2v-spots"
//   parameters  words with blanks between: area=image|selection planes=all|slice|channel, and those of the model,
//               for example "output_dtype=uint16 clip=true"
function micserve_predict(model, parameters) {
	if (nImages == 0) return micserve_fail("input", "There is no image open.");
	source = getImageID(); title = getTitle();
	area = micserve_word(parameters, "area", "image"); planes = micserve_word(parameters, "planes", "all");
	if (area == "selection" && !micserve_has_area()) return micserve_fail("input", "The image has no selection that could be cut out. Draw one, or process the whole image.");
	showStatus("micserve: saving a copy of " + title); start = getTime();
	body = micserve_copy(area, planes); out = micserve_temp(".tif");
	ok = micserve_run_model(model, micserve_query(parameters), body, out);
	micserve_delete(body);
	if (ok) ok = micserve_expect("image/tiff");
	if (!ok) { micserve_delete(out); return 0; }
	made = micserve_made(model);
	micserve_remarks();
	result = micserve_show(out, micserve_result_title(title, made));
	micserve_delete(out);
	Property.set("micserve.model", made); Property.set("micserve.source", title);
	kind = micserve_word(parameters, "result", "");
	if (kind == "labels") micserve_colour_labels();
	micserve_say("" + made + " on " + title + " (" + area + ", " + planes + "): " + d2s((getTime() - start) / 1000, 1) + " s");
	showStatus("micserve: " + made + " is done");
	return result;
}

// Large images go as jobs of the server, which have progress; small ones are back sooner without.
function micserve_run_model(model, query, body, out) {
	micserve_keep("made", "");
	large = parseFloat(micserve_setting("large", "64")) * 1000000;
	size = micserve_size(body);
	if (size > large) { ok = micserve_run_job(model, query, body, out); return ok; }
	micserve_keep("wait.words", model + " is at work");
	return micserve_request("POST", "/v1/models/" + micserve_name(model) + "/predict?" + query + micserve_pointer(model), body, "*/*", out);
}

// Which version it was, as the last answer says: "n2v-spots@3".
function micserve_made(model) {
	made = micserve_kept("made"); if (made != "") return made;
	version = micserve_header("x-micserve-version");
	if (version == "") return model;
	return "" + micserve_header("x-micserve-model") + "@" + version;
}

function micserve_name(model) {
	at = indexOf(model, "@");
	if (at < 0) return "" + micserve_encode(model);
	return "" + micserve_encode(substring(model, 0, at));
}

function micserve_pointer(model) {
	at = indexOf(model, "@");
	if (at < 0) return "version=production";
	return "version=" + micserve_encode(substring(model, at + 1));
}

// The value of one word of "a=1 b=2".
function micserve_word(parameters, name, fallback) {
	words = split(parameters, " ");
	for (i = 0; i < words.length; i++) if (startsWith(words[i], name + "=")) return "" + substring(words[i], lengthOf(name) + 1);
	return fallback;
}

// The words that are for the server, as a query that ends in "&" or is empty. The names that the StarDist plugin
// of Fiji uses are understood too.
function micserve_query(parameters) {
	words = split(parameters, " "); query = "";
	for (i = 0; i < words.length; i++) {
		equals = indexOf(words[i], "=");
		if (equals > 0) {
			name = substring(words[i], 0, equals); value = substring(words[i], equals + 1);
			if (name == "probThresh") name = "prob_thresh";
			if (name == "nmsThresh") name = "nms_thresh";
			ours = (name == "area" || name == "planes" || name == "rois" || name == "overlay" || name == "table");
			if (!ours && value != "") query += "" + micserve_encode(name) + "=" + micserve_encode(value) + "&";
		}
	}
	return query;
}

// All models, a line each under a line of column names.
function micserve_models() { lines = micserve_lines("/v1/models.tsv"); return lines; }

// What was done, as a call that a macro can make again: into the Recorder if it is open, and into the Log.
function micserve_record(line) {
	done = call("ij.plugin.frame.Recorder.recordString", line + "\n");
	print(line);
}
