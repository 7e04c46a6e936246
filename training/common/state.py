"""What survives a kill -9: one folder per training run, every file in it whole or absent.

    training/<run id>/asked.json     what was asked for and how the data was split
    training/<run id>/checkpoint.npz the state after the last whole epoch, history included
    training/<run id>/best.npz       the weights with the lowest validation loss so far
    training/<run id>/published.json which version came of it; the weights are then dropped

Knows arrays and JSON; nothing of networks. Nothing in it is pickled.
"""

import fcntl
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from micserve.errors import BusyError, IntegrityError, NotFoundError
from micserve.files import publish_file
from training.common.images import Manifest
from training.common.learner import Arrays

WEIGHT, STATE, HISTORY = "weight/", "state/", "history"
"""Names of arrays in a checkpoint."""


class AskedFor(BaseModel):
    """What a resumed training needs to go on as it began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    preset: str
    requested: dict[str, Any]
    config: dict[str, Any]
    manifest: Manifest


class Epoch(BaseModel):
    """One row of the training's history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: Annotated[int, Field(ge=1)]
    metrics: dict[str, float]
    seconds: float

    @property
    def val_loss(self) -> float:
        return self.metrics["val_loss"]


class Checkpoint(BaseModel):
    """The state after the last whole epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    weights: dict[str, NDArray[Any]]
    state: dict[str, NDArray[Any]]
    history: tuple[Epoch, ...]


class RunFolder:
    """The folder of one run."""

    def __init__(self, home: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = home.absolute() / "training" / run_id

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Refuse a second trainer on the same run."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(
                    f"Run {self.run_id} is being trained by another program; wait for it, or stop "
                    "it with Ctrl-C and resume it then.",
                    retry_after=60,
                ) from error
            yield

    @property
    def begun(self) -> bool:
        return (self.path / "asked.json").is_file()

    def begin(self, asked: AskedFor) -> None:
        write_whole(self.path / "asked.json", asked.model_dump_json(indent=1).encode())

    def asked(self) -> AskedFor:
        """What was asked for when the run began."""
        path = self.path / "asked.json"
        if not path.is_file():
            raise NotFoundError(
                f"There is no training run {self.run_id!r} to resume in {self.path.parent}: copy "
                "its id from the training's output, and set MICSERVE_HOME as it was then."
            )
        try:
            return AskedFor.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise IntegrityError(
                f"{path} cannot be read: it was changed by hand or written by another micserve. "
                "Start a new training."
            ) from error

    def save(self, checkpoint: Checkpoint) -> None:
        arrays = {WEIGHT + name: value for name, value in checkpoint.weights.items()}
        arrays |= {STATE + name: value for name, value in checkpoint.state.items()}
        rows = json.dumps([epoch.model_dump() for epoch in checkpoint.history])
        arrays[HISTORY] = np.frombuffer(rows.encode(), np.uint8)
        _write_arrays(self.path / "checkpoint.npz", arrays)

    def checkpoint(self) -> Checkpoint | None:
        """None before the first epoch was done."""
        path = self.path / "checkpoint.npz"
        if not path.is_file():
            return None
        arrays = _read_arrays(path)
        rows = json.loads(arrays.pop(HISTORY).tobytes())
        return Checkpoint(
            weights=_named(arrays, WEIGHT),
            state=_named(arrays, STATE),
            history=tuple(Epoch.model_validate(row) for row in rows),
        )

    def save_best(self, weights: Arrays) -> None:
        _write_arrays(self.path / "best.npz", weights)

    def best(self) -> dict[str, NDArray[Any]]:
        return _read_arrays(self.path / "best.npz")

    def note_published(self, version: str) -> None:
        """The weights now live in the registry."""
        write_whole(self.path / "published.json", json.dumps({"version": version}).encode())
        for name in ("checkpoint.npz", "best.npz"):
            (self.path / name).unlink(missing_ok=True)

    def published(self) -> str | None:
        path = self.path / "published.json"
        return str(json.loads(path.read_bytes())["version"]) if path.is_file() else None


def write_whole(path: Path, content: bytes) -> None:
    """The file is there whole, or as it was before."""
    with publish_file(path) as part:
        part.write_bytes(content)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise IntegrityError(
            f"The checkpoint {path} is damaged or missing, so the training cannot be resumed from "
            "it. Start a new training."
        ) from error


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
