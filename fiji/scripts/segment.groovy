#@ ImagePlus (label="Image") imp
#@ String (label="Server", value="http://127.0.0.1:8000") server
#@ String (label="Access token, where one is needed", value="", required=false, style="password", persist=false) token
#@ String (label="Model", value="stardist-mine@production") model
#@ String (label="Parameters, as a=1 b=2", value="", required=false) parameters
#@output ImagePlus labels
#@output Integer count

// micserve: finds objects in an image: labels, outlines in the ROI Manager, measurements in a table.

import ij.IJ
import ij.ImagePlus
import ij.gui.Roi
import ij.io.FileSaver
import ij.io.Opener
import ij.measure.ResultsTable
import ij.plugin.frame.RoiManager
import ij.process.LUT
import java.awt.Color
import java.util.zip.ZipEntry
import java.util.zip.ZipInputStream

/** Every label a colour of its own, the background black. */
LUT coloursOfLabels() {
    byte[] red = new byte[256], green = new byte[256], blue = new byte[256]
    for (int i = 1; i < 256; i++) {
        Color colour = Color.getHSBColor((float) (i * 0.6180339887d), (float) 0.8, (float) (0.6 + 0.2 * (i % 3)))
        red[i] = (byte) colour.getRed(); green[i] = (byte) colour.getGreen(); blue[i] = (byte) colour.getBlue()
    }
    return new LUT(red, green, blue)
}

labels = null
count = 0
try {
    Micserve micserve = new Micserve(server, token)
    String words = ((parameters ?: "") + " output=bundle").trim()
    byte[] answer = micserve.post(Micserve.address(model, words), "*/*", "image/tiff", [Micserve.tiff(imp, false)])
    Map<String, byte[]> files = Micserve.unzipped(answer)
    labels = Micserve.image(files["labels.tif"], micserve.titled(imp, "-labels"))
    labels.setLut(coloursOfLabels())
    labels.setDisplayRange(0, Math.max(255, new ij.process.StackStatistics(labels).max))
    File table = Micserve.kept(files["table.csv"], ".csv")
    ResultsTable rows = ResultsTable.open(table.getPath())
    table.delete()
    count = rows.size()
    if (count > 0) {
        File outlines = Micserve.kept(files["RoiSet.zip"], ".zip")
        RoiManager.getRoiManager().runCommand("Open", outlines.getPath())
        outlines.delete()
    }
    rows.show("Results of " + imp.getTitle())
    micserve.remark()
} catch (MicserveProblem problem) {
    IJ.error("micserve", problem.getMessage())
}
