"""Request bodies to images on their way in: raw or multipart, bounded, never twice in memory.

Small uploads stay in memory, larger ones go to a scratch file as they arrive.
Counts bytes and notices stalled senders; knows nothing of pixels.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from micserve.errors import CancelledError, ImageTooLargeError, UploadError

WRITE_BYTES = 4 << 20
"""How much is gathered before a thread writes it, so that a slow disk never stops the server."""

MAX_FIELD_BYTES = 64 << 10
"""Longest form field that is not a file."""

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadLimits:
    max_bytes: int
    """Of one request."""
    spool_bytes: int
    """Up to here an upload stays in memory."""
    patience_s: float
    """Longest pause between two bytes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a request."""

    source: bytes | Path
    size: int
    filename: str = ""


@dataclass(slots=True)
class Form:
    """All parts of a multipart request, by field name."""

    files: dict[str, Upload] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


def refuse_too_large(request: Request, limits: UploadLimits) -> None:
    """By what the sender declares, before anything is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.max_bytes:
        raise _too_large(int(declared), limits)


def is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def receive_image(request: Request, folder: Path, limits: UploadLimits) -> Upload:
    """The one image of a request, whether raw or as a file of a form.

    Raises
    ------
    ImageTooLargeError, UploadError
        With what to send instead.
    """
    if not is_multipart(request):
        sink = _Sink(folder / "upload", limits.spool_bytes)
        async for chunk in body(request, limits):
            await sink.write(chunk)
        upload = await sink.finish()
        if not upload.size:
            raise UploadError(
                "The request holds no image. Send a TIFF, OME-TIFF or PNG file as the body, for "
                "example with curl --data-binary @image.tif"
            )
        return upload
    form = await receive_form(request, folder, limits)
    if len(form.files) != 1:
        raise UploadError(
            f"The form holds {len(form.files)} files, and one image is expected, for example with "
            "curl -F image=@image.tif"
        )
    return next(iter(form.files.values()))


async def receive_form(request: Request, folder: Path, limits: UploadLimits) -> Form:
    """All parts of a multipart request; each file in memory or below `folder`.

    Raises
    ------
    UploadError
        When the form cannot be read, is cut off, or has a field twice.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not is_multipart(request) or not boundary:
        raise UploadError(
            "A form (multipart/form-data) with files is expected, for example with "
            "curl -F prediction=@result.tif -F target=@clean.tif"
        )
    reader = _FormReader(boundary, folder, limits)
    async for chunk in body(request, limits):
        await reader.feed(chunk)
    return await reader.finish()


async def body(request: Request, limits: UploadLimits) -> AsyncIterator[bytes]:
    """The request's bytes as they come; counted, and given up when they stop coming."""
    refuse_too_large(request, limits)
    received = 0
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(limits.patience_s):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadError(
                f"The upload stopped: no byte came for {limits.patience_s:g} s after "
                f"{received / MIB:.1f} MiB. Check the connection and send the image again."
            ) from None
        except ClientDisconnect:
            raise CancelledError("The upload was cut off by the sender.") from None
        received += len(chunk)
        if received > limits.max_bytes:
            raise _too_large(received, limits)
        if chunk:
            yield chunk


def _too_large(size: int, limits: UploadLimits) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"The upload has {size / MIB:.1f} MiB or more, and this server takes at most "
        f"{limits.max_bytes / MIB:.0f} MiB. Crop the image, send fewer frames at a time, or save "
        "it with compression; the facility's staff can raise MICSERVE_MAX_REQUEST_MIB."
    )


class _Sink:
    """Bytes of one file: a list of chunks, then a file when they get many."""

    def __init__(self, path: Path, spool_bytes: int, filename: str = "") -> None:
        self._path, self._spool_bytes, self._filename = path, spool_bytes, filename
        self._chunks: list[bytes] = []
        self._pending = 0
        self._size = 0
        self._file: BinaryIO | None = None

    async def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._pending += len(chunk)
        self._size += len(chunk)
        if self._size > self._spool_bytes and self._pending >= WRITE_BYTES:
            await asyncio.to_thread(self._flush)

    async def finish(self) -> Upload:
        if self._size <= self._spool_bytes:
            return Upload(b"".join(self._chunks), self._size, self._filename)
        await asyncio.to_thread(self._flush)
        assert self._file is not None
        self._file.close()
        return Upload(self._path, self._size, self._filename)

    def _flush(self) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.writelines(self._chunks)
        self._chunks, self._pending = [], 0


class _FormReader:
    """Feeds the parser, whose callbacks only take notes, and writes what it found."""

    def __init__(self, boundary: bytes, folder: Path, limits: UploadLimits) -> None:
        self._folder, self._limits = folder, limits
        self._form = Form()
        self._found: list[tuple[str, bytes]] = []
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name, self._filename = "", ""
        self._sink: _Sink | None = None
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self._note("begin"),
                "on_part_data": lambda data, start, end: self._note("data", data[start:end]),
                "on_part_end": lambda: self._note("end"),
                "on_end": self._on_end,
            },
        )

    async def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise UploadError(f"The form cannot be read: {error}. Send it again.") from error
        found, self._found = self._found, []
        for what, data in found:
            await self._act(what, data)

    async def finish(self) -> Form:
        if not self._complete:
            raise UploadError("The form is cut off: its last boundary is missing. Send it again.")
        return self._form

    async def _act(self, what: str, data: bytes) -> None:
        match what:
            case "begin":
                self._begin(data)
            case "data":
                assert self._sink is not None
                await self._sink.write(data)
            case _:
                await self._end()

    def _begin(self, disposition: bytes) -> None:
        _, options = parse_options_header(disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._filename = options.get(b"filename", b"").decode("utf-8", "replace")
        number = len(self._form.files) + len(self._form.values)
        if self._name in self._form.files or self._name in self._form.values:
            raise UploadError(f"The form has the field {self._name!r} twice. Send it once.")
        self._is_file = b"filename" in options
        spool = self._limits.spool_bytes if self._is_file else MAX_FIELD_BYTES
        self._sink = _Sink(self._folder / f"part-{number}", spool, self._filename)

    async def _end(self) -> None:
        assert self._sink is not None
        upload = await self._sink.finish()
        if self._is_file:
            self._form.files[self._name] = upload
            return
        if not isinstance(upload.source, bytes):
            raise UploadError(f"The form's field {self._name!r} is too long to be a setting.")
        self._form.values[self._name] = upload.source.decode("utf-8", "replace")

    def _note(self, what: str, data: bytes = b"") -> None:
        if what == "begin":
            data = self._headers.get(b"content-disposition", b"")
        self._found.append((what, data))

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_end(self) -> None:
        self._complete = True
