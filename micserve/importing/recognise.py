"""Which kind of model lies in a file or a folder. Looks at names only; opens no weights."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from micserve.artifact import rdf
from micserve.artifact.archive import extract_archive
from micserve.errors import PackageError

Kind = Literal["bioimageio", "csbdeep", "saved-model", "stardist"]

DESCRIPTIONS = (rdf.FILE_NAME, "bioimageio.yaml", "model.yaml")
LATER = "*.bioimageio.yaml"
"""How bioimage.io names the descriptions of one model's versions."""

EXPECTED = (
    "Give a bioimage.io package (a zip or folder with rdf.yaml), a csbdeep or stardist model "
    "folder (config.json beside weights .h5), or csbdeep's TF_SavedModel.zip."
)


@dataclass(frozen=True, slots=True)
class Found:
    """A model, unpacked."""

    kind: Kind
    folder: Path
    file: Path
    """The description, `config.json` or `meta.json`."""


def recognise(source: Path, scratch: Path) -> Found:
    """Unpack if need be, and say what it is.

    Parameters
    ----------
    source
        A zip, a folder, or a description in its folder.
    scratch
        An empty folder for what is unpacked.

    Raises
    ------
    PackageError
        When it is nothing that can be imported, or the zip is damaged or unsafe.
    """
    if source.suffix.lower() in (".yaml", ".yml") and source.is_file():
        return Found("bioimageio", source.parent, source)
    folder = source
    if source.is_file():
        if not zipfile.is_zipfile(source):
            raise PackageError(f"{source.name} is no zip file and no model folder. {EXPECTED}")
        folder = scratch / "unpacked"
        extract_archive(source, folder)
    elif not source.is_dir():
        raise PackageError(f"There is no file or folder {source}.")
    for place in (folder, *_only_folder(folder)):
        found = _look(place)
        if found is not None:
            return found
    if _pickles(folder):
        raise PackageError(
            f"{source.name} holds weights of PyTorch without the network that they belong to. "
            f"Export the model to ONNX or TorchScript in a bioimage.io package. {EXPECTED}"
        )
    raise PackageError(f"{source.name} holds no model that is known here. {EXPECTED}")


def _pickles(folder: Path) -> bool:
    endings = {".pt", ".pth", ".t7", ".ckpt"}
    return any(path.suffix.lower() in endings for path in folder.iterdir())


def _only_folder(folder: Path) -> list[Path]:
    """Zips often hold one folder with everything in it."""
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    return inside if len(inside) == 1 and inside[0].is_dir() else []


def _look(folder: Path) -> Found | None:
    for name in DESCRIPTIONS:
        if (folder / name).is_file():
            return Found("bioimageio", folder, folder / name)
    described = sorted(folder.glob(LATER))
    if described:
        return Found("bioimageio", folder, described[-1])
    config = folder / "config.json"
    if config.is_file():
        kind: Kind = "stardist" if '"n_rays"' in config.read_text("utf-8") else "csbdeep"
        return Found(kind, folder, config)
    if (folder / "saved_model.pb").is_file() and (folder / "meta.json").is_file():
        return Found("saved-model", folder, folder / "meta.json")
    return None


def copied(found: Found, into: Path) -> Path:
    """The model's folder, where a converter may not change the original."""
    shutil.copytree(found.folder, into, symlinks=False)
    return into
