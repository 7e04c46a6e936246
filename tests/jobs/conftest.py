"""One gateway with accounts, roots and jobs for all tests of this folder."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import psutil
import pytest

from micserve.codecs import image_to_bytes, write_tiff
from micserve.image import Image
from micserve.registry import Registry, RegistrySettings, open_registry
from tests.support.published import publish_denoiser
from tests.support.registry_server import RegistryServer
from tests.support.stack import ROOT, Program, gateway, n2v_service

PEOPLE = {"ada": "user", "ben": "user", "max": "maintainer", "root": "admin"}


@dataclass(frozen=True)
class Site:
    """A gateway with accounts, and what it may read."""

    home: Path
    roots: Path
    server: RegistryServer
    registry: Registry
    gateway: Program
    service: Program
    """Of Noise2Void; started by who needs it (`served`)."""
    tokens: dict[str, str]

    def as_(self, name: str) -> httpx.Client:
        """Somebody's HTTP client."""
        return httpx.Client(
            base_url=self.gateway.url,
            headers={"Authorization": f"Bearer {self.tokens[name]}"},
            timeout=120,
        )


def token_of(home: Path, name: str, role: str) -> str:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from micserve.cli import main; main()"),
            *("token", "create", name, "--role", role),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MICSERVE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="session")
def site(
    registry_server: RegistryServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    roots = tmp_path_factory.mktemp("roots")
    noisy_images(roots / "spots" / "noisy")
    (roots / "away").symlink_to("/etc")
    (roots / "linked").mkdir()
    (roots / "linked" / "passwd.tif").symlink_to("/etc/passwd")
    service = n2v_service(home, registry_server.url)
    door = gateway(
        home,
        registry_server.url,
        n2v=service.url,
        MICSERVE_ACCOUNTS="on",
        MICSERVE_DATA_ROOTS=f"shared={roots}",
        MICSERVE_PERSON_DATA_MIB="8",
        MICSERVE_UPLOAD_PATIENCE_S="5",
    )
    tokens = {name: token_of(home, name, role) for name, role in PEOPLE.items()}
    door.start()
    registry = open_registry(
        registry_server.url, settings=RegistrySettings(cache=home / "other-cache")
    )
    yield Site(home, roots, registry_server, registry, door, service, tokens)
    door.stop()
    end_jobs_below(home)


def end_jobs_below(home: Path) -> None:
    """What a failed test left running: jobs outlive their gateway on purpose."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("MICSERVE_JOB_FOLDER", "").startswith(str(home)):
                process.kill()


@pytest.fixture(scope="session")
def served(site: Site) -> Iterator[str]:
    """The reference of a model that an inference service predicts with."""
    version = publish_denoiser(site.registry, site.home, f"spots-{uuid4().hex[:8]}", seed=1)
    site.service.start()
    yield str(version.ref)
    site.service.stop()


@pytest.fixture
def ada(site: Site) -> Iterator[httpx.Client]:
    with site.as_("ada") as client:
        yield client


@pytest.fixture
def ben(site: Site) -> Iterator[httpx.Client]:
    with site.as_("ben") as client:
        yield client


def noisy_images(folder: Path, count: int = 3, side: int = 48) -> Path:
    """Smooth structure under noise, 16 bit."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_tiff(noisy(side, seed=number), folder / f"field-{number}.tif")
    return folder


def noisy(side: int, *, seed: int) -> Image:
    y, x = np.mgrid[:side, :side]
    clean = 400 + 200 * np.sin(x / 5 + seed) * np.cos(y / 7)
    pixels = np.random.default_rng(seed).normal(clean, 60).clip(0, 65535).astype(np.uint16)
    return Image(pixels, "YX")


def noisy_bytes(side: int = 48, *, seed: int = 0) -> bytes:
    return image_to_bytes(noisy(side, seed=seed))


def new_data(client: httpx.Client, name: str = "test") -> str:
    answer = client.post("/v1/data", json={"name": f"{name} {uuid4().hex[:6]}"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 2 MiB of room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=False)
