// micserve, functions for macros: what the server's answer means, and what to say when it is not what was asked for.

// One header of the last answer, "" where there is none.
function micserve_header(name) {
	head = "\n" + micserve_kept("head");
	i = lastIndexOf(toLowerCase(head), "\n" + toLowerCase(name) + ":");
	if (i < 0) return "";
	end = indexOf(head, "\n", i + 1);
	return String.trim(substring(head, i + lengthOf(name) + 2, end));
}

function micserve_judge(state, said, errors, out) {
	server = micserve_server();
	if (state == "no-curl") return micserve_fail("curl", "The program curl could not be started; micserve needs it to talk to the server.\nIt comes with Windows 10 (1803) and later, macOS and most Linux systems.\nIf it is somewhere else, write its path into the dialog Server... (f11).");
	if (state == "waiting") return micserve_fail("cancelled", "You cancelled it with ESC. Nothing that you have open has changed.");
	status = micserve_status_line();
	micserve_keep("status", status);
	i = indexOf(errors, "curl: (");
	if (i >= 0) return micserve_no_answer(parseInt(substring(errors, i + 7, indexOf(errors, ")", i))), substring(errors, i), server);
	if (status >= 200 && status < 300) return true;
	return micserve_refused(status, micserve_read(out), server);
}

// 0 where there was no answer.
function micserve_status_line() {
	head = micserve_kept("head");
	i = lastIndexOf(head, "HTTP/");
	if (i < 0) return 0;
	words = split(substring(head, i), " ");
	return parseInt(words[1]);
}

function micserve_no_answer(code, text, server) {
	end = indexOf(text, "\n");
	if (end > 0) text = substring(text, 0, end);
	again = "\nNothing that you have open has changed.";
	connecting = (indexOf(text, "onnect") >= 0);
	if (code == 6) return micserve_fail("away", "There is no computer with the name in " + server + ".\nCheck the address with Server... (f11)." + again);
	if (code == 7 || (code == 28 && connecting)) return micserve_fail("away", "No micserve server answers at " + server + ".\nIt may be switched off, or this computer is not in the institute's network.\nCheck the address with Server... (f11)." + again);
	if (code == 28) return micserve_fail("time-out", "The server did not finish within " + micserve_setting("patience", "600") + " seconds, which is as long as this computer waits.\nRaise that time with Server... (f11), or process a part of the image." + again);
	if (code == 18 || code == 52 || code == 55 || code == 56) return micserve_fail("broken", "The connection to " + server + " ended before the answer was there; the server may have been stopped.\nTry again in a minute." + again);
	if (code == 35 || code == 51 || code == 58 || code == 60) return micserve_fail("away", "No secure connection to " + server + " could be made.\n" + text + again);
	return micserve_fail("broken", "The transfer failed.\n" + text + again);
}

function micserve_refused(status, body, server) {
	detail = micserve_json(body, "detail");
	if (detail == "") detail = "It answered with HTTP status " + status + ".";
	if (status == 401 || status == 403) return micserve_fail("login", "The server " + server + " does not let you in, or not to this.\n" + detail + "\nYour access token is in the dialog Server... (f11).");
	if (status == 404) return micserve_fail("model", detail);
	if (status == 413) return micserve_fail("too-large", detail);
	if (status == 422 || status == 400 || status == 409) return micserve_fail("input", detail);
	if (status == 429 || status == 503) return micserve_fail("busy", detail);
	if (status >= 300 && status < 400) return micserve_fail("server", "The address " + server + " sends visitors elsewhere: " + micserve_header("location") + ".\nWrite that address into the dialog Server... (f11).");
	return micserve_fail("server", detail);
}

// A proxy or a login page may answer "all is well" with something else.
function micserve_expect(type) {
	got = micserve_header("content-type");
	if (startsWith(got, type)) return true;
	return micserve_fail("server", "Something between this computer and the server answered with " + got + " where " + type + " was expected: a proxy, or a page that wants you to log in.\nOpen " + micserve_server() + " in a browser.");
}

// Value of a top-level key in a flat JSON object, strings unescaped.
function micserve_json(text, key) {
	i = indexOf(text, "\"" + key + "\":");
	if (i < 0) return "";
	i += lengthOf(key) + 3;
	while (substring(text, i, i + 1) == " ") i++;
	if (substring(text, i, i + 1) != "\"") {
		j = i;
		while (j < lengthOf(text) && indexOf(",}] \n", substring(text, j, j + 1)) < 0) j++;
		return substring(text, i, j);
	}
	value = ""; i++;
	while (i < lengthOf(text)) {
		c = substring(text, i, i + 1);
		if (c == "\"") return value;
		if (c == "\\") {
			i++; c = substring(text, i, i + 1);
			if (c == "n") c = "\n";
			else if (c == "t" || c == "r") c = " ";
			else if (c == "u") { c = fromCharCode(parseInt(substring(text, i + 1, i + 5), 16)); i += 4; }
		}
		value += c; i++;
	}
	return value;
}

// A table of the server as lines, the first with the names of the columns; an empty array when it was not had.
function micserve_lines(path) {
	out = micserve_temp(".tsv");
	micserve_keep("wait.words", "asking the server");
	ok = micserve_request("GET", path, "", "text/tab-separated-values", out);
	if (ok) ok = micserve_expect("text/tab-separated-values");
	text = "";
	if (ok) text = micserve_read(out);
	micserve_delete(out);
	if (text == "") return newArray(0);
	return split(text, "\n");
}

// One cell of a line; empty cells count.
function micserve_cell(line, column) {
	for (i = 0; i < column; i++) line = substring(line, indexOf(line, "\t") + 1);
	end = indexOf(line, "\t");
	if (end < 0) return line;
	return substring(line, 0, end);
}

// One line of the Log, with the time.
function micserve_say(words) {
	getDateAndTime(year, month, weekday, day, hour, minute, second, millisecond);
	print(IJ.pad(hour, 2) + ":" + IJ.pad(minute, 2) + ":" + IJ.pad(second, 2) + "  " + words);
}

// What the server noticed about the image, into the Log.
function micserve_remarks() {
	warnings = micserve_header("x-micserve-warnings");
	trust = micserve_header("x-micserve-trust");
	if (warnings != "") micserve_say("note: " + warnings);
	if (trust != "") micserve_say("trust: " + trust);
}
