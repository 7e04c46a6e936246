// micserve, functions for macros: images on their way to the server and back. Nothing that is open is changed:
// a copy is saved, and a result is a new image.

// Saves the active image as TIFF and gives the path.
//   area    "image", or "selection" for the box around the selection
//   planes  "all", "slice" (the one that is shown), or "channel" (all slices and frames of the one that is shown)
function micserve_copy(area, planes) {
	source = getImageID(); path = micserve_temp(".tif");
	has = (selectionType() >= 0);
	if (area == "selection") { getSelectionBounds(x, y, width, height); micserve_keep("origin.x", x); micserve_keep("origin.y", y); }
	else if (has) run("Select None");
	batch = is("Batch Mode");
	if (!batch) { getLocationAndSize(x, y, width, height); micserve_keep("beside.x", x); micserve_keep("beside.y", y); micserve_keep("beside.width", width); }
	setBatchMode(true);
	getDimensions(width, height, channels, slices, frames);
	Stack.getPosition(channel, slice, frame);
	options = "title=micserve-copy";
	if (channels * slices * frames > 1 && (planes != "slice" || channels > 1)) options += " duplicate";
	if (channels > 1 && planes == "channel") options += " channels=" + channel + " slices=1-" + slices + " frames=1-" + frames;
	if (channels > 1 && planes == "slice") options += " channels=" + channel + " slices=" + slice + " frames=" + frame;
	run("Duplicate...", options);
	saveAs("Tiff", path); close();
	if (!batch) setBatchMode(false);
	selectImage(source);
	if (has && area != "selection") run("Restore Selection");
	return path;
}

// True where the box around a selection can be cut out.
function micserve_has_area() {
	if (selectionType() < 0) return false;
	getSelectionBounds(x, y, width, height);
	return (width > 0 && height > 0 && (width < getWidth() || height < getHeight()));
}

// "cells.tif" and "n2v-spots@3" to "cells_n2v-spots-v3".
function micserve_result_title(title, what) {
	dot = lastIndexOf(title, ".");
	if (dot > 0 && lengthOf(title) - dot <= 5) title = substring(title, 0, dot);
	return title + "_" + replace(what, "@", "-v");
}

// Opens a file of the server as a new image with a title, beside the image that was sent; gives its ID.
function micserve_show(path, title) {
	open(path);
	rename(title);
	result = getImageID();
	if (is("Batch Mode")) return result;
	x = parseInt(micserve_kept("beside.x")); y = parseInt(micserve_kept("beside.y"));
	width = parseInt(micserve_kept("beside.width"));
	getLocationAndSize(u, v, w, h);
	if (x + width + w <= screenWidth) setLocation(x + width, y);
	else setLocation(minOf(x + 40, maxOf(0, screenWidth - w)), y + 40);
	return result;
}

// Every label a colour of its own, the background black.
function micserve_colour_labels() {
	getMinAndMax(low, high);
	if (nSlices > 1) Stack.getStatistics(count, mean, low, high); else getStatistics(count, mean, low, high);
	reds = newArray(256); greens = newArray(256); blues = newArray(256);
	for (i = 1; i < 256; i++) {
		hue = (i * 0.6180339887) % 1; v = 155 + 50 * (i % 3); k = hue * 6; f = k - floor(k); w = v * (1 - f); u = v * f; low = 40;
		if (k < 1) { reds[i] = v; greens[i] = maxOf(u, low); blues[i] = low; }
		else if (k < 2) { reds[i] = maxOf(w, low); greens[i] = v; blues[i] = low; }
		else if (k < 3) { reds[i] = low; greens[i] = v; blues[i] = maxOf(u, low); }
		else if (k < 4) { reds[i] = low; greens[i] = maxOf(w, low); blues[i] = v; }
		else if (k < 5) { reds[i] = maxOf(u, low); greens[i] = low; blues[i] = v; }
		else { reds[i] = v; greens[i] = low; blues[i] = maxOf(w, low); }
	}
	setLut(reds, greens, blues);
	setMinAndMax(0, maxOf(255, high));
}
