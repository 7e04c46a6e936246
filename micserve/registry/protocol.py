"""The two seams: `Registry` for who publishes and serves, `Run` for who trains.

`micserve.registry.open_registry` gives the implementation that we ship.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from micserve.artifact.contract import ModelContract
from micserve.artifact.verification import Verification
from micserve.registry.model import (
    Model,
    ModelRef,
    ModelVersion,
    Promotion,
    RunRecord,
)

if TYPE_CHECKING:
    from micserve.registry.jobs import JobRecords


class Run(Protocol):
    """One training run that is being recorded.

    Nothing here raises when the registry is away: values are buffered, sent
    again later, and the program's log is warned. A training outlives its tracking server.
    """

    @property
    def id(self) -> str: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Loss and the like at one step; returns at once."""

    def log_progress(self, fraction: float, phase: str, seconds_left: float | None) -> None:
        """0 to 1; only the last one is kept; returns at once."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of one file with the run; it must stay in place until `finish`."""

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Send what is left, waiting a bounded time for the registry, and close the run."""


class Registry(Protocol):
    """Where versions of models are kept. Thread-safe. Every version is immutable.

    Every method may raise RegistryUnavailableError, within seconds.
    """

    @property
    def jobs(self) -> "JobRecords":
        """Trainings and predictions that were ordered from the gateway."""

    def list_models(self) -> tuple[Model, ...]:
        """All models with at least one published version, by name."""

    def list_versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Published versions, newest first.

        Raises
        ------
        ModelNotFoundError
            Naming the nearest names that there are.
        """

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """The version that a reference means now: one request.

        Raises
        ------
        ModelNotFoundError, VersionNotFoundError
            Naming what there is instead.
        """

    def publish(
        self,
        package: Path,
        *,
        name: str,
        run_id: str | None,
        contract: ModelContract,
        verification: Verification | None,
        description: str = "",
    ) -> ModelVersion:
        """Make a package the next version of `name`: wholly, or not at all.

        Parameters
        ----------
        package
            The model package, a zip file.
        run_id
            The training run that made it; None makes a run that only holds the files.
        verification
            None publishes a version that `promote` refuses until it is verified.
        """

    def fetch(self, version: ModelVersion) -> Path:
        """The package zip in the local cache, its sha256 checked now. Safe to call at once from
        many threads and processes; a damaged file in the cache is fetched again.

        Raises
        ------
        DigestMismatchError
            When the registry itself delivers other bytes than were published.
        """

    def promote(
        self, ref: ModelRef, alias: str, *, by: str, reason: str, force: bool = False
    ) -> Promotion:
        """Point an alias at a version, and record who did it and why.

        Raises
        ------
        PromotionRefusedError
            When the version has no passed verification and `force` is not given.
        ParameterError
            When `force` comes without a reason.
        """

    def promotions(self, name: str) -> tuple[Promotion, ...]:
        """All moves of this model's aliases, oldest first."""

    def attach_qc(
        self, version: ModelVersion, summary: Mapping[str, Any], files: Path
    ) -> ModelVersion:
        """Add a quality report: numbers for listings, and a folder of files."""

    def record_verification(
        self, version: ModelVersion, verification: Verification
    ) -> ModelVersion:
        """Note that a published version was verified (again)."""

    def list_files(self, version: ModelVersion, folder: str = "") -> tuple[str, ...]:
        """Paths of all files kept with the version's run, at any depth below `folder`."""

    def read_file(self, version: ModelVersion, path: str) -> bytes:
        """One file kept with the version's run: a training report, a page of a quality report.

        Raises
        ------
        NotFoundError
            When there is no such file.
        """

    def start_run(
        self,
        *,
        family: str,
        name: str,
        run_id: str | None = None,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> Run:
        """Begin to record a training, or go on with the run `run_id`.

        A parameter whose value differs from that of the resumed run is kept
        as the run's tag `micserve.resumed_with`.
        """

    def read_run(self, run_id: str) -> RunRecord:
        """What is recorded of a run.

        Raises
        ------
        NotFoundError
            When there is no such run.
        """
