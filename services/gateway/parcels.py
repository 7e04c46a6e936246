"""Results of several files, kept for a while so that each can be fetched by an address of its own.

Macros cannot open a zip: who asks for `text/tab-separated-values` instead gets a list of
files with addresses that end in what the file is. Knows files, not what is in them.
"""

import asyncio
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response

from micserve.errors import NotFoundError
from micserve.serving.scratch import Scratch
from micserve.serving.uploads import UploadLimits, receive_image
from services.gateway.upstream import Query, Upstreams, passed_on

KEPT_S = 900.0
"""Long enough for a slow connection to fetch every file; then the disk is free again."""

MOST = 32
"""Parcels at a time; the oldest gives way."""

TSV = "text/tab-separated-values"
"""An answer of this type says `charset=utf-8` by itself: Starlette adds it to all text."""

TYPES = {
    ".tif": "image/tiff",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".zip": "application/zip",
    ".png": "image/png",
    ".pdf": "application/pdf",
}

_ID = re.compile(r"[0-9a-f]{32}")


class Parcels:
    """Folders of files by an id that nobody guesses. Thread-safe; every method may block."""

    def __init__(self, scratch: Scratch) -> None:
        self._life = ExitStack()
        self._home = self._life.enter_context(scratch.folder())

    def keep(self, archive: Path) -> tuple[str, Mapping[str, int]]:
        """Unpack a zip that this server made: the parcel's id, and each file's size in bytes."""
        self._make_room()
        identity = secrets.token_hex(16)
        folder = self._home / identity
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return identity, {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}

    def file(self, identity: str, name: str) -> Path:
        """One file of a parcel.

        Raises
        ------
        NotFoundError
            When the parcel was kept too long ago, or never had such a file.
        """
        folder = self._home / identity
        path = (folder / name).resolve()
        if not _ID.fullmatch(identity) or not path.is_relative_to(folder) or not path.is_file():
            raise NotFoundError(
                f"There is no file {name} here any more: results are kept for "
                f"{KEPT_S / 60:.0f} minutes. Send the image again."
            )
        return path

    def close(self) -> None:
        self._life.close()

    def _make_room(self) -> None:
        folders = sorted(self._home.iterdir(), key=lambda folder: folder.stat().st_mtime)
        too_old = time.time() - KEPT_S
        for at, folder in enumerate(folders):
            if folder.stat().st_mtime < too_old or len(folders) - at >= MOST:
                shutil.rmtree(folder, ignore_errors=True)


async def listed(parcels: Parcels, archive: Path, headers: Mapping[str, str]) -> Response:
    """A finished zip as a list: name, bytes, address."""
    identity, files = await asyncio.to_thread(parcels.keep, archive)
    rows = [("name", "bytes", "address")]
    rows += [(name, str(size), f"/v1/parcels/{identity}/{name}") for name, size in files.items()]
    text = "".join("\t".join(row) + "\n" for row in rows)
    return Response(text, media_type=TSV, headers=dict(headers))


async def predict_listed(
    request: Request,
    family: str,
    path: str,
    query: Query,
    *,
    parcels: Parcels,
    upstreams: Upstreams,
    scratch: Scratch,
    limits: UploadLimits,
) -> Response:
    """Forward an image to a service that answers with a bundle, and list the bundle's files."""
    with scratch.folder() as folder:
        upload = await receive_image(request, folder, limits)
        bundle = folder / "bundle.zip"
        asked = [(k, v) for k, v in query if k != "output"]
        answer = await upstreams.save(
            family, path, [*asked, ("output", "bundle")], upload.source, bundle
        )
        if answer.status_code != httpx.codes.OK:
            return passed_on(answer)
        said = {k: v for k, v in answer.headers.items() if k.startswith("x-micserve-")}
        return await listed(parcels, bundle, said)
