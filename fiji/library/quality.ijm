// micserve, functions for macros: a result compared with ground truth.

// Compares two or three open images by their titles; source may be "". The metrics become a table, the SSIM and error
// maps 32-bit images, and the report is opened in the browser. Gives the number of maps.
function micserve_qc(prediction, truth, source) {
	titles = newArray(prediction, truth); names = newArray("prediction", "target");
	if (source != "") { titles = Array.concat(titles, source); names = Array.concat(names, "source"); }
	fields = newArray(titles.length);
	active = getImageID();
	for (i = 0; i < titles.length; i++) {
		selectImage(titles[i]);
		path = micserve_copy("image", "all");
		fields[i] = names[i] + "=@" + path + ";filename=" + micserve_plain_name(titles[0]) + ".tif";
		titles[i] = path;
	}
	selectImage(active);
	list = micserve_temp(".tsv");
	micserve_keep("wait.words", "the server compares the images");
	ok = micserve_form("/v1/qc", fields, "text/tab-separated-values", list);
	for (i = 0; i < titles.length; i++) micserve_delete(titles[i]);
	if (ok) ok = micserve_expect("text/tab-separated-values");
	if (!ok) { micserve_delete(list); return 0; }
	files = split(micserve_read(list), "\n"); micserve_delete(list);
	maps = micserve_show_maps(files);
	micserve_show_metrics(files, prediction);
	micserve_keep("report.of", prediction);
	micserve_show_report(files);
	return maps;
}

function micserve_plain_name(title) {
	dot = lastIndexOf(title, ".");
	if (dot > 0) title = substring(title, 0, dot);
	name = "";
	for (i = 0; i < lengthOf(title); i++) {
		c = substring(title, i, i + 1);
		if (matches(c, "[A-Za-z0-9_-]")) name += c; else name += "_";
	}
	return name;
}

function micserve_show_maps(files) {
	count = 0;
	for (k = 1; k < files.length; k++) {
		name = micserve_cell(files[k], 0);
		if (endsWith(name, ".tif")) {
			path = micserve_fetch(files, name);
			if (path != "") {
				result = micserve_show(path, File.getName(name));
				micserve_delete(path);
				run("Fire");
				if (startsWith(File.getName(name), "SSIM")) setMinAndMax(0, 1); else resetMinAndMax();
				run("Calibration Bar...", "location=[Upper Right] fill=White label=Black number=5 decimal=2 font=12 zoom=1 overlay");
				count++;
			}
		}
	}
	return count;
}

function micserve_show_metrics(files, prediction) {
	path = micserve_fetch(files, "metrics.csv");
	if (path == "") return;
	name = "QC_metrics of " + prediction;
	if (isOpen(name)) close(name);
	Table.open(path);
	Table.rename(Table.title, name);
	micserve_delete(path);
}

function micserve_show_report(files) {
	path = micserve_fetch(files, "report.html");
	if (path == "") return;
	micserve_keep("report", path);
	micserve_say("the quality report of " + micserve_kept("report.of") + " is " + path);
	browser = micserve_kept("browser");
	if (browser != "off") run("URL...", "url=[file://" + path + "]");
}
