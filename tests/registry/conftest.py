"""A registry in both of its forms, and packages to publish in it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from micserve.artifact.contract import ModelContract
from micserve.registry import Check, ModelVersion, Registry, RegistrySettings, Verification
from micserve.registry import open_registry as open_at
from micserve.registry.server import DATABASE
from tests.support.registry_server import RegistryServer

NOW = datetime(2024, 5, 17, 9, 30, tzinfo=UTC)
VERIFIED = Verification(when=NOW, checks=(Check(name="tiled equals whole", passed=True),))
FAILED = Verification(
    when=NOW, checks=(Check(name="tiled equals whole", passed=False, measured={"difference": 0.2}),)
)


def contract_of(name: str) -> ModelContract:
    return ModelContract.model_validate(
        {
            "name": name,
            "family": "n2v",
            "ndim": 2,
            "network": {
                "heads": [{"name": "denoised", "stride": [1, 1]}],
                "tiling": {"halo": [22, 22], "multiple": [4, 4]},
            },
            "normalization": {"id": "scale_range"},
            "pixel_size_um": {"Y": 0.1, "X": 0.1},
            "training": {"effective": {"number_of_epochs": 30}, "files": ["a.tif"]},
        }
    )


@dataclass(frozen=True)
class Bench:
    """One registry and what tests do with it again and again."""

    uri: str
    registry: Registry
    folder: Path
    name: str

    def package(self, content: bytes) -> Path:
        path = self.folder / f"{uuid4().hex}.zip"
        path.write_bytes(content)
        return path

    def publish(
        self, content: bytes = b"a package", verification: Verification | None = VERIFIED
    ) -> ModelVersion:
        return self.registry.publish(
            self.package(content),
            name=self.name,
            run_id=None,
            contract=contract_of(self.name),
            verification=verification,
        )


@pytest.fixture
def open_registry(tmp_path: Path) -> Callable[[str], Registry]:
    """Opens a registry with a cache of the test's own."""
    return lambda uri: open_at(uri, settings=RegistrySettings(cache=tmp_path / "cache"))


@pytest.fixture
def database(empty_registry: Path, tmp_path: Path) -> Path:
    """The database of a new registry, in a folder of the test's own."""
    path = tmp_path / "registry" / DATABASE
    path.parent.mkdir()
    shutil.copyfile(empty_registry / DATABASE, path)
    return path


@pytest.fixture(params=["files", "server"])
def bench(
    request: pytest.FixtureRequest, open_registry: Callable[[str], Registry], tmp_path: Path
) -> Bench:
    """A registry opened by its files, and one behind its server; a model name of one's own."""
    if request.param == "files":
        uri = f"sqlite:///{request.getfixturevalue('database')}"
    else:
        server: RegistryServer = request.getfixturevalue("registry_server")
        uri = server.url
    return Bench(uri, open_registry(uri), tmp_path, f"n2v-{uuid4().hex[:8]}")
