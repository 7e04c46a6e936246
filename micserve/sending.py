"""A file to the server in parts that resume: a broken connection costs a part and not the file."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from micserve.errors import MicserveError, NotFoundError, ParameterError, ServiceUnavailableError

PART = 8 << 20
TRIES = 6
SUFFIXES = (".tif", ".tiff", ".png")


def image_files(source: Path) -> list[Path]:
    """A file itself; of a folder all images at any depth, hidden ones left out."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise NotFoundError(f"There is no folder {source}. Check the path.")
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        raise ParameterError(f"The folder {source} holds no TIFF or PNG images.")
    return found


def send_in_parts(ask: Callable[..., httpx.Response], address: str, path: Path) -> Iterator[int]:
    """Yields the bytes of each part that arrived."""
    size = path.stat().st_size
    if size <= PART:
        ask("PUT", address, content=path.read_bytes())
        yield size
        return
    at = tries = 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            piece = file.read(PART)
            stretch = f"bytes {at}-{at + len(piece) - 1}/{size}"
            try:
                ask("PUT", address, content=piece, headers={"Content-Range": stretch})
            except ServiceUnavailableError:
                tries += 1
                if tries == TRIES:
                    raise
                time.sleep(tries)
                at = _offset(ask, address)
                continue
            yield len(piece)
            at, tries = at + len(piece), 0


def _offset(ask: Callable[..., httpx.Response], address: str) -> int:
    """How much is there; 0 where nothing is, or where nobody answers yet."""
    try:
        headers: Any = ask("HEAD", address).headers
    except MicserveError:
        return 0
    return int(headers.get("upload-offset", 0))
