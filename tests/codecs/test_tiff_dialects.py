"""How the writers that facilities have say what an axis and a pixel is."""

import io

import numpy as np
import pytest
import tifffile

from micserve.codecs import probe, read_image, write_tiff
from micserve.codecs.colour import is_ramp
from micserve.codecs.imagej import INVERTED_LUT
from micserve.errors import ImageFormatError
from micserve.image import Calibration, Image

PLANES = np.arange(4 * 3 * 2 * 5 * 6, dtype=np.uint16).reshape(4, 3, 2, 5, 6)
GREEN = np.stack([np.zeros(256), np.arange(256), np.zeros(256)]).astype(np.uint16) << 8
RANDOM = np.random.default_rng(0).integers(0, 65536, (3, 256), np.uint16)


def tiff(data, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, data, **{"photometric": "minisblack", **options})
    return stream.getvalue()


def imagej(data, description, order=">", **options):
    return tiff(
        data, byteorder=order, description=f"ImageJ=1.53t\n{description}", metadata=None, **options
    )


def ome(data, xml):
    header = "<?xml version='1.0' encoding='UTF-8'?>"
    text = f"{header}<OME xmlns='http://x' UUID='urn:uuid:1'>{xml}</OME>"
    return tiff(data, description=text.encode(), metadata=None)


def ome_image(attributes, inside=""):
    return f"<Image ID='0'><Pixels ID='0' Type='uint16' {attributes}>{inside}</Pixels></Image>"


class TestWhereThePixelsLie:
    def test_a_path_is_mapped_and_nothing_is_copied(self, tmp_path):
        path = tmp_path / "stack.tif"
        write_tiff(Image(PLANES, "TZCYX"), path)
        image = read_image(path)
        assert isinstance(image.data, np.memmap)
        assert not image.data.flags.writeable
        assert image.data.dtype == ">u2"
        assert image.name == "stack.tif"
        assert np.array_equal(image.data, PLANES)

    def test_bytes_are_viewed_and_nothing_is_copied(self):
        content = tiff(PLANES, metadata=None)
        image = read_image(content)
        assert np.shares_memory(image.data, np.frombuffer(content, np.uint8))
        assert not image.data.flags.writeable

    def test_pages_with_gaps_between_them_are_mapped_too(self, tmp_path):
        path = tmp_path / "gaps.tif"
        with tifffile.TiffWriter(path) as file:
            for plane in PLANES[:, 0, 0]:
                file.write(plane, contiguous=False, metadata=None)
        image = read_image(path)
        assert np.shares_memory(image.data, read_image(path).data) is False
        assert not image.data.flags.owndata
        assert np.array_equal(image.data, PLANES[:, 0, 0])

    @pytest.mark.parametrize("order", "<>")
    def test_either_byte_order_gives_the_same_numbers(self, order):
        for options in ({}, {"compression": "zlib"}, {"bigtiff": True}):
            image = read_image(tiff(PLANES, byteorder=order, metadata=None, **options))
            assert np.array_equal(image.data.ravel(), PLANES.ravel())


