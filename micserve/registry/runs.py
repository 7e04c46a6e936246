"""Training runs on MLflow: one experiment named `micserve`, one run per training.

Knows which tags a run carries; the patience with an absent server is in `recording`.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from micserve.errors import NotFoundError, ParameterError, RefusedError
from micserve.registry.artifacts import Artifacts, key_of, safe_path, uri_of
from micserve.registry.connection import Connection
from micserve.registry.model import Progress, RunRecord
from micserve.registry.recording import Point, RecordedRun
from micserve.registry.tags import moment

EXPERIMENT = "micserve"
RUN_NAME = "micserve.name"
RUN_FAMILY = "micserve.family"
PROGRESS = "micserve.progress"
RESUMED_WITH = "micserve.resumed_with"

MOST_PARAMS = 100
"""Per request to MLflow."""


class Runs:
    """The runs of one registry."""

    def __init__(self, connection: Connection, artifacts: Artifacts) -> None:
        self._connection, self._artifacts = connection, artifacts
        self._experiment: str | None = None
        self._lock = threading.Lock()

    def start(
        self,
        *,
        family: str,
        name: str,
        run_id: str | None,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> RecordedRun:
        """A new run, or `run_id` taken up again."""
        if run_id is None:
            run_id = self._create(family=family, name=name, tags=tags)
            fresh = dict(params)
        else:
            fresh = self._take_up(run_id, family=family, name=name, params=params)
        self._log_params(run_id, fresh)
        return self._recorder(run_id)

    def hold(self, *, family: str, name: str) -> str:
        """A run that only keeps the files of a package that was not trained here."""
        run_id = self._create(family=family, name=name, tags={"micserve.training": "no"})
        self._close(run_id, "FINISHED")
        return run_id

    def schedule(self, *, family: str, name: str, tags: Mapping[str, str]) -> str:
        """A run that a program will take up when its turn comes."""
        run_id = self._create(family=family, name=name, tags=tags)
        self._connection.call(lambda c: c.update_run(run_id, status="SCHEDULED"))
        return run_id

    def close_if_open(self, run_id: str, status: str) -> None:
        """For a program that ended without saying so."""
        if self.raw(run_id).info.status in ("RUNNING", "SCHEDULED"):
            self._close(run_id, status)

    def raw(self, run_id: str) -> Any:
        """MLflow's own entry of a run."""
        return self._get(run_id)

    def experiment_id(self) -> str:
        return self._experiment_id()

    def read(self, run_id: str) -> RunRecord:
        run = self._get(run_id)
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        progress = tags.pop(PROGRESS, None)
        running = run.info.status == "RUNNING"
        return RunRecord(
            id=run_id,
            name=tags.pop(RUN_NAME, ""),
            family=tags.pop(RUN_FAMILY, ""),
            status=run.info.status,
            started=moment(run.info.start_time),
            ended=moment(run.info.end_time) if run.info.end_time and not running else None,
            params=dict(run.data.params),
            tags=tags,
            metrics=dict(run.data.metrics),
            progress=Progress.model_validate_json(progress) if progress else None,
        )

    def root(self, run_id: str) -> str:
        """The key below which a run's files lie."""
        return key_of(self._get(run_id).info.artifact_uri)

    def _create(self, *, family: str, name: str, tags: Mapping[str, str]) -> str:
        experiment = self._experiment_id()
        all_tags = {**tags, RUN_NAME: name, RUN_FAMILY: family}
        run = self._connection.call(
            lambda c: c.create_run(experiment, run_name=name, tags=all_tags), again=False
        )
        return str(run.info.run_id)

    def _take_up(
        self, run_id: str, *, family: str, name: str, params: Mapping[str, str]
    ) -> dict[str, str]:
        """Open the run again; the parameters that it does not have yet."""
        record = self.read(run_id)
        if (record.name, record.family) != (name, family):
            raise ParameterError(
                f"Run {run_id} trained {record.name} ({record.family}), not {name} ({family}): "
                "resume it under its own name, or start a new training."
            )
        self._connection.call(lambda c: c.update_run(run_id, status="RUNNING"))
        changed = {k: v for k, v in params.items() if record.params.get(k, v) != v}
        if changed:
            note = json.dumps(changed)
            self._connection.call(lambda c: c.set_tag(run_id, RESUMED_WITH, note))
        return {k: v for k, v in params.items() if k not in record.params}

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        entries = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(entries), MOST_PARAMS):
            part = entries[start : start + MOST_PARAMS]
            self._connection.call(partial(_log, run_id=run_id, params=part))

    def _recorder(self, run_id: str) -> RecordedRun:
        root = self.root(run_id)

        def send(points: list[Point], progress: Progress | None) -> None:
            metrics = [Metric(p.name, p.value, p.at, p.step) for p in points]
            tags = [RunTag(PROGRESS, progress.model_dump_json())] if progress else []
            self._connection.call(partial(_log, run_id=run_id, metrics=metrics, tags=tags))

        return RecordedRun(
            run_id,
            send=send,
            store=lambda file, folder: self._artifacts.put(
                file, "/".join(part for part in (root, safe_path(folder), file.name) if part)
            ),
            close=lambda status: self._close(run_id, status),
        )

    def _close(self, run_id: str, status: str) -> None:
        self._connection.call(lambda c: c.set_terminated(run_id, status))

    def _get(self, run_id: str) -> Any:
        try:
            return self._connection.call(lambda c: c.get_run(run_id))
        except (NotFoundError, RefusedError) as error:
            raise NotFoundError(
                f"The registry has no run {run_id!r}: copy its id from the training's output or "
                "from the registry's web page."
            ) from error

    def _experiment_id(self) -> str:
        with self._lock:
            self._experiment = self._experiment or self._find_or_make_experiment()
            return self._experiment

    def _find_or_make_experiment(self) -> str:
        found = self._connection.call(lambda c: c.get_experiment_by_name(EXPERIMENT))
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(
                self._connection.call(
                    lambda c: c.create_experiment(EXPERIMENT, artifact_location=uri_of(EXPERIMENT))
                )
            )
        except RefusedError:
            # Somebody else made it since, or the first of our two requests did.
            found = self._connection.call(lambda c: c.get_experiment_by_name(EXPERIMENT))
            if found is None:
                raise
            return str(found.experiment_id)


def _log(
    client: Any,
    *,
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
