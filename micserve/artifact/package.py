"""One model version as one file: a bioimage.io package (zip) that is written once and read safely.

Knows the layout of the zip and how to distrust one; `rdf` knows the words of
the description, `verify` what must be true of the whole. Reading imports no
bioimage.io library: that would cost a service seconds at every model it loads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.contract import ModelContract


@dataclass(frozen=True, slots=True)
class Author:
    """Who made the model."""

    name: str
    affiliation: str | None = None
    orcid: str | None = None
    github_user: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A publication to cite; one of `doi` and `url` is needed."""

    text: str
    doi: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class NativeWeights:
    """The weights as the training framework wrote them, listed beside the ONNX network.

    A file listed here must run on arrays in the order of the description (B, C, Y, X). One
    that does not (a channels-last network, weights without their architecture) is provenance
    and goes to the attachments.
    """

    kind: Literal["keras_hdf5", "keras_v3", "pytorch_state_dict", "torchscript"]
    path: Path
    framework_version: str
    """Of TensorFlow or PyTorch."""


@dataclass(frozen=True, slots=True)
class Card:
    """What people read about a model."""

    description: str
    documentation: str
    """Markdown."""
    authors: Sequence[Author] = ()
    license: str = "CC-BY-4.0"
    """SPDX."""
    cite: Sequence[Citation] = ()
    tags: Sequence[str] = ()
    cover: Path | None = None
    """PNG or JPEG, between 2:1 and 1:1."""


@dataclass(frozen=True, slots=True)
class Package:
    """An opened model package. Its network lies on disk under `folder`, named by the digest."""

    path: Path
    digest: str
    """sha256 of the zip, hexadecimal."""
    contract: ModelContract
    rdf: Mapping[str, Any]
    """The description as it was read from `rdf.yaml`."""
    folder: Path
    """Where the files of the package were extracted."""
    onnx: Path
    test_input: NDArray[Any]
    """(B, C, (Z,) Y, X) grey values."""
    test_output: Mapping[str, NDArray[np.float32]]
    """What the model answers to `test_input`, per head, (B, C, (Z,) Y, X), in grey values where
    the model restores the range."""


def build_package(
    target: Path,
    *,
    contract: ModelContract,
    card: Card,
    onnx: Path,
    test_input: NDArray[Any],
    test_output: Mapping[str, NDArray[np.float32]],
    native: NativeWeights | None = None,
    attachments: Mapping[str, Path] | None = None,
    tolerance: float = 1e-3,
) -> Path:
    """Write the model as one zip; the same inputs give the same bytes.

    Parameters
    ----------
    target
        The zip to write. It appears only when it is whole and its description is valid.
    test_input
        (B, C, Y, X) or (B, C, Z, Y, X): grey values as in an image, any real dtype.
    test_output
        Per head of the contract, the whole model's answer: normalised, run and, when
        `contract.restore_range`, back in grey values.
    attachments
        Name in the package to file: training report, manifest, loss curve, …
    tolerance
        Relative and, times the output's range, absolute difference at which another tool
        reproduces the test output.

    Raises
    ------
    PackageError
        When the parts do not belong together, or the description is not valid.
    """
    raise NotImplementedError


def digest_of(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    raise NotImplementedError


def open_package(path: Path, *, into: Path | None = None, digest: str | None = None) -> Package:
    """Read a package, check it and put its files where a runtime can load them.

    Parameters
    ----------
    into
        Cache folder; the files go to `into / digest`, and are taken from there the next time.
        A temporary folder of this process when None.
    digest
        What was published; checked before anything is read from the zip.

    Raises
    ------
    PackageError
        When the zip is damaged, unsafe or not one of ours.
    DigestMismatchError
        When its bytes are not the published ones.
    """
    raise NotImplementedError
