"""Write one model version as one file: a bioimage.io package.

Knows which files belong in it and how they are described; nothing of how a
model was trained. A package that bioimage.io's own library does not accept is
never written.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from micserve.artifact import rdf, star_labels, zoo
from micserve.artifact.archive import write_archive
from micserve.artifact.contract import ModelContract
from micserve.errors import PackageError
from micserve.files import sha256_of

DOCUMENTATION = "README.md"


@dataclass(frozen=True, slots=True)
class Author:
    """Who made the model."""

    name: str
    affiliation: str | None = None
    orcid: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A publication to cite; `doi` or `url` is needed."""

    text: str
    doi: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """The Python code that builds a network for a PyTorch state dict."""

    source: Path
    callable: str
    """Name of the class or function in `source`."""
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NativeWeights:
    """The weights as the training framework wrote them, listed beside the ONNX network.

    The format says of a file listed here that it takes arrays in the description's order
    (B, C, (Z,) Y, X). One that does not (a channels-last network, weights without their
    architecture) is provenance: give it as an attachment.
    """

    kind: Literal["keras_hdf5", "pytorch_state_dict", "torchscript"]
    path: Path
    framework_version: str
    """Of TensorFlow or PyTorch."""
    architecture: Architecture | None = None
    """Needed by `pytorch_state_dict`."""


@dataclass(frozen=True, slots=True)
class Card:
    """What people read about a model."""

    description: str
    """One or two sentences, at most 1024 characters."""
    documentation: str
    """Markdown; bioimage.io asks for a section `# Validation`."""
    authors: Sequence[Author] = ()
    license: str = "CC-BY-4.0"
    """SPDX."""
    cite: Sequence[Citation] = ()
    tags: Sequence[str] = ()
    cover: Path | None = None
    """PNG or JPEG below 500 kB, 2:1 or 1:1."""


