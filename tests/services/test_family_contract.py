"""One contract for all inference services: each family's real process passes the same tests."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from micserve.artifact.package import open_package
from micserve.codecs import read_image
from micserve.families import FAMILIES
from micserve.normalize import ScaleRange
from micserve.registry import RegistrySettings, open_registry
from micserve.registry.server import DATABASE
from tests.services.conftest import tiff
from tests.support.networks import small_unet, star_network
from tests.support.packages import small_package
from tests.support.published import VERIFIED
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, family_service

RAYS, GRID = 8, 2


def _restoration(path: Path, family: str) -> Path:
    return small_package(path, name=family, changes={"family": family})


def _care(path: Path, family: str) -> Path:
    heads = {"mean": 1, "scale": 1}
    onnx = small_unet(path.with_suffix(".onnx"), heads=heads)
    return small_package(path, name=family, onnx=onnx, heads=heads, changes={"family": family})


def _unet(path: Path, family: str) -> Path:
    onnx = small_unet(path.with_suffix(".onnx"), heads={"probability": 1})
    return small_package(
        path,
        name=family,
        onnx=onnx,
        heads={"probability": 1},
        normalization=ScaleRange(),
        restore_range=False,
        changes={"family": family, "parameters": {"threshold": 0.5}},
    )


def _stardist(path: Path, family: str) -> Path:
    onnx = star_network(path.with_suffix(".onnx"), rays=RAYS, grid=GRID)
    facts = {"n_rays": RAYS, "grid": (GRID, GRID), "prob_thresh": 0.5, "nms_thresh": 0.4}
    return small_package(
        path,
        name=family,
        onnx=onnx,
        multiple=GRID,
        heads={"prob": 1, "dist": RAYS},
        stride=GRID,
        pad="end",
        restore_range=False,
        changes={"family": family, "parameters": facts},
    )


PACKAGES: dict[str, Callable[[Path, str], Path]] = {
    "n2v": _restoration,
    "care": _care,
    "stardist": _stardist,
    "unet": _unet,
    "fnet": _restoration,
}


@dataclass(frozen=True)
class Served:
    family: str
    service: Program

    def predict(self, body: bytes, **query: Any) -> httpx.Response:
        url = f"{self.service.url}/v1/models/{self.family}/predict"
        return httpx.post(url, content=body, params=query, timeout=120)


@pytest.fixture(scope="module")
def all_models(
    empty_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryServer]:
    """A registry with one small model per family, all in production."""
    folder = tmp_path_factory.mktemp("all-models")
    shutil.copyfile(empty_registry / DATABASE, folder / DATABASE)
    server = RegistryServer(folder)
    server.start()
    registry = open_registry(server.url, settings=RegistrySettings(cache=folder / "cache"))
    for family, build in PACKAGES.items():
        package = build(folder / f"{family}.zip", family)
        version = registry.publish(
            package,
            name=family,
            run_id=None,
            contract=open_package(package, into=folder / "opened").contract,
            verification=VERIFIED,
        )
        registry.promote(version.ref, "production", by="test", reason="contract test")
    yield server
    server.kill()


@pytest.fixture(scope="module", params=sorted(PACKAGES))
def served(
    request: pytest.FixtureRequest,
    all_models: RegistryServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    family: str = request.param
    service = family_service(family, tmp_path_factory.mktemp(family), all_models.url)
    service.start()
    yield Served(family, service)
    service.stop()


def test_every_family_is_under_this_contract():
    assert set(PACKAGES) == set(FAMILIES)


def test_its_production_model_is_loaded_and_verified_before_it_is_ready(served):
    state = httpx.get(f"{served.service.url}/v1/models", timeout=30).json()
    assert state["ready"]
    assert [model["name"] for model in state["loaded"]] == [served.family]


def test_an_image_comes_back_in_its_size_and_says_who_made_it(served):
    answer = served.predict(tiff(61, 75))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-micserve-model"] == served.family
    result = read_image(answer.content)
    assert (result.axes, result.data.shape) == ("YX", (61, 75))
    assert result.calibration.pixel_width == 0.1
    assert f"micserve.family = {served.family}" in result.info


def test_slices_are_walked_through(served):
    answer = served.predict(tiff(3, 40, 44, axes="ZYX"))
    assert answer.status_code == 200, answer.text
    assert read_image(answer.content).data.shape == (3, 40, 44)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"channel": 7}, "channel 7"),
        ({"no_such": 1}, "no parameter 'no_such'"),
        ({"output": "no_such"}, "no output 'no_such'"),
        ({"axes": "CZYX"}, "axes"),
    ],
)
def test_what_is_wrong_is_refused_by_name(served, query, words):
    answer = served.predict(tiff(32, 32), **query)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_bytes_that_are_no_image_are_refused_and_the_service_goes_on(served):
    assert served.predict(b"not an image").status_code == 422
    assert served.predict(tiff(32, 32)).status_code == 200


def test_every_output_that_it_names_can_be_had(served):
    for kind in FAMILIES[served.family].outputs:
        query = {"result": "labels"} if served.family == "unet" else {}
        answer = served.predict(tiff(48, 48), output=kind, **query)
        assert answer.status_code == 200, answer.text
        match kind:
            case "image" | "labels":
                assert read_image(answer.content).data.shape == (48, 48)
            case "table":
                assert answer.text.startswith("label,")
            case "rois":
                names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
                assert all(name.endswith(".roi") for name in names)
            case "bundle":
                archive = zipfile.ZipFile(io.BytesIO(answer.content))
                assert set(archive.namelist()) == {"labels.tif", "RoiSet.zip", "table.csv"}


def test_labels_are_integers_that_imagej_has(served):
    if "labels" not in FAMILIES[served.family].outputs:
        return
    labels = read_image(served.predict(tiff(48, 48), output="labels").content)
    assert labels.dtype.newbyteorder("=") == np.uint16
