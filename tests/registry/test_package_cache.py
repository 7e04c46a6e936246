"""The cache holds whole packages with the right digest, or nothing."""

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from micserve.errors import DigestMismatchError, RegistryUnavailableError
from micserve.files import ABANDONED_AFTER_S
from micserve.registry.cache import PackageCache

CONTENT = b"package" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path):
    return PackageCache(tmp_path / "cache")


def write(path: Path) -> None:
    path.write_bytes(CONTENT)


def refuse(path: Path) -> None:
    raise AssertionError("a package in the cache is not downloaded again")


def test_a_package_is_downloaded_once(cache):
    first = cache.get(DIGEST, "it", write)
    assert cache.get(DIGEST, "it", refuse) == first
    assert first.name == f"{DIGEST}.zip"
    assert first.read_bytes() == CONTENT


def test_other_bytes_than_published_are_refused_and_not_kept(cache):
    with pytest.raises(DigestMismatchError, match=r"the package of n2v@1 has sha256"):
        cache.get(DIGEST, "the package of n2v@1", lambda path: path.write_bytes(b"other"))
    assert list(cache.folder.iterdir()) == []


def test_a_damaged_package_in_the_cache_is_never_used_but_fetched_again(cache, caplog):
    path = cache.get(DIGEST, "it", write)
    path.write_bytes(CONTENT[:-1] + b"x")
    with caplog.at_level(logging.WARNING):
        assert cache.get(DIGEST, "it", write).read_bytes() == CONTENT
    assert "is damaged" in caplog.text


def test_a_broken_download_leaves_nothing(cache):
    def half(path: Path) -> None:
        path.write_bytes(CONTENT[:100])
        raise RegistryUnavailableError("the connection broke")

    with pytest.raises(RegistryUnavailableError):
        cache.get(DIGEST, "it", half)
    assert list(cache.folder.iterdir()) == []


def test_many_at_once_get_the_whole_package(cache):
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda _: cache.get(DIGEST, "it", write), range(32)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert list(cache.folder.iterdir()) == [paths[0]]


def test_what_a_killed_download_left_is_swept_away_after_a_day(cache):
    old, young = cache.folder / ".fetch-old", cache.folder / ".fetch-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    long_ago = young.stat().st_mtime - 2 * ABANDONED_AFTER_S
    os.utime(old, (long_ago, long_ago))
    cache.get(DIGEST, "it", write)
    assert not old.exists()
    assert young.exists()
