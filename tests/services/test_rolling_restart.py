"""Two replicas behind the gateway: one after another is stopped or killed; no image lost."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from micserve.registry import ModelVersion, Registry
from services.gateway.replicas import Replicas
from tests.services.conftest import tiff
from tests.support.clients import Clients
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


def people_at(door: Program) -> Clients:
    return Clients(
        f"{door.url}/v1/models/spots/predict",
        BODY,
        people=CLIENTS,
        each=3,
        timeout_s=120,
        within_s=60,
        keep_connections=True,
    )


def test_a_rolling_restart_under_load_fails_no_request(
    pair: tuple[Program, Program, Program],
) -> None:
    first, second, door = pair
    clients = people_at(door)
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
    clients = people_at(door)
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
