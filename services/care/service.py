"""CARE 2D and 3D: low signal in, high signal out.

`bentoml serve services.care.service:CareService`
"""

import bentoml

from micserve.serving.bento import SERVICE, Mounted, Predictor, refuse_without_provider

refuse_without_provider()
app = Mounted("care")


@bentoml.service(name="care", **SERVICE)
@bentoml.asgi_app(app, path="/")
class CareService(Predictor):
    mounted = app
