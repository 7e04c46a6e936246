import json
import re
import threading
import time

from ij import IJ
from ij.io import FileSaver, Opener
from jarray import zeros
from java.io import ByteArrayInputStream, ByteArrayOutputStream, EOFException, File, FileOutputStream, IOException
from java.net import URL, SocketTimeoutException, UnknownHostException, URLEncoder
from java.util.zip import ZipInputStream

# ---- The connection to the server, the same in every micserve script: the JDK (8 or later) and ImageJ alone. ----


class MicserveProblem(Exception):
    """What went wrong, in words for the person at the screen."""

    def words(self):
        return self.args[0] + u"\nNothing that you have open has changed."


class Micserve(object):
    """One server. A request runs in a thread of its own, so that ESC works while an image is on its way."""

    patience_seconds = 3600

    def __init__(self, server, token):
        self.server = server.strip().rstrip("/")
        self.token = (token or "").strip()
        self.answered = {}
        self.phase, self.fraction = "", 0.0

    def post(self, path, accept, kind, pieces):
        """Sends pieces of a body one after the other, and gives the answer's bytes."""
        link = URL(self.server + path).openConnection()
        link.setRequestMethod("POST")
        link.setInstanceFollowRedirects(False)
        link.setConnectTimeout(10000)
        link.setReadTimeout(self.patience_seconds * 1000)
        link.setRequestProperty("Accept", accept)
        link.setRequestProperty("Content-Type", kind)
        link.setRequestProperty("User-Agent", "micserve-jython ImageJ/" + IJ.getVersion())
        if self.token:
            link.setRequestProperty("Authorization", "Bearer " + self.token)
        total = sum(len(piece) for piece in pieces)
        link.setDoOutput(True)
        link.setFixedLengthStreamingMode(total)
        self.phase, self.fraction = "connecting", 0.0
        outcome = {}
        worker = threading.Thread(target=self._work, args=(link, pieces, total, outcome))
        worker.setDaemon(True)
        worker.start()
        self._watch(worker, link)
        if "problem" in outcome:
            raise self._in_words(outcome["problem"])
        return outcome["answer"]

    def _work(self, link, pieces, total, outcome):
        try:
            outcome["answer"] = self._exchange(link, pieces, total)
        except (MicserveProblem, IOException) as problem:
            outcome["problem"] = problem

    def _watch(self, worker, link):
        start = time.time()
        IJ.resetEscape()
        try:
            while worker.isAlive():
                worker.join(0.1)
                if IJ.escapePressed():
                    link.disconnect()
                    raise MicserveProblem(u"You cancelled it with ESC.")
                IJ.showProgress(self.fraction)
                IJ.showStatus("micserve: %s, %d s (ESC cancels)" % (self.phase, time.time() - start))
        finally:
            IJ.showProgress(1.0)
            IJ.showStatus("")

    def _exchange(self, link, pieces, total):
        out = link.getOutputStream()
        sent = 0
        self.phase = "sending"
        for piece in pieces:
            for at in range(0, len(piece), 65536):
                n = min(65536, len(piece) - at)
                out.write(piece, at, n)
                sent += n
                self.fraction = 0.4 * sent / total
        out.close()
        self.phase = "the server is at work"
        status = link.getResponseCode()
        for name, values in link.getHeaderFields().items():
            if name is not None:
                self.answered[name.lower()] = values[0]
        if status >= 300:
            raise MicserveProblem(self._refusal(status, self._all(link.getErrorStream(), -1)))
        self.phase = "receiving"
        return self._all(link.getInputStream(), int(self.answered.get("content-length", -1)))

    def _all(self, stream, total):
        kept = ByteArrayOutputStream()
        buffer = zeros(65536, "b")
        n = -1 if stream is None else stream.read(buffer)
        while n > 0:
            kept.write(buffer, 0, n)
            if total > 0:
                self.fraction = 0.6 + 0.4 * kept.size() / total
            n = stream.read(buffer)
        if total >= 0 and kept.size() != total:
            raise EOFException()
        return kept.toByteArray()

    def _refusal(self, status, body):
        try:
            words = json.loads(body.tostring().decode("utf-8"))["detail"]
        except (ValueError, KeyError, TypeError):
            words = u"The server answered with HTTP status %d." % status
        if status in (401, 403):
            return u"The server %s does not let you in, or not to this.\n%s" % (self.server, words)
        if status < 400:
            return u"The address %s sends visitors elsewhere: %s. Use that address." % (
                self.server, self.answered.get("location"))
        return words

    def _in_words(self, problem):
        if isinstance(problem, MicserveProblem):
            return problem
        if isinstance(problem, UnknownHostException):
            return MicserveProblem(u"There is no computer with the name in %s." % self.server)
        if isinstance(problem, SocketTimeoutException) and self.phase != "connecting":
            return MicserveProblem(u"The server did not finish within %d seconds." % self.patience_seconds)
        if self.phase == "connecting":
            return MicserveProblem(
                u"No micserve server answers at %s.\nIt may be switched off, or this computer is not in "
                u"the institute's network." % self.server)
        return MicserveProblem(
            u"The connection to %s ended before the answer was there. Try again in a minute." % self.server)

    def titled(self, source, what):
        """ "cells.tif" and "n2v-mine", "3" to "cells_n2v-mine-v3"."""
        stem = re.sub(r"\.\w{2,4}$", "", source.getTitle())
        return u"%s_%s-v%s%s" % (
            stem, self.answered["x-micserve-model"], self.answered["x-micserve-version"], what)

    def remark(self):
        """What the server noticed about the image."""
        if self.answered.get("x-micserve-warnings"):
            IJ.log("micserve: " + self.answered["x-micserve-warnings"])
        if self.answered.get("x-micserve-trust"):
            IJ.log("micserve: trust " + self.answered["x-micserve-trust"])


