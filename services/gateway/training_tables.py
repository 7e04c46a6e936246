"""What a macro's training dialog needs, as tab-separated text: families, parameters, places.

The JSON of the same facts is at `/v1/families`, `/v1/folders` and `/v1/data`.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.responses import Response

from micserve.errors import NotFoundError
from micserve.serving.problems import problem_responses
from services.gateway.callers import Caller, WhoAsks
from services.gateway.catalogue import PARAMETER_COLUMNS, tab_separated
from services.gateway.data.folders import SUFFIXES
from services.gateway.jobs.families import Scalar, TrainingParameter, trainable
from services.gateway.openapi import answers
from services.gateway.parcels import TSV
from services.gateway.parts import Here, Parts


def add_training_tables(app: FastAPI) -> None:
    @app.get(
        "/v1/families.tsv",
        summary="What can be trained, as tab-separated text, for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(403),
    )
    async def families() -> Response:
        rows = [
            (f.name, f"{f.title}: {f.job}", str(f.paired).lower(), ",".join(map(str, f.dimensions)))
            for f in trainable().values()
        ]
        return _table(("name", "title", "paired", "dimensions"), rows)

    @app.get(
        "/v1/families/{name}/parameters.tsv",
        summary="What a training may be told, with the preset's values, for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(403, 404, 422),
    )
    async def parameters(
        name: str,
        ndim: Annotated[Literal["2", "3"], Query()] = "2",
        preset: Annotated[str, Query()] = "recommended",
    ) -> Response:
        family = trainable().get(name)
        if family is None:
            have = ", ".join(trainable())
            raise NotFoundError(f"There is no family {name!r} to train; there are {have}.")
        values = family.preset_values(ndim, preset)
        return _table(PARAMETER_COLUMNS, [_row(p, values) for p in family.parameters])

    @app.get(
        "/v1/places.tsv",
        summary="Folders with images that you can train on or predict, for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(403),
    )
    async def places(here: Here, caller: WhoAsks) -> Response:
        rows = await asyncio.to_thread(_places, here, caller)
        return _table(("place", "images", "name"), rows)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Response:
    return Response(tab_separated(columns, rows), media_type=TSV)


def _row(parameter: TrainingParameter, preset: dict[str, Scalar]) -> tuple[str, ...]:
    numeric = parameter.range != (None, None)
    kind = "choice" if parameter.choices and not numeric else parameter.type
    value = preset.get(parameter.name, parameter.default)
    return (
        parameter.name,
        "text" if kind == "string" else kind,
        _word(value),
        *("" if end is None else f"{end:.10g}" for end in parameter.range),
        "|".join(map(str, parameter.choices)),
        parameter.help,
    )


def _word(value: Scalar) -> str:
    """As a macro writes it; what is not set is an empty field."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _places(here: Parts, caller: Caller) -> list[tuple[str, ...]]:
    """Folders with images directly in them: of data sets, newest first, then of the server."""
    rows: list[tuple[str, ...]] = []
    datasets = here.library.datasets
    for dataset in datasets.all_of(caller):
        folders = Counter(
            PurePosixPath(path).parent
            for path, _ in datasets.files(dataset)
            if path.lower().endswith(SUFFIXES)
        )
        for folder, count in sorted(folders.items()):
            place = f"data:{dataset.id}/" + ("" if str(folder) == "." else str(folder))
            rows.append((place, str(count), dataset.name))
    rows += [(f.place, str(f.images), "") for f in here.library.roots.listing(None) if f.images]
    return rows
