"""StarDist 2D and 3D: star-convex objects, labels out.

`bentoml serve services.stardist.service:StarDistService`
"""

import bentoml

from micserve.serving.bento import SERVICE, Mounted, Predictor, refuse_without_provider

refuse_without_provider()
app = Mounted("stardist")


@bentoml.service(name="stardist", **SERVICE)
@bentoml.asgi_app(app, path="/")
class StarDistService(Predictor):
    mounted = app
