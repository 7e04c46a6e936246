"""Packages on this machine's disk, named by their own sha256.

A file appears under its name only when it is whole and its digest was
checked, and is checked again each time it is asked for. Knows digests and
folders; where the bytes come from is the caller's.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from micserve.errors import DigestMismatchError
from micserve.files import settle, sha256_of, sweep_abandoned

log = logging.getLogger(__name__)


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
        sweep_abandoned(self.folder, ".fetch-*")
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".fetch-") as folder:
            fresh = Path(folder) / path.name
            download(fresh)
            got = sha256_of(fresh)
            if got != digest:
                raise DigestMismatchError(what, got=got, expected=digest)
            settle(fresh, path)
        return path
