#@ ImagePlus (label="Image") imp
#@ String (label="Server", value="http://127.0.0.1:8000") server
#@ String (label="Access token, where one is needed", value="", required=false, style="password", persist=false) token
#@ String (label="Model", value="n2v-mine@production") model
#@ String (label="Parameters, as a=1 b=2", value="", required=false) parameters
#@ Boolean (label="Only the selection", value=false) selection
#@output ImagePlus result

// micserve: runs a model of the server on an image. Write name@number for the model to get the same again next year.

import ij.IJ
import ij.ImagePlus
import ij.gui.Roi
import ij.io.FileSaver
import ij.io.Opener
import java.util.zip.ZipEntry
import java.util.zip.ZipInputStream

result = null
try {
    Micserve micserve = new Micserve(server, token)
    byte[] answer = micserve.post(Micserve.address(model, parameters), "*/*", "image/tiff", [Micserve.tiff(imp, selection)])
    result = Micserve.image(answer, micserve.titled(imp, ""))
    micserve.remark()
} catch (MicserveProblem problem) {
    IJ.error("micserve", problem.getMessage())
}
