#@ ImagePlus (label="Image") imp
#@ String (label="Server", value="http://127.0.0.1:8000") server
#@ String (label="Access token, where one is needed", value="", required=false, style="password", persist=false) token
#@ String (label="Model", value="n2v-mine@production") model
#@ String (label="Parameters, as a=1 b=2", value="", required=false) parameters
#@ Boolean (label="Only the selection", value=false) selection
#@output ImagePlus result

# micserve: runs a model of the server on an image. Write name@number for the model to get the same again next year.

result = None
try:
    micserve = Micserve(server, token)
    answer = micserve.post(address(model, parameters), "*/*", "image/tiff", [tiff(imp, selection)])
    result = image_of(answer, micserve.titled(imp, ""))
    micserve.remark()
except MicserveProblem as problem:
    IJ.error("micserve", problem.words())
