"""The registry on MLflow: registered models for versions, runs for files and curves.

Order makes it safe: a package is stored and read back first, and one request
then makes the version with all its tags. A program killed in between leaves
files that nobody lists. Nothing is ever deleted or written over.
"""

import logging
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic_core import PydanticSerializationError

from micserve.artifact.contract import ModelContract
from micserve.artifact.verification import Verification
from micserve.errors import (
    IntegrityError,
    NotFoundError,
    PackageError,
    ParameterError,
    RefusedError,
    RegistryUnavailableError,
)
from micserve.files import sha256_of
from micserve.registry import tags
from micserve.registry.artifacts import artifacts_of, key_of, safe_path, uri_of
from micserve.registry.cache import PackageCache
from micserve.registry.card import card_of
from micserve.registry.catalogue import Catalogue
from micserve.registry.connection import Connection
from micserve.registry.jobs import JobRecords
from micserve.registry.model import (
    Model,
    ModelRef,
    ModelVersion,
    Promotion,
    QualityControl,
    RunRecord,
    refuse_bad_alias,
)
from micserve.registry.recording import RecordedRun
from micserve.registry.rules import promotion_of
from micserve.registry.runs import Runs

log = logging.getLogger(__name__)

PACKAGES = "package"
ATTEMPTS = 6
"""To make a version while others make theirs: MLflow numbers them by hand and may collide."""


