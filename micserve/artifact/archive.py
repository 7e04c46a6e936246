"""A zip that is written the same way every time, and read as if an enemy had made it.

Knows zip files and folders; nothing of models. Files are stored and not
deflated: weights and images hardly shrink, the bytes (and so the digest) do not
depend on a zlib version, and a stored file cannot be a zip bomb.
"""

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from micserve.errors import PackageError
from micserve.files import settle, sweep_abandoned, sync_folder

MAX_FILES = 1000
"""A package of ours has about a dozen."""
MAX_BYTES = 4 << 30
"""Unpacked; the largest networks of this field have a few hundred MiB."""
MAX_RATIO = 200
"""Unpacked to packed. Real packages of other tools reach about 20."""
SMALL = 64 << 20
"""Unpacked size up to which the ratio does not matter."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16


def write_archive(
    target: Path, files: Mapping[str, Path | bytes], *, check: Callable[[Path], None]
) -> None:
    """Write a zip in the order of `files`; only when it is whole and checked it gets its name.

    Parameters
    ----------
    check
        Raises when the written file must not be.
    """
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part.zip")
    part = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as raw,
            zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive,
        ):
            for member, source in files.items():
                _add(archive, member, source)
        check(part)
        part.chmod(0o644)
        settle(part, target)
    finally:
        part.unlink(missing_ok=True)


def extract_archive(path: Path, folder: Path) -> None:
    """Unpack a zip to `folder`, which appears only when it is whole.

    Raises
    ------
    PackageError
        When the zip is damaged, would write outside of `folder`, or is larger than any package.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(folder.parent, ".unpack-*")
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpack-"))
    try:
        _extract(path, scratch)
        scratch.chmod(0o755)
        _settle(scratch, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise PackageError(
            f"{path.name} is not a whole zip file ({error}); fetch or publish it again"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(path: Path, scratch: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _refuse_too_large(path, members)
        for member in members:
            target = scratch / safe_name(member.filename)
            _refuse_unusual(path.name, member)
            _copy(archive, member, target)


def safe_name(name: str) -> PurePosixPath:
    """The member's path below the folder it is unpacked to.

    Raises
    ------
    PackageError
        When it leads out of that folder or cannot be a file on every system.
    """
    path = PurePosixPath(name)
    unsafe = (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or any(character in name for character in "\\:\0")
    )
    if unsafe:
        raise PackageError(
            f"the package holds a file named {name!r}, which would be written outside of its "
            "folder; it was not unpacked. Do not use packages from this source."
        )
    return path


def _add(archive: zipfile.ZipFile, member: str, source: Path | bytes) -> None:
    info = zipfile.ZipInfo(str(safe_name(member)), _EPOCH)
    info.create_system = 3
    info.external_attr = _PLAIN_FILE
    if isinstance(source, bytes):
        archive.writestr(info, source)
        return
    info.file_size = source.stat().st_size
    with source.open("rb") as reader, archive.open(info, "w") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _refuse_too_large(path: Path, members: list[zipfile.ZipInfo]) -> None:
    unpacked = sum(member.file_size for member in members)
    packed = path.stat().st_size
    if len(members) > MAX_FILES:
        raise PackageError(
            f"{path.name} holds {len(members)} files; at most {MAX_FILES} are accepted"
        )
    if unpacked > MAX_BYTES or unpacked > max(SMALL, MAX_RATIO * packed):
        raise PackageError(
            f"{path.name} would unpack from {packed >> 20} MiB to {unpacked >> 20} MiB; it was not "
            f"unpacked. At most {MAX_BYTES >> 20} MiB, and {MAX_RATIO} times the packed size, "
            "are accepted."
        )


def _refuse_unusual(name: str, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise PackageError(f"{name} holds a link or device ({member.filename}); it was refused")


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """At most the announced size is read, and the checksum is compared at its end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
    except (FileExistsError, NotADirectoryError) as error:
        raise PackageError(f"the package holds {member.filename} twice; it was refused") from error
    except zlib.error as error:
        raise PackageError(f"{member.filename} in the package cannot be read: {error}") from error


def _settle(scratch: Path, folder: Path) -> None:
    """Move into place; another process that was first has unpacked the same bytes."""
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    sync_folder(folder.parent)
