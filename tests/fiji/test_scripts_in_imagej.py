"""The scripts for Fiji's script editor, run in the real ImageJ with Debian's Groovy and Jython."""

import numpy as np
import pytest
import tifffile

from services.gateway.fiji import SCRIPTS, addressed, script_text
from tests.fiji.imagej import GROOVY, JYTHON
from tests.fiji.test_errors_in_imagej import listener
from tests.fiji.test_predict_in_imagej import FACTS, saved
from tests.fiji.test_segment_in_imagej import draw
from tests.support.stack import free_port

LANGUAGES = [
    pytest.param(
        ending, marks=pytest.mark.skipif(not jar.exists(), reason=f"no {jar} (apt {jar.stem})")
    )
    for ending, jar in (("groovy", GROOVY), ("py", JYTHON))
]
pytestmark = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture
def scripts(macros, facility, language):
    """Runs a script with the facility's address, as its own page hands it out."""

    def begin(what: str, **given: str) -> None:
        name = f"micserve_{what}.{language}"
        assert name in SCRIPTS
        text = addressed(script_text(name), facility.gateway.url)
        macros.imagej.begin_script(macros.imagej.home / name, text, **given)

    def run(what: str, **given: str) -> dict[str, str]:
        begin(what, **given)
        said = macros.imagej.finish()
        return dict(line.split("=", 1) for line in said.splitlines())

    run.begin = begin
    return run


def sentence(macros) -> str:
    """What the script says to the person, who then presses OK."""
    words = "\n".join(macros.imagej.dialog("micserve"))
    macros.imagej.press("micserve")
    macros.imagej.finish()
    return words


def test_a_hyperstack_comes_back_with_every_pixel_and_its_calibration(scripts, macros, tmp_path):
    macros(
        'newImage("cells.tif", "16-bit composite-mode ramp", 20, 12, 2, 3, 4);'
        'setVoxelSize(0.2, 0.2, 0.5, "um"); Stack.setFrameInterval(2.5); Stack.setChannel(1);'
        f'run("Magenta"); run("Duplicate...", "title=copy duplicate"); '
        f'saveAs("Tiff", "{tmp_path}/sent.tif"); close();'
    )
    words = "channel=all output_dtype=input"
    made = scripts("predict", imp="cells.tif", model="same@1", parameters=words)
    assert made == {"result": "cells_same-v1"}
    facts = macros.imagej.run('selectImage("cells_same-v1");' + FACTS)
    assert facts == "0.2000 0.5000 µm|2c3z4t|2.5|cells_same-v1"
    np.testing.assert_array_equal(saved(macros, tmp_path), tifffile.imread(tmp_path / "sent.tif"))


def test_the_selection_alone(scripts, macros, tmp_path):
    macros('newImage("a", "8-bit ramp", 40, 30, 1); makeRectangle(5, 6, 11, 9);')
    scripts("predict", imp="a", model="same@1", parameters="output_dtype=input", selection="true")
    macros.imagej.run('selectImage("a_same-v1");')
    got = saved(macros, tmp_path)
    np.testing.assert_array_equal(got, np.tile((np.arange(5, 16) * 256 // 40).astype("u1"), (9, 1)))


def test_nuclei_as_labels_outlines_and_rows(scripts, macros):
    macros(draw())
    made = scripts("segment", imp="nuclei.tif", model="nuclei@1")
    assert made == {"labels": "nuclei_nuclei-v1-labels", "count": "4"}
    said = macros.imagej.run(
        'selectImage("nuclei_nuclei-v1-labels"); getLut(r, g, b); '
        'return "" + roiManager("count") + "|" + Table.size("Results of nuclei.tif") + "|"'
        ' + bitDepth() + "|" + r[0] + "|" + (r[1] + g[1] + b[1] > 200);'
    )
    assert said == "4|4|16|0|1"


def test_quality_as_maps_and_numbers(scripts, macros, tmp_path):
    random = np.random.default_rng(3)
    truth = random.normal(100, 30, (64, 72)).clip(0).astype(np.float32)
    for name, spread in (("truth.tif", 0), ("made.tif", 10), ("noisy.tif", 20)):
        pixels = truth + random.normal(0, spread, truth.shape).astype(np.float32)
        tifffile.imwrite(tmp_path / name, pixels, imagej=True)
        macros(f'open("{tmp_path / name}");')
    given = {"prediction": "made.tif", "truth": "truth.tif", "source": "noisy.tif"}
    made = scripts("qc", **given, browser="false")
    assert int(made["maps"]) >= 4
    said = macros.imagej.run(
        'list = getList("image.titles"); return String.join(list) + "|" + '
        'Table.headings("QC_metrics of made.tif");'
    )
    assert "SSIM_GTvs" in said
    assert "psnr" in said.lower()


def test_what_is_wrong_is_said_in_a_dialog_and_nothing_changes(scripts, macros):
    macros('newImage("a", "8-bit ramp", 40, 30, 1);')
    away = f"http://127.0.0.1:{free_port()}"
    scripts.begin("predict", imp="a", model="same@1", server=away)
    assert f"No micserve server answers at {away}" in sentence(macros)
    scripts.begin("predict", imp="a", model="no-such-model")
    assert "no-such-model" in sentence(macros)
    macros('newImage("large", "16-bit ramp", 4000, 4000, 1);')
    scripts.begin("predict", imp="large", model="same@1")
    assert "The upload has " in sentence(macros)
    assert macros.imagej.run("return '' + nImages;") == "2"


def test_a_token_that_is_refused(scripts, macros):
    macros('newImage("a", "8-bit ramp", 40, 30, 1);')
    body = b'{"title": "x", "detail": "The access token \\u00e9 is not known."}'
    head = f"HTTP/1.1 403 No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with listener(head + body) as port:
        server = f"http://127.0.0.1:{port}"
        scripts.begin("predict", imp="a", model="same@1", server=server, token="wrong")
        words = sentence(macros)
    assert "does not let you in" in words
    assert "The access token é is not known." in words


def test_escape_ends_the_wait(scripts, macros):
    macros('newImage("a", "8-bit ramp", 40, 30, 1);')
    with listener(None) as port:
        scripts.begin("predict", imp="a", model="same@1", server=f"http://127.0.0.1:{port}")
        while "Dialog:micserve" not in " ".join(macros.imagej.windows()):
            macros.imagej.escape()
            macros.imagej.ask("join", "100")
        assert "You cancelled it with ESC." in sentence(macros)
