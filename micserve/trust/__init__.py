"""What can be said of a result where nobody knows the truth: is the image like the training's?

    training images ──► measure_envelope ──► Envelope    quantiles per statistic, in the package
    an image (+ its result) ──► judge ──► Trust          green, amber, red or unknown, and why

A green light says that nothing speaks against the image; it does not say that the
result is right. Only a comparison with ground truth does (`micserve.qc`).

Works on arrays that may be memory maps, of which it reads some hundred small
patches; knows no file format, no network and no model package.
"""

from micserve.trust.envelope import Envelope, envelope_of, measure_envelope
from micserve.trust.light import Light, Trust, distance_maps, judge
from micserve.trust.sampling import Patches, sample

__all__ = [
    "Envelope",
    "Light",
    "Patches",
    "Trust",
    "distance_maps",
    "envelope_of",
    "judge",
    "measure_envelope",
    "sample",
]
