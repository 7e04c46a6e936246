"""Which probability is an object, and how much objects may overlap: best on held-back images.

The search is stardist's own; what it is shown comes from the trained network on frames
that are normalised and padded as for a prediction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stardist.utils import optimize_threshold
from threadpoolctl import threadpool_limits

from micserve.tiling import pad_frame
from training.stardist.patches import Labelled

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]

DEFAULT = {"prob_thresh": 0.5, "nms_thresh": 0.4}
"""stardist's own, where nothing can be measured."""

OVERLAPS = (0.3, 0.4, 0.5)
"""Tried for `nms_thresh`, as stardist does."""

MOST_TRIES = 10
"""For the probability, per overlap; the interval is halved by less than 1 % of it then."""

MEASURED_FRAMES = {2: 32, 3: 4}
MEASURED_PIXELS = {2: 1 << 18, 3: 1 << 19}
"""Of each frame, in its middle: enough objects, in seconds instead of minutes."""

MOST_CANDIDATES = {2: 20_000, 3: 8_000}
"""Of one frame. A network that has learnt little is sure of nothing and finds a candidate
everywhere, which takes minutes to suppress."""

SHORTEST = 1e-3
"""Pixels: stardist's predictions have no shorter distances."""


@dataclass(frozen=True, slots=True)
class _Answered:
    labels: NDArray[Any]
    prob: NDArray[np.float32]
    dist: NDArray[np.float32]


def optimised(
    model: Any, run: Run, frames: Sequence[Labelled], *, multiple: tuple[int, ...]
) -> Mapping[str, float]:
    """`prob_thresh` and `nms_thresh` with the best mean AP at IoU 0.3, 0.5 and 0.7.

    Parameters
    ----------
    model
        stardist's, for its suppression and its drawing.
    run
        (1, C, …) normalised to the heads `prob` and `dist`.
    """
    ndim, grid = len(multiple), tuple(model.config.grid)
    shown = [frame for frame in frames if frame.labels.any()][: MEASURED_FRAMES[ndim]]
    answers = [_answered(run, frame, multiple=multiple, grid=grid) for frame in shown]
    highest = max((float(answer.prob.max()) for answer in answers), default=0.0)
    if highest <= 0 or not any(answer.labels.any() for answer in answers):
        return DEFAULT
    truths = [answer.labels for answer in answers]
    found = [(answer.prob, answer.dist) for answer in answers]
    crowded = max(_with_candidates(answer.prob, MOST_CANDIDATES[ndim]) for answer in answers)
    bracket = (min(max(highest / 2, crowded), 0.99 * highest), highest)
    best: tuple[float, Mapping[str, float]] = (0.0, DEFAULT)
    # More threads are no faster for images of this size, and far slower on a busy machine.
    with threadpool_limits(1, user_api="openmp"):
        for overlap in OVERLAPS:
            probability, score = optimize_threshold(
                truths, found, model, nms_thresh=overlap, bracket=bracket,
                maxiter=MOST_TRIES, verbose=0,
            )  # fmt: skip
            if score > best[0]:
                chosen = round(float(np.clip(probability, *bracket)), 4)
                best = (score, {"prob_thresh": chosen, "nms_thresh": overlap})
    return best[1]


def _with_candidates(prob: NDArray[np.float32], most: int) -> float:
    """The probability that so many places exceed."""
    return float(np.partition(prob.ravel(), -most)[-most]) if prob.size > most else 0.0


def _answered(
    run: Run, frame: Labelled, *, multiple: tuple[int, ...], grid: tuple[int, ...]
) -> _Answered:
    """The middle of a frame through the network; channels last."""
    middle = _middle(frame.labels.shape)
    seen = frame.affine.apply(frame.pixels[(slice(None), *middle)])
    padded = pad_frame(seen, multiple=multiple, side="end")
    heads = run(padded.read(tuple(slice(0, n) for n in padded.shape))[None])
    kept = tuple(slice(0, -(-n // step)) for n, step in zip(seen.shape[1:], grid, strict=True))
    prob, dist = heads["prob"][0, 0][kept], np.moveaxis(heads["dist"][0], 0, -1)[kept]
    return _Answered(frame.labels[middle], prob, np.maximum(dist, SHORTEST))


def _middle(size: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle of a frame, of at most so many pixels; all of its depth."""
    depth = int(np.prod(size[:-2]))
    side = int((MEASURED_PIXELS[len(size)] / depth) ** 0.5)
    kept = (*size[:-2], *(min(n, side) for n in size[-2:]))
    return tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(size, kept, strict=True))