def build_package(
    target: Path,
    *,
    contract: ModelContract,
    card: Card,
    onnx: Path,
    test_input: NDArray[Any],
    test_output: Mapping[str, NDArray[Any]],
    native: NativeWeights | None = None,
    attachments: Mapping[str, Path] | None = None,
    tolerance: float = 1e-3,
) -> Path:
    """Write the model as one zip; the same inputs give the same bytes.

    Parameters
    ----------
    target
        The zip to write. It appears only when it is whole and its description is valid.
    onnx
        One file, without external data.
    test_input
        (B, C, Y, X) or (B, C, Z, Y, X): grey values as in an image, any real dtype; stored as
        float32. Each spatial size `2 * halo + n * multiple`, n at least 1.
    test_output
        Per head of the contract, the whole model's answer: normalised, run and, when
        `contract.described_in_grey`, back in grey values.
    attachments
        Name in the package to file: training report, manifest, loss curve, …
    tolerance
        Relative difference, at most 1e-2, at which another tool reproduces the test output.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    PackageError
        When the parts do not belong together, or the description is not valid.
    """
    _refuse_mismatch(contract, onnx, test_input, test_output)
    drawn = _labels(contract, test_output)
    for labels in [drawn, None] if drawn is not None else [None]:
        parts = _Parts(contract, card, onnx, test_input, test_output, labels, native, attachments)
        _write(target, parts, tolerance)
        # In 3D bioimageio.core fails on images without objects, which it may make of the test
        # image; a model is not to be refused for that.
        if labels is not None and (contract.ndim == 2 or zoo.test(target).accepted):
            break
    return target


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one package is made of; `labels` when they are described too."""

    contract: ModelContract
    card: Card
    onnx: Path
    test_input: NDArray[Any]
    test_output: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int32] | None
    native: NativeWeights | None
    attachments: Mapping[str, Path] | None


def _write(target: Path, parts: _Parts, tolerance: float) -> None:
    contract = parts.contract
    outputs = {head.name: parts.test_output[head.name] for head in contract.network.heads}
    files: dict[str, Path | bytes] = {
        DOCUMENTATION: parts.card.documentation.encode(),
        contract.network.weights: parts.onnx,
        _tensor_file(rdf.INPUT_ID): _npy(parts.test_input),
        **{_tensor_file(head): _npy(values) for head, values in outputs.items()},
    }
    if parts.labels is not None:
        outputs[star_labels.OUTPUT] = parts.labels
        files[_tensor_file(star_labels.OUTPUT)] = _npy(parts.labels, np.int32)
        files[contract.network.weights] = star_labels.add_output(parts.onnx)
    description = {
        "format_version": rdf.FORMAT_VERSION,
        "type": "model",
        "name": f"{contract.name} (micserve {contract.family})",
        **_about(parts.card, files),
        **_tensors(contract, files),
        "weights": _weights(contract, parts.onnx, parts.native, files),
        "attachments": [
            _add(files, name, source) for name, source in sorted((parts.attachments or {}).items())
        ],
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": [
                    rdf.tolerance_of(head, values, tolerance) for head, values in outputs.items()
                ]
            },
            "micserve": contract.model_dump(mode="json"),
        },
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    write_archive(
        target, {rdf.FILE_NAME: rdf.to_yaml(description), **files}, check=zoo.refuse_invalid
    )


def _about(card: Card, files: dict[str, Path | bytes]) -> dict[str, Any]:
    """What people read; fields that are empty are left out."""
    covers = [_add(files, f"cover{card.cover.suffix.lower()}", card.cover)] if card.cover else []
    about = {
        "description": card.description,
        "documentation": _described(files, DOCUMENTATION),
        "covers": covers,
        "authors": [_filled(asdict(author)) for author in card.authors],
        "cite": [_filled(asdict(citation)) for citation in card.cite],
        "license": card.license,
        "tags": list(card.tags),
    }
    return _filled(about)


def _tensors(contract: ModelContract, files: dict[str, Path | bytes]) -> dict[str, Any]:
    described = rdf.tensors_of(contract)
    described["outputs"] = [t for t in described["outputs"] if _tensor_file(t["id"]) in files]
    for tensor in described["inputs"] + described["outputs"]:
        tensor["test_tensor"] = _described(files, _tensor_file(tensor["id"]))
    return described


def _labels(
    contract: ModelContract, test_output: Mapping[str, NDArray[Any]]
) -> NDArray[np.int32] | None:
    """What other tools are to draw; None when there is nothing, which cannot be tested."""
    objects = star_labels.operation(contract)
    if objects is None:
        return None
    labels = star_labels.draw(test_output, objects["kwargs"])
    return labels if labels.any() else None


def _weights(
    contract: ModelContract,
    onnx: Path,
    native: NativeWeights | None,
    files: dict[str, Path | bytes],
) -> dict[str, Any]:
    network = _described(files, contract.network.weights) | {"opset_version": _opset(onnx)}
    if native is None:
        return {"onnx": network}
    library = "tensorflow" if native.kind == "keras_hdf5" else "pytorch"
    original = _add(files, f"weights_{native.kind}{native.path.suffix}", native.path)
    original[f"{library}_version"] = native.framework_version
    if native.architecture is not None:
        original["architecture"] = {
            **_add(files, "architecture.py", native.architecture.source),
            "callable": native.architecture.callable,
            "kwargs": dict(native.architecture.arguments),
        }
    return {native.kind: original, "onnx": network | {"parent": native.kind}}


def _add(files: dict[str, Path | bytes], name: str, source: Path) -> dict[str, Any]:
    if name in files or name == rdf.FILE_NAME:
        raise PackageError(f"two files of the package would be named {name}; rename one")
    if not source.is_file():
        raise PackageError(f"{source} is to be packed as {name}, but there is no such file")
    files[name] = source
    return _described(files, name)


def _described(files: Mapping[str, Path | bytes], name: str) -> dict[str, Any]:
    content = files[name]
    if isinstance(content, bytes):
        return {"source": name, "sha256": hashlib.sha256(content).hexdigest()}
    return {"source": name, "sha256": sha256_of(content)}


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], "")}


def _tensor_file(name: str) -> str:
    return f"test_{name}.npy"


def _npy(values: NDArray[Any], dtype: Any = np.float32) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype=dtype), allow_pickle=False)
    return buffer.getvalue()


def _opset(path: Path) -> int:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if any(w.data_location == onnx.TensorProto.EXTERNAL for w in model.graph.initializer):
        raise PackageError(
            f"the weights of {path.name} lie in a second file; export the network as one file"
        )
    return max(int(e.version) for e in model.opset_import if e.domain in ("", "ai.onnx"))


def _refuse_mismatch(
    contract: ModelContract,
    onnx: Path,
    test_input: NDArray[Any],
    test_output: Mapping[str, NDArray[Any]],
) -> None:
    heads = {head.name: head for head in contract.network.heads}
    if not onnx.is_file():
        raise PackageError(f"the exported network {onnx} does not exist")
    if set(test_output) != set(heads):
        raise PackageError(
            f"test outputs are given for {sorted(test_output)}, but the contract names the heads "
            f"{sorted(heads)}"
        )
    batch, channels, *sizes = test_input.shape
    if len(sizes) != contract.ndim or channels != contract.network.channels:
        raise PackageError(
            f"the test input has shape {test_input.shape}; expected (batch, "
            f"{contract.network.channels} channels, {contract.spatial_axes})"
        )
    for name, head in heads.items():
        size = (n // s for n, s in zip(sizes, head.stride, strict=True))
        expected = (batch, head.channels, *size)
        if test_output[name].shape != expected:
            raise PackageError(
                f"the test output {name} has shape {test_output[name].shape}; expected {expected}"
            )
