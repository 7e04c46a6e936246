"""Whatever is wrong gets a sentence, and the service goes on."""

import contextlib
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest

from micserve import errors
from micserve.client import Client
from micserve.codecs import image_to_bytes
from tests.services.conftest import Stack, spots, tiff
from tests.support.stack import Program, free_port
from tests.support.waiting import until

GOOD = tiff(32, 32)

CASES = {
    "no image at all": ("spots", "", b"not an image", 422, "is not a TIFF or PNG image"),
    "an empty body": ("spots", "", b"", 422, "holds no image"),
    "half a file": ("spots", "", GOOD[: len(GOOD) // 2], 422, "The image "),
    "wrong axes": ("spots", "axes=ZYX", GOOD, 422, "axes=ZYX names 3 axes"),
    "axes that are no letters": ("spots", "axes=12", GOOD, 422, "axes=12 is not accepted"),
    "several channels": ("spots", "", tiff(2, 16, 16, axes="CYX"), 422, "channel=1"),
    "a channel that is not there": ("spots", "channel=3", GOOD, 422, "channel 3 was asked for"),
    "NaN": (
        "spots",
        "",
        image_to_bytes(spots(8, 8).with_data(np.full((8, 8), np.nan, np.float32))),
        422,
        "NaN or infinite",
    ),
    "an unknown model": ("nothing", "", GOOD, 404, "nothing"),
    "an unknown version": ("spots", "version=99", GOOD, 404, "99"),
    "an unknown alias": ("spots", "version=best", GOOD, 404, "best"),
    "a name that cannot be": ("Spots!", "", GOOD, 422, "not a model name"),
    "an unknown parameter": ("spots", "clp=1", GOOD, 422, "It has: axes, channel, output_dtype"),
    "a parameter twice": ("spots", "clip=1&clip=0", GOOD, 422, "given twice"),
    "a value out of range": (
        "spots",
        "output_dtype=int8",
        GOOD,
        422,
        "output_dtype=int8 is not accepted: it should be 'float32', 'uint16'",
    ),
    "an output that the family lacks": ("spots", "output=rois", GOOD, 422, "It has: image"),
    "a damaged model": ("spots-spoiled", "", GOOD, 500, "does not reproduce its own test output"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_requests_are_answered_in_words(web: httpx.Client, case: str) -> None:
    model, query, body, status, words = CASES[case]
    answer = web.post(f"/v1/models/{model}/predict?{query}", content=body)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert words in problem["detail"]
    assert "Traceback" not in answer.text
    assert problem["request_id"] == answer.headers["x-micserve-request-id"]
    assert web.post("/v1/models/spots/predict", content=GOOD).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/models/spots/predict", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/nothing", 404),
        ("GET", "/v1/models/spots/versions/99", 404),
        ("GET", "/v1/models/spots/versions/1/qc", 404),
        ("GET", "/v1/models/spots/versions/1/report", 404),
    ],
)
def test_the_frameworks_own_errors_are_problems_too(
    web: httpx.Client, stack: Stack, method: str, path: str, status: int
) -> None:
    answer = web.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "request_id"}
    unknown = httpx.get(stack.service.url + "/nothing/here")
    assert unknown.headers["content-type"] == "application/problem+json"


