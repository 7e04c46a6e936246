"""`make backup`, `make restore`: the registry and the accounts in one file, while all of it runs.

Database first, then files: packages are only ever added, so that everything the saved database
names is among the saved files. Every file's sha256 is in the archive, and nothing is put in place
that does not match. Knows SQLite, PostgreSQL (with pg_dump and pg_restore) and folders; what lies
in S3 is the store's own to keep. People's data sets and jobs are not in it: copy them as files.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from micserve import __version__
from micserve.registry.server import ARTIFACTS, DATABASE
from services.registry.settings import RegistryServerSettings

MANIFEST = "manifest.json"
DUMP = "registry.dump"
REGISTRY, ACCOUNTS = "registry", "accounts"


class BackupError(Exception):
    """What a person can change, in one sentence."""


def save(settings: RegistryServerSettings, stream: BinaryIO) -> int:
    """Write the archive; how many files are in it."""
    digests: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for name, path in _contents(settings, Path(scratch)):
            digests[name] = _digest(path)
            archive.add(path, name, recursive=False)
        manifest = {"micserve": __version__, "made": time.strftime("%F %T"), "sha256": digests}
        text = json.dumps(manifest, indent=1).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size, entry.mtime = len(text), int(time.time())
        archive.addfile(entry, io.BytesIO(text))
    return len(digests)


def restore(settings: RegistryServerSettings, stream: BinaryIO) -> int:
    """Put everything back; what was there is kept beside it under another name.

    Raises
    ------
    BackupError
        When the archive is not whole, or a database cannot be put back; nothing was changed then.
    """
    home = settings.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as scratch:
        folder = Path(scratch)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError) as error:
            raise BackupError(f"This is no whole backup: {error}.") from error
        count = _check(folder)
        if (folder / DUMP).exists():
            _restore_postgresql(settings, folder / DUMP)
        elif _postgresql(settings):
            raise BackupError(
                "This backup holds an SQLite database, and MICSERVE_REGISTRY_DATABASE is "
                "PostgreSQL. Restore it without that setting."
            )
        before = time.strftime(".before-%Y%m%d-%H%M%S")
        for name in (REGISTRY, ACCOUNTS):
            new, target = folder / name, home / name
            if new.exists():
                if target.exists():
                    target.rename(target.with_name(name + before))
                new.rename(target)
    return count


def _contents(settings: RegistryServerSettings, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Name in the archive and file, databases first."""
    home = settings.home.absolute()
    if url := _postgresql(settings):
        _run("pg_dump", url, "--format=custom", f"--file={scratch / DUMP}")
        yield DUMP, scratch / DUMP
    elif (home / REGISTRY / DATABASE).exists():
        yield f"{REGISTRY}/{DATABASE}", _copied(home / REGISTRY / DATABASE, scratch)
    for path in sorted((home / ACCOUNTS).rglob("*")):
        if path.suffix in (".db", ".sqlite"):
            yield str(path.relative_to(home)), _copied(path, scratch)
        elif path.is_file() and not path.name.endswith(("-wal", "-shm", "-journal")):
            # A copy, for the record of who did what grows while it is read.
            yield str(path.relative_to(home)), Path(shutil.copy(path, _new_name(path, scratch)))
    files = settings.registry_files or str(settings.folder / ARTIFACTS)
    if "://" in files:
        sys.stderr.write(f"{files} is not in this backup; the store keeps it.\n")
        return
    for path in sorted(Path(files).rglob("*")):
        if path.is_file():
            yield f"{REGISTRY}/{ARTIFACTS}/{path.relative_to(files)}", path


def _copied(database: Path, scratch: Path) -> Path:
    """A consistent copy of an SQLite file that others write to."""
    copy = _new_name(database, scratch)
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def _new_name(path: Path, scratch: Path) -> Path:
    return scratch / f"{len(list(scratch.iterdir()))}-{path.name}"


def _check(folder: Path) -> int:
    try:
        digests = json.loads((folder / MANIFEST).read_text())["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise BackupError("This is no backup of micserve, or its end is missing.") from error
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or _digest(path) != digest:
            raise BackupError(f"{name} is damaged in this backup. Nothing was changed.")
    return len(digests)


def _postgresql(settings: RegistryServerSettings) -> str:
    """The address of the database, without SQLAlchemy's driver; empty for SQLite."""
    secret = settings.registry_database
    url = secret.get_secret_value() if secret else ""
    scheme, mark, rest = url.partition("://")
    return f"postgresql{mark}{rest}" if scheme.split("+")[0] in ("postgresql", "postgres") else ""


def _restore_postgresql(settings: RegistryServerSettings, dump: Path) -> None:
    url = _postgresql(settings)
    if not url:
        raise BackupError(
            "This backup holds a PostgreSQL database: set MICSERVE_REGISTRY_DATABASE to the one "
            "that is to be filled."
        )
    options = ("--clean", "--if-exists", "--no-owner", "--single-transaction")
    _run("pg_restore", url, *options, str(dump))


def _run(program: str, url: str, *options: str) -> None:
    """One of PostgreSQL's programs; the password goes through the environment."""
    if shutil.which(program) is None:
        raise BackupError(f"{program} is not here: install postgresql-client.")
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    host = parts.hostname or "localhost"
    shown = parts._replace(netloc=f"{user}{host}:{parts.port or 5432}").geturl()
    password = unquote(parts.password or "")
    command = [program, "--dbname", shown, *options]
    environment = {**os.environ, "PGPASSWORD": password}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise BackupError(f"{program} says: {ran.stderr.strip()[:400]}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _to(name: str) -> Iterator[BinaryIO]:
    """A file that appears when it is whole, or standard output."""
    if name == "-":
        yield cast(BinaryIO, sys.stdout.buffer)
        return
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["save", "restore"])
    parser.add_argument("file", help="the archive; - for standard output or input")
    asked = parser.parse_args()
    settings = RegistryServerSettings()
    try:
        if asked.what == "save":
            with _to(asked.file) as stream:
                count = save(settings, stream)
        else:
            with sys.stdin.buffer if asked.file == "-" else open(asked.file, "rb") as stream:
                count = restore(settings, cast(BinaryIO, stream))
    except (BackupError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"{asked.what}: {count} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
