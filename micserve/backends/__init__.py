"""Where a network runs. `Backend` is the seam; `onnx` is what we ship."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """One loaded network. Thread-safe; stateless between calls."""

    @property
    def device(self) -> str:
        """What it runs on, for people: `CPU`, `CUDA:0`."""

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """(B, C, (Z,) Y, X) to one array of the same layout per head."""
