"""Green, amber or red: how far an image is from what the network learnt from, with the reason.

Of each statistic the median over an image's patches is compared with the span in
which nine tenths of the training patches lie. Inside, the distance is 0; outside,
it is counted in widths of the span. The largest distance decides. The limits were
chosen on other images than they were tried on: `docs/trust.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from micserve.trust import residual as left_over
from micserve.trust.envelope import Envelope, Frames, kind_of
from micserve.trust.residual import residual_statistics
from micserve.trust.sampling import Float, Patches, at, sample
from micserve.trust.statistics import GAIN_FREE, WORDS, statistics

Light = Literal["green", "amber", "red", "unknown"]

AMBER, RED = 0.1, 0.6
"""Widths of the span outside it."""
PIXEL_SIZE = (1.5, 2.0)
"""Factors between pixel sizes from which the light is amber, and red."""
UNLIKE_WEIGHT = 0.5
"""Widths for each time that the most similar training image is as far again as usual."""
MOST_USUAL = 0.5
"""How far held-out images may move the limits: beyond, they are of another kind."""
NARROWEST = {"noise": 0.15, "fine_detail": 0.15, "asymmetry": 0.15, "clipped": 0.02}
"""The least width of a span: of few training images it may be narrower than any two images are
alike."""
NARROWEST_OTHER = 0.1

NO_STATISTICS = "no training statistics are recorded in this model's package"
TOO_SMALL = "the image is too small to compare its texture with the training images"


@dataclass(frozen=True, slots=True)
class Trust:
    """What a person is told, and what it rests on."""

    light: Light
    reason: str
    """In words, without the light."""
    distance: float = 0.0
    """The largest; 0 for an image that is like the training images in all that is measured."""
    distances: dict[str, float] = field(default_factory=dict)
    """By statistic."""

    @property
    def line(self) -> str:
        """`red; much blurrier than …`"""
        return f"{self.light}; {self.reason}"


Measured = Mapping[str, NDArray[np.float64]]
"""A statistic's name to its values, one per patch."""


@dataclass(frozen=True, slots=True)
class _Finding:
    distance: float
    words: str
    named: bool = True
    """Whether it is one property that a person can look for."""


def judge(
    envelope: Envelope | None,
    frames: Frames,
    *,
    results: Frames | None = None,
    gain_matters: bool = False,
    trained_um: float | None = None,
    sent_um: float | None = None,
) -> Trust:
    """Compare one image with the training images.

    Parameters
    ----------
    envelope
        Of the training images; None where nothing is known of them.
    frames
        (C, (Z,) Y, X) of the image as the network is given it, in grey values.
    results
        What the network made of each frame, where that is an image of the same things.
    gain_matters
        Whether the network sees grey values as they are; else a brighter image is no other image.
    trained_um, sent_um
        Pixel size along X, where it is known.
    """
    size = _pixel_size(trained_um, sent_um)
    if envelope is None:
        if size.distance > AMBER:
            return _lit([size], {"pixel_size": size.distance})
        return Trust("unknown", NO_STATISTICS)
    patches = sample(frames, side=envelope.side)
    if patches is None:
        return Trust("unknown", TOO_SMALL)
    names = tuple(WORDS) if gain_matters else GAIN_FREE
    measured = statistics(patches.pixels)
    findings = {
        "pixel_size": size,
        **_texture(envelope, measured, names),
        "unlike": _unlike(envelope, measured),
    }
    if results is not None and envelope.residual:
        findings |= _residual(envelope, patches, at(results, patches))
    return _lit(
        list(findings.values()),
        {name: found.distance for name, found in findings.items()},
        usual=min(envelope.usual, MOST_USUAL),
    )


def _lit(findings: Sequence[_Finding], distances: dict[str, float], *, usual: float = 0.0) -> Trust:
    worst = sorted(findings, key=lambda one: -one.distance)
    far = [one for one in worst if one.distance > max(AMBER, usual)]
    if not far:
        return Trust(
            "green", "nothing measured speaks against this image", worst[0].distance, distances
        )
    light: Light = "red" if far[0].distance > max(RED, 2 * usual) else "amber"
    named = [one.words for one in far if one.named] or [far[0].words]
    reason = ", and ".join(dict.fromkeys(named[:2]))
    return Trust(light, reason, worst[0].distance, distances)


