"""Data sets: folders of files that belong to a person, on the server's disk.

    data/<id>/dataset.json    whose it is and what it is called
    data/<id>/files/…         whole files only
    data/<id>/incoming/…      what is still on its way

A file takes its name when all of it is on the disk (write, fsync, rename). Knows people by
name; knows nothing of HTTP and of what is in a file.
"""

import errno
import secrets
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from micserve.errors import (
    AccessRefusedError,
    DataTooLargeError,
    NotFoundError,
    ParameterError,
)
from micserve.files import publish_file, said_when_full, sync_folder
from services.gateway.callers import Caller
from services.gateway.data.places import relative_path

MIB = 1 << 20
LONGEST_TITLE = 100
EVERYBODY = "all"
"""As a group: whoever may use this server."""


class Dataset(BaseModel):
    """What is written down of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    owner: str
    created: AwareDatetime
    group: str | None = None
    """Whose members may read it too; `all` for everybody; None for the owner alone."""


class Datasets:
    """All data sets of one server. Thread-safe; every method may block.

    Parameters
    ----------
    person_bytes
        What one person may keep, in all of their data sets together.
    """

    def __init__(self, folder: Path, *, person_bytes: int) -> None:
        self._folder = folder
        self._person_bytes = person_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        with said_when_full("The folder of data sets"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob("*/incoming/whole-*"):
            # Whole files come again from their beginning; parts that resume are kept.
            left.unlink(missing_ok=True)
        for half in folder.glob(".making-*"):
            shutil.rmtree(half, ignore_errors=True)

    # --- data sets ------------------------------------------------------------------------------
    def create(self, name: str, caller: Caller, group: str | None = None) -> Dataset:
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_TITLE or not name.isprintable():
            raise ParameterError(
                f"A data set needs a name of 1 to {LONGEST_TITLE} letters, as in 'march, spots'."
            )
        if group not in (None, EVERYBODY) and group not in caller.groups and caller.role != "admin":
            raise AccessRefusedError(
                f"You are not in the group {group!r}. Leave it out to keep the data to yourself, "
                "or give 'all'."
            )
        dataset = Dataset(
            id=secrets.token_hex(8),
            name=name,
            owner=caller.name,
            created=datetime.now(UTC),
            group=group,
        )
        half = self._folder / f".making-{dataset.id}"
        try:
            with said_when_full(f"The data set {name!r}"):
                for below in ("files", "incoming"):
                    (half / below).mkdir(parents=True)
                with publish_file(half / "dataset.json") as part:
                    part.write_text(dataset.model_dump_json(), encoding="utf-8")
                half.rename(self._folder / dataset.id)
                sync_folder(self._folder)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        return dataset

    def all_of(self, caller: Caller) -> list[Dataset]:
        """Those that the caller may read, newest first."""
        found = [d for d in self._every() if _may_read(d, caller)]
        return sorted(found, key=lambda dataset: dataset.created, reverse=True)

    def one(self, identity: str, caller: Caller, *, to_change: bool = False) -> Dataset:
        """NotFoundError for what is not there or not the caller's to see."""
        dataset = self._read(identity) if identity.isalnum() and identity.isascii() else None
        if dataset is None or not _may_read(dataset, caller):
            raise NotFoundError(
                f"There is no data set {identity!r} of yours; GET /v1/data lists them."
            )
        if to_change and caller.name != dataset.owner and caller.role != "admin":
            raise AccessRefusedError(
                f"The data set {dataset.name!r} belongs to {dataset.owner}, who alone may change "
                "it. Make one of your own."
            )
        return dataset

    def delete(self, dataset: Dataset) -> None:
        """With all its files; what was begun is finished by the next start."""
        half = self._folder / f".making-{dataset.id}-{secrets.token_hex(4)}"
        (self._folder / dataset.id).rename(half)
        sync_folder(self._folder)
        with self._lock:
            self._sizes.pop(dataset.id, None)
        shutil.rmtree(half, ignore_errors=True)

    # --- files ----------------------------------------------------------------------------------
    def files(self, dataset: Dataset) -> Iterator[tuple[str, int]]:
        """Path and bytes of every whole file, by name."""
        base = self.base(dataset)
        for path in sorted(base.rglob("*")):
            if path.is_file():
                yield path.relative_to(base).as_posix(), path.stat().st_size

    def base(self, dataset: Dataset) -> Path:
        return self._folder / dataset.id / "files"

    def incoming(self, dataset: Dataset) -> Path:
        return self._folder / dataset.id / "incoming"

    def delete_file(self, dataset: Dataset, path: str) -> None:
        found = self.find_file(dataset, path)
        size = found.stat().st_size
        found.unlink()
        self.arrived(dataset, -size)
        base, folder = self.base(dataset), found.parent
        while folder != base and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def find_file(self, dataset: Dataset, path: str) -> Path:
        found = self.base(dataset) / relative_path(path)
        if not found.is_file():
            raise NotFoundError(f"The data set {dataset.name!r} has no file {path}.")
        return found

    def target(self, dataset: Dataset, path: str) -> Path:
        """Where a file of this name goes; its folders are made."""
        relative = relative_path(path)
        if relative == PurePosixPath("."):
            raise ParameterError("A file needs a name: PUT /v1/data/{id}/files/{name}.")
        target = self.base(dataset) / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ParameterError(
                f"{relative.parent} is a file in this data set and cannot be a folder too."
            ) from error
        if target.is_dir():
            raise ParameterError(f"{path} is a folder in this data set; give the file a name.")
        return target

    # --- room -----------------------------------------------------------------------------------
    def refuse_more_than_allowed(self, dataset: Dataset, more: int) -> None:
        """Before `more` bytes are taken: DataTooLargeError when they would be too many."""
        used = sum(self._size(d) for d in self._every() if d.owner == dataset.owner)
        if used + more > self._person_bytes:
            raise DataTooLargeError(
                f"{dataset.owner} keeps {used / MIB:.0f} MiB here, and {more / MIB:.1f} MiB more "
                f"are over the limit of {self._person_bytes / MIB:.0f} MiB. Delete data sets that "
                "you no longer need, or ask the facility's staff for more room."
            )

    def arrived(self, dataset: Dataset, more: int) -> None:
        """Count what was kept or given back."""
        with self._lock:
            if dataset.id in self._sizes:
                self._sizes[dataset.id] += more

    def recount(self, dataset: Dataset) -> None:
        """Look at the disk again before the next answer."""
        with self._lock:
            self._sizes.pop(dataset.id, None)

    def _size(self, dataset: Dataset) -> int:
        """Counted once, then kept up to date."""
        with self._lock:
            known = self._sizes.get(dataset.id)
        if known is not None:
            return known
        everything = (self._folder / dataset.id).rglob("*")
        size = sum(path.stat().st_size for path in everything if path.is_file())
        with self._lock:
            return self._sizes.setdefault(dataset.id, size)

    def _every(self) -> Iterator[Dataset]:
        for folder in self._folder.iterdir():
            if not folder.name.startswith("."):
                dataset = self._read(folder.name)
                if dataset is not None:
                    yield dataset

    def _read(self, identity: str) -> Dataset | None:
        try:
            text = (self._folder / identity / "dataset.json").read_bytes()
            return Dataset.model_validate_json(text)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise
        except ValidationError:
            return None


def _may_read(dataset: Dataset, caller: Caller) -> bool:
    return (
        caller.name == dataset.owner
        or caller.role == "admin"
        or dataset.group == EVERYBODY
        or dataset.group in caller.groups
    )
