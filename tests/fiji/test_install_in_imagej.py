"""A newcomer with a clean ImageJ does what the page of the server says, and nothing else."""

import re
from pathlib import Path

import httpx
import pytest

from tests.fiji.conftest import Facility
from tests.fiji.imagej import ImageJ

F8 = 119


@pytest.fixture
def newcomer(imagej: ImageJ, tmp_path: Path):
    """An ImageJ as it was unpacked a minute ago."""
    for folder in ("plugins", "macros"):
        (tmp_path / "ImageJ" / folder).mkdir(parents=True)
    program = ImageJ(tmp_path, classes=imagej.classes)
    program.start()
    yield program
    program.stop()


def offered(facility: Facility, name: str) -> bytes:
    """What the browser saves when the link on the page is clicked."""
    page = httpx.get(facility.gateway.url + "/fiji/")
    assert page.status_code == 200
    [link] = set(re.findall(rf'href="([^"]*{re.escape(name)})"', page.text))
    return httpx.get(httpx.URL(facility.gateway.url + "/fiji/").join(link)).content


def test_from_the_page_to_a_denoised_image(newcomer, facility, tmp_path):
    installer = tmp_path / "install_micserve.ijm"
    installer.write_bytes(offered(facility, "install_micserve.ijm"))

    newcomer.drop(installer)
    newcomer.press("install_micserve.ijm", "Run")
    said = "\n".join(newcomer.dialog("micserve"))
    newcomer.press("micserve")
    assert "The micserve tools are in the toolbar now." in said
    toolset = tmp_path / "ImageJ" / "macros" / "toolsets" / "micserve.ijm"
    assert facility.gateway.url in toolset.read_text()

    newcomer.run('newImage("cells", "16-bit ramp", 300, 280, 1);')
    newcomer.key(F8)
    words = newcomer.dialog("micserve: Predict")
    [models] = [word for word in words if word.startswith("model=")]
    assert models.startswith("model=same@1 (")
    assert "image=cells" not in words
    newcomer.press("micserve: Predict")
    newcomer.wait_for_window("cells_same-v1")
    assert 'micserve_predict("same@1", "");' in newcomer.log()

    newcomer.stop()
    newcomer.start()
    assert newcomer.toolset("micserve") == ["chosen"]
    newcomer.run('newImage("more", "16-bit ramp", 30, 28, 1);')
    newcomer.click("Predict (f8)")
    newcomer.press("micserve: Predict")
    newcomer.wait_for_window("more_same-v1")


def test_options_are_on_the_right_mouse_button(newcomer, facility, tmp_path):
    installer = offered(facility, "install_micserve.ijm").decode()
    newcomer.begin(installer)
    newcomer.press("micserve")
    newcomer.finish()
    newcomer.run('call("ij.Prefs.set", "micserve.model", "spots");')
    newcomer.click("Predict (f8)", right=True)
    title = "micserve: parameters of spots"
    assert any(word.startswith("output dtype=") for word in newcomer.dialog(title))
    newcomer.set(title, "clip", "true")
    newcomer.press(title)
    newcomer.run('newImage("cells", "16-bit ramp", 40, 40, 1);')
    newcomer.click("Predict (f8)")
    newcomer.press("micserve: Predict")
    newcomer.wait_for_window("cells_spots-v1")
    assert 'micserve_predict("spots@1", "clip=true");' in newcomer.log()
