"""Model packages made on the spot, whole and valid, around the small networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from micserve.artifact.build import Author, Card, Citation, build_package
from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.artifact.halo import measure_halo
from micserve.normalize import FixedZeroMeanUnitVariance, Normalization, fit
from micserve.tiling import PadSide
from tests.support.networks import small_unet

GREY = FixedZeroMeanUnitVariance(mean=(100.0,), std=(20.0,))

CARD = Card(
    description="A small network with random weights, made by a test.",
    documentation="# A test\n\n## Validation\n\nNone: it was never trained.\n",
    authors=[Author("A. Tester", affiliation="An institute")],
    cite=[
        Citation("Noise2Void", doi="10.1109/CVPR.2019.00223"),
        Citation("A page", url="https://not-asked.invalid/page"),
    ],
    tags=["test"],
)


def answers(onnx: Path, contract: ModelContract, grey: np.ndarray) -> dict[str, np.ndarray]:
    """What the whole model says to (B, C, …) grey values, by ONNX Runtime alone."""
    session = ort.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    heads = [head.name for head in session.get_outputs()]
    per_image: list[dict[str, np.ndarray]] = []
    for image in grey:
        affine = fit(image, contract.normalization)
        values = session.run(None, {"input": affine.apply(image)[None]})
        if contract.described_in_grey:
            values = [affine.invert(v[0])[None] for v in values]
        per_image.append(dict(zip(heads, values, strict=True)))
    return {head: np.concatenate([answer[head] for answer in per_image]) for head in heads}


def small_package(
    target: Path,
    *,
    name: str = "n2v-test",
    onnx: Path | None = None,
    ndim: int = 2,
    seed: int = 0,
    multiple: int = 4,
    heads: Mapping[str, int] | None = None,
    stride: int = 1,
    halo: tuple[int, ...] | str | None = "measured",
    normalization: Normalization = GREY,
    restore_range: bool = True,
    pad: PadSide = "split",
    changes: Mapping[str, Any] | None = None,
    **build: Any,
) -> Path:
    """Build one package around `onnx`, or around `small_unet(seed=seed)`.

    Parameters
    ----------
    halo
        What the contract states; measured unless told.
    changes
        Further fields of the contract, or others than those above.
    build
        Further arguments of `build_package`.
    """
    onnx = onnx or small_unet(target.with_suffix(".onnx"), ndim=ndim, seed=seed)
    strides = (multiple,) * ndim
    if halo == "measured":
        halo = measure_halo(onnx, ndim=ndim, channels=1, multiple=strides)
    facts = {
        "name": name,
        "family": "n2v",
        "ndim": ndim,
        "network": Network(
            heads=tuple(
                Head(name=head, channels=channels, stride=(stride,) * ndim)
                for head, channels in (heads or {"output": 1}).items()
            ),
            tiling=Tiling(halo=halo, multiple=strides, pad=pad),
        ),
        "normalization": normalization,
        "restore_range": restore_range,
    }
    contract = ModelContract.model_validate(facts | dict(changes or {}))
    size = 2 * max(halo or (0,)) + 4 * multiple
    spots = np.random.default_rng(seed).normal(100, 20, (1, 1) + (size,) * ndim)
    grey = np.clip(spots, 0, 255).astype(np.uint8)
    arguments = {
        "contract": contract,
        "card": CARD,
        "onnx": onnx,
        "test_input": grey,
        "test_output": answers(onnx, contract, grey),
    }
    return build_package(target, **(arguments | build))
