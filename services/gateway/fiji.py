"""`/fiji/`: what users of Fiji and ImageJ install, with this server's address filled in.

The files are those of the repository's `fiji/` folder; the toolset is put together from its
parts, because a macro cannot include another. Knows text and addresses, no image.
"""

import asyncio
import re
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from micserve.errors import NotFoundError
from micserve.serving.problems import problem_responses
from services.gateway.openapi import BINARY, answers
from services.gateway.page.shell import page as framed
from services.gateway.parcels import TSV, TYPES
from services.gateway.parts import Here

FOLDER = Path(__file__).resolve().parents[2] / "fiji"

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
"""Stands in the files where a server's own address goes."""

LIBRARY = (
    *("http", "answers", "images", "predict", "segment", "quality", "batch"),
    *("jobs", "train"),
)
TOOLS = ("tools", "dialogs", "choosing", "training")

SCRIPTS = tuple(
    f"micserve_{what}.{language}"
    for what in ("predict", "segment", "qc")
    for language in ("groovy", "py")
)
"""For the script editor of Fiji."""

TEXT = "text/plain; charset=utf-8"

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?")


def library_text() -> str:
    """The functions that a macro calls, as one text."""
    return _joined("library", LIBRARY)


def toolset_text() -> str:
    """The toolset: its tools, then the functions that they need."""
    return _joined("toolset", TOOLS) + "\n" + library_text()


def script_text(name: str) -> str:
    """A script with the connection that all of them share: a script cannot include another."""
    what, _, language = name.removeprefix("micserve_").partition(".")
    folder = FOLDER / "scripts"
    body = (folder / f"{what}.{language}").read_text("ascii")
    connection = (folder / f"connection.{language}").read_text("ascii")
    if language == "groovy":
        return f"{body}\n{connection}"
    asked, _, rest = body.partition("\n\n")
    return f"{asked}\n\n{connection}\n\n{rest}"


def _joined(folder: str, names: tuple[str, ...]) -> str:
    parts = [(FOLDER / folder / f"{name}.ijm").read_text("ascii") for name in names]
    return "\n".join(parts)


def addressed(text: str, address: str) -> str:
    """With this server's address instead of the default."""
    return text.replace(DEFAULT_ADDRESS, address)


def address_of(request: Request) -> str:
    """As the visitor wrote it; what could end a string of a macro is not taken."""
    address = str(request.base_url).rstrip("/")
    return address if _ADDRESS.fullmatch(address) else DEFAULT_ADDRESS


def _file(name: str) -> str:
    match name:
        case "micserve.ijm":
            return toolset_text()
        case "micserve_library.ijm" | "Library.txt":
            return library_text()
        case "install_micserve.ijm":
            return (FOLDER / name).read_text("ascii")
        case _ if name in SCRIPTS:
            return script_text(name)
    raise NotFoundError(f"There is no {name} here. See /fiji/ for what there is.")


def add_fiji(app: FastAPI) -> None:
    @app.get("/fiji", include_in_schema=False)
    @app.get("/fiji/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return framed(request, "fiji.html", address=address_of(request), scripts=SCRIPTS)

    @app.get("/fiji/pictures/{name}", include_in_schema=False)
    async def picture(name: str) -> Response:
        path = FOLDER / "pictures" / name
        known = {file.name for file in (FOLDER / "pictures").glob("*.png")}
        if name not in known:
            raise NotFoundError(f"There is no picture {name} here.")
        return Response(await asyncio.to_thread(path.read_bytes), media_type="image/png")

    @app.get(
        "/fiji/{name}",
        summary="The Fiji toolset, the macro functions and the scripts, for this server",
        response_class=PlainTextResponse,
        responses=problem_responses(404),
    )
    async def file(name: str, request: Request) -> Response:
        text = await asyncio.to_thread(_file, name)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(addressed(text, address_of(request)), media_type=TEXT, headers=headers)

    @app.get(
        "/v1/models/{name}/parameters.tsv",
        summary="What a prediction may be asked, as tab-separated text, for macros' dialogs",
        response_class=Response,
        responses=answers(TSV) | problem_responses(404, 422, 503),
    )
    async def parameters(name: str, here: Here, version: str = "production") -> Response:
        text = await asyncio.to_thread(here.catalogue.parameters_tsv, name, version)
        return Response(text, media_type=TSV)

    @app.get(
        "/v1/parcels/{identity}/{name:path}",
        summary="One file of a result that was listed as a table",
        response_class=Response,
        responses=answers(*(kind.partition(";")[0] for kind in TYPES.values()))
        | problem_responses(404),
    )
    async def parcel_file(identity: str, name: str, here: Here) -> Response:
        path = await asyncio.to_thread(here.parcels.file, identity, name)
        kind = TYPES.get(path.suffix, BINARY)
        return FileResponse(path, media_type=kind)
