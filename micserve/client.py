"""Python's way to a micserve server: models, predictions, quality reports.

    with Client() as client:
        client.predict("n2v-mine", Path("in.tif"), to=Path("out.tif"))

Images are streamed both ways, so that a file is never held in memory whole. An
error of the server comes back as the micserve error that it was, with the
server's own sentence.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast, overload
from urllib.parse import quote

import httpx

from micserve import errors
from micserve.codecs import image_to_bytes, read_image
from micserve.files import publish_file
from micserve.image import Image
from micserve.jobs import Job
from micserve.sending import image_files, send_in_parts

DEFAULT_URL = "http://127.0.0.1:8000"

PIECE = 1 << 20

ReportFormat = Literal["json", "html", "csv", "zip"]

_ACCEPT: Mapping[ReportFormat, str] = {
    "json": "application/json",
    "html": "text/html",
    "csv": "text/csv",
    "zip": "application/zip",
}

ImageSource = Path | bytes | Image

Progress = Callable[[int, int], None]
"""(bytes sent, bytes in all) of the upload."""


class Client:
    """One server. May be used from several threads.

    Parameters
    ----------
    url
        Of the gateway; by default MICSERVE_URL, else this machine.
    token
        Sent as a bearer token, where the server wants one; by default MICSERVE_TOKEN.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None) -> None:
        self.url = (url or os.environ.get("MICSERVE_URL") or DEFAULT_URL).rstrip("/")
        token = token or os.environ.get("MICSERVE_TOKEN")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            timeout=httpx.Timeout(None, connect=10.0),
        )
        self.trust = ""
        """Of the last prediction: `green; nothing measured speaks against this image`, `amber; …`,
        `red; …` or `unknown; …`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """All models, as `GET /v1/models` lists them."""
        return cast(list[dict[str, Any]], self._json("/v1/models")["models"])

    def model(self, name: str) -> dict[str, Any]:
        """One model with all its versions and the parameters that they take."""
        return self._json(f"/v1/models/{name}")

    @overload
    def predict(
        self,
        ref: str,
        image: ImageSource,
        *,
        to: Path,
        parameters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Path: ...

    @overload
    def predict(
        self,
        ref: str,
        image: ImageSource,
        *,
        to: None = None,
        parameters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Image: ...

    def predict(
        self,
        ref: str,
        image: ImageSource,
        *,
        to: Path | None = None,
        parameters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Image | Path:
        """Run a model on an image.

        Parameters
        ----------
        ref
            `name`, `name@version` or `name@alias`.
        image
            A file, its bytes, or an image in memory.
        to
            Where the result is written; it appears only when it is whole. Without it the
            result is returned as an image.
        parameters
            Of the model's family, for example `{"output_dtype": "uint16"}`.

        Raises
        ------
        MicserveError
            What is wrong, in the server's words.
        """
        self.trust = ""
        name, _, pointer = ref.partition("@")
        query = {k: str(v) for k, v in (parameters or {}).items() if v is not None}
        if pointer:
            query["version"] = pointer
        with (
            _upload(image, progress) as (content, size),
            self._stream(
                f"/v1/models/{name}/predict",
                params=query,
                content=content,
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            ) as answer,
        ):
            self.trust = answer.headers.get("X-Micserve-Trust", "")
            if to is not None:
                return _save(answer, to)
            return read_image(answer.read())

    def qc(
        self,
        target: Path,
        *,
        prediction: Path | None = None,
        source: Path | None = None,
        model: str | None = None,
        kind: Literal["restoration", "segmentation"] | None = None,
        form: ReportFormat = "json",
        to: Path,
    ) -> Path:
        """Compare a result with ground truth.

        Parameters
        ----------
        target
            The ground truth.
        prediction
            The result to judge; or name a `model`, and the `source` is predicted first.
        kind
            None: by the model's family, without a model a restoration.
        to
            Where the report is written.
        """
        files = {"target": target, "prediction": prediction, "source": source}
        opened = {name: path.open("rb") for name, path in files.items() if path is not None}
        try:
            with self._stream(
                "/v1/qc",
                files={name: (Path(file.name).name, file) for name, file in opened.items()},
                data={k: v for k, v in (("model", model), ("kind", kind)) if v} or None,
                headers={"Accept": _ACCEPT[form]},
            ) as answer:
                return _save(answer, to)
        finally:
            for file in opened.values():
                file.close()

    # --- data and jobs ----------------------------------------------------------------------
    def upload(
        self, source: Path, *, name: str | None = None, progress: Progress | None = None
    ) -> str:
        """Put a folder's images (or one file) into a new data set; its place on the server.

        Parameters
        ----------
        name
            Of the data set; by default the folder's.
        progress
            Told bytes sent and bytes in all. An upload that is cut off goes on where it was.
        """
        files = image_files(source)
        base = source if source.is_dir() else source.parent
        made = self.ask("POST", "/v1/data", json={"name": name or source.name or "data"}).json()
        total, sent = sum(path.stat().st_size for path in files), 0
        for path in files:
            where = quote(path.relative_to(base).as_posix())
            address = f"/v1/data/{made['id']}/files/{where}"
            for size in send_in_parts(self.ask, address, path):
                sent += size
                if progress is not None:
                    progress(sent, total)
        return f"data:{made['id']}/"

    def train(
        self,
        family: str,
        name: str,
        source: Path | str,
        *,
        target: Path | str | None = None,
        ndim: int = 2,
        preset: str = "recommended",
        parameters: Mapping[str, Any] | None = None,
    ) -> Job:
        """Order a training; it goes on when this program ends.

        Parameters
        ----------
        source, target
            A folder of this machine, which is uploaded, or a place on the server
            (`data:<id>/noisy`, `root:<name>/<folder>`).
        parameters
            As `GET /v1/families` lists them; the rest is the preset's.
        """
        order = {
            "kind": "train",
            "family": family,
            "name": name,
            "ndim": ndim,
            "preset": preset,
            "source": self._place(source),
            "target": None if target is None else self._place(target),
            "parameters": dict(parameters or {}),
        }
        return Job(self, self.ask("POST", "/v1/jobs", json=order).json())

    def predict_folder(
        self,
        ref: str,
        source: Path | str,
        *,
        output: str = "image",
        parameters: Mapping[str, Any] | None = None,
    ) -> Job:
        """Order a prediction of all images of a folder; `job.wait().save(folder)` fetches them."""
        order = {
            "kind": "predict",
            "model": ref,
            "source": self._place(source),
            "output": output,
            "parameters": dict(parameters or {}),
        }
        return Job(self, self.ask("POST", "/v1/jobs", json=order).json())

    def jobs(self) -> list[Job]:
        """Yours, newest first."""
        return [Job(self, facts) for facts in self._json("/v1/jobs")["jobs"]]

    def job(self, identity: str) -> Job:
        """One of yours."""
        return Job(self, self._json(f"/v1/jobs/{identity}"))

    def download(self, address: str, to: Path) -> Path:
        """A file of the server; it appears when it is whole."""
        with self._speaking(), self._http.stream("GET", address) as answer:
            if answer.is_error:
                answer.read()
            _raise_problem(answer)
            return _save(answer, to)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Any request; a problem is raised as the error that it is."""
        with self._speaking():
            answer = self._http.request(method, path, **request)
        _raise_problem(answer)
        return answer

    def _place(self, source: Path | str) -> str:
        return self.upload(source) if isinstance(source, Path) else source

    def _json(self, path: str) -> dict[str, Any]:
        return cast(dict[str, Any], self.ask("GET", path).json())

    @contextmanager
    def _stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:
        with self._speaking(), self._http.stream("POST", path, **request) as answer:
            if answer.is_error:
                answer.read()
            _raise_problem(answer)
            yield answer

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise errors.ServiceUnavailableError(
                f"No micserve server answers at {self.url}. Start it (make up), or name another "
                "address with MICSERVE_URL."
            ) from error
        except httpx.TransportError as error:
            raise errors.ServiceUnavailableError(
                f"The connection to {self.url} ended before the answer was there. Try again."
            ) from error


