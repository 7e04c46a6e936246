"""The whole of micserve, started once: registry, n2v service, gateway, and one cramped service."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from micserve.codecs import image_to_bytes
from micserve.image import Calibration, Image
from micserve.registry import ModelVersion, Registry, RegistrySettings, open_registry
from micserve.registry.server import DATABASE
from tests.support.published import publish_denoiser
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, gateway, n2v_service


@dataclass(frozen=True)
class Stack:
    """What is running, and what is in it."""

    home: Path
    server: RegistryServer
    registry: Registry
    service: Program
    gateway: Program
    version: ModelVersion
    """Of the model `spots`, in production from the start."""


@pytest.fixture(scope="session")
def filled_registry(
    empty_registry: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RegistryServer, Registry, ModelVersion]]:
    """A tracking server of our own: tests stop it, and others publish into the shared one."""
    folder = tmp_path_factory.mktemp("serving-registry")
    shutil.copyfile(empty_registry / DATABASE, folder / DATABASE)
    server = RegistryServer(folder)
    server.start()
    registry = open_registry(server.url, settings=RegistrySettings(cache=folder / "cache"))
    version = publish_denoiser(registry, folder, "spots", seed=1)
    publish_denoiser(registry, folder, "spots-other", seed=2)
    publish_denoiser(registry, folder, "spots-spoiled", seed=3, spoiled=True)
    yield server, registry, version
    server.kill()


@pytest.fixture(scope="session")
def stack(
    filled_registry: tuple[RegistryServer, Registry, ModelVersion],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Registry, service and gateway with their usual settings."""
    server, registry, version = filled_registry
    home = tmp_path_factory.mktemp("home")
    service = n2v_service(home, server.url)
    door = gateway(home, server.url, n2v=service.url, MICSERVE_CONNECT_PATIENCE_S="0.5")
    service.start(wait=False)
    door.start(wait=False)
    try:
        service.wait_until_ready()
        door.wait_until_ready()
        yield Stack(home, server, registry, service, door, version)
    finally:
        door.stop()
        service.stop()


@pytest.fixture(scope="session")
def cramped(
    filled_registry: tuple[RegistryServer, Registry, ModelVersion],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Program]:
    """A service with room for one request, one network and 1 MiB, that keeps all on disk."""
    home = tmp_path_factory.mktemp("cramped")
    service = n2v_service(
        home,
        filled_registry[0].url,
        MICSERVE_MODELS="spots",
        MICSERVE_QUEUE="0",
        MICSERVE_NETWORKS_MIB="20",
        MICSERVE_MAX_REQUEST_MIB="1",
        MICSERVE_SPOOL_MIB="0",
        MICSERVE_UPLOAD_PATIENCE_S="3",
    )
    service.start()
    yield service
    service.stop()


@pytest.fixture
def web(stack: Stack) -> Iterator[httpx.Client]:
    """The gateway, as any HTTP client sees it."""
    with httpx.Client(base_url=stack.gateway.url, timeout=120) as client:
        yield client


def spots(
    *shape: int, dtype: type[np.generic] | str = np.uint16, axes: str = "", seed: int = 0
) -> Image:
    """Noise around the grey value 100, as the test models know it; 0.1 µm per pixel."""
    pixels = np.random.default_rng(seed).normal(100, 20, shape).clip(0, 255).astype(dtype)
    calibration = Calibration(0.1, 0.1, 0.3, "um", 2.0, "sec")
    return Image(pixels, axes or "TZCYX"[-len(shape) :], calibration=calibration)


def tiff(*shape: int, dtype: type[np.generic] | str = np.uint16, axes: str = "") -> bytes:
    return image_to_bytes(spots(*shape, dtype=dtype, axes=axes))
