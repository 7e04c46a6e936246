"""Peak memory of one prediction from file to file, in a process of its own.

`python -m tests.bench.memory NETWORK SIZE`: makes a SIZE × SIZE 16 bit TIFF, predicts it into a
float32 TIFF, and prints the peak of its resident memory that is not a file's pages, in MiB.
"""

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tifffile

from micserve.codecs import create_tiff, read_image
from micserve.families.base import RestorationParameters
from micserve.predict import LoadedModel, predict
from tests.bench.parts import a_model

MIB = 1 << 20


def private_mib() -> float:
    """Resident memory less shared file pages, which the system takes back when it needs them."""
    info = psutil.Process().memory_info()
    return float(info.rss - info.shared) / MIB


@dataclass
class Peak:
    mib: float


@contextmanager
def watched() -> Iterator[Peak]:
    """The most private memory that is seen until the block ends."""
    peak, done = Peak(private_mib()), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak.mib = max(peak.mib, private_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def write_noise(path: Path, size: int) -> None:
    """Row by row, so that making the image does not count."""
    noise = np.random.default_rng(0)
    pixels = tifffile.memmap(path, shape=(size, size), dtype="uint16", bigtiff=True)
    for start in range(0, size, 256):
        rows = pixels[start : start + 256]
        rows[:] = noise.integers(70, 180, rows.shape, dtype=np.uint16)
    pixels.flush()


def main(network: Path, size: int) -> None:
    model: LoadedModel = a_model(network)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.tif", Path(folder) / "out.tif"
        write_noise(source, size)
        image = read_image(source)
        with watched() as peak:
            predict(
                image,
                model,
                RestorationParameters(),
                open_output=lambda shape, axes, dtype: create_tiff(
                    target, shape=shape, axes=axes, dtype=dtype, like=image
                ),
            )
    print("RESULT " + json.dumps({"size": size, "peak_mib": peak.mib}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
