"""Where a network runs. `Backend` is the seam; `onnx` is what we ship."""

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Provider = Literal["auto", "cpu", "cuda"]
"""`cuda` or an error; `auto` takes CUDA where there is one, else the CPU."""


class Backend(Protocol):
    """One loaded network. Thread-safe; stateless between calls."""

    @property
    def device(self) -> str:
        """What it runs on, for people: `CPU`, `CUDA:0`."""

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """(B, C, (Z,) Y, X) to one array of the same layout per head."""
