"""`python -m training.check`: whether images can be trained on, before anything is trained.

Reads and splits them exactly as the trainer of the family will, and says in JSON what was found,
everything that is wrong, and, as small PNG files, what the network will see. Loads no framework.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from micserve.errors import InputError
from training.common.images import Dataset, Plane
from training.families import TRAINERS

PREVIEWS = 4
SIDE = 192
"""Largest side of a preview, pixels."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.check", description=__doc__)
    parser.add_argument("--family", choices=sorted(TRAINERS), required=True)
    parser.add_argument("--ndim", type=int, choices=(2, 3), default=2)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--parameters", default="{}", help="JSON: channel, percentage_validation …")
    parser.add_argument("--previews", type=Path, help="folder to write small PNG files to")
    print(json.dumps(checked(parser.parse_args())))
    return 0


def checked(asked: argparse.Namespace) -> dict[str, Any]:
    """`pairs` (images that were found fit), `mismatches`, `sentence`, `notes`, `previews`."""
    trainer = next(t for t in TRAINERS[asked.family] if t.ndim == asked.ndim)
    paired = {"target": asked.target} if "target" in trainer.config.model_fields else {}
    values = {"data": asked.data, "name": "check", "ndim": asked.ndim, **paired}
    try:
        config = trainer.config.model_validate({**values, **json.loads(asked.parameters)})
        data = trainer.data(config)
    except InputError as error:
        return {"pairs": 0, "mismatches": sentences(str(error)), "notes": [], "previews": []}
    return {
        "pairs": len(data.manifest.images),
        "mismatches": [],
        "sentence": data.manifest.sentence,
        "notes": list(data.notes),
        "smallest": list(data.smallest),
        "pixels": sum(int(np.prod(plane.size)) for plane in data.train),
        "previews": write_previews(data, asked.previews) if asked.previews else [],
    }


def sentences(message: str) -> list[str]:
    """What is wrong, one by one; a message with one complaint is that complaint."""
    first, *rest = message.splitlines()
    return [line.strip() for line in rest] or [first]


def write_previews(data: Dataset, folder: Path) -> list[str]:
    """Image and target side by side, brightness as it is shown, the middle slice of a stack."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, plane in enumerate(_first_of_each_file(data)):
        target = getattr(plane, "target", None)
        panels = [_shown(pixels) for pixels in (plane.pixels, target) if pixels is not None]
        name = f"preview-{number + 1}.png"
        (folder / name).write_bytes(imagecodecs.png_encode(np.concatenate(panels, axis=1)))
        names.append(name)
    return names


def _first_of_each_file(data: Dataset) -> Iterator[Plane]:
    seen: set[str] = set()
    for plane in (*data.train, *data.validation):
        if plane.file not in seen and len(seen) < PREVIEWS:
            seen.add(plane.file)
            yield plane


def _shown(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(C, (Z,) Y, X) to (Y, X), from the 1st to the 99.8th percentile."""
    plane = pixels[0] if pixels.ndim == 3 else pixels[0, pixels.shape[1] // 2]
    step = max(1, -(-max(plane.shape) // SIDE))
    small = plane[::step, ::step].astype(np.float32)
    low, high = np.percentile(small, (1, 99.8))
    scaled = (small - low) / max(float(high - low), 1e-6)
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
