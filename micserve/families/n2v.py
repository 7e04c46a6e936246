"""Noise2Void 2D and 3D: denoising learnt from the noisy images alone [1].

References
----------
.. [1] Krull, Buchholz, Jug 2019, arXiv:1811.10980.
"""

from micserve.families.base import Restoration


class Noise2Void(Restoration):
    name = "n2v"
    title = "Noise2Void"
    job = "removes noise; trained on noisy images, no clean ones needed"
