"""Noise2Void 2D and 3D: noisy images in, denoised images out.

`bentoml serve services.n2v.service:N2VService`
"""

import bentoml

from micserve.serving.bento import SERVICE, Mounted, Predictor, refuse_without_provider

refuse_without_provider()
app = Mounted("n2v")


@bentoml.service(name="n2v", **SERVICE)
@bentoml.asgi_app(app, path="/")
class N2VService(Predictor):
    mounted = app
