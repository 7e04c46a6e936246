"""Files that are there whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from micserve.errors import ParameterError


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
        raise ParameterError(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        yield part
        _sync(part, os.O_RDWR)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(target.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
