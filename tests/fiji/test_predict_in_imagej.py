"""Images through the real ImageJ, the real gateway and back: every pixel and what belongs to it."""

from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from micserve.client import Client
from micserve.codecs import read_image

FACTS = """
getVoxelSize(w, h, d, unit); Stack.getDimensions(x, y, c, z, t);
return "" + d2s(w, 4) + " " + d2s(d, 4) + " " + unit + "|" + c + "c" + z + "z" + t + "t|"
    + Stack.getFrameInterval() + "|" + getTitle();
"""


def saved(macros, tmp_path: Path) -> np.ndarray:
    """The active image's pixels, as ImageJ itself writes them."""
    path = tmp_path / "saved by ImageJ.tif"
    macros.imagej.run(
        f'run("Select None"); run("Duplicate...", "title=x duplicate"); saveAs("Tiff", "{path}"); '
        "close();"
    )
    return tifffile.imread(path)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_pixels_come_back_as_they_were_and_the_source_stays_as_it_was(macros, tmp_path, bits):
    random = np.random.default_rng(bits)
    pixels = random.integers(0, 255, (37, 61)).astype({8: "u1", 16: "u2", 32: "f4"}[bits])
    if bits == 16:
        pixels[0, :2] = 65535, 0
    if bits == 32:
        pixels[0, :2] = -1.5e-7, 3.4e38
    path = tmp_path / "an image (é) & more.tif"
    tifffile.imwrite(path, pixels, imagej=True)
    said = macros(
        f'open("{path}"); run("Add...", "value=0"); makeOval(3, 4, 15, 6);'
        'source = getImageID(); id = micserve_predict("same@1", "output_dtype=input");'
        'got = getTitle() + "|" + bitDepth() + "|" + nImages; selectImage(source);'
        'getSelectionBounds(x, y, w, h); got += "|" + getTitle() + "|" + selectionType() + "|"'
        ' + x + " " + y + " " + w + " " + h + "|" + is("changes"); selectImage(id);'
        'return got + "|" + micserve_error();'
    )
    assert said == f"an image (é) & more_same-v1|{bits}|2|{path.name}|1|3 4 15 6|1|"
    np.testing.assert_array_equal(saved(macros, tmp_path), pixels)


