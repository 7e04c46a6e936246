"""Folders of images as training data; runs without any training framework."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from micserve.errors import TrainingDataError
from training.common.flow import refuse_changed
from training.common.images import Dataset, Plane, grey_statistics, held_back, load_dataset


def image(path: Path, shape: tuple[int, ...] = (200, 180), *, seed: int = 0, **how: object) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(path, pixels, **how)


def load(folder: Path, **changes: object) -> Dataset:
    usual = {"ndim": 2, "channel": None, "percentage_validation": 10, "seed": 1}
    sizes = {"patch": 32, "gap": 24, "multiple": 4}
    return load_dataset(folder, **{**usual, **sizes, **changes})


@given(st.integers(2, 500), st.floats(0.1, 50), st.integers(0, 99))
def test_both_parts_get_at_least_one_file(count, percentage, seed):
    held = held_back(count, percentage, seed)
    assert 1 <= len(held) < count
    assert held == held_back(count, percentage, seed)


def test_a_file_is_either_trained_on_or_held_back(tmp_path):
    for number in range(10):
        image(tmp_path / f"{number}.tif", seed=number)
    data = load(tmp_path, percentage_validation=30)
    train = {plane.file for plane in data.train}
    validation = {plane.file for plane in data.validation}
    assert not train & validation
    assert (len(train), len(validation)) == (7, 3)
    assert {f.file for f in data.manifest.files if f.part == "train"} == train
    assert data.manifest.split == "by file"


def test_a_single_image_is_split_with_a_gap_of_a_patch_and_the_reach(tmp_path):
    image(tmp_path / "only.tif", (300, 100))
    data = load(tmp_path)
    assert data.manifest.split == "by region"
    kept, held = data.train[0].size[0], data.validation[0].size[0]
    assert 300 - kept - held >= 32 + 24
    assert held >= 32
    assert "split by region" in data.manifest.sentence


def test_a_wide_single_image_is_split_along_its_columns(tmp_path):
    image(tmp_path / "only.tif", (100, 300))
    data = load(tmp_path)
    assert data.train[0].size[0] == data.validation[0].size[0] == 100


def test_a_single_image_too_small_to_split_is_refused_with_what_to_do(tmp_path):
    image(tmp_path / "only.tif", (60, 60))
    with pytest.raises(TrainingDataError, match="Add a second image"):
        load(tmp_path)


def test_slices_and_frames_are_planes_of_their_file(tmp_path):
    image(tmp_path / "a.tif", (2, 3, 64, 64), imagej=True, metadata={"axes": "TZYX"})
    image(tmp_path / "b.tif", (64, 64))
    data = load(tmp_path)
    assert sorted(
        len([p for p in (*data.train, *data.validation) if p.file == f]) for f in ("a.tif", "b.tif")
    ) == [1, 6]


def test_channels_need_a_choice(tmp_path):
    for name in "ab":
        image(tmp_path / f"{name}.tif", (3, 64, 64), imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(TrainingDataError, match="channel"):
        load(tmp_path)
    assert load(tmp_path, channel=2).train[0].pixels.shape == (1, 64, 64)


def test_everything_wrong_in_a_folder_is_said_at_once(tmp_path):
    image(tmp_path / "good.tif")
    image(tmp_path / "small.tif", (8, 8))
    (tmp_path / "broken.tif").write_bytes(b"not a tiff")
    tifffile.imwrite(tmp_path / "black.tif", np.zeros((64, 64), np.uint8))
    tifffile.imwrite(tmp_path / "nan.tif", np.full((64, 64), np.nan, np.float32))
    with pytest.raises(TrainingDataError) as error:
        load(tmp_path)
    assert "4 of 5 images" in str(error.value)
    for name in ("small.tif", "broken.tif", "black.tif", "nan.tif"):
        assert f"{name}: " in str(error.value)
    assert "good.tif" not in str(error.value)


@pytest.mark.parametrize("missing", [True, False])
def test_no_images_is_said_in_words(tmp_path, missing):
    with pytest.raises(TrainingDataError, match=r"folder"):
        load(tmp_path / "nowhere" if missing else tmp_path)


def test_the_pixel_size_is_the_files_unless_it_is_given(tmp_path):
    for name in "ab":
        image(
            tmp_path / f"{name}.tif",
            imagej=True,
            resolution=(4.0, 4.0),
            metadata={"axes": "YX", "unit": "um"},
        )
    assert load(tmp_path).pixel_size_um == pytest.approx({"Y": 0.25, "X": 0.25})
    assert load(tmp_path, pixel_size_um=0.1).pixel_size_um == {"Y": 0.1, "X": 0.1}


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4"])
def test_statistics_are_those_of_numpy(dtype):
    pixels = np.random.default_rng(0).normal(100, 20, (1, 70, 90)).astype(dtype)
    found = grey_statistics([Plane(pixels, "a"), Plane(pixels[:, :30], "b")])
    everything = np.concatenate([pixels.ravel(), pixels[:, :30].ravel()]).astype(np.float64)
    # Statistics of some thousand values in double precision agree far better than this.
    assert found["mean"] == pytest.approx(everything.mean(), rel=1e-9)
    assert found["std"] == pytest.approx(everything.std(), rel=1e-9)
    assert found["p50"] == pytest.approx(np.percentile(everything, 50), rel=1e-6)


def test_a_changed_image_is_not_trained_on_further(tmp_path):
    for number in range(2):
        image(tmp_path / f"{number}.tif", seed=number)
    before = load(tmp_path).manifest
    refuse_changed(before, load(tmp_path).manifest)
    image(tmp_path / "1.tif", seed=99)
    with pytest.raises(TrainingDataError, match=r"1\.tif"):
        refuse_changed(before, load(tmp_path).manifest)
