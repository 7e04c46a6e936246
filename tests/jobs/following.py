"""Ordering a job over HTTP and waiting for it, as tests of this folder do."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil

from tests.jobs.conftest import Site

WITHIN_S = 300
"""Frameworks take half a minute to load on a busy machine."""

Facts = dict[str, Any]


def ordered(client: httpx.Client, order: Facts) -> str:
    answer = client.post("/v1/jobs", json=order)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return str(answer.json()["id"])


def seen(client: httpx.Client, job: str, wanted: Callable[[Facts], bool]) -> Facts:
    """The job once it is as wanted; an end before that is a failure."""

    def wanted_or_over(found: Facts) -> bool:
        return wanted(found) or has_ended(found)

    found = _once(client, job, wanted_or_over)
    assert wanted(found), found
    return found


def ended(client: httpx.Client, job: str) -> Facts:
    return _once(client, job, has_ended)


def _once(client: httpx.Client, job: str, wanted: Callable[[Facts], bool]) -> Facts:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        found = client.get(f"/v1/jobs/{job}").json()
        if wanted(found):
            return dict(found)
        time.sleep(0.2)
    raise AssertionError(f"not within {WITHIN_S} s: {found}")


def has_ended(job: Facts) -> bool:
    return job["state"] in ("finished", "failed", "cancelled")


def trains(job: Facts) -> bool:
    return bool(job["metrics"])


def processes_of(site: Site, job: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get("MICSERVE_JOB_FOLDER", "")
        except (psutil.Error, OSError):
            continue
        if mark == str(site.home / "jobs" / job):
            found.append(process)
    return found
