"""Trainings ordered over HTTP, on this machine: real trainers, a real registry, real processes."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.jobs.conftest import Site, new_data, noisy_bytes
from tests.jobs.following import (
    WITHIN_S,
    ended,
    has_ended,
    ordered,
    processes_of,
    seen,
    trains,
)
from tests.support.trainers import python_of

TINY = {
    "number_of_epochs": 2,
    "number_of_steps": 2,
    "patch_size": 16,
    "batch_size": 2,
    "unet_n_first": 4,
    "unet_n_depth": 1,
}
LONG = {**TINY, "number_of_epochs": 5000}
NOISY = "root:shared/spots/noisy"


@pytest.fixture(scope="module", autouse=True)
def _needs_a_trainer() -> None:
    python_of("n2v")


def training(name: str, parameters: dict[str, object], source: str = NOISY) -> dict[str, object]:
    return {
        "kind": "train",
        "family": "n2v",
        "name": name,
        "preset": "quick",
        "source": source,
        "parameters": parameters,
    }


def a_name() -> str:
    return f"n2v-{uuid4().hex[:8]}"


@pytest.mark.slow
def test_two_people_train_one_name_and_both_versions_are_kept(
    site: Site, ada: httpx.Client, ben: httpx.Client
) -> None:
    name = a_name()
    data = new_data(ada)
    for number in range(2):
        address = f"/v1/data/{data}/files/noisy/{number}.tif"
        assert ada.put(address, content=noisy_bytes(seed=number)).status_code == 200
    first = ordered(ada, training(name, TINY, f"data:{data}/noisy"))
    second = ordered(ben, training(name, {**TINY, "seed": 1}))
    waiting = ben.get(f"/v1/jobs/{second}").json()
    assert (waiting["state"], waiting["queue_position"]) == ("queued", 1)
    assert ada.get(f"/v1/jobs/{second}").status_code == 404
    assert ada.delete(f"/v1/data/{data}").status_code == 409

    events = followed(ada, first)
    kinds = [kind for kind, _ in events]
    assert kinds[-1] == "end"
    assert {"progress", "metrics", "log"} <= set(kinds)
    assert [r["epoch"] for kind, rows in events if kind == "metrics" for r in rows] == [1, 2]

    mine, theirs = ended(ada, first), ended(ben, second)
    assert (mine["state"], theirs["state"]) == ("finished", "finished"), (mine, theirs)
    assert {mine["version"], theirs["version"]} == {1, 2}
    assert (mine["fraction"], mine["owner"], mine["model"]) == (1.0, "ada", name)
    versions = {v.version: v for v in site.registry.list_versions(name)}
    assert versions[mine["version"]].card.training["requested.author"] == "ada"
    assert versions[theirs["version"]].run_id == second
    table = ada.get(f"/v1/jobs/{first}/metrics.tsv").text.splitlines()
    assert table[0].split("\t") == ["epoch", "loss", "val_loss", "learning_rate"]
    assert len(table) == 3
    line = ada.get(f"/v1/jobs/{first}.tsv").text.rstrip("\n").split("\t")
    assert (line[0], float(line[1]), line[3]) == ("finished", 1.0, "")
    assert first in ada.get("/v1/jobs.tsv").text
    assert second not in ada.get("/v1/jobs.tsv").text
    with site.as_("root") as root:
        assert {first, second} <= {j["id"] for j in root.get("/v1/jobs").json()["jobs"]}
    audit = (site.home / "accounts/audit.jsonl").read_text()
    assert f'"job.start", "what": "{first}"' in audit
    assert ada.delete(f"/v1/jobs/{first}").status_code == 204
    assert ada.get(f"/v1/jobs/{first}").status_code == 404
    assert {v.version for v in site.registry.list_versions(name)} == {1, 2}


def followed(client: httpx.Client, job: str) -> list[tuple[str, object]]:
    events: list[tuple[str, object]] = []
    kind = ""
    with client.stream("GET", f"/v1/jobs/{job}/events", timeout=WITHIN_S) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((kind, json.loads(line.removeprefix("data: "))))
    return events


@pytest.fixture
def long_job(ada: httpx.Client) -> Iterator[str]:
    job = ordered(ada, training(a_name(), LONG))
    yield job
    if not has_ended(ada.get(f"/v1/jobs/{job}").json()):
        ada.delete(f"/v1/jobs/{job}")


@pytest.mark.slow
def test_a_gateway_that_was_killed_finds_its_training_again_and_a_cancel_frees_the_machine(
    site: Site, ada: httpx.Client, long_job: str
) -> None:
    """One long training for both: to load a framework twice is what costs here."""
    next_one = ordered(ada, training(a_name(), TINY))
    seen(ada, long_job, trains)
    before = {p.pid for p in processes_of(site, long_job)}
    assert before
    with ada.stream("GET", f"/v1/jobs/{long_job}/events") as stream:
        assert next(stream.iter_lines())
        site.gateway.terminate()  # within a minute, though somebody follows
    site.gateway.start()
    assert {p.pid for p in processes_of(site, long_job)} == before
    site.gateway.kill_parent()
    site.gateway.start()
    found = ada.get(f"/v1/jobs/{long_job}").json()
    assert found["state"] == "running"
    assert {p.pid for p in processes_of(site, long_job)} == before
    epochs = len(ada.get(f"/v1/jobs/{long_job}/metrics.tsv").text.splitlines())
    seen(ada, long_job, lambda j: len(losses(ada, str(j["id"]))) > epochs)
    assert ada.get(f"/v1/jobs/{next_one}").json()["queue_position"] == 1

    cancelled = ada.delete(f"/v1/jobs/{long_job}").json()
    assert cancelled["state"] == "cancelled"
    assert processes_of(site, long_job) == []
    done = ended(ada, next_one)
    assert done["state"] == "finished", done


def losses(client: httpx.Client, job: str) -> list[str]:
    return client.get(f"/v1/jobs/{job}/metrics.tsv").text.splitlines()


@pytest.mark.slow
def test_a_training_whose_machine_went_down_goes_on_where_it_was(
    site: Site, ada: httpx.Client
) -> None:
    job = ordered(ada, training(a_name(), LONG))
    seen(ada, job, trains)
    site.gateway.kill_parent()
    for process in processes_of(site, job):
        os.kill(process.pid, signal.SIGKILL)
    shorten(site.home / "training" / job / "asked.json")
    site.gateway.start()
    done = ended(ada, job)
    assert done["state"] == "finished", done
    text = (site.home / "jobs" / job / "log.txt").read_text()
    assert "Going on after epoch" in text


def shorten(asked: Path) -> None:
    """A long training that is to end soon: what its folder says was asked for."""
    content = json.loads(asked.read_text())
    content["config"]["number_of_epochs"] = 2
    asked.write_text(json.dumps(content))


def test_images_that_cannot_be_trained_on_fail_the_job_in_words(
    site: Site, ada: httpx.Client
) -> None:
    data = new_data(ada)
    ada.put(f"/v1/data/{data}/files/a.tif", content=b"no image")
    job = ordered(ada, training(a_name(), TINY, f"data:{data}/"))
    found = ended(ada, job)
    assert found["state"] == "failed"
    assert "a.tif" in str(found["error"])
    assert "cannot be trained on" in str(found["error"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": {"number_of_epochs": 0}}, "number_of_epochs is 0"),
        ({"parameters": {"batch_siz": 2}}, "batch_siz"),
        ({"parameters": {"from_model": "/etc/passwd"}}, "not a model name"),
        ({"preset": "fast"}, "choose recommended, quick, zerocost"),
        ({"source": "root:shared/away"}, "leads out"),
        ({"source": "/etc"}, "not a place"),
        ({"name": "Not A Name"}, "name"),
        ({"family": "word2vec"}, "family"),
    ],
)
def test_what_cannot_be_ordered_is_refused_before_anything_starts(
    ada: httpx.Client, change: dict[str, object], said: str
) -> None:
    before = len(ada.get("/v1/jobs").json()["jobs"])
    answer = ada.post("/v1/jobs", json={**training(a_name(), TINY), **change})
    assert answer.status_code in (403, 422), answer.text
    assert said in answer.json()["detail"]
    assert len(ada.get("/v1/jobs").json()["jobs"]) == before


def test_one_person_has_no_more_jobs_than_are_allowed(site: Site, ben: httpx.Client) -> None:
    jobs = [ordered(ben, training(a_name(), LONG)) for _ in range(4)]
    try:
        refused = ben.post("/v1/jobs", json=training(a_name(), LONG))
        assert (refused.status_code, "may have 4" in refused.json()["detail"]) == (429, True)
    finally:
        states = [ben.delete(f"/v1/jobs/{job}").json()["state"] for job in reversed(jobs)]
    assert set(states) == {"cancelled"}
