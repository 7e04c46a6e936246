"""A file to the server in parts: what is lost on the way is sent again, and nothing else."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from micserve import sending
from micserve.errors import NotFoundError, ParameterError, ServiceUnavailableError


class Wire:
    """A server that takes parts, and a connection that breaks: before a part, or after it."""

    def __init__(self, breaks: dict[int, str]) -> None:
        self.kept, self.calls, self._breaks = b"", 0, breaks

    def __call__(self, method: str, address: str, **request: Any) -> httpx.Response:
        if method == "HEAD":
            if not self.kept:
                raise NotFoundError("nothing yet")
            return httpx.Response(204, headers={"Upload-Offset": str(len(self.kept))})
        self.calls += 1
        how = self._breaks.get(self.calls, "")
        if how == "before":
            raise ServiceUnavailableError("broken")
        stretch = request.get("headers", {}).get("Content-Range")
        start = int(stretch.split()[1].partition("-")[0]) if stretch else 0
        assert start <= len(self.kept)
        self.kept = self.kept[:start] + request["content"]
        if how == "after":
            raise ServiceUnavailableError("broken")
        return httpx.Response(200)


@pytest.fixture(autouse=True)
def _small_and_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PART", 1000)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(
    "breaks", [{}, {1: "before"}, {2: "before"}, {2: "after"}, {1: "after", 3: "before"}]
)
def test_a_file_arrives_whole_over_a_line_that_breaks(
    tmp_path: Path, breaks: dict[int, str]
) -> None:
    content = bytes(range(256)) * 13
    (tmp_path / "a.tif").write_bytes(content)
    wire = Wire(breaks)
    list(sending.send_in_parts(wire, "/x", tmp_path / "a.tif"))
    assert wire.kept == content
    assert wire.calls <= 4 + len(breaks)


def test_a_line_that_stays_broken_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(bytes(5000))
    wire = Wire(dict.fromkeys(range(1, 99), "before"))
    with pytest.raises(ServiceUnavailableError):
        list(sending.send_in_parts(wire, "/x", tmp_path / "a.tif"))
    assert wire.calls == sending.TRIES


def test_a_small_file_is_sent_in_one_piece(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"small")
    wire = Wire({})
    assert list(sending.send_in_parts(wire, "/x", tmp_path / "a.tif")) == [5]
    assert wire.kept == b"small"


def test_only_images_are_sent_and_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        sending.image_files(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.tif").write_text("x")
    with pytest.raises(ParameterError, match="no TIFF or PNG"):
        sending.image_files(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.TIFF").write_text("x")
    assert [p.name for p in sending.image_files(tmp_path)] == ["b.TIFF"]