class TestImageJ:
    def test_a_hyperstack_is_frames_then_slices_then_channels(self):
        image = read_image(
            imagej(
                PLANES,
                "images=24\nchannels=2\nslices=3\nframes=4\nhyperstack=true\nmode=composite\n"
                "unit=\\u00B5m\nspacing=0.5\nfinterval=2.5\nmin=1.0\nmax=9.0\n",
                resolution=(10, 5),
                resolutionunit=1,
            )
        )
        assert image.axes == "TZCYX"
        assert np.array_equal(image.data, PLANES)
        assert image.calibration == Calibration(0.1, 0.2, 0.5, "µm", 2.5)
        assert image.display.ranges == ((1.0, 9.0), (1.0, 9.0))
        assert image.display.mode == "composite"

    def test_only_the_first_page_counts_if_the_others_pixels_follow(self):
        """ImageJ writes no further directories above 4 GiB."""
        one = imagej(PLANES[0, 0, 0], "images=24\nslices=6\nframes=4\n", order="<")
        start = tifffile.TiffFile(io.BytesIO(one)).pages[0].dataoffsets[0]
        content = one[:start] + PLANES.tobytes()
        image = read_image(content)
        assert image.axes == "TZYX"
        assert np.array_equal(image.data.ravel(), PLANES.ravel())
        with pytest.raises(ImageFormatError, match="ends too early"):
            read_image(content[:-1])

    def test_sizes_that_do_not_multiply_to_the_images_make_a_plain_stack(self):
        assert read_image(imagej(PLANES, "images=24\nchannels=5\nslices=3\n")).axes == "ZYX"

    def test_frames_per_second_are_a_frame_interval(self):
        image = read_image(imagej(PLANES[:, 0, 0], "images=4\nframes=4\nfps=25\n"))
        assert image.axes == "TYX"
        assert image.calibration.frame_interval == 0.04

    def test_signed_16_bit_is_stored_with_an_offset(self):
        stored = np.array([[0, 32768, 65535]], np.uint16)
        image = read_image(imagej(stored, "cf=0\nc0=-32768.0\nc1=1.0\nmin=32768\nmax=32868\n"))
        assert image.data.tolist() == [[-32768, 0, 32767]]
        assert image.dtype == np.int16
        assert image.display.ranges == ((0.0, 100.0),)

    def test_a_lut_never_changes_a_grey_value(self):
        data = np.arange(30, dtype=np.uint8).reshape(5, 6)
        image = read_image(imagej(data, "", photometric="palette", colormap=RANDOM))
        assert np.array_equal(image.data, data)
        assert np.array_equal(image.display.luts[0], RANDOM >> 8)

    def test_nonsense_in_the_description_is_not_believed(self):
        image = read_image(
            imagej(PLANES[0, 0, 0], "images=banana\nspacing=nan\nfinterval=inf\nmin=9\nmax=1\nx\n")
        )
        assert image.axes == "YX"
        assert image.calibration == Calibration()
        assert image.display.ranges == ()

    def test_images_that_imagej_wrote_keep_sizes_and_calibration(self, shared_data):
        folder = shared_data / "tiff_io" / "neubias" / "image_data"
        image = read_image(folder / "xyzc_16bit__spots.tif")
        assert (image.axes, image.data.shape) == ("ZCYX", (17, 2, 88, 89))
        assert image.calibration.unit == "µm"
        assert image.calibration.pixel_width == pytest.approx(0.0941, rel=1e-3)
        assert image.calibration.pixel_depth == pytest.approx(0.4)
        assert image.display.mode == "composite"
        image = read_image(folder / "xyt_8bit__em_fly_eye.tif")
        assert (image.axes, image.data.shape) == ("TYX", (2, 322, 400))


class TestOme:
    SIZES = "SizeX='6' SizeY='5' SizeZ='3' SizeC='2' SizeT='4'"

    @pytest.mark.parametrize("order", ["XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"])
    def test_planes_lie_in_the_order_that_the_xml_names(self, order):
        stored = PLANES.transpose(["TZC".index(axis) for axis in order[:1:-1]] + [3, 4])
        content = ome(stored, ome_image(f"DimensionOrder='{order}' {self.SIZES}"))
        image = read_image(content)
        assert image.axes == "TZCYX"
        assert np.array_equal(image.data, PLANES)
        assert probe(content).format == "OME-TIFF"

    def test_planes_lie_where_the_tiff_data_elements_say(self):
        blocks = "".join(
            f"<TiffData FirstT='{t}' FirstZ='{z}' FirstC='{c}' IFD='{23 - (t * 6 + z * 2 + c)}'/>"
            for t in range(4)
            for z in range(3)
            for c in range(2)
        )
        content = ome(
            PLANES.reshape(24, 5, 6)[::-1].copy(),
            ome_image(f"DimensionOrder='XYCZT' {self.SIZES}", blocks),
        )
        assert np.array_equal(read_image(content).data, PLANES)

    def test_sizes_have_units(self):
        physical = (
            "PhysicalSizeX='250' PhysicalSizeXUnit='nm' PhysicalSizeY='0.25' PhysicalSizeZ='1' "
            "TimeIncrement='500' TimeIncrementUnit='ms'"
        )
        sizes = "DimensionOrder='XYZCT' SizeX='6' SizeY='5' SizeZ='1' SizeC='1' SizeT='1'"
        content = ome(PLANES[0, 0, 0], ome_image(f"{sizes} {physical}"))
        assert read_image(content).calibration == Calibration(250, 250, 1000, "nm", 0.5)

    def test_of_several_images_the_first_is_read_and_the_others_are_mentioned(self):
        sizes = "DimensionOrder='XYZCT' SizeX='6' SizeY='5' SizeZ='1' SizeC='1' SizeT='1'"
        content = ome(
            PLANES[0, 0],
            ome_image(sizes, "<TiffData IFD='0' PlaneCount='1'/>")
            + ome_image(sizes, "<TiffData IFD='1' PlaneCount='1'/>"),
        )
        image = read_image(content)
        assert np.array_equal(image.data, PLANES[0, 0, 0])
        assert image.notes == ("The file holds 2 images (series); the first was read.",)

    def test_rgb_pixels_are_samples_and_grey_ones_are_channels(self):
        sizes = "DimensionOrder='XYCZT' SizeX='6' SizeY='5' SizeZ='1' SizeC='3' SizeT='1'"
        xml = ome_image(sizes, "<Channel SamplesPerPixel='3'/>")
        text = f"<OME>{xml}</OME>"
        data = PLANES[0, 0, 0, :, :, None].repeat(3, 2)
        rgb = tiff(data, photometric="rgb", description=text, metadata=None)
        grey = tiff(data, planarconfig="contig", description=text, metadata=None)
        assert read_image(rgb).axes == "YXS"
        assert read_image(grey).axes == "CYX"


