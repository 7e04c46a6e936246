"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """Yield a name to write to; it becomes `target` when the block ends well.

    The new file is flushed to the disk before it takes the name, and its folder after, so that
    a crash leaves the old file, the new file or none, and never half of one. When the block
    raises, nothing is left behind.
    """
    handle, made = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(made)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        _sync(part, os.O_RDWR)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(target.parent, os.O_RDONLY)


def _umask() -> int:
    """As the process would create a file; mkstemp makes it private."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
