"""Files whose pixels are written tile by tile, and files that are whole or not there."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from micserve.codecs import (
    create_tiff,
    finish_tiff,
    probe,
    publish_file,
    read_image,
    write_tiff,
)
from micserve.errors import ImageFormatError, ParameterError
from micserve.image import Calibration, Display, Image

LIKE = Image(
    np.zeros((3, 7, 9), np.uint16),
    "ZYX",
    Calibration(0.1, 0.2, 0.5, "µm"),
    Display(ranges=((0.0, 9.0),)),
    labels=("a", "b", "c"),
    info="from the microscope\n",
)


@settings(deadline=None, derandomize=True)
@given(
    axes=st.sampled_from(["YX", "ZYX", "TYX", "TZCYX", "CYX", "YXS"]),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    grown=st.integers(0, 9000),
)
def test_pixels_and_metadata_can_come_one_after_the_other(tmp_path_factory, axes, dtype, grown):
    path = tmp_path_factory.mktemp("created") / "result.tif"
    shape = tuple({"S": 3, "C": 2}.get(axis, 4) for axis in axes)
    expected = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    pixels = create_tiff(path, shape=shape, axes=axes, dtype=expected.dtype, like=LIKE)
    assert np.array_equal(read_image(path).data, np.zeros(shape))
    for row in range(4):
        place = (slice(None),) * axes.index("Y") + (row,)
        pixels[place] = expected[place]
    info = "made by micserve\n" + "x" * min(grown, 7500) + LIKE.info
    display = Display(ranges=((-1.5, 2.5e7),) * (2 if "C" in axes else 1))
    result = replace(LIKE, data=pixels, axes=axes, info=info, display=display, labels=())
    finish_tiff(path, result)
    image = read_image(path)
    assert np.array_equal(image.data, expected)
    assert (image.axes, image.info) == (axes, info)
    assert image.display.ranges == display.ranges
    assert image.calibration == LIKE.calibration
    assert np.array_equal(tifffile.imread(path).ravel(), expected.ravel())


def test_info_that_has_grown_too_long_is_cut_and_the_pixels_stay(tmp_path):
    path = tmp_path / "result.tif"
    pixels = create_tiff(path, shape=(7, 9), axes="YX", dtype=np.dtype(np.float32), like=LIKE)
    pixels[:] = 5
    finish_tiff(path, replace(LIKE, data=pixels, axes="YX", info="y" * 100_000, labels=()))
    image = read_image(path)
    assert (image.data == 5).all()
    assert 7000 < len(image.info) < 12_000
    assert image.display.ranges == LIKE.display.ranges


def test_types_that_imagej_lacks_are_refused(tmp_path):
    with pytest.raises(ImageFormatError, match="ImageJ, which has pixels of type uint8, uint16"):
        create_tiff(tmp_path / "a.tif", shape=(2, 2), axes="YX", dtype=np.dtype("f8"), like=LIKE)


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="needs files with holes")
def test_a_stack_beyond_4_gib_has_one_directory_and_all_planes(tmp_path):
    """As ImageJ writes it; a virtual stack in ImageJ 1.53t shows every plane."""
    path = tmp_path / "large.tif"
    shape = (5, 32768, 32768)
    pixels = create_tiff(path, shape=shape, axes="ZYX", dtype=np.dtype(np.uint8), like=LIKE)
    pixels[4, -1, -1] = 77
    finish_tiff(path, replace(LIKE, data=pixels))
    image = read_image(path)
    assert image.data.shape == shape
    assert image.data[4, -1, -1] == 77
    with tifffile.TiffFile(path) as file:
        assert file.series[0].shape == shape
        assert len(file.pages) == 1


def test_a_plane_beyond_4_gib_is_bigtiff_and_ome(tmp_path):
    path = tmp_path / "large.tif"
    shape = (33000, 33000)
    pixels = create_tiff(path, shape=shape, axes="YX", dtype=np.dtype(np.float32), like=LIKE)
    pixels[-1, -1] = 77
    finish_tiff(path, replace(LIKE, data=pixels, axes="YX"))
    assert probe(path).format == "OME-TIFF"
    assert read_image(path).data[-1, -1] == 77
    assert read_image(path).calibration.pixel_height == 0.2


SMALL_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from micserve.codecs import create_tiff, finish_tiff, publish_file, read_image
from micserve.image import Display, Image

def private():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) // 1024

target, n = Path(sys.argv[1]), 16384
like = Image(np.zeros((1, 1), np.float32), "YX")
before = most = private()
with publish_file(target) as part:
    out = create_tiff(part, shape=(n, n), axes="YX", dtype=np.dtype(np.float32), like=like)
    for y in range(0, n, 2048):
        out[y : y + 2048, :2048] = y
        most = max(most, private())
    finish_tiff(part, like.with_data(out, display=Display(ranges=((0.0, float(n)),))))
image = read_image(target)
assert image.data[8192, 0] == 8192 and image.data.shape == (n, n)
print(max(most, private()) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory through /proc")
def test_16384_squared_float32_takes_no_memory_of_its_own(tmp_path):
    """A GiB of pixels goes through the page cache; the process owns next to nothing of it."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SMALL_MEMORY, str(tmp_path / "large.tif")],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64  # MiB


class TestPublishing:
    def test_the_file_appears_when_it_is_whole(self, tmp_path):
        target = tmp_path / "result.tif"
        with publish_file(target) as part:
            part.write_bytes(b"new")
            assert not target.exists()
            assert part.parent == target.parent
        assert target.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        target = tmp_path / "result.tif"
        target.write_bytes(b"old")

        def fail_half_way():
            with publish_file(target) as part:
                part.write_bytes(b"ne")
                raise RuntimeError("half way")

        with pytest.raises(RuntimeError, match="half way"):
            fail_half_way()
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]

    def test_others_may_read_it_as_any_file_of_this_process(self, tmp_path):
        with publish_file(tmp_path / "a") as part:
            part.write_bytes(b"")
        (tmp_path / "b").write_bytes(b"")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode

    def test_a_folder_that_is_not_there_is_said_so(self, tmp_path):
        with pytest.raises(ParameterError, match="cannot be written: No such file or directory"):
            write_tiff(LIKE, tmp_path / "nowhere" / "a.tif")
