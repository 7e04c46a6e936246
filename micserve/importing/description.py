"""Read a bioimage.io description (0.4 or 0.5) as what it means for us, or refuse it in words.

bioimage.io's own library reads it and brings old ones up to date. What the
description asks for before and behind the network must be arithmetic that we
have: anything else would give other pixels than it promises, and is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact import rdf
from micserve.artifact.build import Author, Citation
from micserve.artifact.contract import FamilyName, Head
from micserve.artifact.zoo import quiet
from micserve.errors import PackageError, ParameterError
from micserve.files import sha256_of
from micserve.importing import onnx_network
from micserve.importing.conversion import convert
from micserve.importing.foreign import Foreign, TestPair
from micserve.importing.recognise import Found
from micserve.normalize import (
    FixedZeroMeanUnitVariance,
    Identity,
    Normalization,
    ScaleRange,
    ZeroMeanUnitVariance,
)

HEADS: Mapping[FamilyName, str] = {
    "n2v": "denoised", "care": "mean", "unet": "probability", "fnet": "fluorescence",
}  # fmt: skip
"""What the head of each family is called, as in models that were trained here."""

SIGNS: Mapping[FamilyName, frozenset[str]] = {
    "n2v": frozenset({"n2v", "noise2void", "noise-to-void", "denoising"}),
    "care": frozenset({"care", "restoration", "image-restoration", "super-resolution"}),
    "unet": frozenset({"segmentation", "semantic-segmentation", "instance-segmentation", "unet2d"}),
    "fnet": frozenset({"fnet", "label-free", "in-silico-labeling"}),
}
"""Tags that tell which family a model belongs to."""

UNITS_UM = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}

NO_CODE = (
    "Its weights are a PyTorch state dict, which needs Python code from the package to be run. "
    "Export it to ONNX or TorchScript with bioimageio.core, and import that."
)


@dataclass(frozen=True, slots=True)
class _Steps:
    """What the description does around the network, in our words."""

    normalization: Normalization
    restore_range: bool
    behind: tuple[Any, ...]
    """Operations that become a part of the network."""


def read(found: Found, scratch: Path, *, family: FamilyName | None) -> Foreign:
    """The model that a description describes.

    Parameters
    ----------
    scratch
        Where the network is written.
    family
        What a person said it is; None to tell from the description.

    Raises
    ------
    PackageError
        When it cannot be run here with the same result.
    ParameterError
        When it cannot be told what kind of model it is.
    """
    described = _described(found.file)
    image, answer = _only(described.inputs, "inputs"), _only(described.outputs, "outputs")
    axes = [axis.id for axis in image.axes]
    ndim = _dimensions(axes)
    steps = _steps(image, answer, spatial=axes[2:])
    test = _test(found.folder, image, answer)
    model, agreement, versions = _network(described, found.folder, scratch, ndim)
    chosen = family or _family(described, steps)
    for operation in steps.behind:
        _append(model, operation)
    onnx_network.free_sizes(model)
    onnx_network.name_head(model, HEADS[chosen])
    channels = len(image.axes[1].channel_names)
    heads = Head(name=HEADS[chosen], channels=len(answer.axes[1].channel_names), stride=(1,) * ndim)
    return Foreign(
        family=chosen,
        ndim=ndim,
        onnx=onnx_network.save(model, scratch / "imported.onnx"),
        channels=channels,
        heads=(heads,),
        normalization=steps.normalization,
        restore_range=steps.restore_range,
        origin=f"a bioimage.io package ({_stated_version(found.file)})",
        multiple=_multiple(image, onnx_network.total_stride(model, ndim=ndim)),
        pixel_size_um=_pixel_size(image),
        test=test,
        agreement=agreement,
        title=str(described.name),
        license=str(described.license or ""),
        authors=tuple(Author(str(a.name), a.affiliation) for a in described.authors or ()),
        cite=tuple(_citation(entry) for entry in described.cite or ()),
        versions=versions,
    )


def _described(file: Path) -> Any:
    with quiet():
        from bioimageio.spec import load_description

        described = load_description(file, format_version="latest", perform_io_checks=False)
    if getattr(described, "type", "") != "model" or not hasattr(described, "inputs"):
        summary = described.validation_summary
        first = next((e for d in summary.details for e in d.errors), None)
        where = f" ({'.'.join(map(str, first.loc))}: {first.msg})" if first else ""
        raise PackageError(f"{file.name} is no valid description of a bioimage.io model{where}")
    return described


def _stated_version(file: Path) -> str:
    return str(rdf.from_yaml(file.read_bytes()).get("format_version", "no version"))


def _only(tensors: Sequence[Any], what: str) -> Any:
    if len(tensors) != 1:
        raise PackageError(
            f"the model has {len(tensors)} {what}; models with one image in and one out are served"
        )
    return tensors[0]


def _dimensions(axes: Sequence[str]) -> int:
    if axes[:2] != ["batch", "channel"] or axes[2:] not in (["y", "x"], ["z", "y", "x"]):
        raise PackageError(
            f"the model takes axes {', '.join(axes)}; expected batch, channel, (z,) y, x in this "
            "order"
        )
    return len(axes) - 2


def _steps(image: Any, answer: Any, *, spatial: Sequence[str]) -> _Steps:
    before = [op for op in image.preprocessing if op.id != "ensure_dtype"]
    behind = [op for op in answer.postprocessing if op.id != "ensure_dtype"]
    if len(before) > 1:
        raise PackageError(
            f"the model wants {' and then '.join(op.id for op in before)} before the network; one "
            "step that is measured on the whole image is supported"
        )
    rule = _rule(before[0], image, spatial) if before else Identity()
    restore = bool(behind) and _undoes(behind[0], rule)
    return _Steps(rule, restore, tuple(behind[1:] if restore else behind))


def _rule(operation: Any, image: Any, spatial: Sequence[str]) -> Normalization:
    asked = operation.kwargs
    channels = len(image.axes[1].channel_names)
    match operation.id:
        case "zero_mean_unit_variance":
            _whole_image(operation, spatial, channels)
            return ZeroMeanUnitVariance()
        case "scale_range":
            _whole_image(operation, spatial, channels)
            if getattr(asked, "reference_tensor", None):
                raise PackageError("the model is scaled by the range of another image")
            return ScaleRange(
                min_percentile=asked.min_percentile, max_percentile=asked.max_percentile
            )
        case "fixed_zero_mean_unit_variance":
            return FixedZeroMeanUnitVariance(
                mean=_each(asked.mean, channels), std=_each(asked.std, channels)
            )
        case "scale_linear":
            gains, offsets = _each(asked.gain, channels), _each(asked.offset, channels)
            pairs = list(zip(gains, offsets, strict=True))
            return FixedZeroMeanUnitVariance(
                mean=tuple(-offset / gain for gain, offset in pairs),
                std=tuple(1 / gain for gain, _ in pairs),
            )
        case other:
            raise PackageError(
                f"the model wants {other} before the network, which is not supported here"
            )


def _whole_image(operation: Any, spatial: Sequence[str], channels: int) -> None:
    over = {str(axis) for axis in operation.kwargs.axes or (*spatial, "channel")} - {"batch"}
    needed = set(spatial)
    if over != needed and not (channels == 1 and over == needed | {"channel"}):
        raise PackageError(
            f"the model wants {operation.id} over the axes {', '.join(sorted(over))}; per channel "
            f"over {', '.join(spatial)} is supported"
        )


def _each(value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    values = list(value) if isinstance(value, Sequence) else [value]
    return tuple(float(v) for v in (values * channels if len(values) == 1 else values))


def _undoes(operation: Any, rule: Normalization) -> bool:
    """Whether it brings the network's answer back to grey values."""
    if operation.id != "scale_linear" or not isinstance(rule, FixedZeroMeanUnitVariance):
        return False
    gains = _each(operation.kwargs.gain, len(rule.std))
    offsets = _each(operation.kwargs.offset, len(rule.mean))
    return bool(np.allclose(gains, rule.std) and np.allclose(offsets, rule.mean))