def address(model, parameters):
    """ "n2v-mine@3" and "a=1 b=2" as the address of a prediction."""
    name, _, version = model.strip().partition("@")
    query = "version=" + encoded(version or "production")
    for word in (parameters or "").split():
        key, _, value = word.partition("=")
        query += "&" + encoded(key) + "=" + encoded(value)
    return "/v1/models/" + encoded(name) + "/predict?" + query


def encoded(text):
    return URLEncoder.encode(text, "UTF-8").replace("+", "%20")


def tiff(image, selection_only):
    """An open image as the bytes of a TIFF, with calibration, labels and colours; the image stays as it is."""
    sent = image
    if selection_only and image.getRoi() is not None:
        sent = image.crop("stack")
    elif image.getStack().isVirtual():
        roi = image.getRoi()
        image.deleteRoi()
        sent = image.duplicate()
        if roi is not None:
            image.setRoi(roi)
    content = FileSaver(sent).serialize()
    if content is None:
        raise MicserveProblem(u"ImageJ cannot write this image as one TIFF in memory. Process a part of it.")
    return content


def image_of(content, title):
    """The bytes of a TIFF as an image, which Save asks a place for."""
    path = kept(content, ".tif")
    try:
        image = Opener().openTiff(path.getParent() + File.separator, path.getName())
    finally:
        path.delete()
    if image is None:
        raise MicserveProblem(u"The server's answer is no TIFF that ImageJ can read.")
    image.setTitle(title)
    image.setFileInfo(None)
    image.changes = True
    return image


def kept(content, ending):
    path = File.createTempFile("micserve", ending)
    out = FileOutputStream(path)
    out.write(content)
    out.close()
    return path


def unzipped(content):
    """The files of a zip by their names."""
    files = {}
    stream = ZipInputStream(ByteArrayInputStream(content))
    entry = stream.getNextEntry()
    while entry is not None:
        out = ByteArrayOutputStream()
        buffer = zeros(65536, "b")
        n = stream.read(buffer)
        while n > 0:
            out.write(buffer, 0, n)
            n = stream.read(buffer)
        files[entry.getName()] = out.toByteArray()
        entry = stream.getNextEntry()
    return files
