"""A segmentation report's numbers image by image, for the gate that compares two versions."""

from micserve.qc.held_out import HeldOut, HeldOutImage, HeldOutMeasure
from micserve.qc.segmentation.report import SegmentationReport

COMPARED = ("mean_ap", "f1", "panoptic_quality", "iou", "dice")
"""Measures that a gate shows; the verdict's own first."""


def segmentation_held_out(report: SegmentationReport) -> HeldOut:
    """Of objects or of classes."""
    chosen = sorted(
        (one for one in report.measures if one.key in COMPARED),
        key=lambda one: COMPARED.index(one.key),
    )
    return HeldOut(
        measures=tuple(
            HeldOutMeasure(key=one.key, label=one.label, unit="", better="higher") for one in chosen
        ),
        methods={method.key: method.label for method in report.methods},
        images=tuple(
            HeldOutImage(
                name=image.name,
                sha256=image.target_sha256,
                scores={
                    key: {one.key: found.whole.get(one.key) for one in chosen}
                    for key, found in image.results.items()
                },
            )
            for image in report.images
        ),
        sentence=report.summary.sentence,
    )
