// micserve, functions for macros: all images of a folder.

// Runs a model on every TIFF and PNG file of a folder and writes the results into another. Files are sent as they
// are, without being opened. What has its result already is skipped; after a failure it goes on with the next.
// Gives the number of failures; the table "micserve batch" says what happened to every file.
function micserve_batch(input, output, model, parameters, outlines) {
	if (!endsWith(input, "/")) input += "/";
	if (!endsWith(output, "/")) output += "/";
	if (!File.exists(output)) File.makeDirectory(output);
	names = micserve_images_in(input);
	mode = micserve_kept("on-error"); micserve_keep("on-error", "return");
	table = "micserve batch";
	if (isOpen(table)) close(table);
	Table.create(table);
	failures = 0; stop = "";
	for (n = 0; n < names.length; n++) {
		showProgress(n, names.length);
		start = getTime(); said = ""; state = "done";
		if (stop != "") { state = "not tried"; said = stop; }
		else if (micserve_batch_has(output, names[n], outlines)) state = "skipped";
		else {
			micserve_keep("wait.words", "" + (n + 1) + " of " + names.length + ": " + names[n]);
			ok = micserve_batch_one(input + names[n], output, names[n], model, micserve_query(parameters), outlines);
			if (!ok) {
				state = "failed"; said = replace(micserve_error(), "\n", " "); failures++;
				kind = micserve_error_kind();
				if (kind == "cancelled" || kind == "away" || kind == "login" || kind == "curl") stop = "stopped: " + micserve_title(kind);
				if (kind == "cancelled") state = "cancelled";
			}
		}
		Table.set("file", n, names[n], table); Table.set("state", n, state, table);
		Table.set("seconds", n, d2s((getTime() - start) / 1000, 1), table); Table.set("message", n, said, table);
		Table.update(table);
		micserve_say("" + names[n] + ": " + state + " " + said);
	}
	showProgress(1);
	micserve_keep("on-error", mode);
	showStatus("micserve: " + (names.length - failures) + " of " + names.length + " images are done");
	return failures;
}

function micserve_images_in(folder) {
	all = getFileList(folder); names = newArray(0);
	for (i = 0; i < all.length; i++) {
		if (matches(toLowerCase(all[i]), ".*[.](tif|tiff|png)")) names = Array.concat(names, all[i]);
	}
	return Array.sort(names);
}

function micserve_stem(name) { return substring(name, 0, lastIndexOf(name, ".")); }

function micserve_batch_has(output, name, outlines) {
	stem = output + micserve_stem(name);
	if (outlines) stem += "-table.csv"; else stem += ".tif";
	if (File.exists(stem)) return true;
	return false;
}

// A result appears under its name when it is whole.
function micserve_batch_one(path, output, name, model, query, outlines) {
	stem = output + micserve_stem(name); out = micserve_temp(".part");
	if (!outlines) {
		ok = micserve_run_model(model, query, path, out);
		if (ok) ok = micserve_expect("image/tiff");
		if (ok) ok = micserve_place(out, stem + ".tif"); else micserve_delete(out);
		return ok;
	}
	ok = micserve_list_model(model, query, path, out);
	if (!ok) { micserve_delete(out); return false; }
	files = split(micserve_read(out), "\n"); micserve_delete(out);
	parts = newArray("labels.tif", "RoiSet.zip", "table.csv");
	for (p = 0; p < parts.length; p++) {
		got = micserve_fetch(files, parts[p]);
		if (got == "") return false;
		ok = micserve_place(got, stem + "-" + parts[p]);
		if (!ok) return false;
	}
	return true;
}

function micserve_place(from, to) {
	File.copy(from, to + ".part");
	micserve_delete(from);
	if (!File.exists(to + ".part")) return micserve_fail("input", "The folder of the results cannot be written: " + to);
	micserve_delete(to);
	done = File.rename(to + ".part", to);
	if (File.exists(to)) return true;
	return false;
}
