"""From a version in the registry to a network that proved itself on this machine.

Fetch, check the digest, open the package, start the network, replay its test
tensors. What fails at any step is not served.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.package import Package, open_package
from micserve.artifact.rounding import difference
from micserve.backends import Backend, Provider
from micserve.backends.onnx import OnnxBackend
from micserve.errors import VerificationError
from micserve.normalize import fit
from micserve.predict import LoadedModel
from micserve.registry import ModelVersion, Registry
from micserve.serving.models import Loaded

REPLAY_TOLERANCE = 1e-3
"""Largest difference, as a share of the test output's range: the tolerance that bioimage.io
packages state by default, which leaves room for a GPU's order of summation."""

SESSION_BYTES = 16 << 20
"""What ONNX Runtime needs for an empty network, measured as resident memory."""


def network_bytes(weights_bytes: int) -> int:
    """What a network is counted with: its weights as stored and as packed for the processor."""
    return SESSION_BYTES + 2 * weights_bytes


class PackageLoader:
    """Loads versions of one registry.

    Parameters
    ----------
    folder
        Where opened packages are kept between starts.
    """

    def __init__(
        self, registry: Registry, *, folder: Path, provider: Provider, threads: int
    ) -> None:
        self._registry, self._folder = registry, folder
        self._provider, self._threads = provider, threads

    def __call__(self, version: ModelVersion) -> Loaded:
        """Load one version.

        Raises
        ------
        DigestMismatchError, PackageError, VerificationError
            When it is not what was published, or does not do here what it did there.
        """
        path = self._registry.fetch(version)
        package = open_package(path, into=self._folder, digest=version.digest)
        backend = OnnxBackend(package.onnx, provider=self._provider, threads=self._threads)
        replay(package, backend)
        model = LoadedModel(package.contract, backend, version.version, version.digest)
        return Loaded(model, network_bytes(package.onnx.stat().st_size))


def replay(package: Package, backend: Backend) -> None:
    """Run the package's test input and compare with its test output.

    Raises
    ------
    VerificationError
        When any head differs by more than `REPLAY_TOLERANCE`.
    """
    for number, sample in enumerate(package.test_input):
        answers = _answer(package, backend, sample)
        for head, expected in package.test_output.items():
            found = difference(head, answers[head], expected[number])
            if not found <= REPLAY_TOLERANCE:
                raise VerificationError(
                    f"The model {package.contract.name} does not reproduce its own test output "
                    f"on {backend.device}: it differs by {found:.2g} of the range, and "
                    f"{REPLAY_TOLERANCE:g} is allowed. It is not used; publish it again."
                )


def _answer(
    package: Package, backend: Backend, sample: NDArray[Any]
) -> dict[str, NDArray[np.float32]]:
    contract = package.contract
    affine = fit(sample, contract.normalization)
    heads = backend.run(affine.apply(sample)[None])
    restored = contract.described_in_grey
    return {name: affine.invert(v[0]) if restored else v[0] for name, v in heads.items()}
