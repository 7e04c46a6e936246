"""A registry that is away is said so at once and in words, not after minutes."""

import importlib.util
import socket

import pytest

from micserve.errors import ParameterError, RegistryUnavailableError
from micserve.registry import ModelRef, RegistrySettings, quiet_environment

REF = ModelRef.parse("n2v")


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.timeout(60)
def test_nothing_listens(open_registry):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    registry = open_registry(f"http://127.0.0.1:{port}")
    with pytest.raises(RegistryUnavailableError, match=f"127.0.0.1:{port}.*nothing listens there"):
        registry.resolve(REF)


@pytest.mark.timeout(60)
def test_a_server_that_takes_the_call_and_says_nothing(open_registry, listening, monkeypatch):
    quiet_environment()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    registry = open_registry(f"http://127.0.0.1:{listening.getsockname()[1]}")
    with pytest.raises(RegistryUnavailableError, match="it took too long"):
        registry.list_models()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("status", [b"500 Internal Server Error", b"404 Not Found", b"200 OK"])
def test_something_else_answers(open_registry, status, http_answer):
    registry = open_registry(http_answer(b"HTTP/1.1 " + status, b"<html>not a registry</html>"))
    with pytest.raises(RegistryUnavailableError, match="does not answer as it should"):
        registry.resolve(REF)


@pytest.fixture
def http_answer():
    """An HTTP server that answers every request with the same bytes."""
    import threading

    servers = []

    def serve(head: bytes, body: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    length = b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
                    connection.sendall(head + length + body)

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield serve
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize(
    "uri", ["", "ftp://x", "http://", "postgresql://u:secret@x/y", "mlflow.db"]
)
def test_an_address_of_the_wrong_kind_is_refused_without_its_password(open_registry, uri):
    from micserve.registry.mlflow import MlflowRegistry

    with pytest.raises(ParameterError, match="needs http://host:port") as refused:
        MlflowRegistry(uri, cache=None)
    assert "secret" not in str(refused.value)


def test_a_database_file_without_the_whole_mlflow_is_explained(
    open_registry, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sqlalchemy" else find(name)
    )
    with pytest.raises(RegistryUnavailableError, match="only mlflow-skinny is installed"):
        open_registry(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_file_that_is_no_database_is_explained(open_registry, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryUnavailableError, match="cannot be opened"):
        open_registry(f"sqlite:///{tmp_path}/mlflow.db")


def test_the_environment_says_where_the_registry_is(monkeypatch, tmp_path):
    for name in ("MICSERVE_HOME", "MICSERVE_REGISTRY", "MICSERVE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert RegistrySettings().uri == f"sqlite:///{tmp_path}/var/registry/mlflow.db"
    assert RegistrySettings().cache_folder == tmp_path / "var" / "cache" / "packages"
    monkeypatch.setenv("MICSERVE_HOME", "/srv/micserve")
    assert RegistrySettings().uri == "sqlite:////srv/micserve/registry/mlflow.db"
    monkeypatch.setenv("MICSERVE_REGISTRY", "http://registry:5000")
    assert RegistrySettings().uri == "http://registry:5000"


def test_telemetry_is_off_and_a_persons_own_choice_stays():
    environment = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
    quiet_environment(environment)
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
