"""Measurements agree with scikit-image, whatever the chunks; the CSV holds only plain words."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from micserve import objects
from micserve.codecs.table import csv_bytes
from micserve.image import Calibration
from micserve.measure import measure, stack
from micserve.objects import Objects, Position, seen_labels


def found_in(labels, position=None):
    seen = seen_labels(labels, int(labels.max(initial=0)))
    return Objects(
        labels=seen,
        scores=np.linspace(0.5, 1, len(seen)).astype(np.float32),
        centres=np.zeros((len(seen), labels.ndim)),
        position=position or Position(),
    )


@settings(deadline=None, max_examples=60)
@given(
    ndim=st.sampled_from([2, 3]),
    seed=st.integers(0, 999),
    chunk=st.sampled_from([1, 50, 10**6]),
    types=st.sampled_from(
        [
            ("uint16", "uint8"),
            ("float32", ">u2"),
            ("int32", "float32"),
            (">u2", ">f4"),
            (">f4", "uint16"),
        ]
    ),
    channels=st.integers(1, 3),
)
def test_measurements_are_those_of_scikit_image(ndim, seed, chunk, types, channels):
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 12, ndim))
    labels = (random.integers(0, 9, shape) * random.integers(0, 2, shape)).astype(types[0])
    frame = random.uniform(0, 250, (channels, *shape)).astype(types[1])
    um = Calibration(pixel_width=0.25, pixel_height=0.5, pixel_depth=2.0, unit="um")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "CHUNK_PIXELS", chunk)
        found = found_in(labels)
        columns = measure(found, labels, frame, um)
    expected = regionprops_table(
        labels.astype(np.int32),
        np.moveaxis(frame, 0, -1).astype(np.float64),
        properties=["label", "area", "centroid", "intensity_mean", "intensity_min",
                    "intensity_max"],
    )  # fmt: skip
    assert np.array_equal(columns["label"], expected["label"])
    size, unit = ("area", "um2") if ndim == 2 else ("volume", "um3")
    assert np.array_equal(columns[f"{size}_px"], expected["area"])
    voxel = 0.25 * 0.5 * (2.0 if ndim == 3 else 1.0)
    np.testing.assert_allclose(columns[f"{size}_{unit}"], expected["area"] * voxel)
    pixel = {"z": 2.0, "y": 0.5, "x": 0.25}
    for number, axis in enumerate("zyx"[-ndim:]):
        centre = expected[f"centroid-{number}"] + 0.5
        np.testing.assert_allclose(columns[f"centroid_{axis}_px"], centre)
        np.testing.assert_allclose(columns[f"centroid_{axis}_um"], centre * pixel[axis])
    for channel in range(channels):
        suffix = f"_c{channel + 1}" if channels > 1 else ""
        for what in ("mean", "min", "max"):
            np.testing.assert_allclose(
                columns[f"intensity_{what}{suffix}"], expected[f"intensity_{what}-{channel}"]
            )


def test_the_table_says_in_which_frame_an_object_is():
    labels = np.zeros((4, 4), np.uint16)
    labels[1:3, 1:3] = 1
    frame = np.ones((1, 4, 4), np.uint8)
    parts = [
        measure(found_in(labels, Position(t=t, z=5)), labels, frame, Calibration()) for t in (0, 1)
    ]
    table = stack(parts)
    assert [table[name].tolist() for name in ("label", "frame", "slice", "channel")] == [
        [1, 1], [1, 2], [6, 6], [1, 1],
    ]  # fmt: skip
    deep = measure(found_in(labels[None]), labels[None], frame[None], Calibration())
    assert "slice" not in deep
    assert "centroid_z_px" in deep


def test_without_a_physical_unit_the_columns_stay_and_hold_nan():
    labels = np.ones((2, 3), np.uint16)
    columns = measure(found_in(labels), labels, np.ones((1, 2, 3), np.uint8), Calibration())
    assert columns["area_px"].tolist() == [6]
    assert np.isnan(columns["area_um2"]).all()
    row = csv_bytes(columns).decode().splitlines()[1]
    assert row == "1,1,1,1,0.5,1.5,1,NaN,NaN,6,NaN,1,1,1"


def test_the_csv_has_no_quotes_and_one_row_per_object():
    labels = np.repeat(np.arange(1, 1001, dtype=np.uint16), 4).reshape(40, 100)
    columns = measure(
        found_in(labels), labels, np.full((1, 40, 100), 65535, np.uint16), Calibration(unit="um")
    )
    content = csv_bytes(columns)
    assert b'"' not in content
    rows = list(csv.DictReader(io.StringIO(content.decode("ascii"))))
    assert [int(row["label"]) for row in rows] == list(range(1, 1001))
    assert {row["intensity_mean"] for row in rows} == {"65535"}


def test_an_image_without_objects_gives_a_header_alone():
    labels = np.zeros((5, 5), np.uint16)
    columns = measure(found_in(labels), labels, np.ones((1, 5, 5), np.uint8), Calibration())
    assert csv_bytes(columns).decode().splitlines() == [",".join(columns)]
