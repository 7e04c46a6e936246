// micserve, functions for macros: work that takes longer than a person waits. It is ordered as a job of the server,
// followed with progress, and cancelled there too when ESC is pressed.

// Waits; false when ESC was pressed. A macro of its own, so that ESC ends that macro and not the one that called.
function micserve_pause(milliseconds) {
	micserve_keep("pause.state", "waiting");
	done = eval("wait(" + milliseconds + "); x = call('java.lang.System.setProperty', 'micserve.pause.state', 'done');");
	state = micserve_kept("pause.state");
	if (state == "done") return true;
	return false;
}

// Sends a text of JSON, and keeps the answer in the file out.
function micserve_send_json(path, text, out) {
	body = micserve_temp(".json");
	File.saveString(text, body);
	ok = micserve_request("POST", path, body, "application/json", out);
	micserve_delete(body);
	return ok;
}

// A text as JSON has it; everything that is no ASCII as \uXXXX, since ImageJ saves files in the computer's own encoding.
function micserve_json_text(text) {
	made = "";
	for (i = 0; i < lengthOf(text); i++) {
		c = substring(text, i, i + 1); code = charCodeAt(text, i);
		if (c == "\"" || c == "\\") made += "\\" + c;
		else if (code < 32 || code > 126) { hex = "000" + toHex(code); made += "\\u" + substring(hex, lengthOf(hex) - 4); }
		else made += c;
	}
	return "\"" + made + "\"";
}

// Follows a job until it has ended. True when it finished. With curve, draws the loss while it is trained.
function micserve_follow(job, title, curve) {
	mode = micserve_kept("on-error"); missed = 0; state = "queued"; said = ""; before = ""; rows = 0;
	while (state == "queued" || state == "running") {
		go = micserve_pause(700);
		line = "";
		if (go) {
			micserve_keep("on-error", "return");
			line = micserve_job_line(job);
			micserve_keep("on-error", mode);
			kind = micserve_error_kind();
			if (kind == "cancelled") go = false;
		}
		if (!go) { micserve_cancel_job(job); return micserve_fail("cancelled", "You cancelled it with ESC; the server has stopped it too.\nNothing that you have open has changed."); }
		if (line == "") {
			missed++;
			if (missed > 60 || kind == "model") return micserve_fail(kind, "" + micserve_error() + "\nThe job " + job + " may still be at work: see " + micserve_server() + "/jobs");
		} else {
			missed = 0; state = micserve_cell(line, 0); fraction = parseFloat(micserve_cell(line, 1)); said = micserve_cell(line, 2);
			left = parseFloat(micserve_cell(line, 3)); words = "";
			if (!isNaN(left)) words = ", about " + micserve_duration(left) + " left";
			showProgress(fraction);
			showStatus("micserve: " + title + ": " + said + words + " (ESC cancels)");
			if (curve && said != before) { micserve_say(title + ": " + said); before = said; rows = micserve_draw_loss(job, title, rows); }
		}
	}
	showProgress(1);
	if (state == "finished") return true;
	if (state == "cancelled") return micserve_fail("cancelled", "The job was cancelled on the server.");
	return micserve_fail("server", said);
}

function micserve_duration(seconds) {
	if (seconds < 90) return "" + floor(seconds) + " s";
	if (seconds < 5400) return "" + round(seconds / 60) + " min";
	return d2s(seconds / 3600, 1) + " h";
}

function micserve_job_line(job) {
	out = micserve_temp(".tsv");
	micserve_keep("wait.words", "asking how far it is");
	ok = micserve_request("GET", "/v1/jobs/" + job + ".tsv", "", "text/tab-separated-values", out);
	line = "";
	if (ok) line = replace(micserve_read(out), "\n", "");
	micserve_delete(out);
	return line;
}

// Stops a job, or deletes one that has ended, with its results.
function micserve_cancel_job(job) {
	mode = micserve_kept("on-error"); kind = micserve_error_kind(); words = micserve_error(); head = micserve_kept("head");
	micserve_keep("on-error", "return");
	out = micserve_temp(".json");
	ok = micserve_request("DELETE", "/v1/jobs/" + job, "", "application/json", out);
	micserve_delete(out);
	micserve_keep("on-error", mode); micserve_keep("kind", kind); micserve_keep("error", words); micserve_keep("head", head);
	return ok;
}

// The curves of a training so far, as a plot of ImageJ; gives how many epochs are in it.
function micserve_draw_loss(job, title, rows) {
	mode = micserve_kept("on-error"); micserve_keep("on-error", "return");
	lines = micserve_lines("/v1/jobs/" + job + "/metrics.tsv");
	micserve_keep("on-error", mode);
	if (lines.length - 1 <= rows) return rows;
	n = lines.length - 1;
	epochs = newArray(n); losses = newArray(n); held = newArray(n); most = 0; least = 1e30;
	for (i = 0; i < n; i++) {
		epochs[i] = parseFloat(micserve_cell(lines[i + 1], 0)); losses[i] = parseFloat(micserve_cell(lines[i + 1], 1));
		held[i] = parseFloat(micserve_cell(lines[i + 1], 2));
	}
	Plot.create("Training of " + title, "epoch", "loss");
	Plot.setColor("blue", "blue"); Plot.add("connected", epochs, losses);
	Plot.setColor("red", "red"); Plot.add("connected", epochs, held);
	Plot.setLegend("loss\tloss of held-back images", "top-right");
	Plot.setLimitsToFit();
	Plot.update();
	return n;
}

// Runs a model on a file as a job of the server, and keeps the result in the file out.
function micserve_run_job(model, query, body, out) {
	micserve_keep("wait.words", "the image is on its way");
	list = micserve_temp(".tsv");
	ok = micserve_request("POST", "/v1/models/" + micserve_name(model) + "/jobs?" + query + micserve_pointer(model), body, "text/tab-separated-values", list);
	line = micserve_read(list); micserve_delete(list);
	if (!ok) return false;
	job = micserve_cell(line, 0);
	ok = micserve_follow(job, model, false);
	if (!ok) return false;
	version = micserve_job_version(job);
	micserve_keep("wait.words", "the result is on its way");
	ok = micserve_request("GET", "/v1/jobs/" + job + "/result.tif", "", "*/*", out);
	micserve_keep("made", version);
	if (ok) micserve_cancel_job(job);
	return ok;
}

// "n2v-mine@3": the version that a job made, or that predicted in it.
function micserve_job_version(job) {
	out = micserve_temp(".json");
	ok = micserve_request("GET", "/v1/jobs/" + job, "", "application/json", out);
	text = micserve_read(out); micserve_delete(out);
	if (!ok) return "";
	return "" + micserve_json(text, "model") + "@" + micserve_json(text, "version");
}
