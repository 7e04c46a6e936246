"""`/v1/data…` and `/v1/folders`: data sets, uploads that resume, folders, checks."""

import asyncio
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from micserve.errors import NotFoundError
from micserve.serving.answers import ASKED_FOR_HEAD, disposition
from micserve.serving.problems import problem_responses
from services.gateway.callers import Caller, WhoAsks
from services.gateway.catalogue import tab_separated
from services.gateway.data import uploads
from services.gateway.data.datasets import Dataset, Datasets
from services.gateway.data.folders import Folder
from services.gateway.data.places import parse_place
from services.gateway.jobs.orders import FamilyWord
from services.gateway.openapi import BINARY, BINARY_BODY, answers
from services.gateway.parcels import TSV
from services.gateway.parts import Here

MOST_FILES_SHOWN = 2000

RANGE_HEADER = {
    "name": "Content-Range",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "example": "bytes 0-1048575/4194304"},
    "description": "First byte, last byte and size of the whole file, where this is a part of it.",
}


class NewDataset(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="What you call it, as in 'march, spots'.")
    group: str | None = Field(
        default=None, description="Who may read it too: a group of yours, or `all`."
    )


class FileView(BaseModel):
    path: str
    bytes: int
    address: str


class DatasetView(BaseModel):
    id: str
    name: str
    owner: str
    group: str | None
    created: AwareDatetime
    place: str
    bytes: int
    file_count: int
    files: tuple[FileView, ...]
    """At most 2000 of them."""


class DataListing(BaseModel):
    data: tuple[DatasetView, ...]


class FolderListing(BaseModel):
    folders: tuple[Folder, ...]


class CheckOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    family: FamilyWord
    ndim: Literal[2, 3] = 2
    source: str = Field(description="Place of the images.")
    target: str | None = Field(default=None, description="Place of the targets.")
    parameters: dict[str, Any] = Field(default_factory=dict)


class Preview(BaseModel):
    name: str
    address: str


class Checked(BaseModel):
    pairs: int
    """Images that are fit to be trained on, with their targets where the family has targets."""
    mismatches: tuple[str, ...]
    """All that is wrong, in words; empty when a training can start."""
    sentence: str = ""
    notes: tuple[str, ...] = ()
    smallest: tuple[int, ...] = ()
    pixels: int = 0
    previews: tuple[Preview, ...] = ()


class FileArrived(BaseModel):
    path: str
    bytes: int
    """That are here."""
    complete: bool


def add_data(app: FastAPI) -> None:
    """All routes of this module."""
    _add_sets(app)
    _add_files(app)
    _add_folders(app)


def _add_sets(app: FastAPI) -> None:
    @app.post(
        "/v1/data",
        status_code=201,
        summary="Make a data set to upload images to",
        responses=problem_responses(403, 422, 507),
    )
    async def make(order: NewDataset, here: Here, caller: WhoAsks) -> DatasetView:
        datasets = here.library.datasets
        made = await asyncio.to_thread(datasets.create, order.name, caller, order.group)
        here.accounts.audit.note(caller.name, "data.create", made.id, name=made.name)
        return await asyncio.to_thread(_view, datasets, made)

    @app.get("/v1/data", summary="Your data sets, newest first", responses=problem_responses(403))
    async def listing(here: Here, caller: WhoAsks) -> DataListing:
        return DataListing(data=tuple(await asyncio.to_thread(_views, here, caller)))

    @app.get(
        "/v1/data.tsv",
        summary="Your data sets as tab-separated text, for macros",
        response_class=Response,
        responses=answers(TSV) | problem_responses(403),
    )
    async def table(here: Here, caller: WhoAsks) -> Response:
        views = await asyncio.to_thread(_views, here, caller)
        rows = [(v.id, v.name, v.owner, str(v.bytes), str(v.file_count), v.place) for v in views]
        columns = ("id", "name", "owner", "bytes", "files", "place")
        return Response(tab_separated(columns, rows), media_type=TSV)

    @app.get(
        "/v1/data/{data}",
        summary="One data set with its files",
        responses=problem_responses(403, 404, 422),
    )
    async def one(data: str, here: Here, caller: WhoAsks) -> DatasetView:
        found = await asyncio.to_thread(here.library.datasets.one, data, caller)
        return await asyncio.to_thread(_view, here.library.datasets, found)

    @app.delete(
        "/v1/data/{data}",
        status_code=204,
        summary="Delete a data set with all its files",
        responses=problem_responses(403, 404, 409, 422, 503),
    )
    async def delete(data: str, here: Here, caller: WhoAsks) -> Response:
        datasets = here.library.datasets
        found = await asyncio.to_thread(datasets.one, data, caller, to_change=True)
        await asyncio.to_thread(here.jobs.refuse_in_use, f"data:{found.id}/")
        await asyncio.to_thread(datasets.delete, found)
        here.accounts.audit.note(caller.name, "data.delete", found.id, name=found.name)
        return Response(status_code=204)


