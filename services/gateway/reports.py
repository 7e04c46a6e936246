"""`POST /v1/qc` and the reports that the registry keeps: from a form to a report."""

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from micserve.errors import UploadError
from micserve.serving.answers import FileAnswer, disposition
from micserve.serving.uploads import Form, receive_form
from services.gateway import negotiation, quality_form
from services.gateway.openapi import FILE
from services.gateway.parcels import TSV, listed
from services.gateway.parts import Parts
from services.gateway.quality import ENDINGS, FORMATS, ReportFormat, ReportOrder, Teller
from services.gateway.reports_begun import accepted
from services.gateway.upstream import passed_on

MEDIA_TYPES = {".html": "text/html", ".pdf": "application/pdf"}

OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["target"],
                    "properties": {
                        "target": FILE | {"description": "Ground truth."},
                        "prediction": FILE | {"description": "The result to judge."},
                        "source": FILE
                        | {"description": "What the model was given; needed for `model`."},
                        "model": {
                            "type": "string",
                            "description": "name@version or name@alias, instead of `prediction`: "
                            "the source is predicted first. Further fields are its parameters.",
                        },
                        **quality_form.FIELDS,
                    },
                }
            }
        },
    },
    "responses": {
        "200": {
            "description": "By `Accept`. JSON has a documented, closed schema.",
            "content": {kind: {} for kind in (*FORMATS, TSV)},
        }
    },
}


async def compare(
    request: Request, accept: str, here: Parts, *, owner: str, begin: bool
) -> Response:
    """Judge what a form holds, and answer in the form that `accept` prefers.

    Parameters
    ----------
    begin
        Answer at once where to look, instead of waiting for the report.
    """
    chosen = negotiation.choose(accept, (*FORMATS, TSV))
    wanted: ReportFormat = next((f for f in FORMATS if f == chosen), "application/zip")
    here.quality.refuse_when_full()
    with ExitStack() as life:
        folder = life.enter_context(here.scratch.folder())
        form = await receive_form(request, folder, here.limits)
        _refuse_incomplete(form)
        asked, parameters = quality_form.take(form.values)
        place = life.enter_context(ExitStack())
        place.enter_context(here.quality.place())
        if begin:
            work = partial(_made, form, parameters, asked, folder, "application/zip", here)
            one = here.reports_begun.begin(
                owner, _name(form), folder, work, place=place, kept=life.pop_all()
            )
            return accepted(one, as_line=chosen == TSV)
        path = await _made(form, parameters, asked, folder, wanted, here)
        if isinstance(path, Response):
            return path
        if chosen == TSV:
            return await listed(here.parcels, path, {})
        return file_answer(path, wanted, name=_name(form))


async def _made(
    form: Form,
    parameters: dict[str, str],
    asked: quality_form.Wanted,
    folder: Path,
    wanted: ReportFormat,
    here: Parts,
) -> "Path | Response":
    """The report as a file of the folder; a problem of the service is passed on as it is."""
    made = await _prediction(form, parameters, asked, folder, here)
    if isinstance(made, Response):
        return made
    order = ReportOrder(
        name=_name(form),
        prediction=made.image,
        target=form.files["target"].source,
        source=form.files["source"].source if "source" in form.files else None,
        model=made.model,
        digest=made.digest,
        format=wanted,
        folder=folder,
        kind=made.wanted.kind or "restoration",
        numbers=made.wanted.numbers or "auto",
        dimensions=made.wanted.dimensions,
    )
    return await here.quality.report(order)


def file_answer(path: Path, media_type: ReportFormat, *, name: str) -> Response:
    """A finished report; who asked for a page gets one to look at, not a download."""
    size = path.stat().st_size
    headers = {}
    if media_type == "application/zip":
        filename = f"qc-{Path(name).stem}.{ENDINGS[media_type]}"
        headers = {"Content-Disposition": disposition(filename)}
    return FileAnswer(path.open("rb"), size, media_type=media_type, headers=headers)


@dataclass(frozen=True, slots=True)
class _Prediction:
    image: bytes | Path
    wanted: quality_form.Wanted
    model: str = ""
    digest: str = ""


def _refuse_incomplete(form: Form) -> None:
    files, has_model = set(form.files), "model" in form.values
    unknown = sorted(files - {"prediction", "target", "source"})
    if unknown:
        raise UploadError(
            f"The form has a file {unknown[0]!r}; prediction, target and source are expected."
        )
    if "target" not in files:
        raise UploadError("The form has no file `target`, the ground truth to compare with.")
    if has_model == ("prediction" in files):
        raise UploadError(
            "Send either a file `prediction`, or `model` with a file `source` to predict from."
        )
    if has_model and "source" not in files:
        raise UploadError("The form names a model, but has no file `source` for it to work on.")


async def _prediction(
    form: Form,
    parameters: dict[str, str],
    wanted: quality_form.Wanted,
    folder: Path,
    here: Parts,
) -> "_Prediction | Response":
    """The image to judge: sent, or made now; a problem of the service is passed on as it is."""
    if "prediction" in form.files:
        return _Prediction(form.files["prediction"].source, wanted)
    asked = dict(parameters)
    name, _, pointer = asked.pop("model").partition("@")
    version = await asyncio.to_thread(here.catalogue.version, name, pointer or "production")
    target = folder / "prediction.tif"
    Teller(folder)(0.0, f"predicting with {version.ref}")
    answer = await here.upstreams.save(
        version.family,
        f"/v1/models/{version.name}/predict",
        [("version", str(version.version)), *asked.items()],
        form.files["source"].source,
        target,
    )
    if answer.status_code != httpx.codes.OK:
        return passed_on(answer)
    wanted = wanted.for_model(version.family, version.ndim, asked)
    return _Prediction(target, wanted, str(version.ref), version.digest)


def _name(form: Form) -> str:
    """What the image is called in the report: the first file name there is, without folders."""
    for field in ("source", "prediction", "target"):
        if field in form.files and form.files[field].filename:
            return PurePosixPath(form.files[field].filename.replace("\\", "/")).name
    return "image"


def training_reports(files: Iterable[str]) -> dict[str, str]:
    """Media type to path of the training report among the files of a version's run."""
    return _by_type(path for path in files if not path.startswith("qc/"))


def quality_reports(files: Iterable[str]) -> dict[str, str]:
    """Media type to path of the quality report among the files of its folder."""
    return _by_type(files)


def _by_type(files: Iterable[str]) -> dict[str, str]:
    """Files named `…report.html` or `…report.pdf`, the one nearest to the root of each kind."""
    found: dict[str, str] = {}
    for path in sorted(files, key=lambda path: (path.count("/"), path)):
        file = PurePosixPath(path)
        if file.stem.endswith("report") and file.suffix in MEDIA_TYPES:
            found.setdefault(MEDIA_TYPES[file.suffix], path)
    return found
