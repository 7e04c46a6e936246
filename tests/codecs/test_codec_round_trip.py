"""What is written is what is read: pixels, axes, calibration, display and texts."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from micserve.codecs import image_to_bytes, probe, read_image, write_tiff
from micserve.errors import ImageFormatError
from micserve.image import Calibration, Display, Image

steady = settings(deadline=None, derandomize=True)
"""The same examples every time, however busy the machine is."""

IMAGEJ_TYPES = ["uint8", "uint16", "int16", "float32"]
READ_TYPES = [
    *IMAGEJ_TYPES, "int8", "int32", "uint32", "int64", "uint64", "float16", "float64",
]  # fmt: skip
SIZES = st.floats(1e-3, 1e3, allow_subnormal=False)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@st.composite
def images(draw, types=IMAGEJ_TYPES, leading="TZC", *, least=1):
    """Images with any subset of axes; planes hold different values."""
    axes = "".join(axis for axis in leading if draw(st.booleans())) + "YX"
    shape = tuple(draw(st.integers(least, 4)) for _ in axes[:-2])
    shape += (draw(st.integers(least, 9)), draw(st.integers(least, 9)))
    dtype = np.dtype(draw(st.sampled_from(types)))
    return Image(values(shape, dtype), axes)


def values(shape, dtype):
    count = int(np.prod(shape))
    if dtype.kind == "f":
        return (np.arange(count).reshape(shape) / 8 - 3).astype(dtype)
    return (np.arange(count) % 241 - (120 if dtype.kind == "i" else 0)).reshape(shape).astype(dtype)


@st.composite
def described(draw):
    """Images with everything that ImageJ's TIFF can say about them."""
    image = draw(images())
    channels = image.size("C")
    planes = channels * image.size("Z") * image.size("T")
    ranges = tuple((float(draw(st.integers(0, 99))), 100.0 + i) for i in range(channels))
    luts = tuple(
        np.roll(np.tile(np.arange(256, dtype=np.uint8), (3, 1)), i + 1, 1) for i in range(channels)
    )
    return replace(
        image,
        calibration=Calibration(
            draw(SIZES),
            draw(SIZES),
            draw(SIZES),
            unit=draw(st.sampled_from(["pixel", "µm", "nm", "mm", "Å", "inch"])),
            frame_interval=draw(st.sampled_from([0.0, 0.04, 2.5, 600.0])),
            time_unit=draw(st.sampled_from(["sec", "min"])),
        ),
        display=Display(
            ranges=ranges if draw(st.booleans()) else (),
            luts=luts if draw(st.booleans()) else (),
            mode=draw(st.sampled_from(["composite", "color", "grayscale"])) if channels > 1 else "",
        ),
        labels=tuple(f"{draw(TEXT)}{i}" for i in range(planes)) if draw(st.booleans()) else (),
        info=draw(TEXT),
    )


def written(image, **options):
    stream = io.BytesIO()
    write_tiff(image, stream, **options)
    return stream.getvalue()


def same_pixels(image, expected):
    return (
        image.axes == expected.axes
        and image.dtype.newbyteorder("=") == expected.dtype
        and np.array_equal(image.data, expected.data)
    )


@steady
@given(described())
def test_an_imagej_tiff_comes_back_with_all_that_is_known_about_it(image):
    back = read_image(written(image, format="imagej"))
    assert same_pixels(back, image)
    # The file has pixels per unit as a fraction of 32-bit numbers.
    for got, expected in (
        (back.calibration.pixel_width, image.calibration.pixel_width),
        (back.calibration.pixel_height, image.calibration.pixel_height),
    ):
        assert got == pytest.approx(expected, rel=1e-6)
    exact = replace(
        back.calibration,
        pixel_width=image.calibration.pixel_width,
        pixel_height=image.calibration.pixel_height,
    )
    if image.size("Z") == 1 and image.calibration.pixel_depth == 1:
        exact = replace(exact, pixel_depth=1.0)
    assert exact == image.calibration
    assert back.display.ranges == image.display.ranges
    assert back.display.mode == image.display.mode
    assert len(back.display.luts) == len(image.display.luts)
    for got, expected in zip(back.display.luts, image.display.luts, strict=True):
        assert np.array_equal(got, expected)
    assert back.labels == (image.labels if any(image.labels) else ())
    assert back.info == image.info


@steady
@given(images())
def test_tifffile_finds_the_same_planes_in_what_we_write_for_imagej(image):
    with tifffile.TiffFile(io.BytesIO(written(image))) as file:
        assert file.is_imagej
        planes = image.data.size // (image.data.shape[-1] * image.data.shape[-2])
        assert len(file.pages) == planes
        assert np.array_equal(file.asarray().ravel(), image.data.ravel())


