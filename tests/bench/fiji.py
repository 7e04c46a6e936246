"""What the way through a macro adds: save, send, receive and open, beside the Python client.

`make bench ARGS=fiji`: the same 2048 × 2048 image of 16 bit, the same small network, the same
server, in the real ImageJ under a virtual display (Debian's imagej and xvfb). The prediction
itself is in both times; the difference is what Fiji's users wait for on top.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import tifffile

from micserve.client import Client
from services.gateway.fiji import library_text
from tests.bench.over_http import running
from tests.bench.parts import seconds, shown
from tests.fiji.imagej import JAR, ImageJ
from tests.support.published import publish_denoiser

SIDE = 2048
REPEATS = 5
GOAL_S = 1.5

CALL = """
micserve_on_error("return"); start = getTime();
id = micserve_predict("bench@1", "");
took = getTime() - start; if (id == 0) return "0"; close(); return "" + took;
"""


def main() -> None:
    if not JAR.exists():
        raise SystemExit(f"There is no ImageJ at {JAR}. Install Debian's imagej and xvfb.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tif"
        grey = np.random.default_rng(0).normal(100, 20, (SIDE, SIDE)).clip(0, 65535)
        tifffile.imwrite(path, grey.astype(np.uint16), imagej=True)
        home = Path(folder)
        with running(home, lambda to: publish_denoiser(to, home, "bench", seed=1)) as (_, door):
            by_client = by_python(door.url, path)
            by_macro = by_imagej(door.url, path, home / "imagej")
    added = statistics.median(by_macro) - statistics.median(by_client)
    print(f"{SIDE} x {SIDE}, 16 bit in, 32 bit out, prediction included:")
    print(f"  Python client, file to array   {shown(by_client)}")
    print(f"  macro, open image to image     {shown(by_macro)}")
    print(f"  the macro way adds {added:.2f} s (goal: at most {GOAL_S} s)")


def by_python(url: str, path: Path) -> list[float]:
    with Client(url) as client:
        return seconds(lambda: client.predict("bench@1", path), repeats=REPEATS)


def by_imagej(url: str, path: Path, home: Path) -> list[float]:
    """As a macro measures itself, after one run that does not count."""
    imagej = ImageJ(home)
    imagej.start()
    try:
        imagej.run(f'call("ij.Prefs.set", "micserve.server", "{url}"); open("{path}");')
        took = [float(imagej.run(CALL + library_text())) / 1000 for _ in range(REPEATS + 1)]
    finally:
        imagej.stop()
    if not all(took):
        raise SystemExit("The macro's prediction failed.")
    return took[1:]
