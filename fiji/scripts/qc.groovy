#@ ImagePlus (label="Prediction") prediction
#@ ImagePlus (label="Ground truth") truth
#@ String (label="Title of the source, or empty", value="", required=false) source
#@ String (label="Server", value="http://127.0.0.1:8000") server
#@ String (label="Access token, where one is needed", value="", required=false, style="password", persist=false) token
#@ Boolean (label="Open the report in the browser", value=true) browser
#@output Integer maps

// micserve: compares a result with ground truth. The maps open as 32-bit images, the numbers as a table.

import ij.IJ
import ij.ImagePlus
import ij.WindowManager
import ij.gui.Roi
import ij.io.FileSaver
import ij.io.Opener
import ij.measure.ResultsTable
import ij.plugin.BrowserLauncher
import java.util.zip.ZipEntry
import java.util.zip.ZipInputStream

maps = 0
try {
    Map<String, ImagePlus> images = [prediction: prediction, target: truth]
    if (source) {
        images.source = WindowManager.getImage(source)
        if (images.source == null) throw new MicserveProblem("No image with the title " + source + " is open.")
    }
    String boundary = "micserve" + UUID.randomUUID()
    String name = prediction.getTitle().replaceFirst(/\.\w{2,4}$/, "").replaceAll(/[^A-Za-z0-9_-]/, "_")
    List<byte[]> pieces = []
    images.each { field, image ->
        String head = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + field + "\"; filename=\"" + name + ".tif\"\r\n"
        pieces << (head + "Content-Type: image/tiff\r\n\r\n").getBytes("US-ASCII")
        pieces << Micserve.tiff(image, false)
        pieces << "\r\n".getBytes("US-ASCII")
    }
    pieces << ("--" + boundary + "--\r\n").getBytes("US-ASCII")
    Micserve micserve = new Micserve(server, token)
    byte[] answer = micserve.post("/v1/qc", "application/zip", "multipart/form-data; boundary=" + boundary, pieces)
    Micserve.unzipped(answer).each { path, bytes ->
        String file = path.tokenize("/")[-1]
        if (file.endsWith(".tif")) {
            ImagePlus map = Micserve.image(bytes, file)
            map.show()
            IJ.run(map, "Fire", "")
            maps++
        } else if (file == "metrics.csv") {
            File table = Micserve.kept(bytes, ".csv")
            ResultsTable.open(table.getPath()).show("QC_metrics of " + prediction.getTitle())
            table.delete()
        } else if (file == "report.html" && browser) {
            BrowserLauncher.openURL(Micserve.kept(bytes, ".html").toURI().toString())
        }
    }
} catch (MicserveProblem problem) {
    IJ.error("micserve", problem.getMessage())
}
