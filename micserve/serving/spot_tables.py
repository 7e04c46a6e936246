"""Tables that say where the true spots of an image are: CSV, one row per spot, pixels.

    X, Y [, Diameter] [, Slice]        centres
    XC, YC, Diameter                   as MRI's Create Synthetic Spots writes them: top left corners

Commas or tabs, one line of names; other columns are ignored. Slices count from 1.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from micserve.errors import QualityControlError
from micserve.qc import Spot

USUAL_DIAMETER = 4.0
"""Pixels, where the table has none: spots found within 2 px count."""


def read_spots(path: Path) -> tuple[Spot, ...]:
    """The spots of one image.

    Raises
    ------
    QualityControlError
        Naming the column or the line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QualityControlError(f"the table of spots {path.name} cannot be read.") from error
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    columns = [name.strip() for name in rows.fieldnames or ()]
    _refuse_other_columns(columns, path.name)
    spots = []
    for line, row in enumerate(rows, start=2):
        try:
            spots.append(_spot({key.strip(): value for key, value in row.items() if key}))
        except (TypeError, ValueError) as error:
            raise QualityControlError(
                f"line {line} of the table of spots {path.name} holds no numbers in pixels; "
                "correct it or delete it."
            ) from error
    return tuple(spots)


def _refuse_other_columns(columns: Sequence[str], name: str) -> None:
    if {"X", "Y"} <= set(columns) or {"XC", "YC", "Diameter"} <= set(columns):
        return
    raise QualityControlError(
        f"the table of spots {name} has the columns {', '.join(columns) or '(none)'}; it needs X "
        "and Y (centres in pixels, Diameter if known), or XC, YC and Diameter."
    )


def _spot(row: Mapping[str, str]) -> Spot:
    diameter = float(row.get("Diameter") or USUAL_DIAMETER)
    if "X" in row:
        x, y = float(row["X"]), float(row["Y"])
    else:
        x, y = (float(row[key]) + diameter / 2 for key in ("XC", "YC"))
    if not all(map(math.isfinite, (x, y, diameter))):
        raise ValueError
    plane = int(row.get("Slice") or 1) - 1
    return Spot(y, x, max(diameter, 1.0) / 2 / math.sqrt(2), plane)
