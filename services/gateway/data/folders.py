"""The folders of the server that the operator opened for reading: `MICSERVE_DATA_ROOTS`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from micserve.errors import NotFoundError
from services.gateway.data.places import Place, inside

SUFFIXES = (".tif", ".tiff", ".png")
MOST_LISTED = 500
DEEPEST_LISTED = 4
"""Below where a listing begins: a facility's archive has millions of files, a person looks
at a few folders at a time and asks again further down."""


class Folder(BaseModel):
    """One folder that has images in it, or folders."""

    model_config = ConfigDict(frozen=True)

    place: str
    images: int
    """TIFF and PNG files directly in it."""


class Roots:
    """Read, never written."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots

    def base(self, place: Place) -> Path:
        if place.where not in self._roots:
            have = ", ".join(sorted(self._roots)) or "none"
            raise NotFoundError(
                f"There is no root {place.where!r} on this server, which has: {have}."
            )
        return self._roots[place.where]

    def find(self, place: Place) -> Path:
        """The file or folder that a `root:` place means."""
        return inside(self.base(place), place.path, str(place))

    def listing(self, below: Place | None = None) -> list[Folder]:
        """Folders with images, at most `MOST_LISTED`, `DEEPEST_LISTED` deep; links are left out."""
        starts = [below] if below else [Place("root", r, PurePosixPath(".")) for r in self._roots]
        found: list[Folder] = []
        for start in starts:
            if below is not None or self._roots[start.where].is_dir():
                found += _folders(start, self.find(start))
        return found[:MOST_LISTED]


def _folders(start: Place, top: Path) -> Iterator[Folder]:
    for number, (folder, below, files) in enumerate(os.walk(top, followlinks=False)):
        relative = Path(folder).relative_to(top)
        below[:] = sorted(b for b in below if not b.startswith("."))
        if len(relative.parts) >= DEEPEST_LISTED:
            below.clear()
        images = sum(name.lower().endswith(SUFFIXES) for name in files)
        if images:
            path = start.path / PurePosixPath(relative.as_posix())
            yield Folder(place=str(Place("root", start.where, path)), images=images)
        if number >= MOST_LISTED * 4:
            return
