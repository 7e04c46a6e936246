"""ImageJ's way to write metadata into TIFF: a description of `key=value` lines and a binary block.

Both directions, so that each fact has one home: the description (tag 270), the
metadata block (tags 50838 and 50839: Info, slice labels, display ranges, LUTs)
and the colour map (tag 320). As written by ImageJ 1.53t (TiffEncoder, FileSaver).

Knows nothing of where things lie in a file.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from micserve.image import Calibration, Display, Image

Lut = NDArray[np.uint8]
"""(3, 256)."""
Properties = Mapping[str, str]

SIGNATURE = "ImageJ="
VERSION = "1.53t"
MAGIC, INFO, LABELS, RANGES, LUTS = (
    int.from_bytes(code, "big") for code in (b"IJIJ", b"info", b"labl", b"rang", b"luts")
)
MODES: dict[str, Literal["composite", "color", "grayscale"]] = {
    "composite": "composite",
    "color": "color",
    "grayscale": "grayscale",
    "gray": "grayscale",
}
SIGNED_OFFSET = 32768
"""What ImageJ adds to signed 16-bit values."""
GREY_LUT: Lut = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
INVERTED_LUT: Lut = GREY_LUT[:, ::-1]


def parse_description(text: str) -> dict[str, str]:
    """The lines of ImageJ's description, unescaped; empty if the text is not ImageJ's."""
    if not text.startswith(SIGNATURE):
        return {}
    lines = (line.partition("=") for line in text.splitlines())
    return {key.strip(): _unescape(value.strip()) for key, found, value in lines if found}


def number(properties: Properties, key: str, default: float = 0.0) -> float:
    """A finite number, or the default."""
    try:
        value = float(properties.get(key, default))
    except ValueError:
        return default
    return value if math.isfinite(value) else default


def stack_sizes(properties: Properties) -> dict[str, int]:
    """T, Z and C as the description has them; like ImageJ, a plain stack is made of slices."""
    images = max(1, int(number(properties, "images", 1)))
    sizes = {
        axis: max(1, int(number(properties, key, 1)))
        for axis, key in (("T", "frames"), ("Z", "slices"), ("C", "channels"))
    }
    if math.prod(sizes.values()) != images:
        return {"T": 1, "Z": images, "C": 1}
    return sizes


def is_signed(properties: Properties) -> bool:
    """Whether 16-bit values are stored as value + 32768 (ImageJ's signed 16-bit calibration)."""
    linear = number(properties, "cf", -1) == 0 and number(properties, "c1") == 1
    return linear and number(properties, "c0") == -SIGNED_OFFSET


def read_calibration(properties: Properties, *, per_x: float, per_y: float) -> Calibration:
    """From the description and pixels per unit (the resolution tags; 0 if absent)."""
    interval = number(properties, "finterval")
    if interval <= 0 and number(properties, "fps") > 0:
        interval = 1 / number(properties, "fps")
    return Calibration(
        pixel_width=1 / per_x if per_x > 0 else 1.0,
        pixel_height=1 / per_y if per_y > 0 else 1.0,
        pixel_depth=abs(number(properties, "spacing", 1.0)) or 1.0,
        unit=properties.get("unit", "").strip() or "pixel",
        frame_interval=max(0.0, interval),
        time_unit=properties.get("tunit", "").strip() or "sec",
    )


def read_display(
    properties: Properties,
    blocks: Mapping[int, Sequence[bytes]],
    *,
    channels: int,
    order: str,
    lut: Lut | None,
) -> Display:
    """Ranges, LUTs and mode; `lut` is the file's colour map, if it has one."""
    flat = b"".join(blocks.get(RANGES, ()))
    values = struct.unpack(f"{order}{len(flat) // 8}d", flat[: len(flat) // 8 * 8])
    ranges = tuple(zip(values[::2], values[1::2], strict=False))
    low, high = number(properties, "min"), number(properties, "max")
    if len(ranges) != channels:
        ranges = ((low, high),) * channels if high > low else ()
    luts = tuple(
        np.frombuffer(block, np.uint8).reshape(3, 256)
        for block in blocks.get(LUTS, ())
        if len(block) == 768
    )
    if len(luts) != channels:
        luts = (lut,) if lut is not None and channels == 1 else ()
    return Display(ranges=ranges, luts=luts, mode=MODES.get(properties.get("mode", ""), ""))


def read_blocks(content: bytes, counts: Sequence[int], order: str) -> dict[int, list[bytes]]:
    """Cut the metadata block (tag 50839) up by kind; what is damaged is left out."""
    blocks: dict[int, list[bytes]] = {}
    if not counts or not 12 <= counts[0] <= len(content):
        return blocks
    header = struct.unpack(f"{order}{counts[0] // 4}I", content[: counts[0] // 4 * 4])
    if header[0] != MAGIC:
        return blocks
    place, number_ = counts[0], 1
    for kind, count in zip(header[1::2], header[2::2], strict=False):
        for size in counts[number_ : number_ + count]:
            blocks.setdefault(kind, []).append(content[place : place + size])
            place += size
        number_ += count
    return blocks


def block_text(block: bytes, order: str) -> str:
    """ImageJ's UTF-16."""
    return block.decode("utf-16-be" if order == ">" else "utf-16-le", errors="replace")


def write_description(image: Image) -> str:
    """The description of an image, as ImageJ's FileSaver writes it."""
    sizes = {axis: image.size(axis) for axis in "CZT"}
    planes, cal = math.prod(sizes.values()), image.calibration
    lines = [f"{SIGNATURE}{VERSION}"]
    if planes > 1:
        lines.append(f"images={planes}")
        names = {"C": "channels", "Z": "slices", "T": "frames"}
        lines += [f"{names[axis]}={n}" for axis, n in sizes.items() if n > 1]
        if sum(n > 1 for n in sizes.values()) > 1 or sizes["Z"] == 1:
            lines.append("hyperstack=true")
        if sizes["C"] > 1:
            lines.append(f"mode={image.display.mode or 'grayscale'}")
    lines.append(f"unit={_escape(cal.unit)}")
    if cal.frame_interval > 0:
        lines.append(f"finterval={cal.frame_interval!r}")
    if cal.time_unit != "sec":
        lines.append(f"tunit={_escape(cal.time_unit)}")
    if sizes["Z"] > 1 or cal.pixel_depth != 1:
        lines.append(f"spacing={cal.pixel_depth!r}")
    lines.append("loop=false")
    ranges = _stored_ranges(image)
    if ranges:
        lines += [f"min={float(ranges[0][0])!r}", f"max={float(ranges[0][1])!r}"]
    if any(image.size(axis) == 1 for axis in image.axes if axis in "TZC"):
        lines.append(f"axes={image.axes}")
    return "\n".join(lines) + "\n"


def write_blocks(image: Image) -> tuple[bytes, list[int]]:
    """The big-endian metadata block and its byte counts; both empty if there is nothing to say."""
    channels, planes = image.size("C"), math.prod(image.size(axis) for axis in "TZC")
    ranges = _stored_ranges(image)
    kinds: dict[int, list[bytes]] = {
        INFO: [image.info.encode("utf-16-be", errors="replace")] if image.info else [],
        LABELS: [label.encode("utf-16-be", errors="replace") for label in image.labels]
        if len(image.labels) == planes and any(image.labels)
        else [],
        RANGES: [struct.pack(f">{2 * channels}d", *(value for pair in ranges for value in pair))]
        if channels > 1 and len(ranges) == channels
        else [],
        LUTS: [lut.tobytes() for lut in image.display.luts]
        if channels > 1 and len(image.display.luts) == channels
        else [],
    }
    filled = {kind: parts for kind, parts in kinds.items() if parts}
    if not filled:
        return b"", []
    header = struct.pack(">I", MAGIC)
    header += b"".join(struct.pack(">II", kind, len(parts)) for kind, parts in filled.items())
    blocks = [header, *(part for parts in filled.values() for part in parts)]
    return b"".join(blocks), [len(block) for block in blocks]


def _stored_ranges(image: Image) -> tuple[tuple[float, float], ...]:
    """As ImageJ counts grey values: it adds 32768 to signed 16-bit ones when it opens them."""
    offset = SIGNED_OFFSET if image.dtype == np.int16 else 0
    return tuple((low + offset, high + offset) for low, high in image.display.ranges)


def read_colour_map(values: NDArray[np.uint16]) -> Lut | None:
    """A TIFF colour map of 256 entries as a LUT; ImageJ and most others store `byte << 8`."""
    return (values >> 8).astype(np.uint8).reshape(3, 256) if values.size == 768 else None


def write_colour_map(lut: Lut) -> NDArray[np.uint16]:
    """As ImageJ writes it."""
    return lut.astype(np.uint16).ravel() << np.uint16(8)


def _unescape(text: str) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)


def _escape(text: str) -> str:
    """As Java's properties: anything but printable ASCII becomes \\uXXXX."""
    units = text.replace("\n", " ").encode("utf-16-be", errors="replace")
    codes = struct.unpack(f">{len(units) // 2}H", units)
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\u{c:04X}" for c in codes)
