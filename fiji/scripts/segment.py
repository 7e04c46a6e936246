#@ ImagePlus (label="Image") imp
#@ String (label="Server", value="http://127.0.0.1:8000") server
#@ String (label="Access token, where one is needed", value="", required=false, style="password", persist=false) token
#@ String (label="Model", value="stardist-mine@production") model
#@ String (label="Parameters, as a=1 b=2", value="", required=false) parameters
#@output ImagePlus labels
#@output Integer count

# micserve: finds objects in an image: labels, outlines in the ROI Manager, measurements in a table.

from ij.measure import ResultsTable
from ij.plugin.frame import RoiManager
from ij.process import LUT, StackStatistics
from java.awt import Color


def colours_of_labels():
    """Every label a colour of its own, the background black."""
    bands = [zeros(256, "b") for _ in range(3)]
    for i in range(1, 256):
        colour = Color.getHSBColor(i * 0.6180339887, 0.8, 0.6 + 0.2 * (i % 3))
        for band, value in zip(bands, (colour.getRed(), colour.getGreen(), colour.getBlue())):
            band[i] = value - 256 if value > 127 else value
    return LUT(*bands)


labels = None
count = 0
try:
    micserve = Micserve(server, token)
    words = (parameters or "") + " output=bundle"
    files = unzipped(micserve.post(address(model, words), "*/*", "image/tiff", [tiff(imp, False)]))
    labels = image_of(files["labels.tif"], micserve.titled(imp, "-labels"))
    labels.setLut(colours_of_labels())
    labels.setDisplayRange(0, max(255, StackStatistics(labels).max))
    table = kept(files["table.csv"], ".csv")
    rows = ResultsTable.open(table.getPath())
    table.delete()
    count = rows.size()
    if count > 0:
        outlines = kept(files["RoiSet.zip"], ".zip")
        RoiManager.getRoiManager().runCommand("Open", outlines.getPath())
        outlines.delete()
    rows.show("Results of " + imp.getTitle())
    micserve.remark()
except MicserveProblem as problem:
    IJ.error("micserve", problem.words())
