"""fnet 2D and 3D: fluorescence predicted from transmitted light.

`bentoml serve services.fnet.service:FnetService`
"""

import bentoml

from micserve.serving.bento import SERVICE, Mounted, Predictor, refuse_without_provider

refuse_without_provider()
app = Mounted("fnet")


@bentoml.service(name="fnet", **SERVICE)
@bentoml.asgi_app(app, path="/")
class FnetService(Predictor):
    mounted = app
