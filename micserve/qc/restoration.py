"""Restored images against their ground truth, beside the input and beside plain filters.

    RestorationCase(s) ──► evaluate_restoration ──► RestorationReport
       name                                           methods   prediction, input, gaussian, …
       prediction                                     images    scores per image and per slice
       target                                         summary   means, intervals and the verdict
       source (optional)                              spots     which are found, by brightness
       spots (optional)                               maps()    SSIM and error map, on demand

Knows arrays; knows no file format, no model and no page layout.
"""

from dataclasses import dataclass, field

import numpy as np

from micserve.errors import QualityControlError
from micserve.qc import normalized
from micserve.qc.kept import KeptPlanes
from micserve.qc.measures import Scores
from micserve.qc.normalized import Maps, Scale
from micserve.qc.planes import Pixels, Planes
from micserve.qc.spots import Spot, SpotsFound
from micserve.qc.summary import Summary
from micserve.qc.sweep import Sweep

PREDICTION, INPUT = "prediction", "input"


@dataclass(frozen=True, slots=True, eq=False)
class RestorationCase:
    """One image to judge: (…, Y, X) each, all of one shape, any dtype and byte order."""

    name: str
    """As it shall stand in the report: the file's name."""
    prediction: Pixels
    target: Pixels
    """The ground truth."""
    source: Pixels | None = None
    """What the model was given; without it nothing is compared with input or filters."""
    pixel_size_um: float | None = None
    """Along X, in µm, for scale bars."""
    spots: tuple[Spot, ...] | None = None
    """Where the true spots are, when that is known; else those seen in the ground truth count."""


@dataclass(frozen=True, slots=True)
class Method:
    """One column of the report."""

    key: str
    """`prediction`, `input`, or the key of a filter."""
    label: str
    """`Prediction`, `Input`, `Gaussian σ = 2 px`."""
    sweep: Sweep | None = None
    """How the setting of a filter was chosen."""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method on one image."""

    whole: Scores
    """All slices together; SSIM is the mean over slices."""
    slices: tuple[Scores, ...]
    """One per plane, on the scale of the whole image; a 2D image has one."""
    scale: Scale | None
    """How it was brought to the ground truth's scale; None where the ground truth is flat."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    name: str
    shape: tuple[int, ...]
    results: dict[str, MethodResult]
    """By method key."""
    notes: tuple[str, ...]
    """What could not be measured, and why, in words."""
    target_sha256: str = ""
    """Of the ground truth's pixels: two reports judged the same image when it is the same."""


@dataclass(frozen=True, slots=True, eq=False)
class RestorationReport:
    """Scores, and on demand the pictures' raw material; holds the cases' arrays, copies none."""

    methods: tuple[Method, ...]
    images: tuple[ImageResult, ...]
    summary: Summary
    notes: tuple[str, ...]
    cases: tuple[RestorationCase, ...] = field(repr=False)
    spots: SpotsFound | None = None
    """None where the images show too few spots to say anything."""
    kept: KeptPlanes = field(default_factory=KeptPlanes, repr=False)

    def method(self, key: str) -> Method:
        for method in self.methods:
            if method.key == key:
                return method
        raise QualityControlError(
            f"this report has no method {key!r}; it has {', '.join(m.key for m in self.methods)}."
        )

    def planes(self, image: str, method: str) -> Planes:
        """The pixels that were judged, in grey values, plane by plane."""
        return planes_of(self._case(image), self.method(method), self.kept)

    def maps(self, image: str, method: str) -> Maps:
        """SSIM map and error map, float32, in the image's own shape."""
        target = Planes(np.asarray(self._case(image).target))
        return normalized.stack_maps(self.planes(image, method), target, self._scale(image, method))

    def slice_maps(self, image: str, method: str, index: int) -> Maps:
        """Both maps of one slice, (Y, X), on the scale of the whole image."""
        target = Planes(np.asarray(self._case(image).target))
        test = self.planes(image, method)
        return normalized.plane_maps(test[index], target[index], self._scale(image, method))[0]

    def _scale(self, image: str, method: str) -> Scale:
        scale = self.images[self._index(image)].results[self.method(method).key].scale
        if scale is None:
            raise QualityControlError(
                f"there are no maps of {image}: its ground truth has nearly the same grey value "
                "everywhere."
            )
        return scale

    def _case(self, image: str) -> RestorationCase:
        return self.cases[self._index(image)]

    def _index(self, image: str) -> int:
        for index, case in enumerate(self.cases):
            if case.name == image:
                return index
        raise QualityControlError(
            f"this report has no image {image!r}; it has {', '.join(c.name for c in self.cases)}."
        )


def planes_of(case: RestorationCase, method: Method, kept: KeptPlanes) -> Planes:
    """What one method made of one image, plane by plane."""
    if method.key == PREDICTION:
        return Planes(np.asarray(case.prediction))
    source = np.asarray(case.source)
    if method.sweep is None:
        return Planes(source)
    change = method.sweep.filter.at(method.sweep.best)
    if method.sweep.filter.crop is None:
        return Planes(source, change)
    return kept.planes(source, change, key=(case.name, method.key))
