"""Trainings on a real Slurm of one node: submitted, followed, cancelled; another publishes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from micserve.errors import ExecutorUnavailableError
from services.gateway.executors.base import Task
from services.gateway.executors.commands import Commands
from services.gateway.executors.slurm import SlurmExecutor
from tests.jobs.conftest import noisy_images
from tests.jobs.following import ended, ordered, seen, trains
from tests.jobs.test_training_jobs import LONG, TINY, training
from tests.support.registry_server import RegistryServer
from tests.support.slurm import Cluster
from tests.support.stack import Program, gateway
from tests.support.trainers import python_of


@pytest.fixture(scope="module")
def door(
    slurm: Cluster, registry_server: RegistryServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """A gateway whose trainings go to the cluster, each with the whole node."""
    python_of("n2v")
    home = tmp_path_factory.mktemp("slurm-site")
    noisy_images(home / "images")
    program = gateway(
        home,
        registry_server.url,
        n2v="http://127.0.0.1:9",
        MICSERVE_EXECUTOR="slurm",
        MICSERVE_SLURM_OPTIONS="--exclusive --time=20",
        MICSERVE_DATA_ROOTS=f"shared={home / 'images'}",
        **slurm.environment,
    )
    program.start()
    yield program
    program.stop()


@pytest.fixture
def web(door: Program) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=door.url, timeout=120) as client:
        yield client


def slurm_training(parameters: dict[str, object]) -> dict[str, object]:
    return training(f"n2v-{uuid4().hex[:8]}", parameters, "root:shared/")


@pytest.mark.slow
def test_a_training_is_followed_and_cancelled_and_the_next_one_publishes(
    slurm: Cluster, door: Program, web: httpx.Client
) -> None:
    long = ordered(web, slurm_training(LONG))
    next_one = ordered(web, slurm_training(TINY))
    found = seen(web, long, trains)
    assert found["state"] == "running"
    assert any("epoch" in line for line in found["log_tail"])
    waiting = web.get(f"/v1/jobs/{next_one}").json()
    assert (waiting["state"], waiting["queue_position"]) == ("queued", 1)
    assert "It waits for a free GPU or node" in waiting["message"]
    states = slurm.ask("squeue", "--noheader", "--format=%T").split()
    assert sorted(states) == ["PENDING", "RUNNING"]

    door.kill_parent()
    door.start()
    assert web.get(f"/v1/jobs/{long}").json()["state"] == "running"
    cancelled = web.delete(f"/v1/jobs/{long}").json()
    assert cancelled["state"] == "cancelled"
    done = ended(web, next_one)
    assert done["state"] == "finished", done
    name, version = done["model"], done["version"]
    assert web.get(f"/v1/models/{name}/versions/{version}").json()["verified"]
    assert len(web.get(f"/v1/jobs/{next_one}/metrics.tsv").text.splitlines()) == 3
    assert slurm.ask("squeue", "--noheader") == ""


def test_what_a_training_says_when_it_fails_is_the_jobs_error(web: httpx.Client) -> None:
    job = ordered(web, slurm_training({**TINY, "channel": 3}))
    found = ended(web, job)
    assert (found["state"], "cannot be trained on" in found["error"]) == ("failed", True), found


def test_the_same_task_twice_is_one_job_of_the_cluster(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    task = Task(uuid4().hex, "predict", "n2v", "timeit", ("-n1", "-r1"), tmp_path)
    executor = SlurmExecutor(Commands(Path(".venvs")), options="--begin=now+1hour")
    handle = executor.submit(task)
    assert executor.submit(task) == handle
    assert executor.state(task, handle) == "waiting"
    assert executor.why_waiting(task, handle)
    executor.cancel(task, handle)
    assert executor.state(task, handle) == "cancelled"
    assert executor.submit(replace(task, attempt=2)) != handle
    slurm.ask("scancel", "--user=root")


def test_a_cluster_that_does_not_answer_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(uuid4().hex, "predict", "n2v", "timeit", (), tmp_path)
    executor = SlurmExecutor(Commands(Path(".venvs")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorUnavailableError, match="MICSERVE_EXECUTOR=local"):
        executor.state(task, "1")
