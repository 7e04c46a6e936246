"""`make accuracy`: train every family on real images, and write the one table of what it reaches.

    python -m tests.bench.accuracy [--images ../shared/data] [--write docs/accuracy.md] [NAME …]

Each experiment is a program of its own, in its family's environment. What it found
is kept in a file, so that an interrupted run goes on where it was; --again measures
anew. Without names, all are run that have not been; the table shows all there are.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.parts import write_between_marks
from training.common.measured import MODEL, Measured, read_measured

ROOT = Path(__file__).resolve().parents[2]
TOLD = ("framework agreement", "tiled equals whole", "bioimage.io test")
"""The checks that are told in the document; a package has to pass some more."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What to run where."""

    stack: str
    family: str
    names: tuple[str, ...]


EXPERIMENTS: Mapping[str, Experiment] = {
    "n2v-2d": Experiment("n2v", "n2v", ("spots",)),
    "n2v-w2s": Experiment("n2v", "n2v", ("w2s-0", "w2s-1", "w2s-2")),
    "n2v-3d": Experiment("n2v", "n2v", ("demo3d",)),
    "care-2d": Experiment("tf", "care", ("2d",)),
    "care-3d": Experiment("tf", "care", ("3d",)),
    "stardist-2d": Experiment("tf", "stardist", ("2d",)),
    "stardist-3d": Experiment("tf", "stardist", ("3d",)),
    "unet-2d": Experiment("torch", "unet", ("membranes-2d",)),
    "unet-3d": Experiment("torch", "unet", ("nuclei-3d",)),
    "fnet-2d": Experiment("torch", "fnet", ("dapi-2d",)),
    "fnet-3d": Experiment("torch", "fnet", ("nuclei-3d",)),
}


def run(name: str, images: Path, target: Path) -> bool:
    """One experiment; its own output goes to the terminal."""
    experiment = EXPERIMENTS[name]
    python = ROOT / ".venvs" / experiment.stack / "bin" / "python"
    if not python.is_file():
        print(f"{name} is left out: run make setup-{experiment.stack}", file=sys.stderr)
        return False
    command = [python, "-m", f"training.{experiment.family}.accuracy", "--images", images]
    command += ["--json", target, "--keep", target.parent, *experiment.names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    print(f"\n{name}", flush=True)
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def table(found: Sequence[Measured]) -> str:
    """One row per model, images and measure: the model beside what needs no training."""
    rows = [
        "| model | images held back | trained in | measure | model reaches | without training |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        for place, (measure, methods) in enumerate(one.scores.items()):
            plain = {name: value for name, value in methods.items() if name != MODEL}
            best = max(plain.values())
            reached = f"{methods[MODEL]:.3f}"
            beside = ", ".join(
                f"{name} {'**' if value == best > methods[MODEL] else ''}{value:.3f}"
                f"{'**' if value == best > methods[MODEL] else ''}"
                for name, value in plain.items()
            )
            head = (one.model, one.images, f"{one.seconds:.0f} s") if place == 0 else ("", "", "")
            won = f"**{reached}**" if methods[MODEL] > best else reached
            rows.append(f"| {' | '.join(head)} | {measure} | {won} | {beside} |")
    return "\n".join(rows)


def passed(found: Sequence[Measured]) -> str:
    """What each package had to pass before it was measured, a line per model."""
    lines = [
        f"* **{one.model}**, {one.images}: {' '.join(one.checks[name] for name in TOLD)}"
        for one in found
        if set(TOLD) <= set(one.checks)
    ]
    return "\n".join(["What their packages passed before they were measured:", "", *lines])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make accuracy", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path, default=ROOT / "var" / "accuracy")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--write", type=Path, help="the document with the table")
    asked = parser.parse_args(arguments)
    unknown = set(asked.names) - set(EXPERIMENTS)
    if unknown:
        parser.error(f"there is no experiment {', '.join(sorted(unknown))}")
    if not asked.images.is_dir():
        parser.error(f"there are no images at {asked.images}; name their folder with --images")
    asked.results.mkdir(parents=True, exist_ok=True)
    files = {name: asked.results / f"{name}.json" for name in EXPERIMENTS}
    failed = [
        name
        for name in asked.names or EXPERIMENTS
        if (asked.again or not files[name].is_file())
        and not run(name, asked.images.absolute(), files[name].absolute())
    ]
    found = [one for file in files.values() if file.is_file() for one in read_measured(file)]
    text = f"{table(found)}\n\n{passed(found)}"
    print(f"\n{text}")
    if asked.write:
        write_between_marks(asked.write, text, command="make accuracy")
    if failed:
        print(f"These did not end well: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
