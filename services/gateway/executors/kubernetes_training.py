"""`make train-n2v ENGINE=kubernetes`: a training in the cluster, ordered from this machine.

The images are uploaded to the gateway of the cluster (MICSERVE_URL, MICSERVE_TOKEN), which makes
the Job; so nobody but the gateway needs rights in the cluster, and the training is seen, limited
and cancelled like all others. Knows the trainers' flags by name only; the gateway checks them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from micserve.client import Client
from micserve.errors import MicserveError, ParameterError

OF_THE_ORDER = {"data", "target", "name", "ndim", "preset"}
NOT_THERE = {
    "resume": "A job goes on from its checkpoint by itself",
    "config": "Write the parameters as flags",
    "from_model": "Order it from the page, or train with ENGINE=local",
}


def main(words: Sequence[str]) -> int:
    """Order, follow, and end as the training did."""
    family, *flags = words
    try:
        asked = read(flags)
        with Client() as client:
            job = client.train(
                family,
                str(asked["name"]),
                _images(asked["data"]),
                target=_images(asked["target"]) if "target" in asked else None,
                ndim=int(asked.get("ndim", 2)),
                preset=str(asked.get("preset", "recommended")),
                parameters={k: v for k, v in asked.items() if k not in OF_THE_ORDER},
            )
            sys.stderr.write(f"Job {job.id}; micserve jobs follow {job.id[:8]} finds it again.\n")
            job.wait()
            sys.stdout.write(f"{asked['name']}@{job.version} is trained.\n")
    except MicserveError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def read(flags: Sequence[str]) -> dict[str, Any]:
    """`--name value …` by name; numbers as such.

    Raises
    ------
    ParameterError
        For what a job cannot take, and when the images or the name are missing.
    """
    found: dict[str, Any] = {}
    words = list(flags)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not (equals or words):
            raise ParameterError(f"{word!r} does not belong to a parameter: write --name value.")
        name = name.replace("-", "_")
        if name in NOT_THERE:
            raise ParameterError(f"--{name} is not for the cluster. {NOT_THERE[name]}.")
        text = value if equals else words.pop(0)
        found[name] = text if name in OF_THE_ORDER else yaml.safe_load(text)
    missing = [word for name, word in (("data", "DATA"), ("name", "NAME")) if name not in found]
    if missing:
        raise ParameterError(f"Say {' and '.join(missing)}: make train-n2v DATA=folder NAME=name")
    return found


def _images(text: str) -> Path | str:
    """A folder of this machine, or a place on the server."""
    return text if text.startswith(("data:", "root:")) else Path(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
