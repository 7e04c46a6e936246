"""Where images are, as people may name it, and as the disk has it.

    data:<id>/<folder or file>      in a data set of theirs
    root:<name>/<folder or file>    below a folder that the operator opened

Nothing else can be named: no `..`, no absolute path, and no link that leads out of where it is.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from micserve.errors import AccessRefusedError, NotFoundError, ParameterError

LONGEST_NAME = 255
"""Bytes of one folder's or file's name, as Linux file systems have it."""
LONGEST_PATH = 1024
DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Place:
    """One folder or file, not yet looked for."""

    kind: Literal["data", "root"]
    where: str
    """The data set's id, or the root's name."""
    path: PurePosixPath
    """Relative; `.` for all of it."""

    def __str__(self) -> str:
        inside = "" if self.path == PurePosixPath(".") else str(self.path)
        return f"{self.kind}:{self.where}/{inside}"


def parse_place(text: str) -> Place:
    """Read `data:<id>/<path>` or `root:<name>/<path>`.

    Raises
    ------
    ParameterError
        Saying how a place is written.
    """
    kind, colon, rest = text.strip().partition(":")
    where, _, path = rest.partition("/")
    if not colon or not where or kind not in ("data", "root"):
        raise ParameterError(
            f"{text!r} is not a place: write data:<id>/<folder> for a data set of yours "
            "(GET /v1/data), or root:<name>/<folder> for a folder of the server (GET /v1/folders)."
        )
    return Place("data" if kind == "data" else "root", where, relative_path(path))


def relative_path(text: str) -> PurePosixPath:
    """A path that stays where it begins; empty means all of it.

    Raises
    ------
    ParameterError
        For anything that could lead elsewhere, or that no file system takes.
    """
    parts = [part for part in text.split("/") if part]
    bad = (
        text.startswith("/")
        or any(part in (".", "..") or len(part.encode()) > LONGEST_NAME for part in parts)
        or any(ord(letter) < 32 or letter in "\\\x7f" for letter in text)
        or len(text.encode("utf-8", "surrogatepass")) > LONGEST_PATH
        or len(parts) > DEEPEST
        or not _is_text(text)
    )
    if bad:
        raise ParameterError(
            f"{text[:80]!r} cannot name a file here: use folders and names with / between them, "
            "without .., backslashes or control characters."
        )
    return PurePosixPath(*parts)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def inside(base: Path, path: PurePosixPath, place: str) -> Path:
    """The file or folder on the disk, with links followed, if it is there and still below `base`.

    Raises
    ------
    NotFoundError, AccessRefusedError
    """
    base = base.resolve()
    found = (base / path).resolve()
    if not found.is_relative_to(base):
        raise AccessRefusedError(
            f"{place} is a link that leads out of the folder that it is in. Name the images "
            "themselves."
        )
    if not found.exists():
        raise NotFoundError(f"There is nothing at {place}. Check the name.")
    return found


def refuse_links_out(folder: Path, base: Path, place: str) -> None:
    """A program that reads the whole folder must not be led out of `base` by what is in it."""
    base = base.resolve()
    for path in _everything(folder):
        if path.is_symlink() and not path.resolve().is_relative_to(base):
            raise AccessRefusedError(
                f"{place} holds {path.name}, a link that leads out of what this server may read. "
                "Replace it with the image itself, or choose another folder."
            )


def _everything(folder: Path) -> Iterator[Path]:
    yield folder
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            yield Path(parent, name)


def parse_roots(text: str) -> Mapping[str, Path]:
    """`images=/srv/images,archive=/mnt/archive` as the setting has it.

    Raises
    ------
    ValueError
    """
    roots: dict[str, Path] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, path = entry.partition("=")
        if not equals or not name.isidentifier() or not Path(path).is_absolute():
            raise ValueError(
                f"MICSERVE_DATA_ROOTS has {entry!r}, but it needs name=/absolute/folder, with "
                "commas between several"
            )
        roots[name] = Path(path)
    return roots
