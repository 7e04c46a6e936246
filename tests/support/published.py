"""Small denoisers in a registry, for tests of everything that serves models."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from micserve.artifact.contract import IntensityEnvelope
from micserve.artifact.package import open_package
from micserve.registry import Check, ModelVersion, Registry, Verification
from tests.support.networks import small_unet
from tests.support.packages import small_package

VERIFIED = Verification(
    when=datetime(2026, 1, 1, tzinfo=UTC), checks=(Check(name="made for a test", passed=True),)
)

TRAINED_ON = {
    "pixel_size_um": {"Y": 0.1, "X": 0.1},
    "intensity": IntensityEnvelope(p1=50, p50=100, p99=150, mean=100, std=20),
}


def publish_denoiser(
    registry: Registry,
    folder: Path,
    name: str,
    *,
    seed: int = 0,
    features: int = 4,
    spoiled: bool = False,
    verified: bool = True,
    training: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """A random one-channel 2D network as the next version of `name`, and in production.

    Parameters
    ----------
    spoiled
        Its package holds a test output that the network does not reproduce.
    verified
        Whether the record says so; without it, it is put into production by nobody.
    training
        What its contract says of its training.
    changes
        Further fields of its contract.
    """
    onnx = small_unet(folder / f"{name}-{seed}.onnx", seed=seed, features=features)
    grey = np.full((1, 1, 64, 64), 100, np.uint8)
    wrong = {
        "test_input": grey,
        "test_output": {"output": np.eye(64, dtype=np.float32)[None, None]},
    }
    package = small_package(
        folder / f"{name}-{seed}.zip",
        name=name,
        onnx=onnx,
        seed=seed,
        changes={**TRAINED_ON, "training": dict(training or {}), **(changes or {})},
        **(wrong if spoiled else {}),
    )
    version = registry.publish(
        package,
        name=name,
        run_id=None,
        contract=open_package(package, into=folder / "opened").contract,
        verification=VERIFIED if verified else None,
    )
    if not verified:
        return version
    registry.promote(version.ref, "production", by="test", reason="for a test")
    return version
