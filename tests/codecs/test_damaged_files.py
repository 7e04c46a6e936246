"""Lies and damage: answered in a sentence, without memory, time or a crash."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from micserve.codecs import Limits, probe, read_image
from micserve.errors import ImageFormatError, ImageTooLargeError

GREY = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
LARGEST = 2**31 - 1


def tiff(data=GREY, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, data, byteorder="<", **options)
    return stream.getvalue()


def tag_place(content, code, *, page=0):
    """Where a classic little-endian tag lies."""
    (offset,) = struct.unpack_from("<I", content, 4)
    for _ in range(page + 1):
        (count,) = struct.unpack_from("<H", content, offset)
        entries = {
            struct.unpack_from("<H", content, at)[0]: at
            for at in range(offset + 2, offset + 2 + 12 * count, 12)
        }
        end = offset + 2 + 12 * count
        (offset,) = struct.unpack_from("<I", content, end)
    return entries[code] if code else end


def patch(content, code, *, type_=4, count=1, value, page=0):
    """Overwrite a tag by another type, count and value."""
    changed = bytearray(content)
    place = tag_place(content, code, page=page)
    struct.pack_into("<HHII", changed, place, code, type_, count, value)
    return bytes(changed)


def png(width, height, *, depth=8, colour=0, pixels=b"\0"):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_with_another_size():
    content = bytearray(tiff(np.zeros((48, 64), np.uint8), compression="jpeg"))
    at = content.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", content, at, 65000, 65000)
    return bytes(content)


def ring_of_pages():
    content = bytearray(tiff(np.stack([GREY, GREY]), metadata=None))
    struct.pack_into(
        "<I", content, tag_place(content, 0, page=1), struct.unpack_from("<I", content, 4)[0]
    )
    return bytes(content)


def many_pages_on_the_same_pixels():
    """2000 pages of 4096² pixels whose strips all lie in the same 32 MiB would be 64 GiB; here on
    a small file, so that only the sum is implausible."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder="<") as file:
        for _ in range(40):
            file.write(GREY, metadata=None)
    content = stream.getvalue()
    first = struct.unpack_from("<I", content, tag_place(content, 273) + 8)[0]
    for page in range(40):
        content = patch(content, 273, value=first, page=page)
        content = patch(content, 279, value=len(content) - first, page=page)
        content = patch(content, 257, value=600, page=page)
        content = patch(content, 278, value=600, page=page)
    return content


def bomb():
    """A strip of 4 MiB of Deflate that would unpack to 4 GiB, in an image of 1000 × 1000."""
    content = tiff(np.zeros((1000, 1000), np.uint8), compression="zlib")
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = start + 256 * zeros + packer.flush()
    content = patch(content, 273, value=len(content))
    content = patch(content, 279, value=len(packed))
    return content + packed


def imagej(old, new):
    content = tiff(
        np.stack([GREY] * 3), metadata=None, description="ImageJ=1.53t\nimages=3\nslices=3"
    )
    assert len(old) == len(new)
    return content.replace(old, new)


def ome(xml, planes=2):
    return tiff(
        np.stack([GREY] * planes),
        metadata=None,
        description=f"<?xml version='1.0'?><OME>{xml}</OME>",
    )


def pixels(attributes, inside="<TiffData/>"):
    fixed = "DimensionOrder='XYZCT' SizeX='64' SizeY='48' Type='uint16'"
    return f"<Image><Pixels {fixed} {attributes}>{inside}</Pixels></Image>"


