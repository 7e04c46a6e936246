"""The receptive field of a network, measured on the exported file and not on its source."""

from pathlib import Path


def measure_halo(
    onnx: Path, *, ndim: int, channels: int, multiple: tuple[int, ...]
) -> tuple[int, ...] | None:
    """How far the network sees beyond a cell of `multiple` pixels, rounded up to `multiple`.

    None when it looks at the whole image (a global operation) or contains an operation of
    which we cannot tell: such a network must not be tiled.
    """
    raise NotImplementedError
