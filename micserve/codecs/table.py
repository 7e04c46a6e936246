"""Measurements as CSV that ImageJ's `Table.open`, a spreadsheet and pandas read alike.

A point for the decimal, a comma between columns, no quotes: columns and cells
are plain words and numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 9
"""Significant ones: all that a 32 bit float holds."""


def csv_bytes(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """A header and one line per row; numbers that are not known are `NaN`."""
    cells = [_words(values) for values in columns.values()]
    lines = [",".join(columns), *(",".join(row) for row in zip(*cells, strict=True))]
    return ("\n".join(lines) + "\n").encode("ascii")


def _words(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind in "iu":
        return [str(value) for value in values.tolist()]
    plain = [f"{value:.{DIGITS}g}" for value in np.asarray(values, np.float64).tolist()]
    return ["NaN" if word == "nan" else word for word in plain]
