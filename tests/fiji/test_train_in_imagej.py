"""A model trained from ImageJ on the images that are open there, and a training that is stopped."""

import time

import httpx
import numpy as np
import pytest
import tifffile

from tests.fiji.test_toolset_in_imagej import field, installed, wait_for_log  # noqa: F401
from tests.support.trainers import python_of

TRAINED_WITHIN_S = 900
TINY = {"number of epochs": "2", "number of steps": "3", "unet n first": "4", "batch size": "2"}
LONG = TINY | {"number of epochs": "5000"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _needs_a_trainer() -> None:
    python_of("n2v")


@pytest.fixture
def open_images(macros, tmp_path):
    random = np.random.default_rng(0)
    for name in ("a.tif", "b (é).tif"):
        pixels = random.normal(400, 60, (64, 64)).clip(0).astype(np.uint16)
        tifffile.imwrite(tmp_path / name, pixels, imagej=True)
        macros(f'open("{tmp_path / name}");')


def order(tools, parameters: dict[str, str]) -> None:
    """What a person fills in, from F6 to the upload of the images that are open."""
    tools.click("Train (f6)")
    title = "micserve: Train"
    words = tools.dialog(title)
    label = next(item for item in field(words, "network") if item.startswith("n2v ("))
    tools.set(title, "network", label)
    tools.set(title, "name of the model", "n2v-fiji")
    tools.set(title, "preset", "quick")
    tools.set(title, "images", "the open images")
    tools.set(title, "change parameters", "true")
    tools.press(title)
    title = "micserve: training parameters of n2v"
    for word in tools.dialog(title):
        name = word.partition("=")[0]
        for wanted, value in parameters.items():
            if "=" in word and name.replace("_", " ").startswith(wanted):
                tools.set(title, name, value)
    tools.press(title)
    title = "micserve: images to train on"
    assert {"a.tif=true", "b (é).tif=true"} <= set(tools.dialog(title))
    tools.press(title)


def wait_long_for(tools, title: str) -> list[str]:
    deadline = time.monotonic() + TRAINED_WITHIN_S
    while title not in (titles := [w.partition(":")[2] for w in tools.windows()]):
        assert time.monotonic() < deadline, f"no {title!r}, only {titles}; {tools.log()}"
        time.sleep(0.5)
    return tools.dialog(title)


def test_a_model_is_trained_on_the_images_that_are_open(
    installed, macros, open_images, facility  # noqa: F811
):  # fmt: skip
    order(installed, TINY)
    said = " ".join(wait_long_for(installed, "micserve: Train"))
    installed.press("micserve: Train")
    assert "n2v-fiji@1 is trained." in said
    assert "Training of n2v-fiji" in " ".join(installed.windows())
    assert 'micserve_train("n2v", "n2v-fiji", "data:' in installed.log()
    found = httpx.get(f"{facility.gateway.url}/v1/models/n2v-fiji").json()
    assert [version["version"] for version in found["versions"]] == [1]


def test_escape_stops_a_training_on_the_server_too(
    installed, macros, open_images, facility  # noqa: F811
):  # fmt: skip
    order(installed, LONG)
    wait_for_log(installed, "training n2v-fiji is job ")
    title = "micserve: cancelled"
    while title not in [w.partition(":")[2] for w in installed.windows()]:
        installed.escape()
        time.sleep(0.3)
    assert any("the server has stopped it too" in word for word in installed.dialog(title))
    installed.press(title)
    jobs = httpx.get(f"{facility.gateway.url}/v1/jobs").json()["jobs"]
    assert jobs[0]["state"] == "cancelled"
