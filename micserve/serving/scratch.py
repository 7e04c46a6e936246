"""Files that live as long as one request, and never longer than the next start.

Each process keeps its files in a folder of its own that it holds a lock on. The
lock dies with the process, however it dies; whoever starts next removes the
folders that nobody holds.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".in-use"


class Scratch:
    """This process's folder of scratch files.

    Parameters
    ----------
    folder
        Shared by all services of a machine; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder / ".cleaning"):
            _remove_abandoned(folder)
            self._own = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))
            self._lock = os.open(self._own / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for one request; it is gone with all its files when the block ends."""
        path = Path(tempfile.mkdtemp(dir=self._own))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not _is_held(path / _LOCK):
            shutil.rmtree(path, ignore_errors=True)


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One process at a time, so that nobody removes a folder between its making and its lock."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
