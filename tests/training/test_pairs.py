"""Paired training data: matched by name, refused as a whole, split before patches."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from micserve.errors import TrainingDataError
from training.common.pairs import (
    class_mask,
    folders_of,
    grey_target,
    instance_labels,
    load_pairs,
)

SETTINGS = {
    "ndim": 2,
    "channel": None,
    "percentage_validation": 25,
    "seed": 0,
    "patch": 16,
    "gap": 8,
    "multiple": 4,
}


def grey(seed, shape=(40, 48)):
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def write(folder: Path, **images):
    folder.mkdir(exist_ok=True)
    for name, pixels in images.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels)
    return folder


@pytest.fixture
def folders(tmp_path):
    images = write(tmp_path / "images", **{f"cell{n}": grey(n) for n in range(4)})
    masks = write(
        tmp_path / "masks", **{f"cell{n}": (grey(n) > 2000).astype(np.uint8) for n in range(4)}
    )
    return images, masks


def load(folders, check=class_mask, **changes):
    return load_pairs(*folders, check=check, **{**SETTINGS, **changes})


def test_every_frame_comes_with_its_own_target(folders):
    dataset = load(folders)
    assert len(dataset.train) == 3
    assert len(dataset.validation) == 1
    for pair in (*dataset.train, *dataset.validation):
        assert pair.pixels.shape == pair.target.shape == (1, 40, 48)
        np.testing.assert_array_equal(pair.pixels > 2000, pair.target)


def test_a_file_is_held_back_together_with_its_target(folders):
    files = load(folders).manifest.files
    parts = {}
    for entry in files:
        parts.setdefault(entry.file.split("/")[1], set()).add(entry.part)
    assert all(len(part) == 1 for part in parts.values())
    assert {entry.file for entry in files if entry.role == "target"} == {
        f"masks/cell{n}.tif" for n in range(4)
    }
    assert len(load(folders).manifest.images) == 4


def test_the_same_seed_gives_the_same_split(folders):
    assert load(folders).manifest == load(folders).manifest


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    good = grey(0)
    images = write(
        tmp_path / "images", a=good, b=good, c=good, d=good, e=good, f=good, lonely=good,
        flat=np.zeros_like(good), stack=np.stack([good, good]),
    )  # fmt: skip
    masks = write(
        tmp_path / "masks", a=good > 9, b=np.zeros((39, 48), np.uint8),
        c=np.full(good.shape, 0.5, np.float32), e=np.full(good.shape, -1, np.int16),
        f=np.full(good.shape, np.nan, np.float32), orphan=(good > 9).astype(np.uint8),
        flat=np.zeros(good.shape, np.uint8), stack=np.zeros(good.shape, np.uint8),
    )  # fmt: skip
    tifffile.imwrite(masks / "d.tif", np.zeros((40, 48, 3), np.uint8), photometric="rgb")
    with pytest.raises(TrainingDataError) as failure:
        load((images, masks))
    message = str(failure.value)
    for file, words in {
        "images/lonely.tif": "no target of this name",
        "masks/orphan.tif": "no image of this name",
        "masks/b.tif": "39 × 48 pixels, its image has 40 × 48",
        "masks/c.tif": "fractions",
        "masks/d.tif": "colour picture",
        "masks/e.tif": "negative",
        "masks/f.tif": "NaN",
        "images/flat.tif": "same grey value",
        "masks/stack.tif": "1 frames or slices, its image has 2",
    }.items():
        line = next(line for line in message.splitlines() if line.strip().startswith(file))
        assert words in line
    assert "masks/a.tif" not in message
    assert message.startswith("9 things are wrong")


def test_two_files_of_one_name_are_not_guessed_between(folders):
    images, _ = folders
    tifffile.imwrite(images / "cell0.tiff", grey(9))
    with pytest.raises(TrainingDataError, match="differs from it only in its ending"):
        load(folders)


def test_targets_may_say_in_their_names_that_they_are_masks(tmp_path):
    images = write(tmp_path / "images", a=grey(0), b=grey(1))
    masks = write(
        tmp_path / "m", a_mask=np.eye(40, 48, dtype=np.uint8), b=np.eye(40, 48, dtype=np.uint8)
    )
    dataset = load((images, masks))
    assert {pair.file for pair in (*dataset.train, *dataset.validation)} == {"a.tif", "b.tif"}


def test_one_pair_is_split_into_the_same_regions_of_both(tmp_path):
    image = grey(0, (200, 60))
    images = write(tmp_path / "images", a=image)
    targets = write(tmp_path / "target", a=image + 1)
    dataset = load((images, targets), check=grey_target)
    for pair in (*dataset.train, *dataset.validation):
        np.testing.assert_array_equal(pair.pixels + 1, pair.target)
    assert dataset.manifest.split == "by region"


def test_stacks_are_pairs_for_a_3d_network_and_slices_for_a_2d_one(tmp_path):
    stack = grey(0, (6, 32, 40))
    for name in ("images", "target"):
        folder = write(tmp_path / name)
        for n in range(2):
            tifffile.imwrite(folder / f"s{n}.tif", stack + n, imagej=True, metadata={"axes": "ZYX"})
    both = (tmp_path / "images", tmp_path / "target")
    whole = load(both, check=grey_target, ndim=3)
    assert whole.train[0].pixels.shape == whole.train[0].target.shape == (1, 6, 32, 40)
    assert len(load(both, check=grey_target, ndim=2).train) == 6


def test_a_grey_target_must_not_be_flat(folders):
    tifffile.imwrite(folders[1] / "cell0.tif", np.full((40, 48), 7, np.uint16))
    with pytest.raises(TrainingDataError, match=r"masks/cell0\.tif: all of its pixels"):
        load(folders, check=grey_target)


def test_a_black_and_white_mask_is_not_labels(tmp_path):
    mask = np.zeros((40, 48), np.uint8)
    mask[2:9, 2:9] = mask[20:30, 20:30] = 255
    images = write(tmp_path / "images", a=grey(0), b=grey(1), c=grey(2))
    labels = np.where(mask, np.arange(48) // 15 + 1, 0).astype(np.uint16)
    one = np.zeros_like(mask)
    one[5:9, 5:9] = 255
    masks = write(tmp_path / "masks", a=mask, b=labels, c=one)
    with pytest.raises(TrainingDataError, match="black and white mask") as failure:
        load((images, masks), check=instance_labels)
    assert "1 thing is wrong" in str(failure.value)


def test_colour_images_are_taken_where_the_network_takes_colour(tmp_path):
    images, masks = tmp_path / "images", write(tmp_path / "masks")
    images.mkdir()
    for n in range(2):
        picture = np.random.default_rng(n).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        tifffile.imwrite(images / f"{n}.tif", picture, photometric="rgb")
        tifffile.imwrite(masks / f"{n}.tif", np.eye(40, 48, dtype=np.uint16))
    dataset = load((images, masks), check=instance_labels, channels=3)
    assert dataset.train[0].pixels.shape == (3, 40, 48)
    with pytest.raises(TrainingDataError, match="RGB"):
        load((images, masks), check=instance_labels)


def test_folders_are_found_by_what_they_are_called(tmp_path):
    (tmp_path / "Image").mkdir()
    (tmp_path / "label").mkdir()
    assert folders_of(tmp_path, None) == (tmp_path / "Image", tmp_path / "label")
    assert folders_of(tmp_path, tmp_path / "x") == (tmp_path, tmp_path / "x")
    with pytest.raises(TrainingDataError, match="images and masks"):
        folders_of(tmp_path / "label", None)
