"""Outlines as an ImageJ RoiSet.zip, as the ROI Manager opens and saves it.

ImageJ counts a coordinate from the corner of the first pixel, not from its
centre, and it ties a ROI to a plane in one of two ways: by the number of the
plane in a plain stack, by channel, slice and frame in a hyperstack. Each way is
ignored by the other kind of image (seen in ImageJ 1.53t), so the image that the
ROIs are for decides.
"""

from collections.abc import Iterable, Mapping
from typing import BinaryIO, Literal
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from micserve.objects import Position
from micserve.outlines import Outline

PIXEL_CENTRE = 0.5
"""ImageJ's coordinate of the centre of the first pixel."""

FAST = 1
"""Compression level: ROIs are small, and thousands of them are written while a user waits."""

WRITTEN_ON = (1980, 1, 1, 0, 0, 0)
"""One date for all, so that the same outlines give the same bytes."""


def write_rois(
    outlines: Iterable[Outline], file: BinaryIO, *, sizes: Mapping[Literal["T", "Z", "C"], int]
) -> int:
    """Write a RoiSet.zip.

    Parameters
    ----------
    outlines
        Their names must differ.
    file
        Writable, binary.
    sizes
        Frames, slices and channels of the image that the ROIs are for.

    Returns
    -------
    int
        How many ROIs were written.
    """
    count = 0
    with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=FAST) as archive:
        for outline in outlines:
            entry = ZipInfo(f"{outline.name}.roi", WRITTEN_ON)
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, _roi(outline, sizes).tobytes())
            count += 1
    return count


def _roi(outline: Outline, sizes: Mapping[Literal["T", "Z", "C"], int]) -> ImagejRoi:
    """A polygon with sub-pixel corners."""
    corners = (outline.yx[:, ::-1] + PIXEL_CENTRE).astype(np.float32)
    rounded = np.rint(corners).astype(np.int32)
    left, top = (int(n) for n in rounded.min(axis=0))
    right, bottom = (int(n) for n in rounded.max(axis=0))
    plane, channel, z, t = _plane(outline.position, sizes)
    return ImagejRoi(
        roitype=ROI_TYPE.POLYGON,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        name=outline.name,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        n_coordinates=len(corners),
        integer_coordinates=rounded - np.array([left, top], np.int32),
        subpixel_coordinates=corners,
        position=plane,
        c_position=channel,
        z_position=z,
        t_position=t,
    )


def _plane(at: Position, sizes: Mapping[Literal["T", "Z", "C"], int]) -> tuple[int, int, int, int]:
    """Plane of a stack, and channel, slice and frame of a hyperstack; from 1, 0 for all."""
    index = {"C": at.c, "Z": at.z, "T": at.t}
    several = [axis for axis, size in sizes.items() if size > 1]
    number = {axis: (index[axis] or 0) + 1 for axis in several if index[axis] is not None}
    if len(several) < 2:
        return next(iter(number.values()), 0), 0, 0, 0
    return 0, number.get("C", 0), number.get("Z", 0), number.get("T", 0)
