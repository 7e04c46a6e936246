"""`POST /v1/qc` and the reports that the registry keeps: from a form to a report."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from micserve.errors import UploadError
from micserve.serving.answers import FileAnswer, disposition
from micserve.serving.scratch import Scratch
from micserve.serving.uploads import Form, UploadLimits, receive_form
from services.gateway import negotiation, quality_form
from services.gateway.catalogue import Catalogue
from services.gateway.parcels import TSV, Parcels, listed
from services.gateway.quality import ENDINGS, FORMATS, QualityDesk, ReportFormat, ReportOrder
from services.gateway.upstream import Upstreams

MEDIA_TYPES = {".html": "text/html", ".pdf": "application/pdf"}

_FILE = {"type": "string", "format": "binary"}

OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["target"],
                    "properties": {
                        "target": _FILE | {"description": "Ground truth."},
                        "prediction": _FILE | {"description": "The result to judge."},
                        "source": _FILE
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
        "200": {"description": "By `Accept`.", "content": {kind: {} for kind in (*FORMATS, TSV)}}
    },
}


async def compare(
    request: Request,
    accept: str,
    *,
    catalogue: Catalogue,
    upstreams: Upstreams,
    desk: QualityDesk,
    scratch: Scratch,
    parcels: Parcels,
    limits: UploadLimits,
) -> Response:
    """Judge what a form holds, and answer in the form that `accept` prefers."""
    chosen = negotiation.choose(accept, (*FORMATS, TSV))
    wanted: ReportFormat = next((f for f in FORMATS if f == chosen), "application/zip")
    desk.refuse_when_full()
    with scratch.folder() as folder:
        form = await receive_form(request, folder, limits)
        _refuse_incomplete(form)
        asked, parameters = quality_form.take(form.values)
        made = await _prediction(form, parameters, asked, folder, catalogue, upstreams)
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
        path = await desk.report(order)
        if chosen == TSV:
            return await listed(parcels, path, {})
        size = path.stat().st_size
        file = path.open("rb")
    headers = {"Content-Disposition": disposition(f"qc-{Path(order.name).stem}.{ENDINGS[wanted]}")}
    if wanted != "application/zip":
        del headers["Content-Disposition"]
    return FileAnswer(file, size, media_type=wanted, headers=headers)


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
    catalogue: Catalogue,
    upstreams: Upstreams,
) -> "_Prediction | Response":
    """The image to judge: sent, or made now; a problem of the service is passed on as it is."""
    if "prediction" in form.files:
        return _Prediction(form.files["prediction"].source, wanted)
    asked = dict(parameters)
    name, _, pointer = asked.pop("model").partition("@")
    version = await asyncio.to_thread(catalogue.version, name, pointer or "production")
    target = folder / "prediction.tif"
    answer = await upstreams.save(
        version.family,
        f"/v1/models/{version.name}/predict",
        [("version", str(version.version)), *asked.items()],
        form.files["source"].source,
        target,
    )
    if answer.status_code != httpx.codes.OK:
        kept = {k: v for k, v in answer.headers.items() if k in ("content-type", "retry-after")}
        return Response(answer.content, status_code=answer.status_code, headers=kept)
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
