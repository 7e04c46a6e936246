"""From a trained network to a checked model package.

The order: export, compare the export with the framework, measure the halo, make
test tensors, write the report, build the package, check it as a service would.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micserve.artifact.build import Author, Card, build_package
from micserve.artifact.contract import (
    IntensityEnvelope,
    ModelContract,
    Network,
    Tiling,
)
from micserve.artifact.halo import measure_halo
from micserve.artifact.rounding import difference
from micserve.artifact.verify import Check, Verification, verify_package
from micserve.backends import Backend
from micserve.backends.onnx import OnnxBackend
from micserve.errors import VerificationError
from micserve.normalize import fit
from micserve.tiling import pad_frame
from micserve.trust.envelope import KEY
from training.common.config import TrainingConfig
from training.common.images import Dataset, grey_statistics
from training.common.learner import Arrays, Exported, Learner, Trainer
from training.common.pairs import Pair
from training.common.report import Pictures, Training, write_report
from training.common.transfer import NATIVE_WEIGHTS
from training.common.trust import recorded_envelope

AGREEMENT = 1e-4
"""Largest difference between framework and ONNX Runtime, as a share of the output's range: both
sum float32 in another order, which moves a U-Net's output by 1e-6 to 1e-5 of it."""

TEST_PIXELS = {2: 96, 3: 16}
"""Least side of the test image, besides the halo, by dimensions."""

PREVIEW_PIXELS = {2: (512, 512), 3: (32, 256, 256)}
"""Largest size of the example in the report, by dimensions."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A model package that passed all checks."""

    path: Path
    contract: ModelContract
    verification: Verification
    report: Path


def pack(
    trainer: Trainer[Any],
    learner: Learner,
    config: TrainingConfig,
    data: Dataset,
    training: Training,
    *,
    folder: Path,
) -> Packed:
    """Export, check and package; all files are written to `folder`.

    Raises
    ------
    VerificationError
        When the exported network does not do what the trained one did.
    """
    exported = learner.export(folder)
    halo = measure_halo(
        exported.onnx,
        ndim=trainer.ndim,
        channels=exported.channels,
        multiple=exported.multiple,
    )
    training = replace(training, halo=halo)
    contract = _contract(trainer, learner, config, data, training, exported)
    grey = _test_image(data, contract)
    affine = fit(grey, contract.normalization)
    values = affine.apply(grey)[None]
    backend = OnnxBackend(exported.onnx, provider="cpu")
    answers = backend.run(values)
    agreement = compare(learner.run(values), answers)
    if not agreement.passed:
        raise VerificationError(f"The exported network was not published: {agreement.sentence}")
    contract = _with_envelope(contract, data, backend)
    report = write_report(
        folder / "training_report.html",
        training,
        _pictures(data, contract, learner),
        checks=[agreement],
    )
    restore = affine.invert if contract.described_in_grey else _same
    package = build_package(
        folder / f"{config.name}.zip",
        contract=contract,
        card=_card(trainer, config, training, contract),
        onnx=exported.onnx,
        test_input=grey[None],
        test_output={name: restore(head[0])[None] for name, head in answers.items()},
        attachments={
            **exported.attachments,
            NATIVE_WEIGHTS: _arrays(folder / NATIVE_WEIGHTS, learner.weights()),
            "training_report.html": report,
            "manifest.json": _write(folder / "manifest.json", training.manifest.model_dump_json()),
            "history.csv": _write(folder / "history.csv", history_csv(training)),
        },
    )
    found = verify_package(package, network_of=lambda path: OnnxBackend(path, provider="cpu").run)
    found.require_passed()
    verification = found.model_copy(update={"checks": (agreement, *found.checks)})
    return Packed(package, contract, verification, report)


def compare(
    framework: Mapping[str, NDArray[np.float32]], onnx: Mapping[str, NDArray[np.float32]]
) -> Check:
    """Whether two runtimes give the same heads, head by head."""
    worst = max(difference(name, onnx[name], expected) for name, expected in framework.items())
    return Check(
        name="framework agreement",
        passed=set(framework) == set(onnx) and worst <= AGREEMENT,
        sentence=f"ONNX Runtime differs from the training framework by {worst:.1e} of the output's "
        f"range; at most {AGREEMENT:.0e} is rounding.",
        measured={"difference": worst, "limit": AGREEMENT},
    )


def history_csv(training: Training) -> str:
    """One row per epoch, with the columns of the notebooks' `training_evaluation.csv` first."""
    first = ["loss", "val_loss", "learning_rate"]
    others = sorted(set(training.history[0].metrics) - set(first))
    rows = [",".join(["epoch", *first, *others, "seconds"])]
    for epoch in training.history:
        values = [f"{epoch.metrics[name]:.8g}" for name in (*first, *others)]
        rows.append(",".join([str(epoch.epoch), *values, f"{epoch.seconds:.2f}"]))
    return "\n".join(rows) + "\n"


def _contract(
    trainer: Trainer[Any],
    learner: Learner,
    config: TrainingConfig,
    data: Dataset,
    training: Training,
    exported: Exported,
) -> ModelContract:
    return ModelContract.model_validate(
        {
            "name": config.name,
            "family": trainer.family,
            "ndim": trainer.ndim,
            "network": Network(
                channels=exported.channels,
                heads=exported.heads,
                tiling=Tiling(halo=training.halo, multiple=exported.multiple, pad=exported.pad),
            ),
            "normalization": learner.normalization,
            "restore_range": trainer.restore_range,
            "pixel_size_um": data.pixel_size_um,
            "intensity": IntensityEnvelope(**grey_statistics(data.train)),
            "parameters": dict(exported.parameters),
            "training": _provenance(training),
        }
    )


