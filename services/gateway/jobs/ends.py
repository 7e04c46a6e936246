"""What to say of a program that ended: from its exit status and its last words."""

import shutil
from collections.abc import Sequence
from pathlib import Path

LEAST_ROOM = 1 << 16
"""Bytes; below this a log and an exit status may not be written."""

STOPPED = 130
"""What a trainer ends with when it was asked to stop."""

FULL = "No space left on device"

DISK_IS_FULL = (
    "The disk of the machine that ran it is full; what was made before is kept. Delete data sets "
    "and jobs that you no longer need, or tell the facility's staff; then order it again."
)

KILLED = (137, -9, 265)
"""kill -9, as a shell and as schedulers report it; mostly the kernel, when memory runs out."""


def has_no_room(folder: Path) -> bool:
    """A program on a full disk cannot even write down how it ended."""
    try:
        return shutil.disk_usage(folder).free < LEAST_ROOM
    except OSError:
        return False


def in_words(lines: Sequence[str], status: int | None) -> str:
    """The program's own last sentence, or the best that can be said of its end."""
    if status in KILLED:
        return (
            "The program was killed, most likely because memory ran out. Take a smaller "
            "batch_size or patch_size, or smaller images, and start it again."
        )
    if any(FULL in line for line in lines):
        return DISK_IS_FULL
    if any(line.startswith("Traceback") for line in lines):
        last = lines[-1].strip() if lines else ""
        return (
            f"The program ended unexpectedly ({last[:300]}). The log has more; tell the facility's "
            "staff the job's number."
        )
    own = _last_words(lines)
    return own or f"The program ended with status {status} and said nothing."


def _last_words(lines: Sequence[str]) -> str:
    """A sentence, with the indented lines that belong to it: `2 things are wrong: …`."""
    words: list[str] = []
    for line in reversed(lines):
        words.insert(0, line.rstrip())
        if not line.startswith(" "):
            break
    return "\n".join(words).strip()
