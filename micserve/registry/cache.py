"""Packages on this machine's disk, named by their own sha256.

A file appears under its name only when it is whole and its digest was
checked, and is checked again each time it is asked for. Knows digests and
folders; where the bytes come from is the caller's.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from micserve.errors import DigestMismatchError

log = logging.getLogger(__name__)

ABANDONED_AFTER_S = 24 * 3600
"""Age at which a half-done download of a killed program is swept away."""


class PackageCache:
    """`<folder>/<digest>.zip`. Many threads and processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, digest: str, what: str, download: Callable[[Path], None]) -> Path:
        """The file with this digest; `download` writes it to the path it is given.

        Raises
        ------
        DigestMismatchError
            When the downloaded bytes are others; `what` names them in the sentence.
        """
        path = self.folder / f"{digest}.zip"
        if path.is_file():
            if sha256_of(path) == digest:
                return path
            log.warning("%s in the cache %s is damaged and is fetched again", what, path)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".fetch-") as folder:
            fresh = Path(folder) / path.name
            download(fresh)
            got = sha256_of(fresh)
            if got != digest:
                raise DigestMismatchError(what, got=got, expected=digest)
            settle(fresh, path)
        return path

    def _sweep(self) -> None:
        oldest = time.time() - ABANDONED_AFTER_S
        for folder in self.folder.glob(".fetch-*"):
            try:
                abandoned = folder.stat().st_mtime < oldest
            except FileNotFoundError:
                continue
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settle(temporary: Path, final: Path) -> None:
    """Give a finished file its name, so that even a power cut leaves it whole or absent."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
