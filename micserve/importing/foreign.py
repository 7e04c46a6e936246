"""What has to be known of a model from elsewhere before it can be packed as ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.build import Author, Citation
from micserve.artifact.contract import FamilyName, Head
from micserve.normalize import Normalization
from micserve.tiling import PadSide


@dataclass(frozen=True, slots=True)
class TestPair:
    """Test tensors that came with the model."""

    source: NDArray[np.float32]
    """(B, C, (Z,) Y, X) grey values."""
    answer: NDArray[np.float32]
    """(B, C, (Z,) Y, X), of the first head, as the network says it."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model from elsewhere, its network in ONNX already."""

    family: FamilyName
    ndim: int
    onnx: Path
    """Float32 (B, C, (Z,) Y, X) of any size in, one output per head of that name."""
    channels: int
    heads: tuple[Head, ...]
    normalization: Normalization
    restore_range: bool
    origin: str
    """What it was, in words: "a bioimage.io package (0.4.9)"."""
    multiple: tuple[int, ...] | None = None
    """Sizes that it takes are multiples of this; None when nobody said it."""
    pad: PadSide = "split"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pixel_size_um: Mapping[str, float] | None = None
    test: TestPair | None = None
    agreement: float | None = None
    """Largest difference between the ONNX network and the one that it was converted from, as a
    share of the range; None when nothing was converted."""
    title: str = ""
    license: str = ""
    authors: tuple[Author, ...] = ()
    cite: tuple[Citation, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that converted it."""
