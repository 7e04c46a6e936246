"""The CARE trainer as people run it, in 2D and 3D: a program of its own environment, a registry."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import tifffile

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.families.care import CareParameters
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.registry import ModelRef, Registry, RegistrySettings, open_registry
from micserve.registry.gate import read_held_out
from tests.support.registry_server import RegistryServer

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "preset": "quick",
    "number_of_epochs": 3,
    "number_of_steps": 3,
    "patch_size": 32,
    "batch_size": 2,
    "unet_n_first": 4,
}
WITHIN_S = 400
"""For one run of the trainer; TensorFlow alone takes ten seconds to load on a busy machine."""


@pytest.fixture(scope="session")
def python() -> Path:
    found = Path(os.environ.get("MICSERVE_VENV_TF", ROOT / ".venvs" / "tf")) / "bin" / "python"
    if not found.is_file():
        pytest.skip(
            f"no CARE training environment at {found}; make setup-tf, or set MICSERVE_VENV_TF"
        )
    return found


def pairs(folder: Path, *, shape: tuple[int, ...], count: int = 3) -> Path:
    """Bright blocks, clean and under noise."""
    random = np.random.default_rng(0)
    for kind in ("noisy", "clean"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        clean = np.full(shape, 100, np.uint16)
        for _ in range(12):
            corner = [int(random.integers(n - 4)) for n in shape]
            clean[tuple(slice(c, c + 4) for c in corner)] = 200
        noisy = random.normal(clean, 20).clip(0).astype(np.uint16)
        for kind, pixels in (("noisy", noisy), ("clean", clean)):
            axes = {"axes": "ZYX"[-len(shape) :]}
            path = folder / kind / f"{number}.tif"
            tifffile.imwrite(path, pixels, imagej=True, metadata=axes)
    return folder


@pytest.fixture(scope="session")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairs(tmp_path_factory.mktemp("planes"), shape=(64, 80))


@pytest.fixture(scope="session")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairs(tmp_path_factory.mktemp("stacks"), shape=(12, 40, 44))


class Trainer:
    """Starts the trainer with its own home and a model name of its own."""

    def __init__(self, python: Path, home: Path, server: RegistryServer) -> None:
        self._python, self._home, self._server = python, home, server
        self.name = f"care-{uuid4().hex[:8]}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self._python), "-m", "training.care", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "MICSERVE_HOME": str(self._home),
                "MICSERVE_REGISTRY": self._server.url,
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=WITHIN_S)
        return process.returncode, output

    def new(self, data: Path, **changes: object) -> list[str]:
        values = {"data": data, "name": self.name, **TINY, **changes}
        return [word for key, value in values.items() for word in (f"--{key}", str(value))]


@pytest.fixture
def trainer(python: Path, tmp_path: Path, registry_server: RegistryServer) -> Trainer:
    return Trainer(python, tmp_path / "home", registry_server)


@pytest.fixture
def registry(tmp_path: Path, registry_server: RegistryServer) -> Registry:
    return open_registry(registry_server.url, settings=RegistrySettings(cache=tmp_path / "cache"))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_training_publishes_a_verified_model_that_says_how_sure_it_is(
    trainer, registry, planes, stacks, ndim
):
    data = planes if ndim == 2 else stacks
    status, output = trainer.run(*trainer.new(data, ndim=ndim))
    assert status == 0, output
    version = registry.resolve(ModelRef.parse(f"{trainer.name}@candidate"))
    assert version.verification.passed
    assert (version.family, version.ndim) == ("care", ndim)
    checks = {check.name for check in version.verification.checks}
    assert {"framework agreement", "tiled equals whole", "bioimage.io test"} <= checks

    held = read_held_out(registry, version)
    assert held is not None, output
    assert set(held.methods) == {"prediction", "input", "gaussian", "median", "nlm"}
    report = registry.read_file(version, f"{version.qc.folder}/report.html").decode()
    assert "held back for validation" in report
    assert held.sentence in output

    package = open_package(registry.fetch(version))
    assert [head.name for head in package.contract.network.heads] == ["mean", "scale"]
    assert not package.contract.described_in_grey
    assert "multiply by its divisor" in (package.folder / "README.md").read_text()
    files = package.contract.training["files"]
    assert sorted((entry["role"], entry["part"]) for entry in files) == sorted(
        (role, part) for role in ("image", "target") for part in ("train", "train", "validation")
    )
    noisy = tifffile.imread(data / "noisy" / "0.tif")
    model = LoadedModel(package.contract, OnnxBackend(package.onnx, provider="cpu"))
    answer = predict(Image(noisy, "ZYX"[-ndim:]), model, CareParameters(uncertainty=True)).image
    assert answer.axes == "ZCYX"[-ndim - 1 :] if ndim == 3 else "CYX"
    assert (answer.data.take(1, axis=answer.axes.index("C")) > 0).all()


@pytest.mark.slow
def test_a_killed_run_is_resumed_with_its_dimensions_and_its_weights_start_another(
    trainer, registry, stacks
):
    process = trainer.start(*trainer.new(stacks, ndim=3, number_of_epochs=6, probabilistic=False))
    watchdog = threading.Timer(WITHIN_S, process.kill)
    watchdog.start()
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGKILL)
    watchdog.cancel()
    process.wait()
    found = re.search(r"run ([0-9a-f]{32})", seen)
    assert found, seen
    status, output = trainer.run("--resume", found[1])
    assert status == 0, output
    assert "Going on after epoch 2 of 6" in output
    first = registry.resolve(ModelRef.parse(f"{trainer.name}@candidate"))

    again = trainer.new(
        stacks, ndim=3, number_of_epochs=1, probabilistic=False, from_model=str(first.ref)
    )
    status, output = trainer.run(*again)
    assert status == 0, output
    versions = registry.list_versions(trainer.name)
    assert sorted(version.version for version in versions) == [1, 2]


def test_mistakes_are_one_sentence_and_status_2(trainer, planes, tmp_path):
    for arguments in (
        trainer.new(tmp_path / "nowhere"),
        trainer.new(planes, ndim=3),
        trainer.new(planes, ndim=4),
        trainer.new(planes, numer_of_patches=3),
    ):
        status, output = trainer.run(*arguments)
        assert status == 2, output
        assert "Traceback" not in output