def _append(model: Any, operation: Any) -> None:
    rank = onnx_network.rank_of(onnx_network.images_in(model)[0])
    match operation.id:
        case "sigmoid":
            onnx_network.append(model, "Sigmoid")
        case "softmax":
            onnx_network.append(model, "Softmax", axis=1)
        case "clip":
            onnx_network.append(model, "Clip", operation.kwargs.min, operation.kwargs.max)
        case "scale_linear":
            shape = (1, -1) + (1,) * (rank - 2)
            for kind, value in (("Mul", operation.kwargs.gain), ("Add", operation.kwargs.offset)):
                onnx_network.append(model, kind, np.reshape(np.atleast_1d(value), shape))
        case "stardist_postprocessing":
            raise PackageError(
                "the model is a StarDist model in bioimage.io's form; import its own folder "
                "(config.json, thresholds.json, weights .h5) instead"
            )
        case other:
            raise PackageError(
                f"the model wants {other} behind the network, which is not supported here"
            )


def _family(described: Any, steps: _Steps) -> FamilyName:
    tags = {str(tag).lower() for tag in described.tags}
    if steps.behind and steps.behind[-1].id in ("sigmoid", "softmax"):
        return "unet"
    for family, signs in SIGNS.items():
        if tags & signs:
            return family
    raise ParameterError(
        "Its description does not say what kind of model this is. Say it with --family: n2v or "
        "care for restored images, unet for probabilities of classes, fnet for predicted stains."
    )


