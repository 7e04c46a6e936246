"""Started, promoted, killed, starved of its registry: what is served stays right."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from micserve.codecs import read_image
from micserve.registry import ModelVersion, Registry
from tests.services.conftest import Stack, tiff
from tests.services.test_errors_over_http import _files, _metric
from tests.support.published import publish_denoiser
from tests.support.registry_server import RegistryServer
from tests.support.stack import Program, n2v_service
from tests.support.waiting import until

BODY = tiff(64, 64)


def test_a_promotion_under_load_fails_no_request(stack: Stack, tmp_path: Path) -> None:
    publish_denoiser(stack.registry, tmp_path, "promoted", seed=10)
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask_again_and_again() -> None:
        with httpx.Client(base_url=stack.gateway.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/v1/models/promoted/predict", content=BODY)
                answers.append(
                    (answer.status_code, answer.headers.get("x-micserve-version", answer.text))
                )

    threads = [threading.Thread(target=ask_again_and_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(answers) > 5)
    publish_denoiser(stack.registry, tmp_path, "promoted", seed=11)
    until(lambda: [version for _, version in answers].count("2") > 5)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}, [a for a in answers if a[0] != 200]
    assert {version for _, version in answers} == {"1", "2"}


def test_the_service_loads_a_promoted_version_before_anybody_asks(
    stack: Stack, tmp_path: Path
) -> None:
    publish_denoiser(stack.registry, tmp_path, "early", seed=12)

    def is_loaded() -> bool:
        state = httpx.get(f"{stack.service.url}/v1/models").json()
        return "early" in [loaded["name"] for loaded in state["loaded"]]

    until(is_loaded)


def test_a_service_whose_model_is_damaged_is_not_ready_and_says_why(
    filled_registry: tuple[RegistryServer, Registry, ModelVersion], tmp_path: Path
) -> None:
    service = n2v_service(tmp_path, filled_registry[0].url, MICSERVE_MODELS="spots-spoiled,absent")
    service.start(wait=False)
    try:
        service.wait_for("/livez", 200)
        until(lambda: "does not reproduce" in httpx.get(f"{service.url}/readyz").text)
        answer = httpx.get(f"{service.url}/readyz")
        assert answer.status_code == 503
        assert "absent was asked for at the start" in answer.text
        assert httpx.get(f"{service.url}/v1/models").json()["loaded"] == []
    finally:
        service.stop()


def test_cuda_that_is_not_there_is_refused_before_the_port_is_opened(tmp_path: Path) -> None:
    service = n2v_service(tmp_path, "http://127.0.0.1:1", MICSERVE_PROVIDER="cuda")
    service.start(wait=False)
    assert service.process is not None
    assert service.process.wait(timeout=60) != 0
    assert "told to use CUDA" in service.log.read_text()


def test_the_gateway_does_not_listen_for_strangers_without_accounts_unless_told_to(
    stack: Stack,
) -> None:
    stranger = Program(
        stack.gateway.command,
        {
            **stack.gateway.environment,
            "MICSERVE_GATEWAY_HOST": "0.0.0.0",
            "MICSERVE_ACCOUNTS": "off",
        },
        stack.gateway.port,
        stack.home / "stranger.log",
    )
    stranger.start(wait=False)
    assert stranger.process is not None
    assert stranger.process.wait(timeout=60) == 2
    assert "MICSERVE_GATEWAY_PUBLIC=true" in stranger.log.read_text()


@pytest.fixture(scope="module")
def own_service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A service that a test may kill, if it starts it again."""
    home = tmp_path_factory.mktemp("own")
    service = n2v_service(home, stack.server.url, MICSERVE_MODELS="spots", MICSERVE_SPOOL_MIB="0")
    service.start()
    yield service
    service.stop()


