"""What a person should know about a result although nothing failed.

Compares an image with the images that the model was trained on; both may be
fine, and the result may still not be what it looks like.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import IntensityEnvelope, ModelContract
from micserve.image import Image

PIXEL_SIZE_FACTOR = 1.5
"""Networks learn structures of a size in pixels; beyond this factor results get visibly worse."""

SAMPLES = 1 << 18
"""Pixels that are looked at, evenly spread: enough for a median, cheap for any image."""


def cautions(image: Image, contract: ModelContract) -> tuple[str, ...]:
    """Sentences, or nothing."""
    found = (_pixel_size(image, contract), _intensity(image.data, contract.intensity))
    return tuple(sentence for sentence in found if sentence)


def _pixel_size(image: Image, contract: ModelContract) -> str:
    trained, sent = contract.pixel_size_um, image.calibration.in_um()
    if not trained or not sent:
        return ""
    for axis, size in sorted(trained.items()):
        if not 1 / PIXEL_SIZE_FACTOR <= sent[axis] / size <= PIXEL_SIZE_FACTOR:
            return (
                f"The image has {sent[axis]:.4g} um per pixel along {axis}, but the model was "
                f"trained at {size:.4g} um: check the result, or scale the image first."
            )
    return ""


def _intensity(data: NDArray[Any], trained: IntensityEnvelope | None) -> str:
    if trained is None or not data.size:
        return ""
    step = max(data.size // SAMPLES, 1)
    sample = data.flat[::step] if data.flags.c_contiguous else data.ravel()[::step]
    median = float(np.median(sample))
    span = max(trained.p99 - trained.p1, 1e-12)
    if trained.p1 - span <= median <= trained.p99 + span:
        return ""
    return (
        f"The image's middle grey value is {median:.4g}, but the model was trained on images "
        f"around {trained.p50:.4g} ({trained.p1:.4g} to {trained.p99:.4g}): check the result."
    )
