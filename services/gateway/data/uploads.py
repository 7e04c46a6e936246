"""Files on their way into a data set: whole, or in parts that resume. Never half of one in it.

A part's bytes are kept as they come, so that an upload that was cut off goes on where it was cut
and not where the part began. Knows bytes and offsets, not what is in the file.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from starlette.requests import Request

from micserve.errors import CancelledError, ParameterError, UploadError, UploadOffsetError
from micserve.files import said_when_full, settle
from micserve.serving.uploads import WRITE_BYTES, UploadLimits, body, refuse_too_large
from services.gateway.data.datasets import Dataset, Datasets
from services.gateway.data.places import relative_path

_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a file, `start` to `end` of `total` bytes; `end` is not in it."""

    start: int
    end: int
    total: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """How much of a file is here."""

    offset: int
    total: int

    @property
    def complete(self) -> bool:
        return self.offset == self.total


def parse_range(header: str) -> Part:
    """`bytes 0-1023/4096`, first and last byte and the whole file's size, as in RFC 9110.

    Raises
    ------
    ParameterError
    """
    found = _RANGE.fullmatch(header.strip())
    if found is not None:
        first, last, total = map(int, found.groups())
        if first <= last < total:
            return Part(first, last + 1, total)
    raise ParameterError(
        f"Content-Range is {header[:60]!r}, but it must say first byte, last byte and size, as in "
        "'bytes 0-1048575/4194304'."
    )


async def receive_whole(
    request: Request, datasets: Datasets, dataset: Dataset, path: str, limits: UploadLimits
) -> int:
    """Keep the request's body as a file; its size. What was of this name before is replaced."""
    refuse_too_large(request, limits)
    declared = request.headers.get("content-length", "")
    await asyncio.to_thread(
        datasets.refuse_more_than_allowed, dataset, int(declared) if declared.isdigit() else 0
    )
    part = datasets.incoming(dataset) / f"whole-{secrets.token_hex(8)}"
    try:
        with said_when_full(f"The file {path}"):
            target = await asyncio.to_thread(datasets.target, dataset, path)
            with part.open("wb", buffering=0) as file:
                size = await _write(request, file, limits, datasets, dataset)
            if declared.isdigit() and size != int(declared):
                raise _cut_off(path)
            before = target.stat().st_size if target.is_file() else 0
            await asyncio.to_thread(settle, part, target)
    finally:
        part.unlink(missing_ok=True)
    datasets.arrived(dataset, size - before)
    return size


async def receive_part(
    request: Request,
    datasets: Datasets,
    dataset: Dataset,
    path: str,
    part: Part,
    limits: UploadLimits,
) -> Arrived:
    """Take one part; the file is there when the last byte is.

    Raises
    ------
    UploadOffsetError
        When it does not follow what has arrived.
    """
    target = await asyncio.to_thread(datasets.target, dataset, path)
    waiting = _waiting(datasets, dataset, path)
    try:
        with said_when_full(f"The file {path}"), _held(waiting, path) as file:
            _make_ready(file, part, path)
            await asyncio.to_thread(datasets.recount, dataset)
            await asyncio.to_thread(
                datasets.refuse_more_than_allowed, dataset, part.total - part.start
            )
            wanted = part.end - part.start
            size = await _write(request, file, limits, datasets, dataset, most=wanted)
            if size < wanted:
                raise _cut_off(path)
            if part.end == part.total:
                await asyncio.to_thread(settle, waiting, target)
    finally:
        await asyncio.to_thread(datasets.recount, dataset)
    return Arrived(part.end, part.total)


def _make_ready(file: FileIO, part: Part, path: str) -> None:
    """Cut off what is sent again; a part that begins at 0 sends the whole file again."""
    here = file.seek(0, os.SEEK_END)
    if part.start > here:
        raise UploadOffsetError(
            f"{path} has arrived up to byte {here}, but this part begins at {part.start}. Go on "
            f"at {here}; HEAD the same address says so too, in Upload-Offset."
        )
    file.truncate(part.start)
    file.seek(part.start)


def arrived(datasets: Datasets, dataset: Dataset, path: str) -> Arrived | None:
    """How much of a file is here; None where nothing is. `total` is 0 while it is not known."""
    waiting = _waiting(datasets, dataset, path)
    if waiting.is_file():
        return Arrived(waiting.stat().st_size, 0)
    whole = datasets.base(dataset) / relative_path(path)
    if whole.is_file():
        return Arrived(whole.stat().st_size, whole.stat().st_size)
    return None


def _waiting(datasets: Datasets, dataset: Dataset, path: str) -> Path:
    digest = hashlib.sha256(str(relative_path(path)).encode()).hexdigest()
    return datasets.incoming(dataset) / f"part-{digest[:32]}"


@contextmanager
def _held(path: Path, name: str) -> Iterator[FileIO]:
    """Open for this upload alone, in this process and in any other."""
    path.touch(mode=0o600)
    with path.open("r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UploadOffsetError(
                f"Another upload of {name} is going on. Wait for it, or stop it first."
            ) from error
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise UploadOffsetError(f"Another upload of {name} has just ended. Look at it first.")
        yield file


def _write_all(file: FileIO, data: bytes) -> None:
    """A file without a buffer may take less at a time, and says at once when the disk is full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


async def _write(
    request: Request,
    file: FileIO,
    limits: UploadLimits,
    datasets: Datasets,
    dataset: Dataset,
    most: int | None = None,
) -> int:
    """The body into the file, in threads, a few MiB at a time.

    Parameters
    ----------
    most
        Bytes of a part. What came of one before it was cut off is written; of a whole file
        nothing would be kept, but its owner's room is looked at instead.
    """
    gathered: list[bytes] = []
    waiting = written = 0

    async def flush() -> None:
        nonlocal waiting, written
        if most is None:
            await asyncio.to_thread(datasets.refuse_more_than_allowed, dataset, written + waiting)
        data = b"".join(gathered)
        gathered.clear()
        written, waiting = written + waiting, 0
        await asyncio.to_thread(_write_all, file, data)

    try:
        async for chunk in body(request, limits):
            if most is not None and written + waiting + len(chunk) > most:
                raise UploadError(
                    f"The part holds more than the {most} bytes that its Content-Range says."
                )
            gathered.append(chunk)
            waiting += len(chunk)
            if waiting >= WRITE_BYTES:
                await flush()
    except (CancelledError, UploadError):
        if most is not None:
            await flush()
        raise
    await flush()
    return written


def _cut_off(path: str) -> UploadError:
    return UploadError(
        f"{path} did not arrive whole. Send it again; a file sent in parts goes on at the "
        "Upload-Offset that HEAD answers."
    )
