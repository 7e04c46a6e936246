"""Outlines hold exactly their pixels, and ImageJ's files say where they belong."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label as connected
from skimage.draw import polygon2mask

from micserve.codecs.rois import write_rois
from micserve.objects import Objects, Position
from micserve.outlines import Outline, outlines, traced

ONE_PLANE = {"T": 1, "Z": 1, "C": 1}


def objects(count, *, outlines=None, ndim=2, position=None):
    return Objects(
        labels=np.arange(1, count + 1, dtype=np.int32),
        scores=np.ones(count, np.float32),
        centres=np.zeros((count, ndim)),
        outlines=outlines,
        position=position or Position(),
    )


def written(found, sizes=ONE_PLANE):
    file = io.BytesIO()
    count = write_rois(found, file, sizes=sizes)
    with zipfile.ZipFile(file) as archive:
        rois = {n: roifile.ImagejRoi.frombytes(archive.read(n)) for n in archive.namelist()}
    assert len(rois) == count
    return rois


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 10_000),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["uint16", ">u2", "float32", ">f4"]),
)
def test_a_traced_outline_holds_the_pixels_of_the_largest_piece(seed, height, width, dtype):
    mask = np.random.default_rng(seed).random((height, width)) < 0.6
    mask[0, 0] = True
    labels = np.where(mask, 3, 0).astype(dtype)
    ((label, z, polygon),) = traced(labels, [3])
    pieces, count = connected(mask)
    # A hole belongs to the polygon around it, as for ImageJ's wand; a gap at a corner is no hole.
    filled = []
    for piece in range(1, count + 1):
        background, _ = connected(np.pad(pieces, 1) != piece, np.ones((3, 3)))
        filled.append((background != background[0, 0])[1:-1, 1:-1])
    inside = polygon2mask(mask.shape, polygon + 1e-4)
    assert (label, z) == (3, None)
    assert inside.sum() == max(area.sum() for area in filled)
    assert any(np.array_equal(inside, area) for area in filled)
    assert ((polygon * 2) % 2 == 1).all(), "corners lie between pixels"


def test_an_object_with_depth_has_one_outline_per_slice_that_it_is_in():
    labels = np.zeros((5, 8, 9), np.uint16)
    labels[1:4, 2:5, 3:7] = 1
    labels[4, 0, 0] = 2
    found = list(outlines(objects(2, ndim=3, position=Position(t=1)), labels))
    assert [o.name for o in found] == [
        "t002-00001-z002", "t002-00001-z003", "t002-00001-z004", "t002-00002-z005",
    ]  # fmt: skip
    assert [o.position.z for o in found] == [1, 2, 3, 4]
    assert {o.position.t for o in found} == {1}
    assert found[0].yx.min(axis=0).tolist() == [1.5, 2.5]
    assert found[0].yx.max(axis=0).tolist() == [4.5, 6.5]


def test_polygons_of_the_network_keep_their_fractions_of_a_pixel():
    corners = np.array([[[2.25, 3.5], [2.25, 9.125], [7.75, 6.0]]], np.float32)
    found = outlines(objects(1, outlines=corners), np.zeros((12, 12), np.uint16))
    (roi,) = written(found).values()
    assert roi.roitype == roifile.ROI_TYPE.POLYGON
    # ImageJ's coordinates begin at the corner of a pixel, and x is first.
    assert roi.coordinates().tolist() == [[4.0, 2.75], [9.625, 2.75], [6.5, 8.25]]


@pytest.mark.parametrize(
    ("sizes", "position", "plane", "channel_slice_frame"),
    [
        (ONE_PLANE, Position(), 0, (0, 0, 0)),
        (ONE_PLANE, Position(t=0, z=0), 0, (0, 0, 0)),
        ({"T": 1, "Z": 7, "C": 1}, Position(z=4), 5, (0, 0, 0)),
        ({"T": 7, "Z": 1, "C": 1}, Position(t=4), 5, (0, 0, 0)),
        ({"T": 1, "Z": 7, "C": 3}, Position(z=4), 0, (0, 5, 0)),
        ({"T": 7, "Z": 1, "C": 3}, Position(t=4), 0, (0, 0, 5)),
        ({"T": 7, "Z": 6, "C": 3}, Position(t=4, z=2, c=0), 0, (1, 3, 5)),
    ],
)
def test_a_roi_lies_in_its_plane(sizes, position, plane, channel_slice_frame):
    square = np.array([[0, 0], [0, 3], [3, 3]], np.float32)
    (roi,) = written([Outline("a", square, position)], sizes).values()
    assert roi.position == plane
    assert (roi.c_position, roi.z_position, roi.t_position) == channel_slice_frame


def test_names_are_not_taken_for_slice_numbers_by_imagej():
    """`RoiManager.getSliceNumber` reads 0001-0002-0003 as slice 1."""
    found = objects(1, outlines=np.zeros((1, 3, 2), np.float32), position=Position(t=2, z=11))
    (outline,) = outlines(found, np.ones((4, 4), np.uint16))
    assert outline.name == "t003-z012-00001"
    assert not re.match(r"\d{4}-", outline.name)


def test_the_same_outlines_give_the_same_bytes(tmp_path: Path):
    triangle = np.array([[0, 0], [0, 3], [3, 3]], np.float32)
    files = []
    for name in ("a.zip", "b.zip"):
        with (tmp_path / name).open("wb") as file:
            write_rois([Outline("x", triangle, Position())], file, sizes=ONE_PLANE)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
