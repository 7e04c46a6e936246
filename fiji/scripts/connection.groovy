// ---- The connection to the server, the same in every micserve script: the JDK (8 or later) and ImageJ alone. ----

/** What went wrong, in words for the person at the screen. */
class MicserveProblem extends IOException {
    MicserveProblem(String words) { super(words + "\nNothing that you have open has changed.") }
}

/** One server. A request runs in a thread of its own, so that ESC works while an image is on its way. */
class Micserve {
    String server, token
    int patienceSeconds = 3600
    Map<String, String> answered = [:]
    private volatile String phase = ""
    private volatile double fraction = 0

    Micserve(String server, String token) {
        this.server = server.trim().replaceAll('/+$', '')
        this.token = token == null ? "" : token.trim()
    }

    /** Sends pieces of a body one after the other, and gives the answer's bytes. */
    byte[] post(String path, String accept, String type, List<byte[]> pieces) {
        HttpURLConnection link = (HttpURLConnection) new URL(server + path).openConnection()
        link.setRequestMethod("POST")
        link.setInstanceFollowRedirects(false)
        link.setConnectTimeout(10000)
        link.setReadTimeout(patienceSeconds * 1000)
        link.setRequestProperty("Accept", accept)
        link.setRequestProperty("Content-Type", type)
        link.setRequestProperty("User-Agent", "micserve-groovy ImageJ/" + IJ.getVersion())
        if (token) link.setRequestProperty("Authorization", "Bearer " + token)
        long total = 0
        pieces.each { total += it.length }
        link.setDoOutput(true)
        link.setFixedLengthStreamingMode(total)
        phase = "connecting"
        fraction = 0
        byte[] answer = null
        Throwable problem = null
        Thread worker = Thread.startDaemon("micserve") {
            try { answer = exchange(link, pieces, total) } catch (Throwable caught) { problem = caught }
        }
        watch(worker, link)
        if (problem != null) throw inWords(problem)
        return answer
    }

    private void watch(Thread worker, HttpURLConnection link) {
        long start = System.currentTimeMillis()
        IJ.resetEscape()
        try {
            while (worker.isAlive()) {
                worker.join(100)
                if (IJ.escapePressed()) {
                    link.disconnect()
                    throw new MicserveProblem("You cancelled it with ESC.")
                }
                IJ.showProgress(fraction)
                long seconds = (System.currentTimeMillis() - start).intdiv(1000)
                IJ.showStatus("micserve: " + phase + ", " + seconds + " s (ESC cancels)")
            }
        } finally {
            IJ.showProgress(1.0d)
            IJ.showStatus("")
        }
    }

    private byte[] exchange(HttpURLConnection link, List<byte[]> pieces, long total) {
        OutputStream out = link.getOutputStream()
        long sent = 0
        phase = "sending"
        for (byte[] piece in pieces) {
            for (int at = 0; at < piece.length; at += 65536) {
                int n = Math.min(65536, piece.length - at)
                out.write(piece, at, n)
                sent += n
                fraction = 0.4d * sent / total
            }
        }
        out.close()
        phase = "the server is at work"
        int status = link.getResponseCode()
        link.getHeaderFields().each { name, values -> if (name != null) answered[name.toLowerCase()] = values[0] }
        if (status >= 300) throw new MicserveProblem(refusal(status, all(link.getErrorStream(), -1)))
        phase = "receiving"
        return all(link.getInputStream(), (answered["content-length"] ?: "-1") as long)
    }

    private byte[] all(InputStream stream, long total) {
        if (stream == null) return new byte[0]
        ByteArrayOutputStream kept = new ByteArrayOutputStream()
        byte[] buffer = new byte[65536]
        int n
        while ((n = stream.read(buffer)) > 0) {
            kept.write(buffer, 0, n)
            if (total > 0) fraction = 0.6d + 0.4d * kept.size() / total
        }
        if (total >= 0 && kept.size() != total) throw new EOFException()
        return kept.toByteArray()
    }

    private String refusal(int status, byte[] body) {
        String words = textOf(new String(body, "UTF-8"), "detail") ?: "The server answered with HTTP status " + status + "."
        if (status == 401 || status == 403) return "The server " + server + " does not let you in, or not to this.\n" + words
        if (status < 400) return "The address " + server + " sends visitors elsewhere: " + answered["location"] + ". Use that address."
        return words
    }

