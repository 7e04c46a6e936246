"""`make screenshots-fiji`: the pictures of docs/fiji.md and of the page, taken in the real ImageJ.

Needs Debian's imagej, xvfb and openbox, and a server at MICSERVE_URL with two models in
production: demo-spots (`make demo` makes it) and nuclei (any StarDist model of nuclei). Each
picture is what a user sees who does what the documentation says. Look at them before they
are committed.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from PIL import Image

from tests.fiji.imagej import MACRO_ERROR, ImageJ

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "fiji" / "pictures"
COLOURS = 200
"""Of a picture's palette: enough for a dialog and two grey images, at a quarter of the bytes."""

INSTALLER = "install_micserve.ijm"

ERRORS = ("micserve: this cannot be done", "micserve: the server is busy")


class Camera:
    """One ImageJ and the folder of its pictures."""

    def __init__(self, imagej: ImageJ) -> None:
        self.imagej = imagej

    def take(self, name: str, window: str = "*") -> None:
        time.sleep(1)  # a picture is of what a person sees once everything is drawn
        path = PICTURES / f"{name}.png"
        self.imagej.photograph(path, window)
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
                path, optimize=True
            )
        print(path.relative_to(ROOT), flush=True)

    def dialog(self, name: str, title: str, button: str = "OK") -> None:
        """A dialog alone; then it is pressed."""
        self.imagej.wait_for_window(title)
        self.take(name, title)
        self.imagej.press(title, button)

    def clear(self) -> None:
        self.imagej.run(
            'while (nImages > 0) { selectImage(nImages); close(); } roiManager("reset");'
            'list = getList("window.titles"); for (i = 0; i < list.length; i++) close(list[i]);'
            'if (isOpen("ROI Manager")) close("ROI Manager");'
        )


def install(camera: Camera, url: str, folder: Path) -> None:
    path = folder / INSTALLER
    path.write_bytes(httpx.get(f"{url}/fiji/{INSTALLER}").content)
    camera.imagej.drop(path)
    camera.imagej.wait_for_window(INSTALLER)
    camera.take("install", INSTALLER)
    camera.imagej.press(INSTALLER, "Run")
    camera.dialog("installed", "micserve")
    camera.imagej.run(f'selectWindow("{INSTALLER}"); run("Close");')
    camera.take("toolset", "ImageJ")


SMALL = 'makeRectangle(0, 0, 380, 380); run("Crop"); run("Select None");'
"""So that source and result have room beside each other."""


def predict(camera: Camera, spots: Path) -> None:
    camera.imagej.run(
        f'open("{spots}"); {SMALL} setLocation(20, 130); run("Enhance Contrast", "saturated=0.35");'
    )
    camera.imagej.click("Predict (f8)")
    title = "micserve: Predict"
    choose(camera.imagej, title, "demo-spots@")
    camera.dialog("predict", title)
    result = shown(camera.imagej, "demo-spots-v")
    camera.imagej.run(f'selectImage("{result}"); run("Enhance Contrast", "saturated=0.35");')
    camera.take("denoised")
    camera.imagej.click("Predict (f8)", right=True)
    camera.dialog("parameters", "micserve: parameters of demo-spots")


def evaluate(camera: Camera, clean: Path) -> None:
    camera.imagej.run(
        'done = call("java.lang.System.setProperty", "micserve.browser", "off");'
        f'open("{clean}");{SMALL}'
    )
    windows = [window.partition(":")[2] for window in camera.imagej.windows()]
    made = next(title for title in windows if "demo-spots-v" in title).partition(" (")[0]
    camera.imagej.click("Evaluate (f7)")
    title = "micserve: Evaluate"
    camera.imagej.set(title, "prediction", made)
    truth = clean.stem + "-1.tif"  # its name is that of the noisy image
    camera.imagej.set(title, "ground truth", truth)
    camera.dialog("evaluate", title)
    shown(camera.imagej, "SSIM_GTvs", "QC_metrics of " + made)
    camera.take("quality")


def segment(camera: Camera, nuclei: Path) -> None:
    camera.imagej.run(
        f'open("{nuclei}"); rename("nuclei.tif"); {SMALL} setLocation(20, 130);'
        'run("Enhance Contrast", "saturated=0.35");'
    )
    camera.imagej.click("Segment nuclei (f9)")
    camera.dialog("segment", "micserve: Segment nuclei")
    shown(camera.imagej, "-labels", "Results")
    camera.take("segmented")


def train(camera: Camera, spots: Path) -> None:
    """A short training on one open image, until its loss has a few points."""
    camera.imagej.run(f'open("{spots}"); {SMALL} setLocation(20, 130);')
    camera.imagej.click("Train (f6)")
    title = "micserve: Train"
    camera.imagej.set(title, "name of the model", "n2v-mine")
    camera.imagej.set(title, "preset", "quick")
    camera.imagej.set(title, "images", "the open images")
    camera.dialog("train", title)
    camera.imagej.press("micserve: images to train on")
    shown(camera.imagej, "Training of n2v-mine", within_s=600)
    finished = "micserve: Train"
    shown(camera.imagej, finished, within_s=900)
    camera.imagej.press(finished)
    camera.take("training", "Training of n2v-mine")


