"""What bioimage.io's own libraries say of a package.

They are imported only when asked, since that takes seconds, and are kept off
the network: their checks of file digests and test tensors are run, those that
would look up a web address are told that it is known.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micserve.artifact import rdf
from micserve.errors import PackageError


@dataclass(frozen=True, slots=True)
class Opinion:
    """Accepted or not, and why not."""

    accepted: bool
    reasons: tuple[str, ...]
    tests: tuple[str, ...]
    """Names of the tests that were run."""


def validate(path: Path) -> Opinion:
    """Is the description valid, are the files the ones it names, do the test tensors fit it?"""
    with quiet():
        return _opinion(_load(path).validation_summary, {"valid-format", "passed"})


def test(path: Path) -> Opinion:
    """Does bioimageio.core get the test output from the test input with the ONNX network?"""
    with quiet():
        from bioimageio.core import test_model

        description = _load(path)
        summary = test_model(description, "onnx", devices=["CPUExecutionProvider"])
        return _opinion(summary, {"passed"})


def refuse_invalid(path: Path) -> None:
    """Raise PackageError when `validate` does not accept the package."""
    opinion = validate(path)
    if not opinion.accepted:
        raise PackageError(
            "the model cannot be packed, since its bioimage.io description would not be valid: "
            + "; ".join(opinion.reasons)
        )


def _load(path: Path) -> Any:
    from bioimageio.spec import load_description

    return load_description(path, perform_io_checks=True, known_files=_web_addresses(path))


def _web_addresses(path: Path) -> dict[str, Any]:
    """Citations are the only web addresses in a description of ours."""
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        description = rdf.from_yaml(archive.read(rdf.FILE_NAME))
    return {cite["url"]: None for cite in description.get("cite", []) if cite.get("url")}


def _opinion(summary: Any, accepted: set[str]) -> Opinion:
    reasons = [
        f"{'.'.join(map(str, error.loc)) or detail.name}: {error.msg}"
        for detail in summary.details
        for error in detail.errors
    ]
    return Opinion(
        accepted=summary.status in accepted,
        reasons=tuple(reasons) if summary.status not in accepted else (),
        tests=tuple(detail.name for detail in summary.details),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Their log lines and warnings are in the summary already."""
    from loguru import logger

    logger.disable("bioimageio")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.enable("bioimageio")
