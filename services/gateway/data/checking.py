"""Whether images fit a family, asked of the trainer itself in a process of its own.

The gateway decodes no pixels: a folder of large stacks, or a file that was made to break a
reader, costs another process its memory and not the gateway's.
"""

import asyncio
import importlib.util
import json
import logging
import sys
import zipfile
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from micserve.errors import InputError, ServiceUnavailableError
from micserve.serving.scratch import Scratch
from services.gateway.data.folders import SUFFIXES
from services.gateway.parcels import Parcels

log = logging.getLogger(__name__)

WITHIN_S = 600
ROOT = Path(__file__).resolve().parents[3]


class Checker:
    """One check at a time: each reads all images of a folder."""

    def __init__(self, scratch: Scratch, parcels: Parcels) -> None:
        self._scratch, self._parcels = scratch, parcels
        self._turn = asyncio.Semaphore(1)

    async def check(
        self,
        family: str,
        ndim: int,
        source: tuple[str, Path],
        target: tuple[str, Path] | None,
        parameters: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What `python -m training.check` finds; places, with their paths, in its words.

        Raises
        ------
        ServiceUnavailableError
            When the images were too much for the machine.
        """
        if importlib.util.find_spec("training") is None:
            return _counted(source[1])
        with self._scratch.folder() as folder:
            words = ["--family", family, "--ndim", str(ndim), "--data", str(source[1])]
            words += ["--target", str(target[1])] if target else []
            words += ["--parameters", json.dumps(dict(parameters)), "--previews", str(folder)]
            async with self._turn:
                text = await _run("-m", "training.check", *words)
            for name, path in filter(None, (target, source)):
                text = text.replace(str(path), name)
            found: dict[str, Any] = json.loads(text)
            found["previews"] = await asyncio.to_thread(self._keep, folder, found["previews"])
        return found

    def _keep(self, folder: Path, names: list[str]) -> list[dict[str, str]]:
        if not names:
            return []
        archive = folder / "previews.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.write(folder / name, name)
        identity, _ = self._parcels.keep(archive)
        return [{"name": n, "address": f"/v1/parcels/{identity}/{n}"} for n in names]


def _counted(source: Path) -> dict[str, Any]:
    """Where trainers run elsewhere and are not installed here: what can be said without one."""
    images = [p for p in source.iterdir() if p.name.lower().endswith(SUFFIXES)]
    wrong = [] if images else ["There are no TIFF or PNG images directly in this folder."]
    return {
        "pairs": len(images),
        "mismatches": wrong,
        "sentence": "Each image is looked at when the training starts, since the trainers of this "
        "server run elsewhere.",
        "previews": [],
    }


async def _run(*words: str) -> str:
    """What it prints; killed when nobody waits for it any more."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            out, said = await process.communicate()
    except TimeoutError as error:
        raise InputError(
            f"Reading the images took more than {WITHIN_S // 60} minutes. Check fewer of them."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        log.error("a check of images ended with %s: %s", process.returncode, said.decode()[-2000:])
        raise ServiceUnavailableError(
            "The images could not be checked: the program that reads them ended before it was "
            "done. Check fewer or smaller images; if it happens again, tell the facility's staff."
        )
    return out.decode()
