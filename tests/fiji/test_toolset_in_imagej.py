"""The tools of the toolbar, used with the mouse: each dialog ends in the call that it prints."""

import time

import numpy as np
import pytest
import tifffile

from services.gateway.fiji import addressed, toolset_text
from tests.fiji.imagej import MACRO_ERROR, PATIENCE_S
from tests.fiji.test_segment_in_imagej import draw
from tests.support.stack import free_port


@pytest.fixture(scope="module")
def installed(imagej, facility):
    """The toolset in the toolbar of the ImageJ that all tests share."""
    path = imagej.home / "micserve.ijm"
    path.write_text(addressed(toolset_text(), facility.gateway.url))
    imagej.run(
        f'run("Install...", "install=[{path}]"); '
        f'call("ij.Prefs.set", "micserve.server", "{facility.gateway.url}");'
    )
    return imagej


@pytest.fixture
def tools(installed, macros):
    macros('micserve_set("model", ""); micserve_set("nuclei", "");')
    return installed


def wait_for(imagej, *titles: str) -> None:
    """Until all these windows are there."""
    deadline = time.monotonic() + PATIENCE_S
    while not set(titles) <= {window.partition(":")[2] for window in imagej.windows()}:
        words = imagej.windows()
        assert not any(MACRO_ERROR in word for word in words), imagej.dialog(MACRO_ERROR)
        assert time.monotonic() < deadline, f"not all of {titles}, only {words}"


def wait_for_log(imagej, words: str) -> None:
    """Until the Log says so: the last thing that a tool does."""
    deadline = time.monotonic() + PATIENCE_S
    while words not in imagej.log():
        titles = imagej.windows()
        assert not any(MACRO_ERROR in title for title in titles), imagej.dialog(MACRO_ERROR)
        assert time.monotonic() < deadline, f"no {words!r} in {imagej.log()!r}, only {titles}"


def field(words: list[str], name: str) -> list[str]:
    """A field's value, and what else could be chosen."""
    [found] = [word for word in words if word.startswith(name + "=")]
    return found.partition("=")[2].split("|")


def test_models_that_fit_the_image_come_first(tools, macros):
    macros('newImage("deep", "8-bit ramp", 32, 32, 4); setVoxelSize(0.1, 0.1, 0.3, "um");')
    tools.click("Predict (f8)")
    labels = field(tools.dialog("micserve: Predict"), "model")[1:]
    tools.press("micserve: Predict", "Cancel")
    assert labels[0].startswith("same-3d@1 (")
    assert all("slice by slice" in label for label in labels[1:])
    macros('newImage("flat", "8-bit ramp", 32, 32, 1); setVoxelSize(0.1, 0.1, 1, "um");')
    tools.click("Predict (f8)")
    labels = field(tools.dialog("micserve: Predict"), "model")[1:]
    tools.press("micserve: Predict", "Cancel")
    assert labels[0].startswith("same@1 (")
    assert labels[-1].startswith("same-3d@1 (")
    assert "does not fit this image" in labels[-1]


def test_the_selection_of_one_slice_with_other_parameters(tools, macros, tmp_path):
    macros('newImage("deep", "8-bit ramp", 32, 32, 4); setSlice(3); makeRectangle(4, 5, 9, 8);')
    tools.click("Predict (f8)")
    title = "micserve: Predict"
    words = tools.dialog(title)
    assert field(words, "process the") == ["selection", "selection", "image"]
    label = next(item for item in field(words, "model") if item.startswith("same@1"))
    tools.set(title, "model", label)
    tools.set(title, "of a stack", "slice")
    tools.set(title, "change parameters", "true")
    tools.press(title)
    tools.set("micserve: parameters of same", "output dtype", "input")
    tools.press("micserve: parameters of same")
    wait_for(tools, "deep_same-v1")
    call = 'micserve_predict("same@1", "output_dtype=input area=selection planes=slice");'
    wait_for_log(tools, call + "\n")
    tools.wait_for_tools()
    got = macros(
        'selectImage("deep_same-v1"); '
        'return String.join(newArray(getWidth(), getHeight(), nSlices), ",");'
    )
    assert got == "9,8,1"
    macros('micserve_set("parameters.same", ""); selectImage("deep_same-v1"); close();' + call)
    assert macros('return "" + isOpen("deep_same-v1");') == "1"  # what was printed does it again


