#@ ImagePlus (label="Prediction") prediction
#@ ImagePlus (label="Ground truth") truth
#@ String (label="Title of the source, or empty", value="", required=false) source
#@ String (label="Server", value="http://127.0.0.1:8000") server
#@ String (label="Access token, where one is needed", value="", required=false, style="password", persist=false) token
#@ Boolean (label="Open the report in the browser", value=true) browser
#@output Integer maps

# micserve: compares a result with ground truth. The maps open as 32-bit images, the numbers as a table.

from ij import WindowManager
from ij.measure import ResultsTable
from ij.plugin import BrowserLauncher
from java.lang import String
from java.util import UUID


def form(images, name, boundary):
    """The pieces of a multipart form with a file for each field."""
    pieces = []
    for field, image in images:
        head = '--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s.tif"\r\n' % (boundary, field, name)
        pieces.append(String(head + "Content-Type: image/tiff\r\n\r\n").getBytes("US-ASCII"))
        pieces.append(tiff(image, False))
        pieces.append(String("\r\n").getBytes("US-ASCII"))
    pieces.append(String("--%s--\r\n" % boundary).getBytes("US-ASCII"))
    return pieces


maps = 0
try:
    images = [("prediction", prediction), ("target", truth)]
    if source:
        images.append(("source", WindowManager.getImage(source)))
        if images[-1][1] is None:
            raise MicserveProblem(u"No image with the title %s is open." % source)
    boundary = "micserve" + str(UUID.randomUUID())
    name = re.sub(r"[^A-Za-z0-9_-]", "_", re.sub(r"\.\w{2,4}$", "", prediction.getTitle()))
    micserve = Micserve(server, token)
    kind = "multipart/form-data; boundary=" + boundary
    answer = micserve.post("/v1/qc", "application/zip", kind, form(images, name, boundary))
    for path, content in sorted(unzipped(answer).items()):
        file_name = path.split("/")[-1]
        if file_name.endswith(".tif"):
            shown = image_of(content, file_name)
            shown.show()
            IJ.run(shown, "Fire", "")
            maps += 1
        elif file_name == "metrics.csv":
            table = kept(content, ".csv")
            ResultsTable.open(table.getPath()).show("QC_metrics of " + prediction.getTitle())
            table.delete()
        elif file_name == "report.html" and browser:
            BrowserLauncher.openURL(str(kept(content, ".html").toURI()))
except MicserveProblem as problem:
    IJ.error("micserve", problem.words())
