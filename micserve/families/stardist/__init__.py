"""StarDist 2D and 3D: star-convex objects, without TensorFlow.

The network's answer is gathered tile by tile as candidates (`candidates`);
overlapping ones are suppressed once per frame (`survivors`, in batches of
`clusters`) and the rest is drawn (`shapes`), both with `stardist`'s own compiled
code. That package is imported when the first frame is finished: it takes
seconds, and only this service needs it.
"""

from micserve.families.stardist.family import StarDist, StarDistParameters

__all__ = ["StarDist", "StarDistParameters"]
