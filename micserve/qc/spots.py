"""Which spots are still there after a restoration: recall and precision by how bright they are.

A higher SNR may cost the dim spots: they carry little of an image's energy, so
an error measure hardly notices. Here each true spot is looked for in the
prediction, in the input and in every filter's result, by the same detector
(`micserve.qc.blobs`), each at the threshold where it does best (highest F1 over
all images: chosen with the ground truth, for all of them alike).

    true      given, or what the detector finds in the clean image
    found     a detection within one σ of the spot (at least 2 px), strongest first
    recall    found of those that are true         precision   true of those that are detected
    bins      of the true spots by their contrast in the clean image, narrow where it is low
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import binomtest

from micserve.qc.baselines import noise_sd
from micserve.qc.blobs import SCALES, Blobs, Numbers, answers, blobs_in, noise_answer
from micserve.qc.planes import Plane

FEWEST = 20
"""True spots over all images, below which nothing is said."""
BINS = ("dimmest tenth", "up to a quarter", "second quarter", "brighter half")
SHARES = (0.1, 0.25, 0.5)
"""Of the true spots that are dimmer than each edge between two bins."""
NEAREST = 2.0
"""Pixels: a detection so near is that spot, however small it is."""
FAINTEST = 0.02
"""Of the ground truth's range: fainter things in a clean image are not called spots …"""
NOISE_TIMES = 5.0
"""… nor those below so many standard deviations that its own noise has in the detector's answer."""
SIGNIFICANT = 0.05

