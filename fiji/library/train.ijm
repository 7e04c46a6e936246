// micserve, functions for macros: a model trained on the server, with images of the server or with open ones.

// Orders a training, draws its loss while it runs, and gives the model that it made, as "n2v-mine@1"; "" when it failed.
//   family      n2v, care, stardist, unet or fnet
//   name        of the model; training a name again makes its next version
//   source      where the images are: "root:..." or "data:...", as micserve_upload gives it
//   target      where the targets are, where the family learns from pairs; else ""
//   parameters  words: ndim=2|3 preset=recommended|quick|zerocost, and those of the family, such as number_of_epochs=50
function micserve_train(family, name, source, target, parameters) {
	words = split(parameters, " "); rest = "";
	for (k = 0; k < words.length; k++) {
		equals = indexOf(words[k], "=");
		if (equals > 0) {
			key = substring(words[k], 0, equals); value = substring(words[k], equals + 1);
			if (key != "ndim" && key != "preset") { if (rest != "") rest += ", "; rest += "" + micserve_json_text(key) + ": " + micserve_json_value(value); }
		}
	}
	place = "null"; if (target != "") place = micserve_json_text(target);
	order = "{\"kind\": \"train\", \"family\": " + micserve_json_text(family) + ", \"name\": " + micserve_json_text(name) + ", \"ndim\": " + micserve_word(parameters, "ndim", "2");
	order += ", \"preset\": " + micserve_json_text("" + micserve_word(parameters, "preset", "recommended"));
	order += ", \"source\": " + micserve_json_text(source) + ", \"target\": " + place + ", \"parameters\": {" + rest + "}}";
	out = micserve_temp(".json");
	micserve_keep("wait.words", "ordering the training");
	ok = micserve_send_json("/v1/jobs", order, out);
	text = micserve_read(out); micserve_delete(out);
	if (!ok) return "";
	job = micserve_json(text, "id");
	micserve_say("training " + name + " is job " + job + ": " + micserve_server() + "/jobs/" + job);
	ok = micserve_follow(job, name, true);
	if (!ok) return "";
	micserve_draw_loss(job, name, 0);
	made = micserve_job_version(job);
	micserve_say("" + made + " is trained");
	return made;
}

function micserve_json_value(text) {
	if (text == "true" || text == "false" || text == "null" || matches(text, "-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?")) return text;
	return "" + micserve_json_text(text);
}

// Sends open images, by their titles, into a new data set of the server, and gives the place of that folder; "" when it failed.
function micserve_upload(name, titles) {
	out = micserve_temp(".json");
	micserve_keep("wait.words", "making a data set");
	ok = micserve_send_json("/v1/data", "{\"name\": " + micserve_json_text(name) + "}", out);
	text = micserve_read(out); micserve_delete(out);
	if (!ok) return "";
	id = micserve_json(text, "id");
	ok = micserve_upload_to("data:" + id + "/images", titles, titles);
	if (!ok) return "";
	return "data:" + id + "/images";
}

// Sends open images into a folder of a data set ("data:.../masks") under the names of others: pairs have one name.
function micserve_upload_to(place, titles, names) {
	active = getImageID(); slash = indexOf(place, "/");
	for (k = 0; k < titles.length; k++) {
		selectImage(titles[k]);
		body = micserve_copy("image", "all"); out = micserve_temp(".json");
		path = "/v1/data/" + substring(place, 5, slash) + "/files/" + substring(place, slash + 1) + "/" + micserve_plain_name("" + names[k]) + ".tif";
		micserve_keep("wait.words", "sending " + titles[k]);
		showProgress(k, titles.length);
		ok = micserve_request("PUT", path, body, "application/json", out);
		micserve_delete(body); micserve_delete(out);
		if (!ok) { selectImage(active); return false; }
	}
	showProgress(1);
	selectImage(active);
	return true;
}
