"""Both kinds of places behind one question: where is this on the disk, and who may read it?"""

from pathlib import Path

from micserve.errors import ParameterError
from services.gateway.callers import Caller
from services.gateway.data.datasets import Datasets
from services.gateway.data.folders import Roots
from services.gateway.data.places import Place, inside, parse_place, refuse_links_out


class Library:
    """What the server has of images."""

    def __init__(self, datasets: Datasets, roots: Roots) -> None:
        self.datasets, self.roots = datasets, roots

    def find(self, text: str, caller: Caller) -> tuple[Place, Path]:
        """The place that a text names and its file or folder, safe to be read as a whole.

        Raises
        ------
        ParameterError, NotFoundError, AccessRefusedError
        """
        place = parse_place(text)
        if place.kind == "data":
            base = self.datasets.base(self.datasets.one(place.where, caller))
        else:
            base = self.roots.base(place)
        found = inside(base, place.path, str(place))
        refuse_links_out(found, base, str(place))
        return place, found

    def folder(self, text: str, caller: Caller) -> tuple[Place, Path]:
        """As `find`, where only a folder will do."""
        place, found = self.find(text, caller)
        if not found.is_dir():
            raise ParameterError(f"{place} is a file; name the folder that it is in.")
        return place, found
