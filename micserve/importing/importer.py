"""From a model that somebody else made to a checked package of ours.

The order: recognise, read or convert, compare with the test tensors that came
with it, measure the halo, pack, check as every package is checked. Nothing of
the original is changed; nothing is published here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.build import Card, build_package
from micserve.artifact.contract import FamilyName, ModelContract, Network, Tiling
from micserve.artifact.halo import measure_halo
from micserve.artifact.verification import Check, Verification
from micserve.artifact.verify import verify_package
from micserve.backends.onnx import OnnxBackend
from micserve.errors import PackageError, VerificationError
from micserve.families import FAMILIES
from micserve.files import sha256_of
from micserve.importing import description, folders, onnx_network
from micserve.importing.foreign import Foreign, TestPair
from micserve.importing.recognise import recognise
from micserve.normalize import fit

AGREEMENT = 1e-4
"""Largest difference of a converted network, as for networks that were trained here."""

REPRODUCED = 1e-3
"""Of test tensors that came with a model, as a share of their range: bioimage.io's own limit."""

TEST_PIXELS = {2: 96, 3: 16}
MOST_TEST_PIXELS = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """A package of ours, checked."""

    path: Path
    contract: ModelContract
    verification: Verification
    origin: str


def import_model(
    source: Path,
    *,
    name: str,
    scratch: Path,
    family: FamilyName | None = None,
    say: Say = lambda sentence: None,
) -> Imported:
    """Make a package of a model from elsewhere.

    Parameters
    ----------
    source
        A bioimage.io package (zip, folder or description), a csbdeep, n2v or stardist model
        folder, or csbdeep's `TF_SavedModel.zip`.
    scratch
        An empty folder; the package is in it.
    family
        For bioimage.io packages that do not say what they are.
    say
        Told what is being done.

    Raises
    ------
    PackageError
        When it cannot be run here with the same result, and why.
    VerificationError
        When it does not do what it promises.
    """
    say("Looking at the model")
    found = recognise(source, scratch)
    say("Reading the network" if found.kind == "bioimageio" else "Converting the network")
    if found.kind == "bioimageio":
        model = description.read(found, scratch, family=family)
    else:
        model = folders.read(found, scratch)
    say("Measuring how far the network sees")
    contract = _contract(model, name, source)
    backend = OnnxBackend(model.onnx, provider="cpu")
    checks = tuple(_origin_checks(model, backend))
    for check in checks:
        if not check.passed:
            raise VerificationError(f"The model was not imported: {check.sentence}")
    say("Packing and checking")
    path = _pack(model, contract, backend, scratch / f"{name}.zip")
    found_by_us = verify_package(
        path, network_of=lambda file: OnnxBackend(file, provider="cpu").run
    )
    found_by_us.require_passed()
    verification = found_by_us.model_copy(update={"checks": (*checks, *found_by_us.checks)})
    return Imported(path, contract, verification, model.origin)


def _contract(model: Foreign, name: str, source: Path) -> ModelContract:
    multiple = model.multiple or onnx_network.total_stride(
        onnx_network.load(model.onnx), ndim=model.ndim
    )
    halo = measure_halo(model.onnx, ndim=model.ndim, channels=model.channels, multiple=multiple)
    return ModelContract.model_validate(
        {
            "name": name,
            "family": model.family,
            "ndim": model.ndim,
            "network": Network(
                channels=model.channels,
                heads=model.heads,
                tiling=Tiling(halo=halo, multiple=multiple, pad=model.pad),
            ),
            "normalization": model.normalization,
            "restore_range": model.restore_range,
            "pixel_size_um": model.pixel_size_um,
            "parameters": dict(model.parameters),
            "training": _provenance(model, source),
        }
    )


def _provenance(model: Foreign, source: Path) -> dict[str, Any]:
    """Where it comes from; how it was trained is not known here."""
    return {
        "imported_from": model.origin,
        "file": source.name,
        "sha256": sha256_of(source) if source.is_file() else None,
        "title": model.title,
        "converted_with": dict(model.versions),
    }