    private IOException inWords(Throwable problem) {
        if (problem instanceof MicserveProblem) return (MicserveProblem) problem
        if (problem instanceof UnknownHostException) return new MicserveProblem("There is no computer with the name in " + server + ".")
        if (problem instanceof SocketTimeoutException && phase != "connecting")
            return new MicserveProblem("The server did not finish within " + patienceSeconds + " seconds.")
        if (phase == "connecting")
            return new MicserveProblem("No micserve server answers at " + server + ".\nIt may be switched off, or this computer is not in the institute's network.")
        return new MicserveProblem("The connection to " + server + " ended before the answer was there. Try again in a minute.")
    }

    /** A string of a flat JSON object, or null. */
    static String textOf(String json, String key) {
        def found = json =~ ('"' + key + '"\\s*:\\s*"((?:[^"\\\\]|\\\\.)*)"')
        if (!found.find()) return null
        String text = found.group(1).replace('\\n', '\n').replace('\\"', '"').replace('\\/', '/')
        return text.replaceAll(/\\u([0-9a-fA-F]{4})/) { whole, code -> String.valueOf((char) Integer.parseInt(code, 16)) }.replace('\\\\', '\\')
    }

    /** "n2v-mine@3" and "a=1 b=2" as the address of a prediction. */
    static String address(String model, String parameters) {
        List<String> halves = model.trim().tokenize("@")
        String query = "version=" + (halves.size() > 1 ? encoded(halves[1]) : "production")
        (parameters ?: "").tokenize(" ").each { word ->
            int at = word.indexOf("=")
            if (at > 0) query += "&" + encoded(word.substring(0, at)) + "=" + encoded(word.substring(at + 1))
        }
        return "/v1/models/" + encoded(halves[0]) + "/predict?" + query
    }

    static String encoded(String text) { return URLEncoder.encode(text, "UTF-8").replace("+", "%20") }

    /** An open image as the bytes of a TIFF, with calibration, labels and colours; the image stays as it is. */
    static byte[] tiff(ImagePlus image, boolean selectionOnly) {
        ImagePlus sent = image
        if (selectionOnly && image.getRoi() != null) {
            sent = image.crop("stack")
        } else if (image.getStack().isVirtual()) {
            Roi roi = image.getRoi()
            image.deleteRoi()
            sent = image.duplicate()
            if (roi != null) image.setRoi(roi)
        }
        byte[] bytes = new FileSaver(sent).serialize()
        if (bytes == null) throw new MicserveProblem("ImageJ cannot write this image as one TIFF in memory. Process a part of it.")
        return bytes
    }

    /** The bytes of a TIFF as an image, which Save asks a place for. */
    static ImagePlus image(byte[] tiff, String title) {
        File file = kept(tiff, ".tif")
        try {
            ImagePlus image = new Opener().openTiff(file.getParent() + File.separator, file.getName())
            if (image == null) throw new MicserveProblem("The server's answer is no TIFF that ImageJ can read.")
            image.setTitle(title)
            image.setFileInfo(null)
            image.changes = true
            return image
        } finally {
            file.delete()
        }
    }

    static File kept(byte[] bytes, String ending) {
        File file = File.createTempFile("micserve", ending)
        file.withOutputStream { it.write(bytes) }
        return file
    }

    /** "cells.tif" and "n2v-mine", "3" to "cells_n2v-mine-v3". */
    String titled(ImagePlus source, String what) {
        String stem = source.getTitle().replaceFirst(/\.\w{2,4}$/, "")
        return stem + "_" + answered["x-micserve-model"] + "-v" + answered["x-micserve-version"] + what
    }

    /** What the server noticed about the image. */
    void remark() {
        if (answered["x-micserve-warnings"]) IJ.log("micserve: " + answered["x-micserve-warnings"])
        if (answered["x-micserve-trust"]) IJ.log("micserve: trust " + answered["x-micserve-trust"])
    }

    /** The files of a zip by their names. */
    static Map<String, byte[]> unzipped(byte[] zip) {
        Map<String, byte[]> files = [:]
        ZipInputStream stream = new ZipInputStream(new ByteArrayInputStream(zip))
        ZipEntry entry
        while ((entry = stream.getNextEntry()) != null) {
            ByteArrayOutputStream kept = new ByteArrayOutputStream()
            byte[] buffer = new byte[65536]
            int n
            while ((n = stream.read(buffer)) > 0) kept.write(buffer, 0, n)
            files[entry.getName()] = kept.toByteArray()
        }
        return files
    }
}