def test_a_form_must_hold_one_whole_file(web: httpx.Client) -> None:
    two = web.post("/v1/models/spots/predict", files={"a": GOOD, "b": GOOD})
    assert (two.status_code, "holds 2 files" in two.json()["detail"]) == (422, True)
    cut = web.post(
        "/v1/models/spots/predict",
        content=b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nabc',
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert (cut.status_code, "cut off" in cut.json()["detail"]) == (422, True)


def test_an_image_that_is_too_large_is_refused_by_its_declared_length(cramped: Program) -> None:
    answer = httpx.post(f"{cramped.url}/v1/models/spots/predict", content=bytes(1_100_000))
    assert answer.status_code == 413
    assert "at most 1 MiB" in answer.json()["detail"]
    pieces = (bytes(50_000) for _ in range(25))
    undeclared = httpx.post(f"{cramped.url}/v1/models/spots/predict", content=pieces)
    assert undeclared.status_code == 413


def test_a_full_service_says_when_to_come_back_and_a_stalled_upload_is_given_up(
    cramped: Program,
) -> None:
    with _stalled_upload(cramped) as stalled:
        _wait_for_metric(cramped, "micserve_predictions_waiting", 1)
        answer = httpx.post(f"{cramped.url}/v1/models/spots/predict", content=GOOD)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["type"] == "urn:micserve:error:busy"
        assert b"The upload stopped" in _read_all(stalled)
    _wait_for_metric(cramped, "micserve_predictions_waiting", 0)
    assert _predict(cramped, "spots").status_code == 200
    assert _files(cramped) == []


def test_an_upload_that_is_cut_off_leaves_nothing_behind(cramped: Program) -> None:
    with _stalled_upload(cramped):
        _wait_for_metric(cramped, "micserve_predictions_waiting", 1)
    _wait_for_metric(cramped, "micserve_predictions_waiting", 0)
    assert _files(cramped) == []
    assert _predict(cramped, "spots").status_code == 200


def test_two_models_take_turns_in_a_small_memory(cramped: Program) -> None:
    for _ in range(2):
        for name in ("spots", "spots-other"):
            assert _predict(cramped, name).headers["x-micserve-model"] == name
            state = httpx.get(f"{cramped.url}/v1/models").json()
            assert [loaded["name"] for loaded in state["loaded"]] == [name]


def test_a_client_that_leaves_stops_its_prediction(stack: Stack) -> None:
    def cancelled() -> float:
        return _metric(stack.service, 'micserve_predictions_total{model="spots",status="503"')

    before = cancelled()
    large = tiff(3000, 3000, dtype="uint8")
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.post(
            f"{stack.gateway.url}/v1/models/spots/predict",
            content=large,
            timeout=httpx.Timeout(30, read=0.3),
        )
    until(lambda: cancelled() == before + 1)
    _wait_for_metric(stack.service, "micserve_predictions_running", 0)


def test_the_python_client_raises_the_servers_own_error(stack: Stack, tmp_path: Path) -> None:
    with Client(stack.gateway.url) as client:
        with pytest.raises(errors.ParameterError, match="no parameter 'clp'"):
            client.predict("spots", GOOD, parameters={"clp": 1})
        with pytest.raises(errors.ModelNotFoundError, match="nothing"):
            client.predict("nothing", GOOD, to=tmp_path / "out.tif")
        with pytest.raises(errors.VersionNotFoundError):
            client.model("spots") and client.predict("spots@99", GOOD)
        with pytest.raises(errors.NotFoundError, match="cannot be read"):
            client.predict("spots", tmp_path / "none.tif")
    assert list(tmp_path.iterdir()) == []
    away = f"http://127.0.0.1:{free_port()}"
    with Client(away) as client, pytest.raises(errors.ServiceUnavailableError, match=away):
        client.models()


def _predict(program: Program, model: str) -> httpx.Response:
    return httpx.post(f"{program.url}/v1/models/{model}/predict", content=GOOD, timeout=60)


@contextlib.contextmanager
def _stalled_upload(program: Program):
    """A request that holds its place and sends only a part of its body."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/models/spots/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
            + GOOD[:1000]
        )
        yield connection


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received or not received.rstrip().endswith(b"}"):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def _files(program: Program) -> list[Path]:
    """What lies in the scratch folder, but for locks."""
    scratch = Path(program.environment["MICSERVE_HOME"]) / "scratch"
    return [p for p in scratch.rglob("*") if p.is_file() and not p.name.startswith(".")]


def _metric(program: Program, start: str) -> float:
    lines = httpx.get(f"{program.url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def _wait_for_metric(program: Program, name: str, value: float) -> None:
    until(lambda: _metric(program, name + " ") == value)
