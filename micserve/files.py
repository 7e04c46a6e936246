"""Files that are there whole or not at all, their digests, and what killed programs left of them.

The one home of "write, fsync, rename". Knows names and bytes; nothing of what is in a file.
"""

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from micserve.errors import ParameterError, StorageFullError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, a quota that is used up, and a limit on a file's size are to a program."""

ABANDONED_AFTER_S = 24 * 3600
"""Age at which a half-done folder of a killed program is swept away."""


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """Yield a name to write to; it becomes `target` when the block ends well.

    The new file is flushed to the disk before it takes the name, and its folder after, so that
    a crash leaves the old file, the new file or none, and never half of one. When the block
    raises, nothing is left behind.

    Raises
    ------
    ParameterError
        When nothing can be written beside `target`.
    """
    part = target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex}.part")
    try:
        part.touch(exist_ok=False)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise ParameterError(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        yield part
        settle(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def said_when_full(what: str) -> Iterator[None]:
    """Turn a full disk into a sentence.

    Parameters
    ----------
    what
        Was being kept, to begin the sentence with: `The file a.tif`.

    Raises
    ------
    StorageFullError
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageFullError(
            f"{what} was not kept: the server's disk is full. Delete data sets and results that "
            "you no longer need, or tell the facility's staff; then send it again."
        ) from error


def settle(temporary: Path, final: Path) -> None:
    """Give a finished file its name, so that even a power cut leaves it whole or absent."""
    _sync(temporary, os.O_RDWR)
    temporary.replace(final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names in a folder."""
    _sync(folder, os.O_RDONLY)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_abandoned(folder: Path, pattern: str) -> None:
    """Remove the folders of this pattern that no living program can still be filling."""
    oldest = time.time() - ABANDONED_AFTER_S
    for scratch in folder.glob(pattern):
        try:
            abandoned = scratch.stat().st_mtime < oldest
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