def _unlike(envelope: Envelope, measured: Measured) -> _Finding:
    """To the training images one by one: what is like none of them may still be in every span."""
    times, name = envelope.unlikeness(kind_of(measured))
    words = "the image is like no single training image"
    if name:
        words += f"; it differs most in its {WORDS[name][0]}"
    return _Finding(max(times - 1, 0.0) * UNLIKE_WEIGHT, words, named=False)


def _texture(envelope: Envelope, measured: Measured, names: Sequence[str]) -> dict[str, _Finding]:
    found = {}
    for name, values in measured.items():
        ends = envelope.ends(name)
        if name not in names or ends is None:
            continue
        distance = _distance(float(np.median(values)), ends, name)
        _, more, less = WORDS[name]
        if name == "clipped" and distance < 0:
            continue  # less clipped is no fault
        much = "much " if abs(distance) > RED else ""
        words = f"the image is {much}{more if distance > 0 else less} than the training images"
        found[name] = _Finding(abs(distance), words)
    return found


def _residual(envelope: Envelope, patches: Patches, results: Float) -> dict[str, _Finding]:
    found = {}
    for name, values in residual_statistics(patches.pixels, results).items():
        usual = envelope.residual.get(name)
        if usual is None:
            continue
        distance = max(_distance(float(np.median(values)), (usual[1], usual[-2]), name), 0.0)
        found[name] = _Finding(
            distance, f"the result changed more than usual: {left_over.WORDS[name]}"
        )
    return found


def _distance(value: float, ends: tuple[float, float], name: str) -> float:
    low, high = ends
    width = high - low
    if name not in ("level", "contrast"):
        width = max(width, NARROWEST.get(name, NARROWEST_OTHER))
    width = max(width, 1e-9)
    if value > high:
        return (value - high) / width
    return min((value - low) / width, 0.0)


def _pixel_size(trained: float | None, sent: float | None) -> _Finding:
    if not trained or not sent:
        return _Finding(0.0, "")
    factor = max(trained / sent, sent / trained)
    words = f"the image has {sent:.3g} µm per pixel, the training images had {trained:.3g} µm"
    if factor > PIXEL_SIZE[1]:
        return _Finding(RED + factor - PIXEL_SIZE[1], words)
    if factor > PIXEL_SIZE[0]:
        return _Finding(AMBER + (RED - AMBER) * (factor - 1.5) / 0.5, words)
    return _Finding(0.0, words)


def distance_maps(
    envelope: Envelope, frame: NDArray[np.generic], *, gain_matters: bool = False
) -> NDArray[np.float32]:
    """(Y, X) or (Z, Y, X): the largest distance of the patch around each pixel, 0 for none.

    Patches lie side by side, half overlapping; a pixel has the mean of those that show it.
    """
    names = tuple(WORDS) if gain_matters else GAIN_FREE
    stack = frame.astype(np.float32).mean(axis=0)
    planes = stack[None] if stack.ndim == 2 else stack
    side = min(envelope.side, *planes.shape[-2:])
    maps = np.stack([_map(envelope, plane, side, names) for plane in planes])
    return maps[0] if stack.ndim == 2 else maps


def _map(envelope: Envelope, plane: Float, side: int, names: Sequence[str]) -> NDArray[np.float32]:
    total, count = np.zeros(plane.shape, np.float32), np.zeros(plane.shape, np.float32)
    tops, lefts = (_starts(size, side) for size in plane.shape)
    for top in tops:
        row = np.stack([plane[top : top + side, left : left + side] for left in lefts])
        values = _worst_of_each(envelope, row, names)
        for left, value in zip(lefts, values, strict=True):
            part = (slice(top, top + side), slice(left, left + side))
            total[part] += value
            count[part] += 1
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _worst_of_each(envelope: Envelope, patches: Float, names: Sequence[str]) -> NDArray[np.float32]:
    """(N,) the largest distance of each patch by itself, to where all training patches lie."""
    worst = np.zeros(len(patches), np.float32)
    for name, values in statistics(patches).items():
        if name not in names or name not in envelope.statistics:
            continue
        ends = envelope.statistics[name][0], envelope.statistics[name][-1]
        away = [abs(_distance(float(value), ends, name)) for value in values]
        worst = np.maximum(worst, np.asarray(away, np.float32))
    return worst


def _starts(size: int, side: int) -> list[int]:
    return sorted({*range(0, size - side + 1, max(side // 2, 1)), size - side})
