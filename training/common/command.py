"""The command line of a trainer, made from its configuration: every parameter is a flag.

Errors are one sentence; a traceback is for our mistakes only.
"""

import argparse
import logging
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.console import Console

from micserve.errors import CancelledError, InputError, MicserveError, NotFoundError, ParameterError
from micserve.registry import RegistrySettings
from training.common.config import (
    RECOMMENDED,
    Preset,
    TrainingConfig,
    assemble,
    canonical,
    read_yaml,
)
from training.common.flow import Resume, TrainingFlow
from training.common.learner import Trainer
from training.common.state import RunFolder

DONE, FAILED, USER_ERROR, STOPPED = 0, 1, 2, 130
RESUME_TAKES = {"data", "name"}


Trainers = Trainer[Any] | Sequence[Trainer[Any]]
"""A family's only trainer, or one for 2D and one for 3D that share a configuration."""


def main(trainers: Trainers, arguments: Sequence[str]) -> int:
    """Train as asked; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        _run(chosen(trainers, arguments), arguments)
    except CancelledError as error:
        print(f"\n{error}", file=sys.stderr)
        return STOPPED
    except MicserveError as error:
        print(f"\n{error}", file=sys.stderr)
        return USER_ERROR if isinstance(error, InputError | NotFoundError) else FAILED
    return DONE


def chosen(trainers: Trainers, arguments: Sequence[str]) -> Trainer[Any]:
    """The trainer for the dimensions that are asked for, or that a resumed run has."""
    known = list(trainers) if isinstance(trainers, Sequence) else [trainers]
    ndim = _dimensions(known[0], arguments)
    for trainer in known:
        if str(trainer.ndim) == ndim:
            return trainer
    have = " or ".join(str(trainer.ndim) for trainer in known)
    raise ParameterError(f"ndim is {ndim!r}, but it must be {have} for {known[0].title}.")


def _dimensions(trainer: Trainer[Any], arguments: Sequence[str]) -> str:
    """`--ndim` wins over the YAML file; a resumed run keeps its own."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ndim")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--resume")
    asked, _ = parser.parse_known_args(arguments)
    stored: Mapping[str, Any] = {}
    if asked.resume is not None:
        stored = RunFolder(RegistrySettings().home, asked.resume).asked().config
    elif asked.config is not None:
        stored = read_yaml(asked.config, trainer.config)
    return str(asked.ndim or stored.get("ndim", trainer.ndim))


def _run(trainer: Trainer[Any], arguments: Sequence[str]) -> None:
    known, flags = parse(trainer.config, trainer.presets, trainer.title, arguments)
    flow = TrainingFlow(trainer, Console())
    if known.run is not None and RunFolder(RegistrySettings().home, known.run).begun:
        flow.resume(Resume(known.run, Path(flags["data"]) if "data" in flags else None))
        return
    if known.resume is None:
        asked = assemble(trainer.config, trainer.presets, flags=flags, file=known.config)
        flow.start(asked, run_id=known.run)
        return
    extra = sorted(set(flags) - RESUME_TAKES)
    if extra or known.config:
        raise ParameterError(
            "A resumed training keeps the parameters it began with: leave out "
            f"{', '.join(extra or ['config'])}, or start a new training."
        )
    data = Path(flags["data"]) if "data" in flags else None
    flow.resume(Resume(known.resume, data, flags.get("name")))


def parse(
    kind: type[TrainingConfig],
    presets: dict[str, Preset] | Any,
    title: str,
    arguments: Sequence[str],
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """`--resume` and `--config`, and the parameters that were given, under their own names."""
    known, rest = _parser(kind, presets, title).parse_known_args(arguments)
    flags: dict[str, Any] = {}
    words = list(rest)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ParameterError(f"{word!r} does not belong to a parameter: write --name value.")
        name, equals, value = word[2:].partition("=")
        spelled = next(iter(canonical({name: None}, kind)))
        if not equals:
            if not words or words[0].startswith("--"):
                raise ParameterError(f"--{name} needs a value, as in --{spelled} value.")
            value = words.pop(0)
        flags[spelled] = None if value.lower() in ("null", "none") else value
    return known, flags


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ParameterError(f"{message[0].upper()}{message[1:]}.")


def _parser(kind: type[TrainingConfig], presets: Any, title: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python -m {kind.__module__.rpartition('.')[0]}",
        description=f"Train {title} on a folder of images, check the model, and publish it.",
        epilog=_epilog(kind, presets),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --data FOLDER --name NAME [--preset PRESET] [--config FILE] "
        "[--parameter value …]\n       %(prog)s --resume RUN_ID",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of parameters")
    parser.add_argument("--resume", metavar="RUN_ID", help="go on with a stopped or killed run")
    # For who starts trainings for others, and again without knowing how far they were.
    parser.add_argument("--run", metavar="RUN_ID", help="begin this run, or go on with it")
    return parser


def _epilog(kind: type[TrainingConfig], presets: Any) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    lines = ["presets (flags and the YAML file win over a preset):"]
    for name, preset in presets.items():
        default = " (default)" if name == RECOMMENDED else ""
        lines += _wrapped(f"--preset {name}{default}", preset.title, width)
        if preset.values:
            values = ", ".join(f"{key} {value}" for key, value in preset.values.items())
            lines += textwrap.wrap(
                values, width - 6, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    lines += ["", "parameters (names as in the ZeroCostDL4Mic notebooks; null for none):"]
    for name, field in kind.model_fields.items():
        lines += _wrapped(f"--{name} {_kind(field)}", _described(field), width)
    return "\n".join(lines)


def _described(field: FieldInfo) -> str:
    text = field.description or ""
    if field.is_required() or field.default in (None, ""):
        return text
    return f"{text} [{field.default}]"


def _kind(field: FieldInfo) -> str:
    """What may be given, in short: `INT|auto`, `best|last`, `true|false`."""
    words = [_word(part) for part in _alternatives(field.annotation)]
    return "|".join(word for word in words if word)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal or not get_args(annotation):
        return (annotation,)
    if hasattr(annotation, "__metadata__"):
        return (get_args(annotation)[0],)
    return tuple(leaf for part in get_args(annotation) for leaf in _alternatives(part))


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if kind is bool:
        return "true|false"
    names = {int: "INT", float: "NUMBER", str: "TEXT", Path: "PATH", type(None): "null"}
    return names.get(kind, "")


def _wrapped(head: str, text: str, width: int) -> list[str]:
    body = textwrap.wrap(text, width - 6, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return [f"  {head}", *body]
