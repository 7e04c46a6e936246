"""ImageJ itself opens what we write: ROIs in their plane and place, tables with their numbers."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from micserve.codecs.rois import write_rois
from micserve.codecs.table import csv_bytes
from micserve.image import Calibration
from micserve.measure import measure
from micserve.objects import Objects, Position
from micserve.outlines import outlines

IMAGEJ = Path("/usr/share/java/ij.jar")
PROGRAM = Path(__file__).with_name("OpenInImageJ.java")


@pytest.fixture(scope="module")
def imagej(tmp_path_factory):
    """Runs the program next to this file in a display of its own; gives the cells it prints."""
    if not IMAGEJ.exists() or not shutil.which("javac") or not shutil.which("xvfb-run"):
        pytest.skip(f"needs ImageJ at {IMAGEJ}, javac and xvfb-run (apt packages imagej, xvfb)")
    home = tmp_path_factory.mktemp("imagej")
    subprocess.run(["javac", "-cp", IMAGEJ, "-d", home, PROGRAM], check=True, timeout=120)

    def run(*arguments):
        command = [
            "xvfb-run", "-a", "java", f"-Duser.home={home}", "-cp", f"{IMAGEJ}:{home}",
            "OpenInImageJ", *map(str, arguments),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    return run


def an_object(t=None, z=None, label=1):
    """A square of 6 × 4 pixels with fractions of a pixel, at a place that tells its frame."""
    y, x = 3.0 + (t or 0), 5.0 + 2 * (z or 0)
    corners = [[y, x], [y, x + 6], [y + 4, x + 6], [y + 4, x]]
    return Objects(
        labels=np.array([label], np.int32),
        scores=np.ones(1, np.float32),
        centres=np.array([[y + 2, x + 3]]),
        outlines=np.array([corners], np.float32) - 0.5,
        position=Position(t=t, z=z),
    )


@pytest.mark.parametrize(
    ("axes", "shape", "frames"),
    [
        ("YX", (), [(None, None)]),
        ("ZYX", (5,), [(None, 0), (None, 3)]),
        ("TYX", (4,), [(0, None), (2, None)]),
        ("ZCYX", (5, 2), [(None, 0), (None, 3)]),
        ("TCYX", (4, 2), [(0, None), (2, None)]),
        ("TZYX", (4, 5), [(0, 0), (2, 3), (3, 1)]),
        ("TZCYX", (4, 5, 2), [(0, 0), (2, 3)]),
    ],
)
def test_the_roi_manager_shows_every_roi_in_its_plane(imagej, tmp_path, axes, shape, frames):
    pixels = np.zeros((*shape, 24, 32), np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", pixels, imagej=True, metadata={"axes": axes})
    sizes = {axis: dict(zip(axes, pixels.shape, strict=True)).get(axis, 1) for axis in "TZC"}
    labels = np.zeros((24, 32), np.uint16)
    found = [o for t, z in frames for o in outlines(an_object(t, z), labels)]
    with (tmp_path / "RoiSet.zip").open("wb") as file:
        write_rois(found, file, sizes=sizes)
    rows = imagej("rois", tmp_path / "image.tif", tmp_path / "RoiSet.zip")
    assert len(rows) == len(frames)
    for (t, z), outline, row in zip(frames, found, rows, strict=True):
        name, *numbers = row
        assert name == outline.name
        channel, z_shown, t_shown, x, y, width, height, count = map(int, numbers)
        assert (channel, z_shown, t_shown) == (1, (z or 0) + 1, (t or 0) + 1)
        assert (x, y, width, height) == (5 + 2 * (z or 0), 3 + (t or 0), 6, 4)
        assert count == 24


def test_objects_with_depth_have_a_roi_in_each_slice_with_exactly_their_pixels(imagej, tmp_path):
    grid = np.indices((9, 30, 40)) - np.array([4, 14, 18]).reshape(3, 1, 1, 1)
    ball = ((grid / np.array([4, 9, 11]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 1
    labels = np.where(ball, 1, 0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "ball.tif", labels, imagej=True, metadata={"axes": "ZYX"})
    found = Objects(np.array([1], np.int32), np.ones(1, np.float32), np.zeros((1, 3)))
    with (tmp_path / "RoiSet.zip").open("wb") as file:
        count = write_rois(outlines(found, labels), file, sizes={"T": 1, "Z": 9, "C": 1})
    rows = imagej("rois", tmp_path / "ball.tif", tmp_path / "RoiSet.zip")
    slices = [z for z in range(9) if ball[z].any()]
    assert len(rows) == count == len(slices)
    for z, row in zip(slices, rows, strict=True):
        assert row[0] == f"00001-z{z + 1:03d}"
        assert int(row[2]) == z + 1
        assert int(row[-1]) == ball[z].sum()


def test_imagej_reads_the_table_with_all_its_numbers(imagej, tmp_path):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:6, 3:9], labels[10:13, 20:25] = 1, 2
    grey = np.arange(600, dtype=np.uint16).reshape(1, 20, 30)
    found = Objects(np.array([1, 2], np.int32), np.array([0.75, 0.5], np.float32), np.zeros((2, 2)))
    for calibration in (Calibration(), Calibration(unit="um", pixel_width=0.1, pixel_height=0.1)):
        columns = measure(found, labels, grey, calibration)
        (tmp_path / "table.csv").write_bytes(csv_bytes(columns))
        headings, *rows = imagej("table", tmp_path / "table.csv")
        assert headings == list(columns)
        read = np.array(rows, float)
        # ImageJ's own text has fewer digits than ours, not its numbers.
        np.testing.assert_allclose(read.T, list(columns.values()), rtol=1e-8)
