"""Two replicas behind the gateway: one after another is stopped or killed; no image lost."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from micserve.registry import ModelVersion, Registry
from services.gateway.replicas import Replicas
from tests.services.conftest import tiff
from tests.services.test_errors_over_http import _until
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, gateway, n2v_service

CLIENTS = 8
BODY = tiff(96, 96)


@pytest.fixture(scope="module")
def pair(
    filled_registry: tuple[RegistryServer, Registry, ModelVersion],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Program, Program, Program]]:
    """Two n2v services and a gateway that knows both."""
    home, url = tmp_path_factory.mktemp("pair"), filled_registry[0].url
    settings = {"MICSERVE_MODELS": "spots", "MICSERVE_QUEUE": str(CLIENTS)}
    first, second = (n2v_service(home / str(n), url, **settings) for n in (1, 2))
    for program in (first, second):
        Path(program.environment["MICSERVE_HOME"]).mkdir()
    door = gateway(home, url, n2v=f"{first.url},{second.url}", MICSERVE_CONNECT_PATIENCE_S="20")
    programs = (first, second, door)
    for program in programs:
        program.start(wait=False)
    try:
        for program in programs:
            program.wait_until_ready()
        yield programs
    finally:
        for program in programs:
            program.stop()


class Clients:
    """Eight people who send one image after another, and what they were answered."""

    def __init__(self, door: Program) -> None:
        self._url = f"{door.url}/v1/models/spots/predict"
        self._stop = threading.Event()
        self.answers: list[int | str] = []

    def _ask(self) -> None:
        with httpx.Client(timeout=120) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, content=BODY)
                    said = 200 if answer.status_code == 200 else answer.text
                except httpx.HTTPError as error:
                    said = repr(error)
                self.answers.append(said)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(self._ask) for _ in range(CLIENTS)]
            try:
                self.several_more()
                yield
                self.several_more()
            finally:
                self._stop.set()
        for future in futures:
            future.result()

    def several_more(self) -> None:
        enough = len(self.answers) + 3 * CLIENTS
        _until(lambda: len(self.answers) >= enough)

    @property
    def failures(self) -> Counter[int | str]:
        return Counter(answer for answer in self.answers if answer != 200)


def test_a_rolling_restart_under_load_fails_no_request(
    pair: tuple[Program, Program, Program],
) -> None:
    first, second, door = pair
    clients = Clients(door)
    with clients.at_work():
        for replica in (first, second):
            replica.terminate()
            clients.several_more()
            replica.start()
            clients.several_more()
    assert not clients.failures


def test_a_replica_that_is_killed_costs_nobody_a_small_image(
    pair: tuple[Program, Program, Program],
) -> None:
    first, _, door = pair
    clients = Clients(door)
    with clients.at_work():
        first.kill_parent()
        clients.several_more()
        first.start()
    assert not clients.failures
    failed = httpx.get(f"{door.url}/metrics").text
    assert 'micserve_gateway_upstream_failures_total{family="n2v",outcome="refused"}' in failed


def test_the_least_busy_replica_is_asked_and_one_that_is_away_only_when_all_are() -> None:
    replicas = Replicas(["http://a", "http://b"])
    first = replicas.next()
    with first.counted():
        other = replicas.next()
        assert other is not first
        assert replicas.next() is other
        other.leave_out()
        assert replicas.next() is first
        assert not replicas.all_left_out
        first.leave_out()
        assert replicas.all_left_out
        assert replicas.next() is other
