"""Objects match as in `stardist.matching`; splits, merges and classes by hand-made cases."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from stardist.matching import matching

from micserve.errors import QualityControlError
from micserve.qc.segmentation import (
    THRESHOLDS,
    SegmentationCase,
    checked_labels,
    evaluate_segmentation,
    fates,
    match,
    overlaps,
)
from micserve.qc.segmentation.baselines import watersheds

SAME = (
    "tp", "fp", "fn", "precision", "recall", "f1", "accuracy",
    "mean_matched_score", "mean_true_score", "panoptic_quality",
)  # fmt: skip
ROUNDING = 2e-7
"""stardist keeps the IoU as float32."""


def _same_as_stardist(prediction: np.ndarray, target: np.ndarray, thresholds: tuple[float, ...]):
    ours, _ = overlaps(checked_labels(prediction, target, name="image"), slices=False)
    for threshold in thresholds:
        theirs, mine = matching(target, prediction, thresh=threshold), match(ours, threshold)
        for name in SAME:
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=ROUNDING), (
                f"{name} at IoU {threshold}"
            )


def test_random_labels_match_as_in_stardist_even_where_pairs_compete() -> None:
    random = np.random.default_rng(4)
    for _ in range(60):
        target, prediction = random.integers(0, 4, (2, 6, 7))
        _same_as_stardist(prediction, target, (0.1, 0.25, 0.5, 0.6))


def test_two_halves_of_one_object_match_once_at_one_half() -> None:
    target = np.ones((4, 6), int)
    prediction = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    ours, _ = overlaps(checked_labels(prediction, target, name="image"))
    assert (match(ours, 0.5).tp, match(ours, 0.5).fp) == (1, 1)
    _same_as_stardist(prediction, target, THRESHOLDS)


def test_real_nuclei_in_a_plane_and_in_a_stack_match_as_in_stardist(shared_data: Path) -> None:
    folder = shared_data / "stardist_pip"
    for name in ("mask2d.tif", "mask3d.tif"):
        target = tifffile.imread(folder / name)
        shifted = np.roll(target, 2, axis=-1)
        shifted[shifted == 3] = 0
        shifted[shifted == 7] = 8
        _same_as_stardist(shifted, target, THRESHOLDS)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int32", "float32", "<f8"])
def test_the_pixel_type_and_byte_order_of_labels_change_nothing(dtype: str) -> None:
    target = np.zeros((9, 11), np.uint16)
    target[1:4, 1:5], target[5:8, 6:10] = 1, 5
    prediction = np.roll(target, 1, axis=0)
    expected, _ = overlaps(checked_labels(prediction, target, name="image"))
    found, _ = overlaps(checked_labels(prediction.astype(dtype), target, name="image"))
    assert match(found, 0.5) == match(expected, 0.5)


def _squares(*places: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((20, 30), int)
    for label, (top, bottom, left, right) in enumerate(places, start=1):
        image[top:bottom, left:right] = label
    return image


def test_every_object_has_one_fate() -> None:
    target = _squares(
        (1, 9, 1, 9), (1, 9, 11, 19), (1, 9, 19, 27), (11, 19, 1, 9), (11, 13, 20, 24)
    )
    prediction = _squares(
        (1, 9, 1, 5), (1, 9, 5, 9),  # halves of the first
        (1, 9, 11, 27),  # the second and the third together
        (11, 19, 1, 8),  # the fourth, a column short
        (15, 19, 15, 19),  # nothing
    )  # fmt: skip
    found = fates(overlaps(checked_labels(prediction, target, name="image"))[0])
    assert found.of_true().tolist() == ["split", "merged", "merged", "found", "missed"]
    assert found.of_found().tolist() == ["split", "split", "merged", "found", "false"]
    assert (found.split, found.merged) == (1, 1)


def test_a_crumb_beside_a_found_object_splits_nothing() -> None:
    target = _squares((1, 19, 1, 19))
    prediction = _squares((1, 19, 1, 18), (1, 3, 18, 19))
    found = fates(overlaps(checked_labels(prediction, target, name="image"))[0])
    assert found.split == 0
    assert found.of_true().tolist() == ["found"]
    assert found.of_found().tolist() == ["found", "false"]


def test_a_stack_is_matched_whole_and_slice_by_slice() -> None:
    target = np.stack([_squares((2, 8, 2, 8))] * 3)
    prediction = target.copy()
    prediction[0] = 0
    report = evaluate_segmentation(
        [SegmentationCase("stack", prediction, target)], reading="objects"
    )
    scores = report.images[0].results["prediction"]
    assert scores.whole["n_true"] == 1
    assert scores.whole["mean_matched_score"] == pytest.approx(2 / 3)
    assert [one["recall"] for one in scores.slices] == [0.0, 1.0, 1.0]


def test_slices_of_planes_may_use_the_same_numbers_again() -> None:
    target = np.stack([_squares((2, 8, 2, 8)), _squares((10, 18, 12, 20))])
    report = evaluate_segmentation(
        [SegmentationCase("t", target, target)], reading="objects", ndim=2
    )
    assert report.images[0].results["prediction"].whole["n_true"] == 2


def test_classes_have_iou_and_dice_by_hand() -> None:
    target = np.array([[0, 0, 1, 1], [2, 2, 1, 1]])
    prediction = np.array([[0, 1, 1, 1], [2, 0, 1, 0]])
    report = evaluate_segmentation(
        [SegmentationCase("mask", prediction, target)], reading="classes"
    )
    scores = report.images[0].results["prediction"].whole
    assert scores["iou_1"] == pytest.approx(3 / 5)
    assert scores["dice_1"] == pytest.approx(6 / 8)
    assert scores["iou_2"] == pytest.approx(1 / 2)
    assert scores["iou"] == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(5 / 8)


def test_a_mask_of_255_is_the_mask_of_1() -> None:
    target = (np.arange(24).reshape(4, 6) % 3 == 0).astype(np.uint8)
    report = evaluate_segmentation([SegmentationCase("mask", target * 255, target)])
    assert report.reading == "classes"
    assert report.images[0].results["prediction"].whole["iou"] == 1


def test_images_without_any_object_count_in_no_mean() -> None:
    empty, full = np.zeros((8, 8), int), _squares((2, 8, 2, 8))
    report = evaluate_segmentation(
        [SegmentationCase("empty", empty, empty), SegmentationCase("full", full, full)],
        reading="objects",
    )
    assert report.summary.values["prediction"]["f1"] == 1
    assert any("empty has no object" in note for note in report.notes)


def test_one_pixel_is_an_image() -> None:
    one = np.ones((1, 1), np.uint8)
    report = evaluate_segmentation([SegmentationCase("dot", one, one, one)], reading="objects")
    assert report.summary.values["prediction"]["mean_ap"] == 1


LABELS = _squares((2, 8, 2, 8))


@pytest.mark.parametrize(
    ("prediction", "target", "words"),
    [
        (np.where(LABELS, np.nan, 0.0), LABELS, "not a number"),
        (LABELS * 0.5, LABELS, "values with fractions"),
        (-LABELS, LABELS, "negative values"),
        (LABELS[:10], LABELS, "same shape"),
        (LABELS[:0], LABELS[:0], "at least one pixel"),
        (LABELS.astype(np.int64) * 2**40, LABELS, "largest that can be told apart"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    prediction: np.ndarray, target: np.ndarray, words: str
) -> None:
    with pytest.raises(QualityControlError, match=words):
        evaluate_segmentation([SegmentationCase("image", prediction, target)])


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_watershed_finds_nothing_where_nothing_stands_out(ndim: int) -> None:
    frame = np.zeros((16,) * ndim, np.uint16)
    for trial in watersheds(dark=False):
        assert not trial.run(frame).any()


def test_a_watershed_that_does_better_makes_the_light_red(shared_data: Path) -> None:
    folder = shared_data / "stardist_pip"
    image = tifffile.imread(folder / "img2d.tif")[:256, :256]
    target = tifffile.imread(folder / "mask2d.tif")[:256, :256]
    nothing = np.zeros_like(target)
    report = evaluate_segmentation([SegmentationCase("nuclei", nothing, target, image)])
    assert [method.key for method in report.methods] == ["prediction", "threshold", "watershed"]
    assert report.summary.light == "red"
    perfect = evaluate_segmentation([SegmentationCase("nuclei", target, target, image)])
    assert perfect.summary.light == "green"