@contextmanager
def _upload(image: ImageSource, progress: Progress | None) -> Iterator[tuple[Iterator[bytes], int]]:
    if isinstance(image, Path):
        try:
            file = image.open("rb")
        except OSError as error:
            raise errors.NotFoundError(
                f"{image} cannot be read: {error.strerror}. Check the path."
            ) from error
        with file:
            size = os.fstat(file.fileno()).st_size
            yield _told(_pieces(file), size, progress), size
        return
    content = image_to_bytes(image) if isinstance(image, Image) else image
    pieces = (content[at : at + PIECE] for at in range(0, len(content), PIECE))
    yield _told(pieces, len(content), progress), len(content)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _told(pieces: Iterator[bytes], size: int, progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        if progress is not None:
            progress(sent, size)


def _save(answer: httpx.Response, to: Path) -> Path:
    """It appears when it is whole: a broken download leaves nothing under its name."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with publish_file(to) as part, part.open("wb") as file:
        for piece in answer.iter_raw(PIECE):
            file.write(piece)
    return to


def _raise_problem(answer: httpx.Response) -> None:
    """The server's problem as the error that it was there."""
    if not answer.is_error:
        return
    try:
        problem = answer.json()
        kind, sentence = str(problem["type"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        kind, sentence = "", f"The server answered {answer.status_code} {answer.reason_phrase}."
    name = kind.removeprefix("urn:micserve:error:")
    if name == "busy":
        wait = answer.headers.get("retry-after", "")
        raise errors.BusyError(sentence, retry_after=int(wait) if wait.isdigit() else 1)
    raise _KINDS.get(name, _by_status(answer.status_code))(sentence)


def _by_status(status: int) -> type[errors.MicserveError]:
    return errors.UnavailableError if status in (502, 503, 504) else errors.MicserveError


_TAKES_MORE_THAN_A_SENTENCE = {"BusyError", "DigestMismatchError"}

_KINDS: Mapping[str, type[errors.MicserveError]] = {
    "".join(f"-{c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(stem)): kind
    for name, kind in vars(errors).items()
    if name.endswith("Error") and name not in _TAKES_MORE_THAN_A_SENTENCE
    for stem in (name.removesuffix("Error"),)
}
"""`image-format` to ImageFormatError."""