@pytest.mark.parametrize("bits", ["8-bit", "16-bit", "32-bit"])
def test_a_hyperstack_keeps_its_axes_its_calibration_and_its_channels(macros, tmp_path, bits):
    made = (
        f'newImage("cells", "{bits} composite-mode", 20, 12, 2, 3, 4); for (t = 1; t <= 4; t++) '
        "for (z = 1; z <= 3; z++) for (c = 1; c <= 2; c++) { Stack.setPosition(c, z, t); "
        "for (y = 0; y < 12; y++) for (x = 0; x < 20; x++) "
        "setPixel(x, y, (t * 50 + z * 10 + c * 3 + x + y) % 256); } "
        'setVoxelSize(0.2, 0.2, 0.5, "um"); Stack.setFrameInterval(2.5); '
        'Stack.setChannel(1); run("Magenta"); Stack.setChannel(2); run("Cyan");'
        'setMetadata("Label", "a label");'
    )
    path = tmp_path / "sent.tif"
    said = macros(
        made + f'run("Duplicate...", "title=copy duplicate"); saveAs("Tiff", "{path}"); close();'
        'id = micserve_predict("same", "channel=all output_dtype=input");'
        "if (id == 0)"
        ' return "" + micserve_error();' + FACTS
    )
    assert said == "0.2000 0.5000 µm|2c3z4t|2.5|cells_same-v1"
    np.testing.assert_array_equal(saved(macros, tmp_path), tifffile.imread(path))
    lut = macros.imagej.run(
        "Stack.setChannel(1); getLut(r, g, b); x = String.join(newArray(r[255], g[255], b[255]));"
        'Stack.setPosition(2, 3, 4); return x + "|" + getMetadata("Label");'
    )
    assert lut == "255, 0, 255|a label"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("planes=slice", (12, 20)),
        ("planes=channel", (4, 3, 12, 20)),
        ("area=selection channel=all", (4, 3, 2, 5, 7)),
        ("area=selection planes=slice", (5, 7)),
    ],
)
def test_what_is_asked_for_is_what_is_processed(macros, tmp_path, words, expected):
    failed = macros(
        'newImage("cells", "8-bit composite-mode ramp", 20, 12, 2, 3, 4); for (i = 1; i <= 24; i++)'
        ' { setSlice(i); run("Add...", "value=" + i + " slice"); } Stack.setPosition(2, 3, 2);'
        "makeRectangle(4, 3, 7, 5);"
        f'if (micserve_predict("same", "{words} output_dtype=input") == 0)'
        ' return "" + micserve_error();'
    )
    assert failed == ""
    whole = np.tile((np.arange(20) * 256 // 20).astype(np.uint8), (4, 3, 2, 12, 1))
    whole = (whole + np.arange(1, 25).reshape(4, 3, 2, 1, 1)).clip(0, 255)
    cut = whole[..., 3:8, 4:11] if "selection" in words else whole
    cut = cut[1, 2, 1] if "slice" in words else cut
    cut = cut[:, :, 1] if "planes=channel" in words else cut
    got = saved(macros, tmp_path)
    assert got.shape == expected
    np.testing.assert_array_equal(got, cut)


def test_a_depth_model_takes_the_whole_stack(macros, tmp_path):
    said = macros(
        'newImage("deep", "16-bit ramp", 16, 16, 5); setVoxelSize(0.2, 0.2, 0.7, "um");'
        'if (micserve_predict("same-3d", "") == 0)'
        ' return "" + micserve_error();' + FACTS
    )
    assert said == "0.2000 0.7000 µm|1c5z1t|0|deep_same-3d-v1"


def test_a_network_says_the_same_to_a_macro_as_to_python(macros, facility, tmp_path):
    pixels = np.random.default_rng(5).normal(100, 20, (70, 90)).clip(0).astype(np.uint16)
    path = tmp_path / "noisy.tif"
    tifffile.imwrite(path, pixels, imagej=True)
    failed = macros(
        f'open("{path}"); if (micserve_predict("spots@1", "clip=true") == 0)'
        ' return "" + micserve_error();'
    )
    assert failed == ""
    with Client(facility.gateway.url) as client:
        expected = client.predict("spots@1", path, parameters={"clip": "true"})
    np.testing.assert_array_equal(saved(macros, tmp_path), expected.data)


def test_a_large_image_goes_as_a_job_which_is_gone_when_the_result_is_here(
    macros, facility, tmp_path
):
    said = macros(
        'micserve_set("large", 0); newImage("large", "16-bit ramp", 60, 50, 1);'
        'id = micserve_predict("same@1", "output_dtype=input"); micserve_set("large", 64);'
        'got = "" + micserve_error() + "|"; if (id != 0) got = got + getTitle(); return got;'
    )
    assert said == "|large_same-v1"
    made = saved(macros, tmp_path)
    macros.imagej.run('selectImage("large");')
    np.testing.assert_array_equal(made, saved(macros, tmp_path))
    assert httpx.get(f"{facility.gateway.url}/v1/jobs").json()["jobs"] == []


def test_the_result_says_who_made_it_and_is_never_saved_over_something_else(macros, tmp_path):
    said = macros(
        'newImage("a", "8-bit ramp", 20, 20, 1); id = micserve_predict("same", "");'
        'info = getMetadata("Info"); found = indexOf(info, "micserve.family = n2v");'
        'made = Property.get("micserve.model"); source = Property.get("micserve.source");'
        'file = getInfo("image.filename"); return made + "|" + source + "|" + found + "|" + file;'
    )
    model, source, found, file = said.split("|")
    assert (model, source) == ("same@1", "a")
    assert int(found) >= 0
    assert file != "a_same-v1"  # Save asks for a place where the title is not the file's name


def test_no_file_of_a_request_stays_behind(macros):
    folder = macros.imagej.home / ".micserve"
    before = set(folder.glob("*"))
    macros('newImage("a", "8-bit ramp", 20, 20, 1); x = micserve_predict("same", "");')
    assert set(folder.glob("*")) == before


def test_remarks_of_the_server_are_in_the_log(macros):
    macros(
        'newImage("a", "8-bit ramp", 20, 20, 1); setVoxelSize(2, 2, 1, "um");'
        'x = micserve_predict("same", "");'
    )
    assert "pixel" in macros.imagej.log()


def test_a_tiff_that_imagej_wrote_is_read_with_its_info(macros, tmp_path):
    path = tmp_path / "x.tif"
    macros(
        'newImage("a", "8-bit ramp", 20, 20, 1); setMetadata("Info", "made by hand: é");'
        f'x = micserve_predict("same", ""); saveAs("Tiff", "{path}");'
    )
    assert "made by hand: é" in read_image(path.read_bytes()).info