def _origin_checks(model: Foreign, backend: OnnxBackend) -> list[Check]:
    """Whether the ONNX network does what the original did."""
    checks = []
    if model.agreement is not None:
        checks.append(
            Check(
                name="framework agreement",
                passed=model.agreement <= AGREEMENT,
                sentence=f"ONNX Runtime differs from the original's framework by "
                f"{model.agreement:.1e} of the output's range; at most {AGREEMENT:.0e} is "
                "rounding.",
                measured={"difference": model.agreement, "limit": AGREEMENT},
            )
        )
    if model.test is not None:
        checks.append(_reproduces(model, model.test, backend))
    return checks


def _reproduces(model: Foreign, test: TestPair, backend: OnnxBackend) -> Check:
    worst = 0.0
    for sample, expected in zip(test.source, test.answer, strict=True):
        affine = fit(sample, model.normalization)
        answer = _run(backend, affine.apply(sample)[None])[model.heads[0].name][0]
        if model.restore_range:
            answer = affine.invert(answer)
        if answer.shape != expected.shape:
            raise PackageError(
                f"the network answers {answer.shape} to its own test input; its test output is "
                f"{expected.shape}"
            )
        span = float(np.ptp(expected)) or 1.0
        worst = max(worst, float(np.abs(answer - expected).max()) / span)
    return Check(
        name="test tensors of the original",
        passed=worst <= REPRODUCED,
        sentence=f"It differs from the test output that came with it by {worst:.1e} of the range; "
        f"{REPRODUCED:.0e} is allowed.",
        measured={"difference": worst, "allowed": REPRODUCED},
    )


def _run(backend: OnnxBackend, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    try:
        return backend.run(batch)
    except Exception as error:
        size = " × ".join(map(str, batch.shape[2:]))
        raise PackageError(f"the network does not run on {size} pixels: {error}") from error


def _pack(model: Foreign, contract: ModelContract, backend: OnnxBackend, path: Path) -> Path:
    grey = _test_image(model, contract)
    affine = fit(grey, contract.normalization)
    answers = _run(backend, affine.apply(grey)[None])
    back = contract.described_in_grey
    family = FAMILIES[model.family]
    return build_package(
        path,
        contract=contract,
        card=Card(
            description=f"{family.title} model, imported into micserve from {model.origin}"
            + (f": {model.title}" if model.title else ""),
            documentation=_documentation(model, contract),
            authors=model.authors,
            license=model.license or "CC-BY-4.0",
            cite=model.cite,
            tags=(model.family, f"{model.ndim}d", "micserve", "imported"),
        ),
        onnx=model.onnx,
        test_input=grey[None],
        test_output={
            name: (affine.invert(head[0]) if back else head[0])[None]
            for name, head in answers.items()
        },
    )


def _documentation(model: Foreign, contract: ModelContract) -> str:
    tensors = (
        "Its own test output was reproduced when it was imported."
        if model.test
        else "It came without test tensors; the converted network was compared with the original."
    )
    return (
        f"# {contract.name}\n\nImported from {model.origin}. What it was trained on is not known "
        f"here.\n\n# Validation\n\n{tensors} Only a comparison with a ground truth can "
        "tell whether it is right for your images.\n"
    )


def _test_image(model: Foreign, contract: ModelContract) -> NDArray[np.float32]:
    """(C, …) grey values, `2 * halo + n * multiple` pixels per axis: the middle of the model's
    own test image, or smooth noise of a fixed seed."""
    halo = contract.network.tiling.halo or (0,) * model.ndim
    multiple = contract.network.tiling.multiple
    least = TEST_PIXELS[model.ndim]
    sides = [2 * h + -(-least // m) * m for h, m in zip(halo, multiple, strict=True)]
    if model.test is not None and all(
        side <= n for side, n in zip(sides, model.test.source.shape[2:], strict=True)
    ):
        whole = model.test.source[0]
        starts = [(n - side) // 2 for side, n in zip(sides, whole.shape[1:], strict=True)]
        window = tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))
        return np.ascontiguousarray(whole[(slice(None), *window)])
    noise = np.random.default_rng(0).gamma(2.0, 100.0, (model.channels, *sides))
    return noise.astype(np.float32)
