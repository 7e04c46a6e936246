"""A model package, opened: what a service needs to run it, from a file that nobody vouches for.

Knows the layout of our packages. Imports no bioimage.io library and no ONNX:
that would cost a service seconds at every start. `build` writes packages,
`verify` proves them.
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from micserve.artifact import rdf
from micserve.artifact.archive import extract_archive, safe_name
from micserve.artifact.contract import ModelContract
from micserve.errors import DigestMismatchError, PackageError
from micserve.files import sha256_of

MAX_DESCRIPTION_BYTES = 32 << 20
"""A description with the manifest of 100 000 training images has about 15 MiB."""


@dataclass(frozen=True, slots=True)
class Package:
    """An opened model package."""

    path: Path
    digest: str
    """sha256 of the zip, hexadecimal."""
    contract: ModelContract
    rdf: Mapping[str, Any]
    """The description as it was read."""
    folder: Path
    """Where the files of the package lie unpacked."""
    onnx: Path
    test_input: NDArray[np.float32]
    """(B, C, (Z,) Y, X) grey values."""
    test_output: Mapping[str, NDArray[np.float32]]
    """What the model answers to `test_input`, per head, (B, C, (Z,) Y, X); in grey values where
    `contract.described_in_grey`."""


def open_package(path: Path, *, into: Path | None = None, digest: str | None = None) -> Package:
    """Read a package, check it and put its files where a runtime can load them.

    Parameters
    ----------
    into
        Cache folder; the files go to `into / digest` and are taken from there the next time,
        after their digests were checked. A temporary folder of this process when None.
    digest
        What was published, with or without `sha256:` before it.

    Raises
    ------
    PackageError
        When the zip is damaged, unsafe or not one of ours.
    DigestMismatchError
        When its bytes are not the published ones.
    """
    if not path.is_file():
        raise PackageError(f"there is no model package at {path}")
    got = sha256_of(path)
    if digest is not None and got != digest.removeprefix("sha256:"):
        raise DigestMismatchError(path.name, got=got, expected=digest.removeprefix("sha256:"))
    folder = _temporary() / got if into is None else into / got
    if not _is_intact(folder):
        _set_aside(folder)
        extract_archive(path, folder)
    description = _description(folder)
    _refuse_changed(folder, description)
    contract = _contract(path.name, description)
    return Package(
        path=path,
        digest=got,
        contract=contract,
        rdf=description,
        folder=folder,
        onnx=_file(folder, contract.network.weights),
        **_test_tensors(folder, description, contract),
    )


def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="micserve-package-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_intact(folder: Path) -> bool:
    """False when the cache has no such folder, or one that was changed since."""
    if not folder.is_dir():
        return False
    try:
        _refuse_changed(folder, _description(folder))
    except PackageError:
        return False
    return True


def _set_aside(folder: Path) -> None:
    """Free the name of a damaged folder; who has files of it open keeps them."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".damaged-"))
        folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)


def _description(folder: Path) -> dict[str, Any]:
    path = _file(folder, rdf.FILE_NAME)
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise PackageError(f"{rdf.FILE_NAME} has more than {MAX_DESCRIPTION_BYTES >> 20} MiB")
    return rdf.from_yaml(path.read_bytes())


def _file(folder: Path, name: str) -> Path:
    path = folder / safe_name(name)
    if not path.is_file():
        raise PackageError(f"the package has no file {name}: it is not a whole model package")
    return path


def _refuse_changed(folder: Path, description: Mapping[str, Any]) -> None:
    """Every file that the description names is there, with the digest that it states."""
    for entry in _entries(description):
        got = sha256_of(_file(folder, str(entry["source"])))
        if got != entry["sha256"]:
            raise PackageError(
                f"{entry['source']} in the package is not the file that its description names "
                f"(sha256 {got[:12]}… instead of {str(entry['sha256'])[:12]}…); it was changed "
                "or is damaged. Publish the model again."
            )


def _entries(part: Any) -> Iterator[Mapping[str, Any]]:
    """File references of a description; our own facts are none."""
    if isinstance(part, Mapping):
        if "source" in part and "sha256" in part:
            yield part
        for key, value in part.items():
            if key != "config":
                yield from _entries(value)
    elif isinstance(part, list):
        for value in part:
            yield from _entries(value)


def _contract(name: str, description: Mapping[str, Any]) -> ModelContract:
    config = description.get("config")
    stated = config.get("micserve") if isinstance(config, Mapping) else None
    if stated is None:
        raise PackageError(
            f"{name} was not made by micserve (its description has no config.micserve), so it "
            "does not say how to run it. Train the model here, or import it first."
        )
    try:
        return ModelContract.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PackageError(
            f"{name} describes its network in a way that this micserve does not know "
            f"(config.micserve.{where}: {first['msg']}). It may come from a newer micserve."
        ) from error


def _test_tensors(
    folder: Path, description: Mapping[str, Any], contract: ModelContract
) -> dict[str, Any]:
    try:
        files = {
            str(tensor["id"]): str(tensor["test_tensor"]["source"])
            for tensor in [*description["inputs"], *description["outputs"]]
        }
        wanted = {head.name: files[head.name] for head in contract.network.heads}
        test_input = _load(folder, files[rdf.INPUT_ID])
    except (KeyError, TypeError) as error:
        raise PackageError(
            f"the package's description lacks a test tensor ({error}); it cannot be checked on "
            "this machine and is not used"
        ) from error
    expected = 2 + contract.ndim
    outputs = {head: _load(folder, name) for head, name in wanted.items()}
    if any(
        len(t) != len(test_input) or t.ndim != expected for t in [test_input, *outputs.values()]
    ):
        raise PackageError(f"the package's test tensors do not have {expected} axes each")
    return {"test_input": test_input, "test_output": outputs}


def _load(folder: Path, name: str) -> NDArray[np.float32]:
    """Through a memory map: the announced size is compared with the file before memory is taken."""
    path = _file(folder, name)
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if mapped.dtype != np.float32:
            raise ValueError(f"its type is {mapped.dtype}, not float32")
        return np.array(mapped)
    except (ValueError, OSError, AttributeError, EOFError) as error:
        raise PackageError(
            f"the test tensor {name} in the package cannot be used: {error}"
        ) from error