def _with_envelope(contract: ModelContract, data: Dataset, backend: Backend) -> ModelContract:
    """With the statistics of the training images, which the trust light needs."""
    envelope = recorded_envelope(data, contract, backend)
    if envelope is None:
        return contract
    known = {**contract.training, KEY: envelope.model_dump(mode="json")}
    return contract.model_copy(update={"training": known})


def _provenance(training: Training) -> dict[str, Any]:
    chosen = training.chosen
    provenance = {
        "run_id": training.run_id,
        "finished": training.finished.isoformat(timespec="seconds"),
        "preset": training.preset,
        "requested": dict(training.requested),
        "effective": dict(training.effective),
        "split": training.manifest.split,
        "split_sentence": training.manifest.sentence,
        "files": [entry.model_dump(mode="json") for entry in training.manifest.files],
        "weights": training.weights,
        "epoch": chosen.epoch,
        "loss": chosen.metrics["loss"],
        "val_loss": chosen.val_loss,
        "seconds": round(training.seconds, 1),
        "hardware": dict(training.hardware),
        "versions": dict(training.versions),
    }
    return dict(json.loads(json.dumps(provenance, default=str)))


def _card(
    trainer: Trainer[Any], config: TrainingConfig, training: Training, contract: ModelContract
) -> Card:
    count = len(training.manifest.images)
    return Card(
        description=f"{trainer.title} trained with micserve on {count} image"
        f"{'s' if count > 1 else ''}; see training_report.html in the package.",
        documentation=_documentation(training, contract),
        authors=(Author(name=config.author),) if config.author else (),
        license=config.license,
        cite=tuple(trainer.citations),
        tags=(trainer.family, f"{trainer.ndim}d", "micserve"),
    )


def _documentation(training: Training, contract: ModelContract) -> str:
    references = "\n".join(
        f"{number}. {c.text} {f'doi:{c.doi}' if c.doi else c.url}"
        for number, c in enumerate(training.citations, start=1)
    )
    return (
        f"# {training.name}\n\n{training.methods}\n\n{references}\n\n"
        "# Validation\n\n"
        f"{training.manifest.sentence} The validation loss is {training.chosen.val_loss:.4f} "
        f"(epoch {training.chosen.epoch} of {len(training.history)}). It tells whether the "
        "training went well, not whether the result is right: compare with a ground truth, and "
        "with a plain filter, before you measure in processed images.\n" + _units(contract)
    )


def _units(contract: ModelContract) -> str:
    """What another tool must know, where the description has no words for it."""
    if contract.described_in_grey or not contract.restore_range:
        return ""
    return (
        "\n# Grey values\n\nmicserve returns grey values. Other tools that run this package by "
        f"its description get the network's units, since {contract.normalization.id} is measured "
        "on each image: multiply by its divisor and add its offset, for an uncertainty multiply "
        "only.\n"
    )


def _test_image(data: Dataset, contract: ModelContract) -> NDArray[np.float32]:
    """(C, …) grey values of a validation image, `2 * halo + n * multiple` pixels per axis."""
    tiling = contract.network.tiling
    halo = tiling.halo or (0,) * contract.ndim
    least = TEST_PIXELS[contract.ndim]
    sides = [2 * h + -(-least // m) * m for h, m in zip(halo, tiling.multiple, strict=True)]
    return _filled_crop(data.validation[0].pixels, sides)


def _filled_crop(pixels: NDArray[Any], sides: list[int]) -> NDArray[np.float32]:
    """The middle of a (C, …) frame; what it lacks is mirrored."""
    for axis, side in enumerate(sides, start=1):
        size = pixels.shape[axis]
        start = max((size - side) // 2, 0)
        pixels = pixels.take(range(start, min(start + side, size)), axis=axis)
    missing = [side - n for side, n in zip(sides, pixels.shape[1:], strict=True)]
    if any(missing):
        pixels = np.pad(pixels, [(0, 0), *((0, m) for m in missing)], mode="symmetric")
    return np.ascontiguousarray(pixels, dtype=np.float32)


def _pictures(data: Dataset, contract: ModelContract, learner: Learner) -> Pictures:
    plane = data.validation[0]
    shown = [
        min(most, n) for most, n in zip(PREVIEW_PIXELS[contract.ndim], plane.size, strict=True)
    ]
    grey = _filled_crop(plane.pixels, shown)
    affine = fit(grey, contract.normalization)
    padded = pad_frame(grey, multiple=contract.network.tiling.multiple, side="end")
    whole = tuple(slice(0, n) for n in padded.shape)
    heads = learner.run(affine.apply(padded.read(whole))[None])
    answer = heads[contract.network.heads[0].name][0]
    answer = affine.invert(answer) if contract.restore_range else answer
    strides = contract.network.heads[0].stride
    kept = (slice(0, -(-n // stride)) for n, stride in zip(shown, strides, strict=True))
    answer = _one_channel(answer)[(slice(None), *kept)]
    flat = _middle(grey)
    target = _filled_crop(plane.target, shown)[flat] if isinstance(plane, Pair) else None
    return Pictures(grey[flat], answer[_middle(answer)], plane.file, learner.samples, target)


def _middle(frame: NDArray[np.float32]) -> tuple[int, ...]:
    """Where the first channel's (Y, X) is shown: of a stack, the plane in the middle."""
    return (0,) if frame.ndim == 3 else (0, frame.shape[1] // 2)


def _one_channel(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of several channels, as the probabilities of classes are, the number of the strongest."""
    if answer.shape[0] == 1:
        return answer
    return answer.argmax(axis=0)[None].astype(np.float32)


def _same(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values


def _arrays(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
