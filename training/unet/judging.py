"""U-Net's masks on images that were held back, at thresholds that know nothing of them.

The threshold of a published version is the best on all validation images; scored on
the same images it would look better than it is. So the files are divided in two
halves, and each is scored at the threshold that is best on the other; of one file
alone, at the one that is best on training images. Knows no framework.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from micserve.families.unet import UNetParameters
from micserve.predict import LoadedModel
from micserve.qc.segmentation import SegmentationCase
from training.common.judging import Shown, answers, shown_frames
from training.common.judging_segmentation import Segmented, segmentation_case
from training.common.pairs import Pair, PairedDataset
from training.unet.threshold import best_threshold

Float = NDArray[np.float32]
TRAINING_FRAMES = 4
"""That a threshold is chosen on where there is only one validation file."""


def judged(model: LoadedModel, frames: Sequence[Shown], data: PairedDataset) -> Segmented:
    """Probabilities of the packed network, made into classes."""
    said = [np.asarray(answer, np.float32) for answer in answers(model, frames, PROBABILITY)]
    values = [int(value) for value in model.contract.parameters["class_values"]]
    if model.contract.network.heads[0].channels > 1:
        return _by_likelihood(frames, said, values)
    truths = [(frame.target > 0).astype(np.float32) for frame in frames]
    thresholds, note = _thresholds(model, frames, said, truths, data)
    return Segmented(
        cases=tuple(
            segmentation_case(frame, (answer > thresholds[frame.file]).astype(np.uint8))
            for frame, answer in zip(frames, said, strict=True)
        ),
        numbers="classes",
        notes=(note,),
    )


PROBABILITY = UNetParameters(result="probability")


def _by_likelihood(
    frames: Sequence[Shown], said: Sequence[Float], values: Sequence[int]
) -> Segmented:
    """The most likely class; there is no threshold to choose. Both sides as class numbers."""
    cases = []
    for frame, answer in zip(frames, said, strict=True):
        channels = 1 if answer.ndim == 4 else 0  # (Z, C, Y, X) or (C, Y, X)
        case = segmentation_case(frame, answer.argmax(axis=channels).astype(np.uint8))
        cases.append(_renumbered(case, values))
    return Segmented(
        tuple(cases), "classes", ("Every pixel has the class that the network holds most likely.",)
    )


def _renumbered(case: SegmentationCase, values: Sequence[int]) -> SegmentationCase:
    index = np.searchsorted(np.asarray(values), np.asarray(case.target))
    return replace(case, target=index.astype(np.int64))


def _thresholds(
    model: LoadedModel,
    frames: Sequence[Shown],
    said: Sequence[Float],
    truths: Sequence[Float],
    data: PairedDataset,
) -> tuple[Mapping[str, float], str]:
    """File to threshold, and a sentence on where they come from."""
    files = sorted({frame.file for frame in frames})
    answered = list(zip(frames, said, truths, strict=True))
    if len(files) > 1:
        halves = [set(files[0::2]), set(files[1::2])]
        best = [
            best_threshold((answer, truth) for f, answer, truth in answered if f.file in half)
            for half in halves
        ]
        return (
            {file: best[1] if file in halves[0] else best[0] for file in files},
            f"Half of the images were scored at the threshold {best[1]:g}, which was best on the "
            f"other half, and the other half at {best[0]:g}, best on the first. The version's own, "
            f"{model.contract.parameters['threshold']:g}, is the best on all of them.",
        )
    shown = shown_frames(data, [frame for frame in data.train if isinstance(frame, Pair)])
    learnt = shown[:TRAINING_FRAMES]
    threshold = best_threshold(
        (np.asarray(answer, np.float32), (frame.target > 0).astype(np.float32))
        for frame, answer in zip(learnt, answers(model, learnt, PROBABILITY), strict=True)
    )
    return (
        dict.fromkeys(files, threshold),
        f"There is one validation image, so it was scored at the threshold {threshold:g}, which "
        "was best on training images.",
    )