class TestPlainTiff:
    def test_many_pages_are_slices_as_in_imagej(self):
        image = read_image(tiff(PLANES[:, 0, 0], metadata=None))
        assert image.axes == "ZYX"

    def test_tifffile_can_name_the_axes(self):
        content = tiff(PLANES.transpose(2, 1, 0, 3, 4), metadata={"axes": "CZTYX"})
        image = read_image(content)
        assert image.axes == "TZCYX"
        assert np.array_equal(image.data, PLANES)

    def test_more_dimensions_than_names_are_refused(self):
        with pytest.raises(ImageFormatError, match="4 × 3 × 2 × 5 × 6, without names that say"):
            read_image(tiff(PLANES))

    def test_pages_of_another_size_are_left_out_with_a_note(self):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream) as file:
            for plane in (PLANES[0, 0, 0], PLANES[0, 0, 1], np.zeros((2, 2), np.uint16)):
                file.write(plane, metadata=None)
        image = read_image(stream.getvalue())
        assert image.data.shape == (2, 5, 6)
        assert image.notes == (
            "1 page(s) of another size or kind (thumbnails, masks) were left out.",
        )

    @pytest.mark.parametrize(
        ("per_unit", "unit", "expected"),
        [
            ((40000, 40000), "centimeter", Calibration(0.25, 0.25, unit="µm")),
            ((25400, 12700), "inch", Calibration(1.0, 2.0, unit="µm")),
            ((72, 72), "inch", Calibration()),
            ((300, 300), "inch", Calibration()),
            ((5, 5), "none", Calibration()),
        ],
    )
    def test_a_resolution_is_a_pixel_size_if_it_can_be_a_microscopes(
        self, per_unit, unit, expected
    ):
        content = tiff(PLANES[0, 0, 0], resolution=per_unit, resolutionunit=unit, metadata=None)
        assert read_image(content).calibration == expected

    def test_min_is_white_keeps_its_numbers_and_is_shown_inverted(self):
        data = PLANES[0, 0, 0].astype(np.uint8)
        image = read_image(tiff(data, photometric="miniswhite", metadata=None))
        assert np.array_equal(image.data, data)
        assert np.array_equal(image.display.luts[0], INVERTED_LUT)

    def test_one_bit_becomes_0_and_255(self):
        image = read_image(tiff(np.array([[True, False, True]]), metadata=None))
        assert image.data.tolist() == [[255, 0, 255]]
        assert image.dtype == np.uint8

    def test_a_ramp_of_colours_is_a_lut_and_other_palettes_are_colours(self):
        data = np.arange(30, dtype=np.uint8).reshape(5, 6)
        green = read_image(tiff(data, photometric="palette", colormap=GREEN, metadata=None))
        assert green.axes == "YX"
        assert np.array_equal(green.data, data)
        assert np.array_equal(green.display.luts[0], GREEN >> 8)
        drawn = read_image(tiff(data, photometric="palette", colormap=RANDOM, metadata=None))
        assert drawn.axes == "YXS"
        assert np.array_equal(drawn.data, (RANDOM >> 8).T[data])

    def test_a_falling_palette_is_an_inverted_lut(self):
        assert is_ramp(INVERTED_LUT)
        assert not is_ramp(np.full((3, 256), 7, np.uint8))

    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_samples_that_are_not_colours_are_channels(self, planar):
        data = PLANES[0, 0]
        stored = data if planar == "separate" else np.moveaxis(data, 0, -1)
        image = read_image(tiff(stored, planarconfig=planar, metadata=None))
        assert image.axes == "CYX"
        assert np.array_equal(image.data, data)

    @pytest.mark.parametrize("tag", [34412, 33629])
    def test_dialects_that_hide_their_axes_are_refused_by_name(self, tag):
        content = tiff(PLANES[0, 0, 0], metadata=None, extratags=[(tag, 4, 2, (1, 2), True)])
        with pytest.raises(ImageFormatError, match=r"(LSM|STK) file: open it in Fiji and save it"):
            read_image(content)

    def test_complex_numbers_are_refused(self):
        with pytest.raises(ImageFormatError, match="complex numbers as pixels: save the real part"):
            read_image(tiff(PLANES[0, 0, 0].astype(np.complex64), metadata=None))