DAMAGED = {
    "width_2^31": patch(tiff(), 256, value=LARGEST),
    "width_and_height_2^31": patch(patch(tiff(), 256, value=LARGEST), 257, value=LARGEST),
    "compressed_2^31": patch(
        patch(tiff(compression="zlib"), 256, value=LARGEST), 257, value=LARGEST
    ),
    "one_more_row": patch(patch(tiff(), 257, value=49), 278, value=49),
    "strips_beyond_the_file": patch(tiff(), 273, value=LARGEST),
    "bytes_beyond_the_file": patch(tiff(compression="zlib"), 279, value=LARGEST),
    "2^30_strips": patch(tiff(rowsperstrip=4), 273, count=2**30, value=8),
    "2^32_strips_of_no_rows": patch(tiff(), 278, value=0),
    "no_samples": patch(tiff(), 277, type_=3, value=0),
    "65535_samples": patch(tiff(), 277, type_=3, value=65535),
    "99_bits": patch(tiff(), 258, type_=3, value=99),
    "complex": tiff(GREY.astype(np.complex64)),
    "unknown_compression": patch(tiff(), 259, type_=3, value=12345),
    "no_pixels": patch(tiff(), 257, value=0),
    "ring_of_pages": ring_of_pages(),
    "pages_on_the_same_pixels": many_pages_on_the_same_pixels(),
    "tile_2^31": patch(tiff(tile=(16, 16), compression="zlib"), 322, value=LARGEST),
    "jpeg_of_another_size": jpeg_with_another_size(),
    "truncated": tiff()[:-100],
    "truncated_in_the_header": tiff()[:60],
    "truncated_stack": tiff(np.stack([GREY] * 3), metadata=None)[:-5000],
    "first_page_nowhere": tiff()[:4] + struct.pack("<I", LARGEST),
    "no_pages": b"II*\0\0\0\0\0",
    "bigtiff_nowhere": b"II+\0\x08\0\0\0" + b"\xff" * 8,
    "imagej_with_more_slices": imagej(b"images=3\nslices=3", b"images=9\nslices=9"),
    "imagej_without_pages_or_pixels": tiff(description="ImageJ=1\nimages=99999\nslices=99999"),
    "ome_with_a_document_type": ome("<!DOCTYPE x><Image/>"),
    "ome_not_xml": tiff(metadata=None, description="<OME><Image><Pixels></Image></OME>"),
    "ome_10^9_planes": ome(pixels("SizeZ='999999999' SizeC='1' SizeT='1'")),
    "ome_negative": ome(pixels("SizeZ='-2' SizeC='1' SizeT='1'")),
    "ome_missing_planes": ome(
        pixels(
            "SizeZ='2' SizeC='2' SizeT='1'",
            "<TiffData IFD='0'/><TiffData IFD='1' FirstZ='1' FirstC='1'/>",
        )
    ),
    "png_2^31": png(LARGEST, LARGEST),
    "png_cut": png(64, 48)[:40],
    "png_of_another_size": png(3, 3, pixels=b"\0"),
    "png_with_bits_that_do_not_exist": png(3, 3, depth=7),
    "png_empty": png(0, 0),
    "png_only_magic": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
    "czi": b"ZISRAWFILE" + bytes(100),
    "zip": b"PK\x03\x04" + bytes(100),
    "text": b"This is no image.\n",
    "one_byte": b"I",
    "lsm": patch(tiff(), 305, value=0).replace(struct.pack("<H", 305), struct.pack("<H", 34412), 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusals(tmp_path_factory, in_a_cage):
    folder = tmp_path_factory.mktemp("damaged")
    paths = []
    for name, content in DAMAGED.items():
        path = folder / f"{name.replace('^', '')}.tif"
        path.write_bytes(content)
        paths.append(path)
    return dict(zip(DAMAGED, in_a_cage(paths), strict=True))


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused_in_words_within_little_memory(name, refusals):
    answer = refusals[name]
    assert answer.get("error") in ("ImageFormatError", "ImageTooLargeError"), answer
    assert len(answer["says"]) < 300
    assert "\n" not in answer["says"]


def test_a_strip_that_unpacks_to_gigabytes_takes_only_its_share(tmp_path, in_a_cage):
    path = tmp_path / "bomb.tif"
    path.write_bytes(bomb())
    (answer,) = in_a_cage([path])
    assert answer.get("error") == "ImageFormatError" or answer["shape"] == [1000, 1000]


@pytest.mark.parametrize("empty", [b"", io.BytesIO(b"")])
def test_an_empty_file_is_called_empty(empty):
    with pytest.raises(ImageFormatError, match="The image is empty: it has 0 bytes"):
        read_image(empty)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageFormatError, match=r"nothing\.tif cannot be opened: No such file"):
        read_image(tmp_path / "nothing.tif")
    with pytest.raises(ImageFormatError, match="cannot be opened: Is a directory"):
        read_image(tmp_path)


def test_the_limit_counts_decoded_pixels_before_any_is_decoded():
    content = tiff(np.zeros((5, 100, 100), np.uint16), compression="zlib")
    limits = Limits(max_pixels_bytes=99_999)
    with pytest.raises(
        ImageTooLargeError, match=r"5 × 100 × 100 pixels \(ZYX\) of uint16, 0.1 MiB"
    ):
        read_image(content, limits=limits)
    assert probe(content, limits=limits).nbytes == 100_000
    assert read_image(content, limits=Limits(max_pixels_bytes=100_000)).data.shape == (5, 100, 100)


def test_the_limit_counts_planes():
    content = tiff(np.zeros((5, 8, 8), np.uint16), metadata=None)
    with pytest.raises(ImageTooLargeError, match="more than 4 pages"):
        read_image(content, limits=Limits(max_planes=4))


def test_a_stream_that_never_ends_is_cut_off():
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert size > 0
            return bytes(min(size, 1 << 29))

    limits = Limits(max_pixels_bytes=1000)
    with pytest.raises(ImageTooLargeError, match="send fewer planes"):
        read_image(Endless(), limits=limits)


def test_other_formats_are_called_by_their_name():
    with pytest.raises(ImageFormatError, match="a Zeiss CZI file: open it in Fiji"):
        read_image(DAMAGED["czi"])
    with pytest.raises(ImageFormatError, match="holiday is a JPEG picture"):
        read_image(DAMAGED["jpeg"], name="holiday")


def test_planes_in_other_files_are_never_looked_for(tmp_path):
    other = tmp_path / "other.ome.tif"
    tifffile.imwrite(other, GREY)
    elsewhere = f"<TiffData IFD='0'><UUID FileName='{other.name}'>urn:uuid:1</UUID></TiffData>"
    here = "<TiffData IFD='0' FirstT='1'><UUID FileName='x'>urn:uuid:2</UUID></TiffData>"
    xml = pixels("SizeZ='1' SizeC='1' SizeT='2'", elsewhere + here)
    for parts, planes in ((elsewhere + here, 1), (elsewhere, 0)):
        content = tiff(
            metadata=None,
            description=f"<OME UUID='urn:uuid:2'>{xml.replace(elsewhere + here, parts)}</OME>",
        )
        (tmp_path / "here.ome.tif").write_bytes(content)
        if planes:
            image = read_image(tmp_path / "here.ome.tif")
            assert image.axes == "YX"
            assert "1 of 2 planes" in image.notes[0]
        else:
            with pytest.raises(ImageFormatError, match="one file of a set"):
                read_image(tmp_path / "here.ome.tif")


@pytest.mark.parametrize(
    "content",
    [
        tiff(),
        tiff(compression="lzw"),
        tiff(compression="zlib", predictor=True, tile=(16, 16)),
        tiff(np.stack([GREY] * 3), imagej=True, metadata={"axes": "ZYX"}),
        tiff(np.stack([GREY] * 2), ome=True, metadata={"axes": "CYX"}),
        tiff(GREY.astype(np.uint8), compression="jpeg"),
        png(64, 48, pixels=bytes(48 * 65)),
    ],
    ids=["plain", "lzw", "tiles", "imagej", "ome", "jpeg", "png"],
)
def test_flipped_bytes_and_cut_ends_never_escape_as_another_error(content, tmp_path, in_a_cage):
    random = np.random.default_rng(0)
    paths = []
    for i in range(60):
        changed = bytearray(content)
        for place in random.integers(0, min(len(changed), 700), 3):
            changed[place] = random.integers(256)
        if i % 6 == 0:
            del changed[random.integers(4, len(changed)) :]
        paths.append(tmp_path / f"{i}.tif")
        paths[-1].write_bytes(changed)
    for answer in in_a_cage(paths):
        assert answer.get("as_probed") or answer["says"]


def test_reading_leaves_no_trace_in_logging_or_warnings(caplog, recwarn):
    """tifffile's complaints are not the user's, and its logger is left as it was."""
    broken = patch(tiff(compression="zlib"), 305, value=LARGEST)
    assert np.array_equal(read_image(broken).data, GREY)
    assert not caplog.records
    assert not recwarn.list


def test_a_path_need_not_exist_for_bytes_to_be_read(tmp_path):
    assert np.array_equal(read_image(tiff()).data, GREY)
    path = Path(tmp_path) / "a.tif"
    path.write_bytes(tiff())
    with path.open("rb") as stream:
        assert np.array_equal(read_image(stream).data, GREY)
