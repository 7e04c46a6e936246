"""Images whose truth is known: for the demo, the tests and the benchmarks.

Knows numpy and scipy; knows no file format. What is made here is made again,
bit for bit, by the same recipe and seed.
"""

from micserve.synthetic.spots import Spot, SpotsImage, SpotsRecipe, create_spots, spots_series

__all__ = ["Spot", "SpotsImage", "SpotsRecipe", "create_spots", "spots_series"]
