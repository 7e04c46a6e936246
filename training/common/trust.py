"""What the training images were like, for the trust light of every later prediction.

Knows the dataset and the exported network; the statistics are `micserve.trust`'s.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import ModelContract
from micserve.backends import Backend
from micserve.errors import MicserveError
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.trust import Envelope, judge, measure_envelope
from training.common.images import Dataset, Plane

ANSWERED = 6
"""Held-out images of which it is measured what the network takes away."""
ANSWERED_PIXELS = {2: (384, 384), 3: (16, 128, 128)}
"""Of each, in its middle, by dimensions."""

Frames = list[NDArray[Any]]


def recorded_envelope(data: Dataset, contract: ModelContract, backend: Backend) -> Envelope | None:
    """None where the images are too small to say anything of their texture."""
    answered = list(_answered(data, contract, backend)) if contract.restore_range else []
    envelope = measure_envelope(_images(data.train), answered=answered)
    if envelope is None:
        return None
    held = [
        judge(envelope, frames, gain_matters=contract.gain_matters).distance
        for frames in _images(data.validation)
    ]
    return envelope.model_copy(update={"usual": round(max(held, default=0.0), 4)})


def _images(planes: Sequence[Plane]) -> list[Frames]:
    """Frames by file."""
    return [
        [plane.pixels for plane in group]
        for _, group in groupby(planes, key=lambda plane: plane.file)
    ]


def _answered(
    data: Dataset, contract: ModelContract, backend: Backend
) -> Iterator[tuple[Frames, Frames]]:
    model = LoadedModel(contract, backend)
    axes = contract.spatial_axes
    for frames in _images(data.validation)[:ANSWERED]:
        grey = _middle(frames[0])
        if grey.shape[0] != 1:
            return
        try:
            made = predict(Image(grey[0], axes), model, model.family.parameters()).image.data
        except MicserveError:
            return  # what cannot be predicted here is said where somebody asks for it
        yield [grey], [np.asarray(made)[None]]


def _middle(frame: NDArray[Any]) -> NDArray[Any]:
    most = ANSWERED_PIXELS[frame.ndim - 1]
    for axis, side in enumerate(most, start=1):
        size = frame.shape[axis]
        start = max((size - side) // 2, 0)
        frame = frame.take(range(start, min(start + side, size)), axis=axis)
    return frame
