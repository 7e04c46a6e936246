"""A run's diary: nothing is lost to a short absence, and nothing stops a training."""

import logging
import threading
from dataclasses import dataclass, field

import pytest

from micserve.errors import NotFoundError, ParameterError, RefusedError, RegistryUnavailableError
from micserve.registry.recording import MOST_METRICS, RecordedRun


@dataclass
class Server:
    """Takes what a run sends, except while it is away."""

    away: int = 0
    refuses: bool = False
    batches: list = field(default_factory=list)
    progress: list = field(default_factory=list)
    files: list = field(default_factory=list)
    status: str = "RUNNING"
    asked: threading.Event = field(default_factory=threading.Event)

    def _answer(self):
        self.asked.set()
        if self.away > 0:
            self.away -= 1
            raise RegistryUnavailableError("away")
        if self.refuses:
            raise RefusedError("no")

    def send(self, points, progress):
        self._answer()
        self.batches.append(points)
        self.progress += [progress] if progress else []

    def store(self, path, folder):
        self._answer()
        self.files.append((path.name, folder, path.read_text()))

    def close(self, status):
        self._answer()
        self.status = status

    def run(self, patience=60.0) -> RecordedRun:
        return RecordedRun(
            "r1", send=self.send, store=self.store, close=self.close, pause=0.001, patience=patience
        )

    @property
    def steps(self):
        return [point.step for batch in self.batches for point in batch]


def test_all_values_arrive_in_order_in_few_requests():
    server = Server()
    run = server.run()
    for step in range(3000):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    run.finish("FINISHED")
    assert server.steps == list(range(3000))
    assert max(len(batch) for batch in server.batches) <= MOST_METRICS
    assert server.status == "FINISHED"


def test_an_absent_registry_loses_nothing_and_warns_once(tmp_path, caplog):
    file = tmp_path / "report.html"
    file.write_text("report")
    server = Server(away=5)
    with caplog.at_level(logging.WARNING):
        run = server.run()
        run.log_metrics({"loss": 1.0}, step=0)
        assert server.asked.wait(60)
        run.log_file(file, "report")
        run.log_metrics({"loss": 0.5}, step=1)
        run.log_progress(0.5, "training", 12.0)
        run.finish("FINISHED")
    assert server.steps == [0, 1]
    assert server.files == [("report.html", "report", "report")]
    assert server.progress[-1].seconds_left == 12.0
    assert caplog.text.count("waits for the registry") == 1
    assert caplog.text.count("is back") == 1


def test_a_registry_that_stays_away_does_not_hold_the_end_of_a_training(caplog):
    server = Server(away=10**9)
    run = server.run(patience=0.0)
    run.log_metrics({"loss": 1.0, "val_loss": 2.0}, step=0)
    with caplog.at_level(logging.WARNING):
        run.finish("FAILED")
    assert "2 metric values and 0 files of run r1 are lost" in caplog.text
    assert "is not marked as FAILED" in caplog.text


def test_what_the_registry_refuses_is_dropped_with_a_warning(caplog):
    server = Server(refuses=True)
    run = server.run()
    run.log_metrics({"loss": 1.0}, step=0)
    with caplog.at_level(logging.WARNING):
        run.finish("FINISHED")
    assert "was not kept: no" in caplog.text


def test_a_file_that_is_gone_does_not_stop_the_others(tmp_path, caplog):
    here = tmp_path / "here.txt"
    here.write_text("x")
    server = Server()
    run = server.run()
    run.log_file(tmp_path / "gone.txt")
    run.log_file(here)
    with caplog.at_level(logging.WARNING):
        run.finish("FINISHED")
    assert [name for name, *_ in server.files] == ["here.txt"]
    assert "gone.txt" in caplog.text


def test_only_the_last_progress_is_kept_and_it_stays_between_0_and_1():
    server = Server()
    run = server.run()
    for fraction in (-0.5, 0.5, 1.0000001):
        run.log_progress(fraction, "training", None)
    run.finish("FINISHED")
    assert server.progress[-1].fraction == 1.0
    assert all(0 <= progress.fraction <= 1 for progress in server.progress)


def test_a_metric_needs_a_name_that_the_server_takes():
    run = Server().run()
    with pytest.raises(ParameterError, match="cannot name a metric"):
        run.log_metrics({"loss\n": 1.0}, step=0)
    run.finish("KILLED")


def test_not_found_is_no_reason_to_wait():
    server = Server()
    server._answer = lambda: (_ for _ in ()).throw(NotFoundError("the run was deleted"))
    run = server.run()
    run.log_metrics({"loss": 1.0}, step=0)
    run.finish("FINISHED")
    assert server.batches == []
