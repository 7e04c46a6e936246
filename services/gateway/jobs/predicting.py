"""The program of a prediction job: every image to the inference service, every result to a file.

    python -m services.gateway.jobs.predicting FOLDER '{"run": …}'

One image that cannot be predicted does not end the others: it is named, with the service's
sentence, in `failures.tsv`. Started again, it leaves out what is done. A process of its own, so
that it outlives the gateway; it imports no web framework.
"""

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx

from micserve.errors import InputError, MicserveError
from micserve.files import publish_file, said_when_full
from micserve.registry import Run, open_registry
from services.gateway.jobs.pictures import Picture, pictures_in

ENDINGS = {"image": ".tif", "labels": ".tif", "rois": ".zip", "table": ".csv", "bundle": ".zip"}
FAILURES, MADE = "failures.tsv", "predictions.tsv"
PATIENCE_S = 900.0
"""How long a service may be away or busy before an image counts as failed: it may be restarting,
or predicting somebody's large stack."""
PAUSE_S = 2.0
PIECE = 1 << 20


def main(words: list[str]) -> int:
    folder, told = Path(words[0]), json.loads(words[1])
    signal.signal(signal.SIGTERM, _stop)
    results = folder / "results"
    for half in results.rglob(".*.part"):
        half.unlink(missing_ok=True)
    run = open_registry().start_run(
        family=told["family"],
        name=told["name"],
        run_id=told["run"],
        params={"version": str(told["version"]), "output": told["output"], **told["parameters"]},
        tags={},
    )
    try:
        sentence, good = predict_all(told, results, run)
    except MicserveError as error:
        run.finish("FAILED")
        _say(str(error))
        return 1
    except BaseException:
        run.finish("KILLED")
        raise
    run.finish("FINISHED" if good else "FAILED")
    _say(sentence)
    return 0 if good else 2


def _say(sentence: str) -> None:
    """Into the job's log."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(130)


def predict_all(told: dict[str, Any], results: Path, run: Run) -> tuple[str, bool]:
    """A sentence about the whole, and whether anything was predicted."""
    source = Path(told["source"])
    images = pictures_in(source)
    if not images:
        return "There are no TIFF, PNG or OME-Zarr images in this folder or below it.", False
    failed: list[str] = []
    began, fresh = time.monotonic(), 0
    for number, image in enumerate(images):
        name = image.name
        target = results / name.parent / (name.name + ENDINGS[told["output"]])
        if name.suffix.lower() in (".tif", ".tiff") and ENDINGS[told["output"]] == ".tif":
            target = results / name
        left = (time.monotonic() - began) / fresh * (len(images) - number) if fresh else None
        run.log_progress(number / len(images), f"image {number + 1} of {len(images)}: {name}", left)
        if target.exists():
            continue
        said = predict_one(told, image, target, results)
        fresh += 1
        if said:
            failed.append(f"{name}\t{said}")
        _say(f"{number + 1}/{len(images)} {name}: {said or 'done'}")
    return _conclusion(failed, images, results, run)


def _conclusion(
    failed: list[str], images: list[Picture], results: Path, run: Run
) -> tuple[str, bool]:
    with said_when_full("The list of failures"):
        if failed:
            with publish_file(results / FAILURES) as part:
                part.write_text("image\tproblem\n" + "\n".join(failed) + "\n", encoding="utf-8")
        else:
            (results / FAILURES).unlink(missing_ok=True)
    run.log_progress(1.0, "done", 0)
    if len(images) == 1 and failed:
        return failed[0].partition("\t")[2], False
    if len(failed) == len(images):
        first = failed[0].replace("\t", ": ", 1)
        return f"None of the {len(images)} images could be predicted. {first}", False
    if failed:
        return (
            f"{len(failed)} of {len(images)} images could not be predicted; see {FAILURES}.",
            True,
        )
    return f"{len(images)} images are predicted.", True


def predict_one(told: dict[str, Any], image: Picture, target: Path, results: Path) -> str:
    """What went wrong, in words; empty when the result is there."""
    deadline = time.monotonic() + PATIENCE_S
    attempt = 0
    while True:
        service = told["services"][attempt % len(told["services"])]
        attempt += 1
        try:
            said, wait = _ask(service, told, image, target, results)
        except InputError as error:
            return str(error)
        except httpx.TransportError:
            said, wait = f"The {told['family']} service at {service} does not answer.", PAUSE_S
        if not wait or time.monotonic() + wait > deadline:
            return said
        time.sleep(wait)


def _ask(
    service: str, told: dict[str, Any], image: Picture, target: Path, results: Path
) -> tuple[str, float]:
    """What went wrong, and after how many seconds it may be tried again; 0 for never."""
    query = {**told["parameters"], "version": str(told["version"]), "output": told["output"]}
    address = f"{service}/v1/models/{told['name']}/predict"
    with (
        image.open() as (pieces, size),
        httpx.Client(timeout=httpx.Timeout(None, connect=5.0), trust_env=False) as client,
        client.stream(
            "POST", address, params=query, content=pieces,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
        ) as answer,
    ):  # fmt: skip
        if answer.is_error:
            answer.read()
            return _problem(answer), _wait(answer)
        with said_when_full(f"The result of {image.name}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with publish_file(target) as part, part.open("wb") as out:
                for piece in answer.iter_raw(PIECE):
                    out.write(piece)
            _note(image, target, results, answer)
    return "", 0.0


def _note(image: Picture, target: Path, results: Path, answer: httpx.Response) -> None:
    """One line per result: what a person looks at before they trust a thousand of them."""
    row = (
        image.name.as_posix(),
        target.relative_to(results).as_posix(),
        answer.headers.get("x-micserve-trust", ""),
        answer.headers.get("x-micserve-warnings", ""),
    )
    line = "\t".join(" ".join(cell.split()) for cell in row) + "\n"
    path = results / MADE
    head = "" if path.exists() else "image\tresult\ttrust\twarnings\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(head + line)


def _problem(answer: httpx.Response) -> str:
    try:
        return " ".join(str(answer.json()["detail"]).split())
    except (ValueError, KeyError, TypeError):
        return f"The service answered {answer.status_code} {answer.reason_phrase}."


def _wait(answer: httpx.Response) -> float:
    if answer.status_code not in (429, 502, 503, 504):
        return 0.0
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isdigit() and int(said) > 0 else PAUSE_S


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
