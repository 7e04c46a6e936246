"""One ImageJ, one gateway and two services for all tests of the Fiji side."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micserve.artifact.package import open_package
from micserve.normalize import Identity
from micserve.registry import Registry, RegistrySettings, open_registry
from micserve.registry.server import DATABASE
from services.gateway.fiji import library_text
from tests.fiji.imagej import ImageJ, require_imagej
from tests.support.networks import NetworkBuilder, identity_network
from tests.support.packages import small_package
from tests.support.published import VERIFIED, publish_denoiser
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, family_service, gateway

RAYS = 16
RADIUS = 5.0
"""Of the disks that the model `nuclei` finds, in pixels."""

BRIGHT = 100.0
"""Grey value above everything that is background; disks are twice as bright."""

STEEPNESS = 0.1
"""Per grey value, of how sure `nuclei` is."""


@dataclass(frozen=True)
class Facility:
    """A server as users of Fiji meet it."""

    home: Path
    registry: Registry
    n2v: Program
    stardist: Program
    gateway: Program
    registry_url: str


def disk_network(path: Path) -> Path:
    """Sure of an object where most of a 9 × 9 box is bright, which is so in the middle of a disk
    only; every ray is RADIUS long. Gentle, so that darker places still have a probability."""
    net = NetworkBuilder()
    box = net.constant(np.full((1, 1, 9, 9), STEEPNESS / 81, np.float32))
    bias = net.constant(np.full(1, -STEEPNESS * 1.5 * BRIGHT, np.float32))
    mean = net.op(
        "Conv", "input", box, bias, features=1, kernel_shape=[9, 9], strides=[1, 1],
        dilations=[1, 1], pads=[4, 4, 4, 4],
    )  # fmt: skip
    still = net.constant(np.zeros((RAYS, 1, 1, 1), np.float32))
    reach = net.constant(np.full(RAYS, RADIUS, np.float32))
    rays = net.op(
        "Conv", "input", still, reach, features=RAYS, kernel_shape=[1, 1], strides=[1, 1],
        dilations=[1, 1], pads=[0, 0, 0, 0],
    )  # fmt: skip
    return net.save(path, {"prob": net.op("Sigmoid", mean), "dist": rays})


def _publish(registry: Registry, folder: Path, name: str, onnx: Path, **build: Any) -> None:
    plain = {"normalization": Identity(), "restore_range": False, "multiple": 1}
    package = small_package(folder / f"{name}.zip", name=name, onnx=onnx, **{**plain, **build})
    version = registry.publish(
        package,
        name=name,
        run_id=None,
        contract=open_package(package, into=folder / "opened").contract,
        verification=VERIFIED,
    )
    registry.promote(version.ref, "production", by="test", reason="for a test")


def fill(registry: Registry, folder: Path) -> None:
    """`same` and `same-3d` answer what they get, `spots` denoises, `nuclei` finds disks."""
    same = {"family": "n2v", "pixel_size_um": {"Y": 0.1, "X": 0.1}}
    _publish(registry, folder, "same", identity_network(folder / "same.onnx"), changes=same)
    deep = identity_network(folder / "same-3d.onnx", ndim=3)
    _publish(registry, folder, "same-3d", deep, ndim=3, changes={"family": "n2v"})
    publish_denoiser(registry, folder, "spots", seed=1)
    facts = {"n_rays": RAYS, "grid": (1, 1), "prob_thresh": 0.5, "nms_thresh": 0.3}
    _publish(
        registry, folder, "nuclei", disk_network(folder / "nuclei.onnx"),
        heads={"prob": 1, "dist": RAYS}, pad="end",
        changes={"family": "stardist", "parameters": facts},
    )  # fmt: skip


@pytest.fixture(scope="session")
def facility(empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """Registry, Noise2Void and StarDist services, gateway."""
    folder = tmp_path_factory.mktemp("facility")
    shutil.copyfile(empty_registry / DATABASE, folder / DATABASE)
    server = RegistryServer(folder)
    server.start()
    registry = open_registry(server.url, settings=RegistrySettings(cache=folder / "cache"))
    fill(registry, folder)
    n2v = family_service("n2v", folder, server.url, MICSERVE_MAX_REQUEST_MIB="24")
    stardist = family_service("stardist", folder, server.url)
    door = gateway(
        folder, server.url, n2v=n2v.url, MICSERVE_STARDIST_URL=stardist.url,
        MICSERVE_CONNECT_PATIENCE_S="0.5", MICSERVE_MAX_REQUEST_MIB="24",
    )  # fmt: skip
    programs = (n2v, stardist, door)
    try:
        for program in programs:
            program.start(wait=False)
        for program in programs:
            program.wait_until_ready()
        yield Facility(folder, registry, n2v, stardist, door, server.url)
    finally:
        for program in programs:
            program.stop()
        server.kill()


@pytest.fixture(scope="session")
def imagej(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageJ]:
    """The real ImageJ with a home of its own, for all tests."""
    require_imagej()
    program = ImageJ(tmp_path_factory.mktemp("imagej"))
    program.start()
    yield program
    program.stop()


class Macros:
    """Runs macro text with the library below it, as a macro programmer does."""

    def __init__(self, imagej: ImageJ, facility: Facility) -> None:
        self.imagej, self.facility = imagej, facility
        self.library = library_text()

    def text(self, code: str, *, on_error: str = "return") -> str:
        return (
            f'micserve_set("server", "{self.facility.gateway.url}"); micserve_set("token", "");'
            f' micserve_on_error("{on_error}"); micserve_keep("browser", "off");\n{code}\n'
            + self.library
        )

    def __call__(self, code: str, *, on_error: str = "return") -> str:
        return self.imagej.run(self.text(code, on_error=on_error))


@pytest.fixture
def macros(imagej: ImageJ, facility: Facility) -> Iterator[Macros]:
    """With no image, ROI or table of an earlier test left."""
    yield Macros(imagej, facility)
    imagej.run(
        'setBatchMode(false); while (nImages > 0) { selectImage(nImages); Property.set("x", 1); '
        'close(); } roiManager("reset"); list = getList("window.titles"); '
        "for (i = 0; i < list.length; i++) if (list[i] != 'Log') close(list[i]); "
        'print("\\\\Clear");'
    )
