"""`make images`: build the images of images.toml with the engine that is here, and say their sizes.

    python containers/build.py [IMAGE …] [--device cpu|gpu] [--engine docker|podman|buildah]

Needs nothing but Python and an engine. Knows names and build arguments; what is in an image is in
its Dockerfile.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENGINES = ("docker", "podman", "buildah")
Image = dict[str, Any]


def main() -> int:
    known = images()
    parser = argparse.ArgumentParser(prog="make images", description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=", ".join(known))
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--offline", action="store_true", help="ask no registry for the base image")
    asked = parser.parse_args()
    unknown = sorted(set(asked.images) - set(known))
    if unknown:
        parser.error(f"there is no image {unknown[0]!r}; there are {', '.join(known)}")
    engine = asked.engine or engine_here()
    if engine is None:
        print(f"None of {', '.join(ENGINES)} works here; install one of them.", file=sys.stderr)
        return 2
    take_wheels()
    chosen = [name for name in known if not asked.images or name in asked.images]
    how = {"device": asked.device, "offline": asked.offline}
    rows = [built(engine, name, known[name], **how) for name in chosen]
    print(f"\n{'image':<40} {'MB':>6} {'limit':>6} {'seconds':>8}")
    for row in rows:
        print(f"{row[0]:<40} {row[1]:>6.0f} {row[2] or '':>6} {row[3]:>8.0f}")
    return 0


def images() -> dict[str, Image]:
    found: dict[str, Image] = tomllib.loads((HERE / "images.toml").read_text())["images"]
    return found


def version() -> str:
    text = (ROOT / "micserve" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, "micserve/__init__.py names the version"
    return found[1]


def reference(name: str, image: Image, device: str) -> str:
    """Name and tag of an image. MICSERVE_IMAGES goes before the name: `registry/project/`."""
    gpu = device == "gpu" and "gpu" in image["devices"]
    prefix = os.environ.get("MICSERVE_IMAGES", "")
    return f"{prefix}micserve-{name}:{version()}{'-gpu' if gpu else ''}"


def engine_here() -> str | None:
    """The first engine that is installed and answers: a docker without its daemon does not."""
    for engine in ENGINES:
        if shutil.which(engine) and runs([engine, "info"]):
            return engine
    return None


def build_command(engine: str, name: str, image: Image, *, device: str, offline: bool) -> list[str]:
    """The build of one image; `--format docker`, because OCI has no health checks."""
    command = [engine, "bud" if engine == "buildah" else "build"]
    if engine != "docker":
        command += ["--format", "docker", "--layers", "--network", "host"]
    if offline:
        command += ["--pull=false"] if engine == "docker" else ["--pull-never"]
    arguments = {"VERSION": version(), "REVISION": _git("rev-parse", "HEAD"), "SOURCE": _source()}
    if "gpu" in image["devices"]:
        arguments["DEVICE"] = device
    if "service" in image:
        arguments["SERVICE"] = image["service"]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    command += ["--file", str(HERE / image["dockerfile"])]
    return [*command, "--tag", reference(name, image, device), str(ROOT)]


def built(
    engine: str, name: str, image: Image, *, device: str, offline: bool
) -> tuple[str, float, Any, float]:
    """Build one image: its reference, megabytes, limit in megabytes, seconds."""
    started = time.monotonic()
    called = reference(name, image, device)
    print(f"\n=== {called}", flush=True)
    device = device if device in image["devices"] else "cpu"
    # Older docker takes RUN --mount only when asked to.
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    command = build_command(engine, name, image, device=device, offline=offline)
    subprocess.run(command, check=True, env=environment)
    limit = image.get("limit_mb") if device == "cpu" else None
    return called, size_mb(engine, called), limit, time.monotonic() - started


def size_mb(engine: str, called: str) -> float:
    """All layers of an image, unpacked, in megabytes."""
    if engine == "buildah":
        listed = _output([engine, "images", "--json", called])
        return _megabytes(str(json.loads(listed)[0]["size"]))
    return int(_output([engine, "image", "inspect", "--format", "{{.Size}}", called])) / 1e6


def _megabytes(text: str) -> float:
    """`buildah` says `389 MB`, `1.2 GB`."""
    number, unit = text.split()
    return float(number) * {"KB": 1e-3, "MB": 1, "GB": 1e3}[unit]


def take_wheels() -> None:
    """Copy wheels from the folders of PIP_FIND_LINKS to where every build looks first."""
    for folder in os.environ.get("PIP_FIND_LINKS", "").split():
        for wheel in Path(folder).glob("*.whl"):
            target = HERE / "wheels" / wheel.name
            if not target.exists():
                shutil.copyfile(wheel, target)


def _source() -> str:
    """Where this checkout comes from, if that is an address that others can reach."""
    origin = os.environ.get("MICSERVE_SOURCE") or _git("config", "--get", "remote.origin.url")
    return origin if origin.startswith(("https://", "ssh://", "git@")) else "local checkout"


def _git(*words: str) -> str:
    try:
        return _output(["git", "-C", str(ROOT), *words])
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def runs(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


if __name__ == "__main__":
    sys.exit(main())