def others(camera: Camera) -> None:
    """The dialogs that no picture of another step shows; a model is selected by then."""
    for tool, right, name, title in (
        ("About", False, "about", "About micserve"),
        ("Info", False, "info", "micserve: demo-spots"),
        ("Training parameters", False, "training-parameters", "micserve: training parameters of"),
        ("Evaluate", True, "evaluate-options", "micserve: Evaluate options"),
    ):
        camera.imagej.click(tool, right=right)
        camera.dialog(name, shown(camera.imagej, title))


def batch(camera: Camera, images: Path, folder: Path) -> None:
    camera.imagej.click("Batch folder (f10)")
    title = "micserve: Batch folder"
    choose(camera.imagej, title, "demo-spots@")
    camera.imagej.set(title, "images", "/data/spots/")
    camera.imagej.set(title, "results", "/data/spots denoised/")
    camera.take("batch", title)
    camera.imagej.set(title, "images", str(images))
    camera.imagej.set(title, "results", str(folder / "results"))
    camera.imagej.press(title)
    camera.imagej.wait_for_tools()
    camera.imagej.run('Table.setLocationAndSize(60, 130, 460, 220, "micserve batch");')
    camera.take("batch-done", "micserve batch")


def server(camera: Camera) -> None:
    camera.imagej.click("Server")
    camera.dialog("server", "micserve: Server...")
    camera.imagej.press("micserve")
    camera.imagej.run(
        'newImage("cells", "8-bit ramp", 64, 64, 1);'
        'call("ij.Prefs.set", "micserve.server", "http://127.0.0.1:9");'
    )
    camera.imagej.click("Predict (f8)")
    camera.dialog("away", "micserve: the server does not answer")


def choose(imagej: ImageJ, title: str, begins: str) -> None:
    """The model of a dialog whose label begins like this."""
    [field] = [field for field in imagej.dialog(title) if field.startswith("model=")]
    label = next(item for item in field.partition("=")[2].split("|") if item.startswith(begins))
    imagej.set(title, "model", label)


def shown(imagej: ImageJ, *parts: str, within_s: float = 240) -> str:
    """Title of the window that holds the last of these words, when all are there."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        titles = [window.partition(":")[2] for window in imagej.windows()]
        found = [next((t for t in titles if part in t), "") for part in parts]
        if all(found):
            return found[-1]
        refused = [title for title in titles if title.startswith("micserve: ") and title in ERRORS]
        if refused:
            raise SystemExit("\n".join(imagej.dialog(refused[0])))
        if MACRO_ERROR in titles:
            raise SystemExit("\n".join(imagej.dialog(MACRO_ERROR)))
        time.sleep(0.2)
    raise SystemExit(f"no window {parts}, only {imagej.windows()}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots-fiji", description=__doc__)
    parser.add_argument("--spots", type=Path, required=True, help="a noisy image of spots")
    parser.add_argument("--clean", type=Path, required=True, help="its ground truth")
    parser.add_argument("--nuclei", type=Path, required=True, help="an image of nuclei")
    parser.add_argument("--folder", type=Path, required=True, help="several noisy images")
    parser.add_argument("--only", nargs="*", help="steps by name, after the installation")
    asked = parser.parse_args()
    spots, clean, nuclei = (path.resolve() for path in (asked.spots, asked.clean, asked.nuclei))
    url = os.environ.get("MICSERVE_URL", "http://127.0.0.1:8000")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        for part in ("plugins", "macros"):
            (folder / "ImageJ" / part).mkdir(parents=True)
        imagej = ImageJ(folder, decorated=True)
        imagej.start()
        camera = Camera(imagej)
        steps: dict[str, Callable[[], None]] = {
            "install": lambda: install(camera, url, folder),
            "predict": lambda: predict(camera, spots),
            "evaluate": lambda: evaluate(camera, clean),
            "others": lambda: others(camera),
            "segment": lambda: segment(camera, nuclei),
            "batch": lambda: batch(camera, asked.folder.resolve(), folder),
            "train": lambda: train(camera, spots),
            "server": lambda: server(camera),
        }
        try:
            for name, step in steps.items():
                if asked.only and name not in ("install", *asked.only):
                    continue
                if name in ("segment", "batch", "train", "server"):
                    camera.clear()
                try:
                    step()
                except (SystemExit, AssertionError, StopIteration) as problem:
                    print(f"{name}: {problem}", flush=True)
                    imagej.stop()
                    imagej.start()
                    imagej.toolset("micserve")
        finally:
            imagej.stop()


if __name__ == "__main__":
    main()
