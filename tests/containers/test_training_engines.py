"""`make train-… ENGINE=…`: what is refused in words, and a training on a real Slurm."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from micserve.codecs import write_tiff
from micserve.image import Image
from micserve.registry import RegistrySettings, open_registry
from micserve.synthetic import SpotsRecipe, create_spots
from tests.support.registry_server import RegistryServer
from tests.support.slurm import Cluster
from tests.support.trainers import python_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = SpotsRecipe(width=96, height=96, small_count=5, large_count=5)
QUICK = ("--number_of_epochs", "1", "--number_of_steps", "2", "--batch_size", "2")
TINY = (*QUICK, "--patch_size", "16", "--unet_n_first", "4", "--unet_n_depth", "1")


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """containers/train.py, which is a program of its own."""
    monkeypatch.syspath_prepend(ROOT / "containers")
    return importlib.import_module("train")


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    folder = tmp_path / "march" / "noisy"
    folder.mkdir(parents=True)
    for seed in (1, 2):
        write_tiff(Image(create_spots(SMALL, seed=seed).noisy, "YX"), folder / f"{seed}.tif")
    return folder


def train(engine: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, ROOT / "containers/train.py", "n2v", "--engine", engine, "--")
    return subprocess.run(
        [str(word) for word in (*command, *arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("docker", "docker is not installed here"),
        ("podman", "podman is not installed here"),
        ("apptainer", "containers/apptainer.md says how it is made"),
        ("slurm", "sbatch is not installed here"),
    ],
)
def test_what_is_missing_for_an_engine_is_said_in_a_sentence(
    engine: str, sentence: str, noisy: Path, tmp_path: Path
) -> None:
    done = train(engine, "--data", noisy, PATH=str(tmp_path), MICSERVE_HOME=str(tmp_path / "home"))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_images_are_mounted_read_only_under_their_own_path(
    launcher: ModuleType, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.yaml").write_text("number_of_epochs: 1\n")
    monkeypatch.chdir(noisy.parent)
    arguments = ["--data", "noisy", "--target", str(noisy.parent), "--name", "march-noisy"]
    config = ["--config", str(tmp_path / "train.yaml")]
    # A folder inside another that is mounted is there already.
    assert launcher.named_paths([*arguments, *config]) == [
        str(noisy.parent),
        str(tmp_path / "train.yaml"),
    ]
    assert launcher.with_absolute_paths(arguments)[1] == str(noisy)
    assert launcher.with_absolute_paths(arguments)[-1] == "march-noisy"


@pytest.mark.parametrize("folder", ["/", "/usr/share", "/etc"])
def test_images_below_a_folder_of_the_container_are_refused(
    launcher: ModuleType, folder: str
) -> None:
    with pytest.raises(launcher.RefusalError, match="a folder that a container has of its own"):
        launcher.named_paths(["--data", folder])


def test_without_an_engine_or_an_image_a_training_runs_on_this_machine(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "containers/train.py", "care", "--which"]
    done = subprocess.run(
        command, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout == "local\n"


@pytest.mark.slow
def test_a_training_on_slurm_shows_its_log_and_publishes(
    slurm: Cluster, registry_server: RegistryServer, noisy: Path, tmp_path: Path
) -> None:
    python_of("n2v")
    name = f"n2v-{uuid4().hex[:8]}"
    where = {
        "MICSERVE_HOME": str(tmp_path / "home"),
        "MICSERVE_REGISTRY": registry_server.url,
        "MICSERVE_SIF": str(tmp_path),
        "SBATCH_ARGS": "--mem=0 --time=20 --cpus-per-task=1",
    }
    done = train("slurm", "--data", noisy, "--name", name, *TINY, **where, **slurm.environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Slurm job" in done.stdout
    assert name in done.stdout
    registry = open_registry(
        registry_server.url, settings=RegistrySettings(cache=tmp_path / "cache")
    )
    [version] = registry.list_versions(name)
    assert version.verification is not None
    refused = train("slurm", "--data", tmp_path / "none", **where, **slurm.environment)
    assert refused.returncode == 2
    assert "none" in refused.stdout
