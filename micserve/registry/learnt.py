"""Which images a version learnt from, by the manifest in its package.

A report on images that a model learnt from says little about new ones. Files are
known by the sha256 of their bytes, whatever they are called now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from micserve.artifact.package import open_package
from micserve.files import sha256_of
from micserve.registry.model import ModelVersion
from micserve.registry.protocol import Registry

HELD_BACK = "validation"
"""Part of the manifest whose files only chose among a training's networks."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Some images, by what a version's training did with them; names in the order given."""

    learnt: tuple[str, ...]
    held_back: tuple[str, ...]
    """Looked at to choose the epoch, not learnt from."""
    new: tuple[str, ...]
    known: bool = True
    """False for a package that does not say what it was trained on."""

    @property
    def sentence(self) -> str:
        """For a report's header."""
        if not self.known:
            return "the package does not say which images it was trained on"
        parts = (
            (self.new, "new to the model"),
            (self.held_back, "held back by its training, which chose the epoch by them"),
            (self.learnt, "learnt from, which says little about new images"),
        )
        return "; ".join(f"{len(names)} {words}" for names, words in parts if names)


def seen_by(registry: Registry, version: ModelVersion, images: Mapping[str, Path]) -> Seen:
    """Sort `images` (name to file); fetches the package.

    Parameters
    ----------
    images
        What the model would be given, as files on this machine.
    """
    with TemporaryDirectory() as folder:
        training = open_package(
            registry.fetch(version), into=Path(folder) / "opened"
        ).contract.training
    entries = [one for one in training.get("files") or () if isinstance(one, Mapping)]
    parts = {one.get("sha256"): one.get("part") for one in entries if one.get("part")}
    if not parts:
        return Seen((), (), tuple(images), known=False)
    found: dict[str, list[str]] = {"learnt": [], "held_back": [], "new": []}
    for name, file in images.items():
        part = parts.get(sha256_of(file))
        kind = "new" if part is None else "held_back" if part == HELD_BACK else "learnt"
        found[kind].append(name)
    return Seen(tuple(found["learnt"]), tuple(found["held_back"]), tuple(found["new"]))
