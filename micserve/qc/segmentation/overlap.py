"""How many pixels every found object shares with every true one.

Counted plane by plane, and kept as the few pairs that touch: a table of all
objects with all others would need gigabytes for one image of a whole slide.
The background (0) is no object.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micserve.qc.segmentation.labels import LabelPair, Numbers

Ints = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Objects of one image, of one frame, or of one slice. Pairs are in no order."""

    true_labels: Ints
    """(n,) as in the label image, ascending; repeated where frames use the same numbers."""
    true_frames: Ints
    """(n,) index of the frame that each is in."""
    true_sizes: Ints
    """(n,) pixels."""
    found_labels: Ints
    found_frames: Ints
    found_sizes: Ints
    true: Ints
    """(k,) index into `true_…` of each pair that shares a pixel."""
    found: Ints
    """(k,) index into `found_…`."""
    shared: Ints
    """(k,) pixels, above 0."""
    pixels: int
    """Of the image, background and all."""

    @property
    def iou(self) -> Shares:
        """(k,) intersection over union of each pair, above 0."""
        union = self.true_sizes[self.true] + self.found_sizes[self.found] - self.shared
        return self.shared / union

    @property
    def foreground(self) -> tuple[int, int, int]:
        """Pixels in both, in the truth, in the prediction."""
        return int(self.shared.sum()), int(self.true_sizes.sum()), int(self.found_sizes.sum())


@dataclass(frozen=True, slots=True, eq=False)
class PlaneOverlap:
    """Counts of one plane: every (true, found) combination that occurs, background and all."""

    true: Ints
    found: Ints
    count: Ints


def overlaps(pair: LabelPair, *, slices: bool = True) -> tuple[Overlap, tuple[Overlap, ...]]:
    """Of the whole image, and (with `slices`) of each plane for itself.

    Of a 2D image both are the same. With `pair.ndim` 3 an object of the whole image goes
    through planes; with 2 every plane has objects of its own.
    """
    planes = [_counted(prediction, target) for prediction, target in pair.planes()]
    depth, size = pair.planes_per_frame, int(np.prod(pair.shape[-2:]))
    frames = [number // depth for number in range(len(planes))]
    whole = _gathered(planes, frames, pixels=size * len(planes))
    if not slices or len(planes) == 1:
        return whole, (whole,)
    return whole, tuple(_gathered([plane], [0], pixels=size) for plane in planes)


def _counted(prediction: Numbers, target: Numbers) -> PlaneOverlap:
    base = int(prediction.max()) + 1
    keys, count = np.unique(target * base + prediction, return_counts=True)
    return PlaneOverlap(keys // base, keys % base, count.astype(np.int64))


def _gathered(planes: Iterable[PlaneOverlap], frames: Iterable[int], *, pixels: int) -> Overlap:
    planes, frames = list(planes), list(frames)
    rows = np.concatenate(
        [
            np.stack([np.full(plane.true.size, frame), plane.true, plane.found])
            for plane, frame in zip(planes, frames, strict=True)
        ],
        axis=1,
    )
    count = np.concatenate([plane.count for plane in planes])
    true_keys, true = np.unique(rows[[0, 1]], axis=1, return_inverse=True)
    found_keys, found = np.unique(rows[[0, 2]], axis=1, return_inverse=True)
    true_sizes = np.bincount(true.ravel(), count).astype(np.int64)
    found_sizes = np.bincount(found.ravel(), count).astype(np.int64)
    is_true, is_found = true_keys[1] > 0, found_keys[1] > 0
    both = is_true[true.ravel()] & is_found[found.ravel()]
    pairs = np.stack(
        [_renumbered(is_true)[true.ravel()[both]], _renumbered(is_found)[found.ravel()[both]]]
    )
    pairs, where = np.unique(pairs, axis=1, return_inverse=True)
    shared = np.bincount(where.ravel(), count[both], minlength=pairs.shape[1]).astype(np.int64)
    return Overlap(
        true_labels=true_keys[1][is_true],
        true_frames=true_keys[0][is_true],
        true_sizes=true_sizes[is_true],
        found_labels=found_keys[1][is_found],
        found_frames=found_keys[0][is_found],
        found_sizes=found_sizes[is_found],
        true=pairs[0],
        found=pairs[1],
        shared=shared,
        pixels=pixels,
    )


def _renumbered(kept: NDArray[np.bool_]) -> Ints:
    """From an index among all to that among those that are kept."""
    return np.asarray(kept.cumsum() - 1, np.int64)