def test_a_preview_shows_a_crop_and_asks(tools, macros):
    macros('newImage("large", "8-bit ramp", 600, 500, 1); makeRectangle(10, 20, 30, 40);')
    tools.click("Predict (f8)")
    title = "micserve: Predict"
    tools.set(title, "process the", "image")
    tools.set(title, "preview on a crop", "true")
    tools.press(title)
    asked = next(word for word in _windows_after(tools, "YesNoCancelDialog") if "YesNo" in word)
    shown = [word.partition(":")[2] for word in tools.windows() if word.startswith("ImageWindow")]
    assert len(shown) == 3, shown
    tools.press(asked.partition(":")[2], "Stop here")
    said = macros('selectImage("large"); getSelectionBounds(x, y, w, h); return "" + x + "," + w;')
    assert said == "10,30"


def _windows_after(imagej, kind: str) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    words = imagej.windows()
    while not any(word.startswith(kind) for word in words):
        assert time.monotonic() < deadline, words
        words = imagej.windows()
    return words


def test_nuclei(tools, macros):
    macros(draw())
    tools.click("Segment nuclei (f9)")
    tools.press("micserve: Segment nuclei")
    wait_for_log(tools, "4 objects")
    wait_for(tools, "nuclei_nuclei-v1-labels", "Results", "ROI Manager")
    assert 'micserve_segment("nuclei@1", "");' in tools.log()


def test_evaluation(tools, macros, tmp_path):
    random = np.random.default_rng(3)
    for name in ("made.tif", "truth.tif"):
        pixels = random.normal(100, 30, (64, 72)).clip(0).astype(np.float32)
        tifffile.imwrite(tmp_path / name, pixels, imagej=True)
        macros(f'open("{tmp_path / name}");')
    tools.click("Evaluate (f7)", right=True)
    tools.set("micserve: Evaluate options", "open the report in the browser", "false")
    tools.press("micserve: Evaluate options")
    tools.click("Evaluate (f7)")
    title = "micserve: Evaluate"
    tools.set(title, "prediction", "made.tif")
    tools.set(title, "ground truth", "truth.tif")
    tools.press(title)
    wait_for_log(tools, "the quality report of made.tif is ")
    wait_for(tools, "QC_metrics of made.tif", "SSIM_GTvsPrediction_made.tif")
    assert 'micserve_qc("made.tif", "truth.tif", "");' in tools.log()


def test_a_folder(tools, macros, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    tifffile.imwrite(images / "a.tif", np.ones((30, 40), np.uint8))
    tools.click("Batch folder (f10)")
    title = "micserve: Batch folder"
    tools.set(title, "images", str(images))
    tools.set(title, "results", str(tmp_path / "made"))
    label = next(i for i in field(tools.dialog(title), "model") if i.startswith("same@1"))
    tools.set(title, "model", label)
    tools.press(title)
    wait_for_log(tools, "a.tif: done")
    assert f'micserve_batch("{images}", "{tmp_path}/made", "same@1", "", false);' in tools.log()
    assert (tmp_path / "made" / "a.tif").exists()


def test_about_and_info_and_the_menu_of_models(tools, macros):
    tools.click("About")
    assert any("Montpellier" in word for word in tools.dialog("About micserve"))
    tools.press("About micserve")
    macros('micserve_set("model", "spots");')
    tools.click("Info on the model")
    words = " ".join(tools.dialog("micserve: spots"))
    tools.press("micserve: spots")
    assert "Version in production: 1" in words


def test_a_server_that_is_away_is_said_in_a_dialog_and_mended_in_another(tools, macros, facility):
    macros('newImage("a", "8-bit ramp", 9, 9, 1);')
    tools.run(f'call("ij.Prefs.set", "micserve.server", "http://127.0.0.1:{free_port()}");')
    tools.click("Predict (f8)")
    title = "micserve: the server does not answer"
    assert any("No micserve server answers" in word for word in tools.dialog(title))
    tools.press(title)
    tools.click("Server")
    tools.set("micserve: Server...", "address", facility.gateway.url)
    tools.press("micserve: Server...")
    assert any("It has 4 models." in word for word in tools.dialog("micserve"))
    tools.press("micserve")
