"""Every model that `make accuracy` kept, through the gateway and back.

`make up`, then `make bench ARGS=served`: publishes each package below var/accuracy into the
running registry, promotes it, sends an image through the gateway, and compares the answer with
the same prediction in this process. It leaves the models loaded and used once, so that
`make bench ARGS=idle` then tells what they take.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.package import Package, open_package
from micserve.artifact.verify import verify_package
from micserve.backends.onnx import OnnxBackend
from micserve.client import Client
from micserve.errors import VerificationError
from micserve.image import Image
from micserve.predict import LoadedModel, predict
from micserve.registry import Registry, open_registry
from tests.bench.parts import ROOT

KEPT = ROOT / "var" / "accuracy"
SIZES = {2: (333, 277), 3: (21, 131, 117)}
"""Odd, and larger than a training patch."""


def main() -> None:
    packages = sorted(KEPT.glob("*.zip"))
    if not packages:
        raise SystemExit(f"{KEPT} holds no package. Run `make accuracy` first.")
    registry = open_registry()
    print("| model | checks passed | image | seconds | differs from the same in one process by |")
    print("|---|---|---|---|---|")
    with Client() as client:
        for path in packages:
            print(row(path, registry, client), flush=True)


def row(path: Path, registry: Registry, client: Client) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        package = open_package(path, into=Path(scratch))
        name, checks = package.contract.name, publish(package, registry)
        image = an_image(package)
        start = time.perf_counter()
        answer = client.predict(name, image)
        seconds = time.perf_counter() - start
        model = LoadedModel(package.contract, OnnxBackend(package.onnx, provider="cpu"))
        expected = predict(image, model, model.family.parameters()).image.data
    size = " × ".join(map(str, image.data.shape))
    return f"| {name} | {checks} | {size} | {seconds:.2f} | {difference(answer.data, expected)} |"


def publish(package: Package, registry: Registry) -> int:
    """As the trainer does; the number of checks that it passed."""
    found = verify_package(
        package.path, network_of=lambda path: OnnxBackend(path, provider="cpu").run
    )
    if not found.passed:
        raise VerificationError(f"{package.path.name}: " + "; ".join(failed(found.checks)))
    contract = package.contract
    version = registry.publish(
        package.path, name=contract.name, run_id=None, contract=contract, verification=found
    )
    registry.promote(version.ref, "production", by="make bench", reason="served for a benchmark")
    return len(found.checks)


def failed(checks: Iterator) -> list[str]:
    return [check.sentence for check in checks if not check.passed]


def an_image(package: Package) -> Image:
    """The package's test input, mirrored to another size."""
    grey = np.asarray(package.test_input[0, 0])
    sizes = SIZES[grey.ndim]
    for axis, size in enumerate(sizes):
        places = np.pad(np.arange(grey.shape[axis]), (0, size), mode="reflect")[:size]
        grey = grey.take(places, axis=axis)
    return Image(grey, "ZYX"[-grey.ndim :])


def difference(answer: NDArray, expected: NDArray) -> str:
    if expected.dtype.kind in "ui":
        return f"{int((answer != expected).sum())} pixels of {expected.size}"
    span = float(np.ptp(expected)) or 1.0
    return f"{np.abs(answer.astype(np.float64) - expected).max() / span:.0e} of the range"


if __name__ == "__main__":
    main()
