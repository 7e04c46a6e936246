"""StarDist on an image of 10 000² pixels, file to file: how long, how much memory, and all found.

`python -m tests.bench.large_stardist [SIZE]`. The network is a few hand-made convolutions that
find bright squares, so that what is measured is everything around it: tiles, candidates,
suppression once over the whole image, drawing, files. Squares lie on a lattice, so each of the
objects is known.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from micserve.backends.onnx import OnnxBackend
from micserve.codecs import create_tiff, read_image
from micserve.families.stardist import StarDistParameters
from micserve.predict import LoadedModel, predict
from tests.bench.memory import watched
from tests.stardist.driving import a_contract
from tests.support.networks import NetworkBuilder

SPACING, FIRST = 38, 10
"""Pixels between two objects, and of the first; both even, as the network has a grid of 2."""
RADIUS, RAYS, GRID = 8.0, 8, (2, 2)
HALO = (32, 32)
"""Far more than this network sees, and what small trained networks do."""
DARK, BRIGHT = 0, 1
"""As the network takes them; the contract does not normalise."""


def squares_network(path: Path) -> Path:
    """`prob` is high where the 3 × 3 pixels around are bright, `dist` is `RADIUS` everywhere."""
    net = NetworkBuilder()
    mean = net.constant(np.full((1, 1, 3, 3), 1 / 9, np.float32))
    pads, strides = [1, 1, 1, 1], list(GRID)
    bright = net.op("Conv", "input", mean, pads=pads, strides=strides, features=1)
    # A neighbour on the grid shares three of the nine pixels: 0.33 is a candidate too, 0.11 not.
    scaled = net.op("Mul", bright, net.constant(np.float32(10)))
    prob = net.op("Sigmoid", net.op("Sub", scaled, net.constant(np.float32(2))))
    rays = net.constant(np.zeros((RAYS, 1, 1, 1), np.float32))
    nothing = net.op("Conv", bright, rays, features=RAYS)
    dist = net.op("Add", nothing, net.constant(np.float32(RADIUS)))
    return net.save(path, {"prob": prob, "dist": dist})


def write_squares(path: Path, size: int) -> NDArray[np.intp]:
    """An 8 bit TIFF; the objects' centres along either axis."""
    centres = np.arange(FIRST, size - FIRST, SPACING)
    line = np.full(size, DARK, np.uint8)
    line[(centres[:, None] + [-1, 0, 1]).ravel()] = BRIGHT
    pixels = tifffile.memmap(path, shape=(size, size), dtype="uint8", bigtiff=True)
    pixels[:] = DARK
    for centre in centres:
        pixels[centre - 1 : centre + 2] = line
    pixels.flush()
    return centres


def main(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.tif", Path(folder) / "out.tif"
        centres = write_squares(source, size)
        network = OnnxBackend(squares_network(Path(folder) / "n.onnx"), provider="cpu")
        contract = a_contract(grid=GRID, n_rays=RAYS, halo=HALO)
        image = read_image(source)
        with watched() as peak:
            start, cpu = time.perf_counter(), time.process_time()
            found = predict(
                image,
                LoadedModel(contract, network),
                StarDistParameters(),
                open_output=lambda shape, axes, dtype: create_tiff(
                    target, shape=shape, axes=axes, dtype=dtype, like=image
                ),
            )
        labels = found.image.data
        facts = {
            "size": size,
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
            "peak_mib": peak.mib,
            "expected": len(centres) ** 2,
            "found": len(found.frames[0].objects),
            "distinct": len(np.unique(labels[np.ix_(centres, centres)])),
            "dtype": str(labels.dtype),
        }
    print("RESULT " + json.dumps(facts))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
