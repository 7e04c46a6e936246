"""The receptive field of a network, measured on the exported file and not on its source.

One cell of the image (as large as the network's total stride) is lit in the
network's boolean twin, and what it lights in the answer is how far the network
can see, whatever its weights are. Knows nothing of tiles or packages.

A network that computes with coordinates of its own (where in the image am I?)
is not found out here, but by comparing tiles with the whole image (`verify`).
"""

import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from micserve.artifact import star_labels
from micserve.artifact.twin import UntranslatableError, boolean_twin
from micserve.errors import PackageError

log = logging.getLogger(__name__)

LENGTHS = (64, 256, 1024, 4096)
"""Pixels along the measured axis, tried until the answer ends before the border. The U-Nets of
this field see 20 to 200 pixels far."""

NARROW = 8
"""Least pixels along the other axes, which are lit all along, so that they need not be long."""

MAX_PIXELS = 1 << 22
"""Of one test image: about 1 GiB in the first layers of a U-Net with 64 features."""

RUNTIME_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
"""What ONNX Runtime raises about a network or an image."""


def measure_halo(
    onnx: Path, *, ndim: int, channels: int, multiple: tuple[int, ...]
) -> tuple[int, ...] | None:
    """How far the network sees beyond a cell of `multiple` pixels, rounded up to `multiple`.

    Parameters
    ----------
    onnx
        One image (B, C, (Z,) Y, X) in, one array of the same layout per head out.
    multiple
        Total stride of the network per spatial axis, in pixels.

    Returns
    -------
    tuple of int, or None
        Pixels per spatial axis. None when the network looks at the whole image (a global
        operation) or holds an operation of which we cannot tell: it must not be tiled.

    Raises
    ------
    PackageError
        When the network does not run on images of free size.
    """
    try:
        twin = boolean_twin(onnx, channels=channels, ndim=ndim)
    except UntranslatableError as error:
        log.warning("%s is not tiled: %s", onnx.name, error)
        return None
    network = _Twin(twin, onnx.name)
    reaches = []
    for axis in range(ndim):
        reach = _measure_axis(network, axis, channels, multiple)
        if reach is None:
            return None
        reaches.append(-(-reach // multiple[axis]) * multiple[axis])
    return tuple(reaches)


class _Twin:
    """The twin in ONNX Runtime, on the CPU."""

    def __init__(self, model: bytes, name: str) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.name = name
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS as error:
            raise PackageError(f"the network {name} cannot be examined: {error}") from error
        self._input = self._session.get_inputs()[0].name
        outputs = [output.name for output in self._session.get_outputs()]
        self._heads = [name for name in outputs if name != star_labels.GRAPH_OUTPUT]

    def run(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(self._session.run(self._heads, {self._input: image}))


def _measure_axis(
    network: _Twin, axis: int, channels: int, multiple: tuple[int, ...]
) -> int | None:
    """Pixels that the network sees beyond a lit cell along one axis; None if all of them."""
    for length in LENGTHS:
        size = (2 * -(-length // (2 * multiple[axis])) + 1) * multiple[axis]
        narrow, broad = (
            tuple(size if a == axis else -(-other // m) * m for a, m in enumerate(multiple))
            for other in (NARROW, length)
        )
        if np.prod(narrow) > MAX_PIXELS:
            break
        try:
            lit = _lit_span(network, axis, (1, channels, *narrow), multiple[axis])
        except PackageError:
            # Mirrored padding and rotations inside a network need images that are not narrow.
            if np.prod(broad) > MAX_PIXELS:
                raise
            lit = _lit_span(network, axis, (1, channels, *broad), multiple[axis])
        if lit is None:
            return 0
        first, stop = lit
        if first > 0 and stop < size:
            start = (size - multiple[axis]) // 2
            return max(start - first, stop - (start + multiple[axis]), 0)
    return None


def _lit_span(
    network: _Twin, axis: int, shape: tuple[int, ...], cell: int
) -> tuple[int, int] | None:
    """First and last + 1 input pixel along `axis` where any head answers to the middle cell."""
    size = shape[2 + axis]
    image = np.zeros(shape, np.float32)
    start = (size - cell) // 2
    image[(slice(None),) * (2 + axis) + (slice(start, start + cell),)] = 1
    spans = []
    for answer in _run(network, image):
        stride = _stride(network.name, size, answer.shape[2 + axis])
        others = tuple(a for a in range(answer.ndim) if a != 2 + axis)
        places = np.flatnonzero(answer.any(axis=others))
        if places.size:
            spans.append((int(places[0]) * stride, (int(places[-1]) + 1) * stride))
    if not spans:
        return None
    return min(first for first, _ in spans), max(stop for _, stop in spans)


def _run(network: _Twin, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    try:
        answers = network.run(image)
    except RUNTIME_ERRORS as error:
        size = " × ".join(map(str, image.shape[2:]))
        raise PackageError(
            f"the network {network.name} does not run on an image of {size} pixels. Export it "
            f"with free image sizes, and state its total stride as `multiple`. ({error})"
        ) from error
    if any(answer.ndim != image.ndim for answer in answers):
        shapes = [answer.shape for answer in answers]
        raise PackageError(
            f"the network {network.name} answers arrays of shape {shapes} to {image.shape}; "
            "expected batch, channels and one axis per axis of the image"
        )
    return answers


def _stride(name: str, size: int, answered: int) -> int:
    if not answered or size % answered:
        raise PackageError(
            f"the network {name} answers {answered} pixels to {size}; expected as many, or a "
            "whole fraction of them. A network that crops its borders must pad them instead."
        )
    return size // answered