def _add_files(app: FastAPI) -> None:
    @app.put(
        "/v1/data/{data}/files/{path:path}",
        summary="Upload a file, whole or, with Content-Range, a part of it",
        responses=problem_responses(403, 404, 409, 413, 422, 503, 507),
        openapi_extra={**BINARY_BODY, "parameters": [RANGE_HEADER]},
    )
    async def put(
        data: str, path: str, request: Request, here: Here, caller: WhoAsks
    ) -> FileArrived:
        datasets = here.library.datasets
        dataset = await asyncio.to_thread(datasets.one, data, caller, to_change=True)
        stretch = request.headers.get("content-range")
        if stretch is None:
            size = await uploads.receive_whole(request, datasets, dataset, path, here.limits)
            return FileArrived(path=path, bytes=size, complete=True)
        part = uploads.parse_range(stretch)
        said = await uploads.receive_part(request, datasets, dataset, path, part, here.limits)
        return FileArrived(path=path, bytes=said.offset, complete=said.complete)

    @app.get(
        "/v1/data/{data}/files/{path:path}",
        summary="A file as it was uploaded; HEAD says how much of it has arrived",
        response_class=Response,
        responses=answers(BINARY) | problem_responses(403, 404, 422),
    )
    async def get(data: str, path: str, request: Request, here: Here, caller: WhoAsks) -> Response:
        datasets = here.library.datasets
        dataset = await asyncio.to_thread(datasets.one, data, caller)
        here_is = await asyncio.to_thread(uploads.arrived, datasets, dataset, path)
        if here_is is None:
            raise NotFoundError(f"The data set {dataset.name!r} has no file {path}.")
        headers = {"Upload-Offset": str(here_is.offset)}
        if not here_is.complete:
            if request.scope.get(ASKED_FOR_HEAD):
                return Response(status_code=204, headers=headers)
            raise NotFoundError(f"{path} is still on its way: {here_is.offset} bytes are here.")
        name = path.rpartition("/")[2]
        headers |= {"Content-Disposition": disposition(name), "X-Content-Type-Options": "nosniff"}
        found = datasets.find_file(dataset, path)
        return FileResponse(found, media_type=BINARY, headers=headers)

    @app.delete(
        "/v1/data/{data}/files/{path:path}",
        status_code=204,
        summary="Delete one file",
        responses=problem_responses(403, 404, 409, 422, 503),
    )
    async def delete(data: str, path: str, here: Here, caller: WhoAsks) -> Response:
        datasets = here.library.datasets
        dataset = await asyncio.to_thread(datasets.one, data, caller, to_change=True)
        await asyncio.to_thread(here.jobs.refuse_in_use, f"data:{dataset.id}/{path}")
        await asyncio.to_thread(datasets.delete_file, dataset, path)
        return Response(status_code=204)


def _add_folders(app: FastAPI) -> None:
    @app.get(
        "/v1/folders",
        summary="Folders of the server that may be read",
        responses=problem_responses(403, 404, 422),
    )
    async def folders(
        here: Here,
        caller: WhoAsks,
        below: Annotated[str | None, Query(description="A place to look further down.")] = None,
    ) -> FolderListing:
        start = None if below is None else parse_place(below)
        if start is not None and start.kind != "root":
            raise NotFoundError(f"{below} is not a folder of the server; see /v1/folders.")
        found = await asyncio.to_thread(here.library.roots.listing, start)
        return FolderListing(folders=tuple(found))

    @app.post(
        "/v1/data/check",
        summary="Whether images can be trained on, and all that is wrong with them",
        responses=problem_responses(403, 404, 422, 503),
    )
    async def check(order: CheckOrder, here: Here, caller: WhoAsks) -> Checked:
        source = await asyncio.to_thread(here.library.folder, order.source, caller)
        target = (
            await asyncio.to_thread(here.library.folder, order.target, caller)
            if order.target
            else None
        )
        said = await here.checker.check(
            order.family,
            order.ndim,
            (order.source, source[1]),
            (order.target, target[1]) if order.target and target else None,
            {k: v for k, v in order.parameters.items() if k not in ("data", "target")},
        )
        return Checked.model_validate(said)


def _views(here: Here, caller: Caller) -> list[DatasetView]:
    datasets = here.library.datasets
    return [_view(datasets, dataset) for dataset in datasets.all_of(caller)]


def _view(datasets: Datasets, dataset: Dataset) -> DatasetView:
    files = list(datasets.files(dataset))
    return DatasetView(
        **dataset.model_dump(),
        place=f"data:{dataset.id}/",
        bytes=sum(size for _, size in files),
        file_count=len(files),
        files=tuple(
            FileView(path=path, bytes=size, address=f"/v1/data/{dataset.id}/files/{path}")
            for path, size in islice(files, MOST_FILES_SHOWN)
        ),
    )