class MlflowRegistry:
    """`Registry` at one address: a tracking server or its database. Thread-safe."""

    def __init__(self, uri: str, *, cache: Path) -> None:
        self._connection = Connection(uri)
        self._files = artifacts_of(self._connection)
        self._catalogue = Catalogue(self._connection)
        self._runs = Runs(self._connection, self._files)
        self._cache = PackageCache(cache)
        self.jobs = JobRecords(self._connection, self._runs)

    def __repr__(self) -> str:
        return f"MlflowRegistry({self._connection.shown!r})"

    def list_models(self) -> tuple[Model, ...]:
        """All models with at least one published version, by name."""
        return self._catalogue.models()

    def list_versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Published versions, newest first."""
        versions = self._catalogue.versions(name)
        if not versions:
            raise self._catalogue.unknown_model(name)
        return versions

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """The version that a reference means now: one request."""
        return self._catalogue.resolve(ref)

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
        """Make a package the next version of `name`: wholly, or not at all."""
        if contract.name != name:
            raise ParameterError(
                f"The package says that it is {contract.name}, so it is not published as {name}."
            )
        if not package.is_file():
            raise PackageError(f"There is no model package {package}.")
        digest = sha256_of(package)
        card = card_of(contract, description=description, size_bytes=package.stat().st_size)
        own = tags.publication_tags(contract, digest=digest, card=card, verification=verification)
        run_id = run_id or self._runs.hold(family=contract.family, name=name)
        key = f"{self._runs.root(run_id)}/{PACKAGES}/{uuid4().hex}/{name}.zip"
        self._files.put(package, key)
        self._read_back(key, digest)
        self._make_model(name)
        return self._make_version(name, source=uri_of(key), run_id=run_id, own=own)

    def fetch(self, version: ModelVersion) -> Path:
        """The package zip in the local cache, its sha256 checked now."""
        return self._cache.get(
            version.digest,
            f"the package of {version.ref}",
            partial(self._files.get, key_of(version.source)),
        )

    def promote(
        self, ref: ModelRef, alias: str, *, by: str, reason: str, force: bool = False
    ) -> Promotion:
        """Point an alias at a version, and record who did it and why."""
        refuse_bad_alias(alias)
        version = self.resolve(ref)
        entity = self._connection.call(lambda c: c.get_registered_model(ref.name))
        before = entity.aliases.get(alias)
        promotion = promotion_of(
            version,
            alias,
            before=None if before is None else int(before),
            by=by,
            reason=reason,
            force=force,
            warnings=self._gate_warnings(version, alias),
        )
        self._record_and_move(promotion)
        return promotion

    def _gate_warnings(self, version: ModelVersion, alias: str) -> tuple[str, ...]:
        from micserve.registry.gate import gate  # needs the quality control's libraries

        return gate(self, version, alias).warnings if version.qc is not None else ()

    def promotions(self, name: str) -> tuple[Promotion, ...]:
        """All moves of this model's aliases, oldest first."""
        try:
            entity = self._connection.call(lambda c: c.get_registered_model(name))
        except (NotFoundError, RefusedError) as error:
            raise self._catalogue.unknown_model(name) from error
        return tags.promotions_in(entity.tags)

    def attach_qc(
        self, version: ModelVersion, summary: Mapping[str, Any], files: Path
    ) -> ModelVersion:
        """Add a quality report: numbers for listings, and a folder of files."""
        if not files.is_dir():
            raise ParameterError(f"There is no folder {files} with a quality report.")
        now = datetime.now(UTC)
        folder = f"qc/v{version.version}-{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
        report = QualityControl(created=now, summary=dict(summary), folder=folder)
        try:
            text = tags.qc_tag(report)
        except PydanticSerializationError as error:
            raise ParameterError(
                f"The quality report's summary holds what is not plain data: {error}."
            ) from error
        for file in sorted(path for path in files.rglob("*") if path.is_file()):
            inside = file.relative_to(files).as_posix()
            self._files.put(file, f"{self._root(version)}/{folder}/{inside}")
        return self._tag(version, tags.QC, text)

    def record_verification(
        self, version: ModelVersion, verification: Verification
    ) -> ModelVersion:
        """Note that a published version was verified (again)."""
        return self._tag(version, tags.VERIFICATION, tags.verification_tag(verification))

    def list_files(self, version: ModelVersion, folder: str = "") -> tuple[str, ...]:
        """Paths of all files kept with the version's run, at any depth below `folder`."""
        return tuple(self._walk(self._root(version), safe_path(folder)))

    def read_file(self, version: ModelVersion, path: str) -> bytes:
        """One file kept with the version's run."""
        inside = safe_path(path)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "file"
            try:
                self._files.get(f"{self._root(version)}/{inside}", copy)
            except NotFoundError as error:
                raise NotFoundError(f"{version.ref} has no file {path!r}.") from error
            return copy.read_bytes()

    def start_run(
        self,
        *,
        family: str,
        name: str,
        run_id: str | None = None,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> RecordedRun:
        """Begin to record a training, or go on with the run `run_id`."""
        return self._runs.start(family=family, name=name, run_id=run_id, params=params, tags=tags)

    def read_run(self, run_id: str) -> RunRecord:
        """What is recorded of a run."""
        return self._runs.read(run_id)

    def _read_back(self, key: str, digest: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "package.zip"
            self._files.get(key, copy)
            if sha256_of(copy) != digest:
                raise IntegrityError(
                    "The package did not arrive in the registry as it was sent, and was not "
                    "published. Check the space on the registry's disk, then publish it again."
                )

    def _make_model(self, name: str) -> None:
        try:
            self._connection.call(lambda c: c.get_registered_model(name))
        except NotFoundError:
            try:
                self._connection.call(lambda c: c.create_registered_model(name))
            except RefusedError:
                # Another trainer was faster; when it was something else, the next call says so.
                self._connection.call(lambda c: c.get_registered_model(name))

    def _make_version(
        self, name: str, *, source: str, run_id: str, own: dict[str, str]
    ) -> ModelVersion:
        """One request; when its answer is lost, look whether it was done before asking again."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                entity = self._connection.call(
                    lambda c: c.create_model_version(
                        name, source, run_id, tags=own, await_creation_for=0
                    ),
                    again=False,
                )
            except RegistryUnavailableError:
                time.sleep(random.uniform(0.1, 0.3) * attempt)
                found = self._publication(name, own[tags.PUBLICATION])
                if found is not None:
                    return found
                if attempt == ATTEMPTS:
                    raise
            else:
                return tags.version_of(entity)
        raise AssertionError("the last attempt returns or raises")

    def _publication(self, name: str, publication: str) -> ModelVersion | None:
        """The version that one attempt to publish made after all."""
        try:
            entities = self._catalogue.entities(name)
        except RegistryUnavailableError as error:
            raise RegistryUnavailableError(
                f"The registry went away while {name} was being published, so it is not known "
                "whether it was: look at its versions before you publish it again."
            ) from error
        mine = [e for e in entities if (e.tags or {}).get(tags.PUBLICATION) == publication]
        return tags.version_of(mine[0]) if mine else None

    def _record_and_move(self, promotion: Promotion) -> None:
        """The record first: a move without a record must not be, the reverse does no harm."""
        name, alias, to = promotion.name, promotion.alias, str(promotion.to_version)
        key = tags.promotion_key()
        text = tags.bounded(promotion.model_dump_json(), tags.LONGEST_MODEL_TAG, "The promotion")
        self._connection.call(lambda c: c.set_registered_model_tag(name, key, text))
        self._connection.call(lambda c: c.set_registered_model_alias(name, alias, to))

    def _tag(self, version: ModelVersion, key: str, text: str) -> ModelVersion:
        name, number = version.name, str(version.version)
        try:
            self._connection.call(lambda c: c.set_model_version_tag(name, number, key, text))
        except (NotFoundError, RefusedError) as error:
            raise self._catalogue.unknown(version.ref) from error
        return self.resolve(version.ref)

    def _root(self, version: ModelVersion) -> str:
        """The key of the files of the version's run, found without asking for the run."""
        return key_of(version.source).rpartition(f"/{PACKAGES}/")[0]

    def _walk(self, root: str, folder: str) -> Iterator[str]:
        for name, is_folder in self._files.list(f"{root}/{folder}".rstrip("/")):
            inside = f"{folder}/{name}".lstrip("/")
            if is_folder:
                yield from self._walk(root, inside)
            else:
                yield inside