def test_a_killed_service_frees_its_port_and_goes_on_after_a_restart(own_service: Program) -> None:
    assert own_service.process is not None
    (worker,) = psutil.Process(own_service.process.pid).children()
    with _running_prediction(own_service) as (_, request):
        worker.kill()
        own_service.kill_parent()
        request.join()
    assert not worker.is_running()
    own_service.start()
    answer = httpx.post(f"{own_service.url}/v1/models/spots/predict", content=BODY, timeout=60)
    assert answer.status_code == 200
    assert _files(own_service) == []


def test_a_service_that_is_told_to_stop_finishes_what_it_has_begun(own_service: Program) -> None:
    with _running_prediction(own_service) as (answers, request):
        own_service.terminate()
        request.join()
    own_service.start()
    assert [answer.status_code for answer in answers] == [200]
    assert read_image(answers[0].content).data.shape == (1500, 1500)


def test_a_worker_does_not_outlive_its_killed_supervisor(own_service: Program) -> None:
    assert own_service.process is not None
    (worker,) = psutil.Process(own_service.process.pid).children()
    own_service.kill_parent()
    assert not worker.is_running()


class _running_prediction:  # noqa: N801 - reads as a sentence in a with statement
    """A prediction that the service has begun, in a thread."""

    def __init__(self, service: Program) -> None:
        self._service = service
        self._answers: list[httpx.Response] = []

    def _ask(self) -> None:
        url = f"{self._service.url}/v1/models/spots/predict"
        with suppress(httpx.TransportError):
            self._answers.append(
                httpx.post(url, content=tiff(1500, 1500, dtype="uint8"), timeout=120)
            )

    def __enter__(self) -> tuple[list[httpx.Response], threading.Thread]:
        thread = threading.Thread(target=self._ask)
        thread.start()
        until(lambda: _metric(self._service, "micserve_predictions_running ") == 1)
        return self._answers, thread

    def __exit__(self, *error: object) -> None:
        return None


def test_the_gateway_says_that_a_service_is_away_and_goes_on_when_it_is_back(stack: Stack) -> None:
    def ask() -> httpx.Response:
        return httpx.post(f"{stack.gateway.url}/v1/models/spots/predict", content=BODY, timeout=60)

    stack.service.kill_parent()
    answer = ask()
    assert answer.status_code == 503
    assert "n2v service" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    stack.service.start()
    assert ask().status_code == 200


def test_a_killed_gateway_goes_on_after_a_restart(stack: Stack) -> None:
    assert stack.gateway.process is not None
    quality = {"prediction": BODY, "target": BODY}
    assert httpx.post(f"{stack.gateway.url}/v1/qc", files=quality, timeout=120).status_code == 200
    helpers = psutil.Process(stack.gateway.process.pid).children(recursive=True)
    assert helpers
    stack.gateway.kill_parent()
    assert not [helper for helper in helpers if helper.is_running()]
    stack.gateway.start()
    answer = httpx.post(f"{stack.gateway.url}/v1/models/spots/predict", content=BODY, timeout=60)
    assert answer.status_code == 200


def test_without_its_registry_the_service_serves_what_it_has(stack: Stack) -> None:
    """Last, for the registry takes longest to come back."""
    url = stack.gateway.url
    assert httpx.get(f"{url}/v1/models").json()["trouble"] == ""
    stack.server.kill()
    try:
        answer = httpx.post(f"{url}/v1/models/spots/predict", content=BODY, timeout=60)
        assert answer.status_code == 200
        until(lambda: httpx.get(f"{url}/v1/models", timeout=60).json()["trouble"])
        listing = httpx.get(f"{url}/v1/models", timeout=60).json()
        assert "spots" in [model["name"] for model in listing["models"]]
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 503
        assert httpx.get(f"{stack.service.url}/readyz").status_code == 200
        unknown = httpx.get(f"{url}/v1/models/never-heard-of", timeout=60)
        assert unknown.status_code == 503
        assert "registry" in unknown.json()["detail"]
    finally:
        stack.server.start()
    stack.gateway.wait_until_ready()
