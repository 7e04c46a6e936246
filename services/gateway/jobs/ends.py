"""What to say of a program that ended: from its exit status and its last words."""

from collections.abc import Sequence

STOPPED = 130
"""What a trainer ends with when it was asked to stop."""

KILLED = (137, -9, 265)
"""kill -9, as a shell and as schedulers report it; mostly the kernel, when memory runs out."""


def in_words(lines: Sequence[str], status: int | None) -> str:
    """The program's own last sentence, or the best that can be said of its end."""
    if status in KILLED:
        return (
            "The program was killed, most likely because memory ran out. Take a smaller "
            "batch_size or patch_size, or smaller images, and start it again."
        )
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
