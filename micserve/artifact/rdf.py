"""The words of a bioimage.io model description (RDF 0.5) for what a contract says.

Pure: contract in, plain data out, so that the description can be derived again
and compared (`disagreements`). Knows no files and imports no bioimage.io
library; whether that library accepts the words is asked when a package is built
and when it is verified.

https://bioimage-io.github.io/spec-bioimage-io/interactive_docs_v0-5.html
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import yaml

from micserve.artifact import star_labels
from micserve.artifact.contract import Head, ModelContract
from micserve.errors import PackageError
from micserve.normalize import (
    FixedZeroMeanUnitVariance,
    Identity,
    ScaleRange,
    ZeroMeanUnitVariance,
)

FORMAT_VERSION = "0.5.12"
"""The newest that bioimageio.core 0.11 reads; newer libraries read it too."""

FILE_NAME = "rdf.yaml"
INPUT_ID = "input"

DEEPEST = 64
"""Levels of nesting; a description of ours has about ten."""

LONGEST_AXIS = 1 << 16
"""Sizes up to which output sizes are computed exactly from pixel sizes."""

_Description = dict[str, Any]


def tensors_of(contract: ModelContract) -> _Description:
    """`inputs` and `outputs` of the description, without their test tensors.

    Raises
    ------
    PackageError
        When the description has no words for what the network does to sizes and channels.
    """
    outputs = [_output(contract, head) for head in contract.network.heads]
    objects = star_labels.operation(contract)
    if objects is not None:
        outputs.append(_labels(contract, objects))
    return {"inputs": [_input(contract)], "outputs": outputs}


def disagreements(rdf: Mapping[str, Any], contract: ModelContract) -> list[str]:
    """What the description and the contract say differently, one phrase each."""
    found = []
    for side, expected in tensors_of(contract).items():
        stated = [_without_test_tensor(tensor) for tensor in rdf.get(side) or []]
        if star_labels.OUTPUT not in [tensor.get("id") for tensor in stated]:
            # Packages written before labels were described, which micserve does not need.
            expected = [tensor for tensor in expected if tensor["id"] != star_labels.OUTPUT]
        if [t.get("id") for t in stated] != [t["id"] for t in expected]:
            found.append(f"{side} are {[t.get('id') for t in stated]}")
            continue
        found += [
            f"{key} of {ours['id']}"
            for theirs, ours in zip(stated, expected, strict=True)
            for key in sorted(ours.keys() | theirs.keys())
            if theirs.get(key) != ours.get(key)
        ]
    weights = rdf.get("weights", {}).get("onnx", {}).get("source")
    if weights != contract.network.weights:
        found.append(f"the ONNX file is {weights}")
    return found


def tolerance_of(head: str, expected: np.ndarray[Any, Any], relative: float) -> _Description:
    """How exactly another tool must reproduce one test output.

    The absolute part is a share of the output's range, for pixels near zero; the format allows
    at most 1 % of the largest value.
    """
    largest = float(expected.max())
    absolute = min(relative * float(np.ptp(expected)), 0.005 * largest) if largest > 0 else 0.0
    return {
        "relative_tolerance": relative,
        "absolute_tolerance": absolute,
        "mismatched_elements_per_million": 0,
        "output_ids": [head],
        "weights_formats": ["onnx"],
    }


def to_yaml(description: Mapping[str, Any]) -> bytes:
    """UTF-8, keys in their order, the same bytes for the same words."""
    text: str = yaml.dump(
        dict(description), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100
    )
    return text.encode()


def from_yaml(text: bytes) -> _Description:
    """Read a description that anybody may have written.

    Raises
    ------
    PackageError
        When it is not YAML or not a mapping, uses aliases (with which a few lines stand for
        gigabytes), or is nested deeper than any description (which takes minutes to parse).
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_aliases_and_depth(yaml.parse(text, Loader=loader))
        content = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise PackageError(f"{FILE_NAME} in the package is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise PackageError(f"{FILE_NAME} in the package does not describe a model")
    return content


def _refuse_aliases_and_depth(events: Iterable[Any]) -> None:
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise PackageError(f"{FILE_NAME} uses YAML aliases, which a description does not need")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise PackageError(f"{FILE_NAME} is nested more than {DEEPEST} levels deep")


def _dumper() -> Any:
    """Writes no aliases; quotes text that YAML 1.2 takes for a number, or that has odd spaces."""
    dumper = type("_Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})

    def text(dumper: Any, value: str) -> Any:
        quoted = value[:1] in tuple("0123456789+-.") or not value.isprintable()
        style = '"' if quoted else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    dumper.add_representer(str, text)  # type: ignore[attr-defined]
    return dumper


def _without_test_tensor(tensor: Mapping[str, Any]) -> _Description:
    return {key: value for key, value in tensor.items() if key != "test_tensor"}


def _input(contract: ModelContract) -> _Description:
    tiling = contract.network.tiling
    halo = tiling.halo or (0,) * contract.ndim
    space = [
        {
            **_space(contract, axis),
            "size": {"min": 2 * reach + multiple, "step": multiple},
        }
        for axis, reach, multiple in zip(contract.spatial_axes, halo, tiling.multiple, strict=True)
    ]
    return {
        "id": INPUT_ID,
        "description": "Grey values as they come from the microscope.",
        "axes": [{"type": "batch"}, _channels(contract.network.channels), *space],
        "data": {"type": "float32"},
        "preprocessing": _preprocessing(contract),
    }


def _output(contract: ModelContract, head: Head) -> _Description:
    halo = contract.network.tiling.halo or (0,) * contract.ndim
    space = []
    for axis, reach, stride in zip(contract.spatial_axes, halo, head.stride, strict=True):
        if reach % stride:
            raise PackageError(
                f"the halo of {reach} pixels along {axis} is not a whole number of output pixels "
                f"of {head.name}, of which one covers {stride} input pixels"
            )
        described = _space(contract, axis, stride)
        described["size"] = {"tensor_id": INPUT_ID, "axis_id": axis.lower()}
        if reach:
            described["halo"] = reach // stride
        space.append(described)
    return {
        "id": head.name,
        "description": _units(contract),
        "axes": [{"type": "batch"}, _channels(head.channels), *space],
        "data": {"type": "float32"},
        "postprocessing": _postprocessing(contract, head),
    }


def _labels(contract: ModelContract, objects: _Description) -> _Description:
    """What is drawn from all heads together, in the image's size; channels last.

    The halo is in pixels of the grid: bioimageio.core crops it before it draws.
    """
    described = _output(contract, star_labels.head_of(contract))
    batch, channels, *space = described["axes"]
    for axis, step in zip(space, contract.network.heads[0].stride, strict=True):
        if "halo" in axis:
            axis["halo"] //= step
    return described | {
        "axes": [batch, *space, channels],
        "description": "One number per object, drawn from prob and dist; 0 is background.",
        "data": {"type": "int32"},
        "postprocessing": [objects, {"id": "ensure_dtype", "kwargs": {"dtype": "int32"}}],
    }


def _channels(count: int) -> _Description:
    return {"type": "channel", "channel_names": [f"channel{number}" for number in range(count)]}


def _space(contract: ModelContract, axis: str, stride: int = 1) -> _Description:
    described: _Description = {"type": "space", "id": axis.lower()}
    size_um = (contract.pixel_size_um or {}).get(axis)  # type: ignore[call-overload]
    if size_um:
        strides = {s for head in contract.network.heads for s in head.stride}
        described |= {"unit": "micrometer", "scale": _exact(size_um, strides | {1}) * stride}
    elif stride > 1:
        described["scale"] = float(stride)
    return described


def _exact(scale: float, strides: set[int]) -> float:
    """`scale`, or its single precision neighbour where double precision would miscount pixels.

    The format defines an output's size as int(size * scale / (scale * stride)), which rounding
    can make one too small. With 24 significant bits in `scale` every product is exact.
    """
    sizes = np.arange(1, LONGEST_AXIS)
    counted = ((sizes * scale / (scale * s)).astype(int) == sizes // s for s in strides)
    return scale if all(right.all() for right in counted) else float(np.float32(scale))


def _operation(name: str, **arguments: Any) -> _Description:
    return {"id": name, "kwargs": arguments}


_TO_FLOAT = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}


def _preprocessing(contract: ModelContract) -> list[_Description]:
    axes = [axis.lower() for axis in contract.spatial_axes]
    match contract.normalization:
        case FixedZeroMeanUnitVariance(mean=mean, std=std):
            fixed = _operation(
                "fixed_zero_mean_unit_variance", axis="channel", mean=list(mean), std=list(std)
            )
            steps = [fixed]
        case ScaleRange(min_percentile=low, max_percentile=high):
            steps = [_operation("scale_range", axes=axes, min_percentile=low, max_percentile=high)]
        case ZeroMeanUnitVariance():
            steps = [_operation("zero_mean_unit_variance", axes=axes)]
        case Identity():
            steps = []
    return [_TO_FLOAT, *steps, _TO_FLOAT]


def _units(contract: ModelContract) -> str:
    """At most 128 characters, which is the format's limit."""
    if contract.described_in_grey or not contract.restore_range:
        return ""
    return (
        f"In units of the input's {contract.normalization.id}; micserve goes back to grey values "
        "(config.micserve.restore_range)."
    )


def _postprocessing(contract: ModelContract, head: Head) -> list[_Description]:
    how = contract.normalization
    if not (contract.described_in_grey and isinstance(how, FixedZeroMeanUnitVariance)):
        return [_TO_FLOAT]
    if head.channels != len(how.mean):
        raise PackageError(
            f"the output {head.name} has {head.channels} channels and cannot go back to the grey "
            f"values of {len(how.mean)}"
        )
    if set(how.mean) == {0.0} and set(how.std) == {1.0}:
        return [_TO_FLOAT]
    back = _operation("scale_linear", axis="channel", gain=list(how.std), offset=list(how.mean))
    return [back, _TO_FLOAT]