DimSpots = Literal["more", "fewer", "alike"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A true spot, in pixels of its plane."""

    y: float
    x: float
    sigma: float
    """Its radius / √2."""
    plane: int = 0


@dataclass(frozen=True, slots=True)
class TrueSpot:
    """A spot as it is in the clean image."""

    image: str
    plane: int
    y: float
    x: float
    sigma: float
    contrast: float
    """Grey values."""


@dataclass(frozen=True, slots=True, eq=False)
class SpotsOfMethod:
    """What was found by one method; all images together."""

    threshold: float
    """Contrast in grey values of the ground truth, from which a blob counts as detected."""
    found: NDArray[np.bool_]
    """Per true spot, in the order of `SpotsFound.true`."""
    right: tuple[int, ...]
    """Per bin, by the detection's own contrast: detections that are true."""
    detected: tuple[int, ...]
    """Per bin: all detections."""

    @property
    def recall(self) -> float:
        return float(self.found.mean())

    @property
    def precision(self) -> float | None:
        return sum(self.right) / sum(self.detected) if sum(self.detected) else None

    @property
    def f1(self) -> float:
        missed = int((~self.found).sum())
        wrong = sum(self.detected) - sum(self.right)
        hits = int(self.found.sum())
        return 2 * hits / (2 * hits + missed + wrong)


@dataclass(frozen=True, slots=True, eq=False)
class SpotsFound:
    """Of all images together."""

    true: tuple[TrueSpot, ...]
    bins: NDArray[np.intp]
    """Per true spot, its bin."""
    edges: tuple[float, ...]
    """Contrast in grey values between the bins; one less than bins."""
    methods: dict[str, SpotsOfMethod]
    given: bool
    """Whether somebody said where the spots are."""
    planes: int
    """That were searched."""
    planes_of: int
    """That there are."""

    def in_bin(self, method: str, number: int) -> tuple[int, int]:
        """(found, true)."""
        here = self.bins == number
        return int(self.methods[method].found[here].sum()), int(here.sum())

    def dim_against(self, other: str, method: str = "prediction") -> tuple[DimSpots, float]:
        """Whether `method` shows more or fewer of the dimmest tenth; exact McNemar test, p."""
        here = self.bins == 0
        one, two = self.methods[method].found[here], self.methods[other].found[here]
        won, lost = int((one & ~two).sum()), int((~one & two).sum())
        if won + lost == 0:
            return "alike", 1.0
        p = float(binomtest(won, won + lost, 0.5).pvalue)
        if p >= SIGNIFICANT:
            return "alike", p
        return ("more" if won > lost else "fewer"), p


@dataclass(frozen=True, slots=True, eq=False)
class SearchedPlane:
    """One plane by method, and its true spots with their contrast."""

    true: tuple[TrueSpot, ...]
    detections: dict[str, Blobs]
    """By method; contrasts in grey values of the ground truth."""


def true_spots(
    image: str, plane: int, clean: Plane, given: Sequence[Spot] | None, *, span: float
) -> tuple[TrueSpot, ...]:
    """Those that are given, with their contrast in the clean plane; else those that it shows.

    Parameters
    ----------
    span
        Width of the ground truth's range, grey values.
    """
    found = answers(clean)
    if given is None:
        blobs = blobs_in(found)
        noise = NOISE_TIMES * noise_sd(clean)
        return tuple(
            TrueSpot(image, plane, *values)
            for values in zip(
                blobs.y.tolist(), blobs.x.tolist(), blobs.sigma.tolist(), blobs.contrast.tolist(),
                strict=True,
            )
            if values[3] >= max(FAINTEST * span, noise * noise_answer(values[2]))
        )  # fmt: skip
    height, width = clean.shape
    return tuple(
        TrueSpot(
            image, plane, one.y, one.x, one.sigma,
            float(found[:, round(one.y), round(one.x)].max()),
        )
        for one in given
        if one.plane == plane and 0 <= round(one.y) < height and 0 <= round(one.x) < width
    )  # fmt: skip


def scales_of(true: Sequence[TrueSpot]) -> tuple[float, ...]:
    """Sizes that the true spots have: looking for others would only find noise."""
    low, high = np.percentile([one.sigma for one in true], (5, 95))
    reach = math.sqrt(2)
    return tuple(s for s in SCALES if low / reach <= s <= high * reach) or SCALES


def judge(
    planes: Sequence[SearchedPlane], methods: Sequence[str], *, given: bool, planes_of: int
) -> SpotsFound | None:
    """Match, choose thresholds, count. None with too few true spots."""
    true = tuple(one for plane in planes for one in plane.true)
    if len(true) < FEWEST:
        return None
    contrast = np.array([one.contrast for one in true])
    edges = np.quantile(contrast, SHARES)
    return SpotsFound(
        true=true,
        bins=np.searchsorted(edges, contrast, side="left"),
        edges=tuple(edges.tolist()),
        methods={key: _of_method(planes, key, edges) for key in methods},
        given=given,
        planes=len(planes),
        planes_of=planes_of,
    )


def _of_method(planes: Sequence[SearchedPlane], key: str, edges: Numbers) -> SpotsOfMethod:
    start, contrasts, partners = 0, [], []
    for plane in planes:
        matched = match(plane.detections[key], plane.true)
        partners.append(np.where(matched >= 0, matched + start, -1))
        contrasts.append(plane.detections[key].contrast)
        start += len(plane.true)
    contrast, partner = np.concatenate(contrasts), np.concatenate(partners)
    order = np.argsort(-contrast, kind="stable")
    contrast, partner = contrast[order], partner[order]
    used = _best_count(partner >= 0, start)
    found = np.zeros(start, bool)
    found[partner[:used][partner[:used] >= 0]] = True
    where = np.searchsorted(edges, contrast[:used], side="left")
    numbers = range(len(edges) + 1)
    return SpotsOfMethod(
        threshold=float(contrast[used - 1]) if used else math.inf,
        found=found,
        right=tuple(int(((where == n) & (partner[:used] >= 0)).sum()) for n in numbers),
        detected=tuple(int((where == n).sum()) for n in numbers),
    )


def match(blobs: Blobs, true: Sequence[TrueSpot]) -> NDArray[np.intp]:
    """Per blob the number of its true spot, or −1; the strongest blob chooses first."""
    partner = np.full(len(blobs), -1, np.intp)
    if not true or not len(blobs):
        return partner
    places = np.array([(one.y, one.x) for one in true])
    near = np.array([max(one.sigma, NEAREST) for one in true])
    free = np.ones(len(true), bool)
    tree = cKDTree(places)
    around = tree.query_ball_point(np.stack([blobs.y, blobs.x], axis=1), float(near.max()))
    for index, numbers in enumerate(around):
        away = {n: math.dist((blobs.y[index], blobs.x[index]), places[n]) for n in numbers}
        possible = [n for n in numbers if free[n] and away[n] <= near[n]]
        if possible:
            partner[index] = min(possible, key=away.__getitem__)
            free[partner[index]] = False
    return partner


def _best_count(right: NDArray[np.bool_], true: int) -> int:
    """How many of the strongest detections give the highest F1."""
    if not len(right):
        return 0
    hits = np.cumsum(right)
    f1 = 2 * hits / (np.arange(1, len(right) + 1) + true)
    return int(np.argmax(f1)) + 1 if hits[-1] else 0


def wilson(found: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    low, high = binomtest(found, of).proportion_ci(0.95, "wilson")
    return float(low), float(high)


def spots_sentence(found: SpotsFound, labels: Mapping[str, str]) -> str:
    """What happens to dim spots, for a person who decides what to use."""
    filters = [key for key in found.methods if key not in ("prediction", "input")]
    shown, of = found.in_bin("prediction", 0)
    others = ["input", *filters] if "input" in found.methods else filters
    counts = [f"{found.in_bin(key, 0)[0]} in {_named(key, labels)}" for key in others]
    sentence = (
        f"Of the {of} dimmest spots (a tenth of {len(found.true)}), {shown} are found in the "
        f"prediction{_list(counts)}, each searched alike and at its best threshold."
    )
    if not filters:
        return sentence
    rival = max(filters, key=lambda key: (found.in_bin(key, 0)[0], found.methods[key].f1))
    outcome, p = found.dim_against(rival)
    name = _named(rival, labels)
    return f"{sentence} {_advice(outcome, name, p)}"


def _advice(outcome: DimSpots, rival: str, p: float) -> str:
    if outcome == "fewer":
        return (
            f"The prediction loses dim spots that {rival} keeps ({p_value(p)}): to count or "
            "segment dim spots, use the filter."
        )
    if outcome == "more":
        return f"The prediction shows dim spots that {rival} does not ({p_value(p)})."
    return (
        f"That is no clear difference between the prediction and {rival} ({p_value(p)}): for "
        "counting dim spots the filter serves as well."
    )


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _named(key: str, labels: Mapping[str, str]) -> str:
    return "the input" if key == "input" else f"the {labels[key]}"


def _list(counts: Sequence[str]) -> str:
    if not counts:
        return ""
    *first, last = counts
    return f", {', '.join(first)} and {last}" if first else f" and {last}"
