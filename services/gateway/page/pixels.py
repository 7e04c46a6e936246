"""`/v1/pixels` and `/v1/crop`: what a browser needs to show an image that it cannot read.

The server reads, with the same reader as every prediction, so that the page
never shows other pixels than the model gets. Nothing is kept between two
requests: the image is sent, its planes come back as raw numbers.
"""

import asyncio
import json
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from micserve.codecs import Limits, image_to_bytes, probe, read_image
from micserve.errors import ParameterError
from micserve.image import Image
from micserve.serving.answers import disposition
from micserve.serving.problems import problem_responses
from micserve.serving.uploads import receive_image
from services.gateway.openapi import BINARY, BINARY_BODY, answers
from services.gateway.parts import Here

MOST_BYTES = 256 << 20
"""Of an answer, and so of a browser tab's memory; larger images come with fewer pixels."""

AT_A_TIME = 2
"""Images that are decoded at the same time."""

HEADER = "X-Micserve-Image"

Place = Annotated[int, Query(ge=0)]
Length = Annotated[int, Query(ge=1)]


def add_pixels(app: FastAPI) -> None:
    """The two routes."""
    turn = asyncio.Semaphore(AT_A_TIME)

    @app.post(
        "/v1/pixels",
        summary="An image's planes as raw little-endian numbers, for a browser to show",
        response_class=Response,
        responses=answers(BINARY) | problem_responses(413, 422, 503),
        openapi_extra=BINARY_BODY,
    )
    async def pixels(request: Request, here: Here) -> Response:
        """Planes in T, Z, C order, each (Y, X) or (Y, X, 3); `X-Micserve-Image` is JSON with
        `sizes`, `dtype` (uint8, uint16 or float32), `step` (every n-th pixel was taken) and
        `display`, `pixel_size_um`."""
        with here.scratch.folder() as folder:
            upload = await receive_image(request, folder, here.limits)
            async with turn:
                facts, content = await asyncio.to_thread(_planes, upload.source, upload.filename)
        headers = {HEADER: json.dumps(facts)}
        return Response(content, media_type=BINARY, headers=headers)

    @app.post(
        "/v1/crop",
        summary="A rectangle of an image, as TIFF with its axes and calibration",
        response_class=Response,
        responses=answers("image/tiff") | problem_responses(413, 422, 503),
        openapi_extra=BINARY_BODY,
    )
    async def crop(
        request: Request, here: Here, x: Place, y: Place, width: Length, height: Length
    ) -> Response:
        with here.scratch.folder() as folder:
            upload = await receive_image(request, folder, here.limits)
            async with turn:
                content = await asyncio.to_thread(_crop, upload.source, x, y, width, height)
        headers = {"Content-Disposition": disposition("crop.tif")}
        return Response(content, media_type="image/tiff", headers=headers)


def _planes(source: Any, name: str) -> tuple[dict[str, Any], bytes]:
    limits = Limits()
    probe(source, name=name).check(limits)
    image = read_image(source, limits=limits, name=name)
    data = _plain(image)
    step = 1
    while data[..., ::step, ::step, :].nbytes > MOST_BYTES:
        step += 1
    shown = np.ascontiguousarray(data[..., ::step, ::step, :])
    um = image.calibration.in_um()
    facts = {
        "sizes": dict(zip("TZCYXS", shown.shape, strict=True)),
        "full": {"Y": image.size("Y"), "X": image.size("X")},
        "axes": image.axes,
        "dtype": shown.dtype.name,
        "file_dtype": image.dtype.newbyteorder("=").name,
        "step": step,
        "display": [list(pair) for pair in image.display.ranges],
        "pixel_size_um": um and {axis: um[axis] for axis in "YX"},
    }
    return facts, shown.tobytes()


def _plain(image: Image) -> NDArray[Any]:
    """(T, Z, C, Y, X, S) as uint8, uint16 or float32 in little-endian order; at most 3 samples."""
    data = image.data[..., :3] if "S" in image.axes else image.data
    for place, axis in enumerate("TZCYXS"):
        if axis not in image.axes:
            data = np.expand_dims(data, place)
    kind = data.dtype.newbyteorder("=")
    wanted = kind if kind in (np.uint8, np.uint16) else np.dtype(np.float32)
    return data.astype(wanted.newbyteorder("<"), copy=False)


def _crop(source: Any, x: int, y: int, width: int, height: int) -> bytes:
    image = read_image(source)
    if x >= image.size("X") or y >= image.size("Y"):
        raise ParameterError(
            f"The rectangle begins at x {x}, y {y}, outside of the image, which is "
            f"{image.size('X')} × {image.size('Y')} pixels."
        )
    cut = [slice(None)] * image.data.ndim
    cut[image.axes.index("X")] = slice(x, x + width)
    cut[image.axes.index("Y")] = slice(y, y + height)
    return image_to_bytes(image.with_data(np.ascontiguousarray(image.data[tuple(cut)])))
