"""Several trainers at once, and kill -9 at bad moments: whole versions, or none."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from micserve.errors import RegistryUnavailableError
from micserve.registry import artifacts
from micserve.registry.server import DATABASE
from tests.support.registry_server import RegistryServer

from .conftest import VERIFIED, contract_of

ROOT = Path(__file__).resolve().parents[2]

TRAINER = """
import os, signal, sys
from pathlib import Path
from micserve.registry import RegistrySettings, open_registry
from tests.registry.conftest import VERIFIED, contract_of

uri, name, package, count, killed = sys.argv[1:]
registry = open_registry(uri, settings=RegistrySettings(cache=Path(package).parent / "cache"))
if killed == "before-version":
    registry._make_version = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(count)):
    version = registry.publish(
        Path(package), name=name, run_id=None, contract=contract_of(name), verification=VERIFIED
    )
    print(version.version, version.digest, flush=True)
"""


def trainer(bench, content: bytes, *, count: int = 1, killed: str = "never"):
    package = bench.package(content)
    return subprocess.Popen(
        [sys.executable, "-c", TRAINER, bench.uri, bench.name, package, str(count), killed],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process) -> None:
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()


def test_trainers_that_publish_one_name_at_the_same_time_get_versions_of_their_own(bench):
    trainers = [trainer(bench, content, count=4) for content in (b"one", b"two")]
    for process in trainers:
        go(process)
    lines = [line.split() for process in trainers for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in trainers] == [0, 0]
    assert sorted(int(number) for number, _ in lines) == list(range(1, 9))
    published = {str(v.version): v for v in bench.registry.list_versions(bench.name)}
    assert {number: v.digest for number, v in published.items()} == dict(lines)
    assert {bench.registry.fetch(v).read_bytes() for v in published.values()} == {b"one", b"two"}


def test_a_trainer_killed_before_its_version_is_made_leaves_none(bench):
    first = bench.publish(b"one")
    process = trainer(bench, b"two", killed="before-version")
    go(process)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert bench.registry.list_versions(bench.name) == (first,)
    assert bench.publish(b"three").version == 2


@pytest.fixture
def mortal_server(empty_registry, tmp_path):
    """A server that the test kills."""
    folder = tmp_path / "registry"
    folder.mkdir()
    shutil.copyfile(empty_registry / DATABASE, folder / DATABASE)
    server = RegistryServer(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def publish(mortal_server, open_registry, tmp_path):
    """Publishes bytes as `n2v`."""
    registry = open_registry(mortal_server.url)

    def publish(content: bytes):
        package = tmp_path / "package.zip"
        package.write_bytes(content)
        return registry.publish(
            package, name="n2v", run_id=None, contract=contract_of("n2v"), verification=VERIFIED
        )

    publish.registry = registry
    return publish


def test_a_server_killed_in_the_middle_keeps_what_was_published_and_nothing_else(
    mortal_server, publish, monkeypatch
):
    registry = publish.registry
    first = publish(b"one")
    run = registry.start_run(family="n2v", name="n2v", params={}, tags={})

    request = artifacts.http_request

    def dies_while_it_receives(*args, data=None, **kwargs):
        def body():
            yield data.read(1 << 19)
            mortal_server.kill()
            yield data.read()

        return request(*args, **kwargs, data=body() if data else None)

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "http_request", dies_while_it_receives)
        with pytest.raises(RegistryUnavailableError):
            publish(b"x" * (1 << 20))
    run.log_metrics({"loss": 1.0}, step=1)
    with pytest.raises(RegistryUnavailableError):
        registry.list_models()

    mortal_server.start()
    assert registry.list_versions("n2v") == (first,)
    assert registry.fetch(first).read_bytes() == b"one"
    run.finish("FINISHED")
    assert registry.read_run(run.id).metrics == {"loss": 1.0}

    client = registry._connection.client
    create = client.create_model_version

    def dies_after_it_did(*args, **kwargs):
        create(*args, **kwargs)
        mortal_server.kill()
        return client.get_model_version("n2v", "2")

    with monkeypatch.context() as patch:
        patch.setattr(client, "create_model_version", dies_after_it_did)
        with pytest.raises(RegistryUnavailableError, match="not known whether it was"):
            publish(b"two")

    mortal_server.start()
    second, also_first = registry.list_versions("n2v")
    assert also_first == first
    assert registry.fetch(second).read_bytes() == b"two"
    assert publish(b"three").version == 3


def test_a_server_and_a_program_that_opens_its_files_see_the_same(registry_server, open_registry):
    behind_server = open_registry(registry_server.url)
    by_files = open_registry(f"sqlite:///{registry_server.folder / DATABASE}")
    name = f"n2v-{uuid4().hex[:8]}"
    for one, other in [(behind_server, by_files), (by_files, behind_server)]:
        content = repr(one).encode()
        package = registry_server.folder / "package.zip"
        package.write_bytes(content)
        version = one.publish(
            package, name=name, run_id=None, contract=contract_of(name), verification=VERIFIED
        )
        assert other.list_versions(name)[0] == version
        assert other.list_files(version) == one.list_files(version)
        (path,) = other.list_files(version)
        assert other.read_file(version, path) == content
