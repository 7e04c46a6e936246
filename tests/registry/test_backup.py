"""A backup holds all that a registry had when it began, and comes back whole or not at all."""

import getpass
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from micserve.accounts.store import AccountStore
from micserve.registry import RegistrySettings, open_registry
from micserve.registry.server import DATABASE
from services.registry.backup import BackupError, restore, save
from services.registry.settings import RegistryServerSettings
from tests.registry.conftest import Bench
from tests.support.stack import ROOT, free_port


@pytest.fixture
def home(empty_registry: Path, tmp_path: Path) -> Path:
    """A server's folder with one published version and one person."""
    folder = tmp_path / "home"
    (folder / "registry").mkdir(parents=True)
    shutil.copyfile(empty_registry / DATABASE, folder / "registry" / DATABASE)
    bench(folder).publish(b"the package")
    AccountStore(folder / "accounts").close()
    return folder


def bench(home: Path, spelled: str = "registry") -> Bench:
    """Another spelling of the folder, and MLflow opens its database anew, as a new process does."""
    uri = f"sqlite:///{home / spelled / DATABASE}"
    settings = RegistrySettings(cache=home / "cache", home=home)
    return Bench(uri, open_registry(uri, settings=settings), home, "spots")


def settings(home: Path) -> RegistryServerSettings:
    return RegistryServerSettings(home=home)


def saved(home: Path, path: Path) -> Path:
    with path.open("wb") as stream:
        assert save(settings(home), stream) >= 2
    return path


def put_back(home: Path, path: Path) -> int:
    with path.open("rb") as stream:
        return restore(settings(home), stream)


def test_a_version_that_was_saved_is_there_again_in_place(home: Path, tmp_path: Path) -> None:
    file = saved(home, tmp_path / "backup.tar")
    digest = bench(home).registry.list_versions("spots")[0].digest
    bench(home).publish(b"published after the backup")
    assert put_back(home, file) >= 2
    registry = bench(home, "accounts/../registry").registry
    (version,) = registry.list_versions("spots")
    assert version.digest == digest
    assert registry.fetch(version).read_bytes() == b"the package"
    kept = {path.name.split(".")[0] for path in home.glob("*.before-*")}
    assert kept == {"registry", "accounts"}


def test_a_backup_that_is_cut_off_or_changed_changes_nothing(home: Path, tmp_path: Path) -> None:
    file = saved(home, tmp_path / "backup.tar")
    whole = file.read_bytes()
    before = _files(home)
    with tarfile.open(file) as archive:
        middle = archive.getmember(f"registry/{DATABASE}").offset_data + 100
    for damaged in (
        whole[: len(whole) // 2],
        whole[:middle] + b"?" + whole[middle + 1 :],
        b"",
        b"no archive" * 200,
    ):
        file.write_bytes(damaged)
        with pytest.raises(BackupError):
            put_back(home, file)
        assert _files(home) == before


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_it_is_one_command_while_others_write(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "made" / "backup.tar"
    environment = {**os.environ, "MICSERVE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "services.registry.backup", "save", str(file)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert tarfile.is_tarfile(file)
    command[-2:] = ["restore", str(tmp_path / "not there")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "not there" in ran.stderr


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """The address of a real server on loopback, with an empty database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or shutil.which("pg_dump") is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    folder, port = tmp_path / "postgres", free_port()
    folder.mkdir()
    user = "postgres" if os.getuid() == 0 else getpass.getuser()
    shutil.chown(folder, user)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent.is_relative_to("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    become = ["runuser", "-u", user, "--"] if os.getuid() == 0 else []

    def pg_ctl(*words: str) -> None:
        command = [*become, str(programs[-1] / "pg_ctl"), "-D", str(folder / "data"), *words]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    pg_ctl("initdb", "-o", "--auth=trust --no-sync")
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    pg_ctl("start", "-w", "-l", str(folder / "log"), "-o", options)
    yield f"postgresql://{user}:secret@127.0.0.1:{port}/postgres"
    pg_ctl("stop", "-m", "immediate")


def psql(url: str, command: str) -> str:
    ran = subprocess.run(["psql", url, "-Atc", command], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_postgresql_is_saved_and_put_back(home: Path, tmp_path: Path, postgresql: str) -> None:
    psql(postgresql, "create table runs (id int); insert into runs values (1)")
    asked = RegistryServerSettings(home=home, registry_database=postgresql)
    file = tmp_path / "backup.tar"
    with file.open("wb") as stream:
        save(asked, stream)
    with tarfile.open(file) as archive:
        assert "registry.dump" in archive.getnames()
    psql(postgresql, "insert into runs values (2)")
    with file.open("rb") as stream:
        restore(asked, stream)
    assert psql(postgresql, "select id from runs") == "1"