@steady
@given(images(types=[*READ_TYPES, "bool"]))
def test_any_type_is_written_for_imagej_in_one_that_it_has(image):
    back = read_image(written(image, format="imagej"))
    assert back.dtype.name in IMAGEJ_TYPES
    factor = 255 if image.dtype == bool else 1
    assert np.array_equal(back.data, image.data.astype(np.float64) * factor)


@steady
@given(images(types=["uint8", "uint16", "int8", "int16", "int32", "uint32", "float32", "float64"]))
def test_an_ome_tiff_comes_back(image):
    image = replace(
        image,
        calibration=Calibration(0.25, 0.5, 1.5 if "Z" in image.axes else 1.0, "µm", 2.0),
        info="made & kept <here>",
    )
    back = read_image(written(image, format="ome"))
    # OME-XML has every axis; those of one plane are not named.
    squeezed = "".join(a for a in image.axes if a in "YX" or image.size(a) > 1)
    assert back.axes == squeezed
    assert np.array_equal(back.data.ravel(), image.data.ravel())
    assert back.dtype.newbyteorder("=") == image.dtype
    assert back.calibration == image.calibration
    assert back.info == image.info


@steady
@given(
    images(types=READ_TYPES, least=2),
    st.sampled_from("<>"),
    st.booleans(),
    st.sampled_from([None, "lzw", "zlib", "zstd", "packbits", "lzma"]),
    st.sampled_from(["strips", "tiles", "predictor", "one strip"]),
)
def test_what_tifffile_writes_is_read_with_its_numbers(image, order, big, compression, how):
    options = {
        "strips": {"rowsperstrip": 2},
        "tiles": {"tile": (16, 16)},
        "predictor": {"predictor": bool(compression and image.dtype.itemsize in (1, 4))},
        "one strip": {},
    }[how]
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        image.data,
        byteorder=order,
        bigtiff=big,
        compression=compression,
        photometric="minisblack",
        metadata={"axes": image.axes},
        **options,
    )
    content = stream.getvalue()
    back = read_image(content)
    assert same_pixels(back, image)
    header = probe(content)
    assert (header.axes, header.shape, header.dtype) == (image.axes, image.data.shape, image.dtype)
    assert header.nbytes == image.data.nbytes


@steady
@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from(["uint8", "uint16"]),
    st.sampled_from([0, 3, 4]),
)
def test_a_png_comes_back(height, width, dtype, samples):
    shape = (height, width, samples) if samples else (height, width)
    image = Image(values(shape, np.dtype(dtype)), "YXS" if samples else "YX")
    content = image_to_bytes(image, "png")
    assert same_pixels(read_image(content), image)
    assert probe(content).shape == shape


@steady
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.sampled_from([3, 4]))
def test_rgb_stays_rgb_and_loses_its_alpha(height, width, slices, samples):
    image = Image(values((slices, height, width, samples), np.dtype(np.uint8)), "ZYXS")
    back = read_image(written(image))
    assert same_pixels(back, image.with_data(image.data[..., :3]))


def test_16_bit_rgb_becomes_a_composite_of_channels_as_in_imagej():
    image = Image(values((2, 5, 6, 3), np.dtype(np.uint16)), "ZYXS")
    back = read_image(written(image))
    assert back.axes == "ZCYX"
    assert back.display.mode == "composite"
    assert np.array_equal(back.data, np.moveaxis(image.data, -1, 1))


def test_integers_that_float32_would_round_go_out_as_ome():
    exact = Image(np.array([[2**24, 0]], np.uint32), "YX")
    rounded = Image(np.array([[2**24 + 1, 0]], np.uint32), "YX")
    assert probe(written(exact)).format == "ImageJ TIFF"
    assert probe(written(rounded)).format == "OME-TIFF"
    assert read_image(written(rounded)).data[0, 0] == 2**24 + 1
    with pytest.raises(ImageFormatError, match="integers as large as 16777217; write it with"):
        written(rounded, format="imagej")


@pytest.mark.parametrize("data", [np.zeros((2, 2), complex), np.zeros((0, 2), np.uint8)])
def test_what_has_no_pixels_or_complex_ones_is_not_written(data):
    with pytest.raises(ImageFormatError, match="cannot be written"):
        written(Image(data, "YX"))


@pytest.mark.parametrize("data", [np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2), np.float32)])
def test_png_refuses_what_it_cannot_hold(data):
    with pytest.raises(ImageFormatError, match="PNG holds one plane of 8 or 16 bits: ask for TIFF"):
        image_to_bytes(Image(data, "ZYX"[-data.ndim :]), "png")