def _network(
    described: Any, folder: Path, scratch: Path, ndim: int
) -> tuple[Any, float | None, Mapping[str, str]]:
    """ONNX as it is, else TorchScript converted; weights that need code are refused."""
    weights = described.weights
    if weights.onnx is not None:
        path = _file(folder, weights.onnx)
        return onnx_network.load(path), None, {}
    if weights.torchscript is not None:
        path = _file(folder, weights.torchscript)
        channels = len(described.inputs[0].axes[1].channel_names)
        kind = f"torchscript:{ndim}:{channels}"
        done = convert("torch", kind, path, scratch / "converted")
        model = onnx_network.load(done.onnx)
        return model, float(done.facts["difference"]), done.facts["versions"]
    if weights.pytorch_state_dict is not None:
        raise PackageError(NO_CODE)
    have = ", ".join(name for name, entry in weights if entry is not None)
    raise PackageError(
        f"its weights are {have}; ONNX and TorchScript are imported, and csbdeep's and stardist's "
        "own model folders"
    )


def _file(folder: Path, entry: Any) -> Path:
    """A file of the package, with the digest that the description states."""
    source = str(entry.source)
    if "://" in source:
        raise PackageError(
            f"{source} is not in the package, and nothing is fetched from the net. Download the "
            "whole package as a zip."
        )
    path = folder / source
    if not path.is_file():
        raise PackageError(f"the package has no file {source}: it is not whole")
    if entry.sha256 is not None and sha256_of(path) != str(entry.sha256):
        raise PackageError(
            f"{source} is not the file that the description names: its sha256 is another one. "
            "Download the package again."
        )
    return path


def _multiple(image: Any, stride: tuple[int, ...]) -> tuple[int, ...]:
    """What the network needs, and what its description asks for where it lets the size vary."""
    steps = [getattr(axis.size, "step", 1) for axis in image.axes[2:]]
    return onnx_network.common_multiple([step or 1 for step in steps], stride)


def _pixel_size(image: Any) -> Mapping[str, float] | None:
    sizes = {
        str(axis.id).upper(): float(axis.scale) * UNITS_UM[axis.unit]
        for axis in image.axes[2:]
        if axis.unit in UNITS_UM
    }
    return sizes if len(sizes) == len(image.axes) - 2 else None


def _test(folder: Path, image: Any, answer: Any) -> TestPair | None:
    if image.test_tensor is None or answer.test_tensor is None:
        return None
    source, expected = (_tensor(folder, entry.test_tensor) for entry in (image, answer))
    if source.shape[2:] != expected.shape[2:]:
        raise PackageError(
            f"the model answers {_by(expected.shape[2:])} pixels to {_by(source.shape[2:])}; "
            "models that keep the size of the image are served"
        )
    return TestPair(source, expected)


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _tensor(folder: Path, entry: Any) -> NDArray[np.float32]:
    path = _file(folder, entry)
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (ValueError, OSError, EOFError) as error:
        raise PackageError(f"the test tensor {path.name} cannot be read: {error}") from error


def _citation(entry: Any) -> Citation:
    return Citation(
        text=str(entry.text),
        doi=None if entry.doi is None else str(entry.doi),
        url=None if entry.url is None else str(entry.url),
    )
