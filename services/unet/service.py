"""U-Net 2D and 3D: an image in, classes or objects out.

`bentoml serve services.unet.service:UNetService`
"""

import bentoml

from micserve.serving.bento import SERVICE, Mounted, Predictor, refuse_without_provider

refuse_without_provider()
app = Mounted("unet")


@bentoml.service(name="unet", **SERVICE)
@bentoml.asgi_app(app, path="/")
class UNetService(Predictor):
    mounted = app
