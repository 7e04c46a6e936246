"""Who did what: one JSON line per act, only ever appended.

A file and not a table: whoever may write to the account database cannot tidy
the record without leaving traces in the file system, any log collector can
follow it, and it is read with `grep`. One `write` of one line to a file that
was opened for appending is never mixed with another process's line.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class AuditLog:
    """`MICSERVE_HOME/accounts/audit.jsonl`. Safe for threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"

    def note(self, who: str, did: str, what: str = "", **facts: Any) -> None:
        """Append one line.

        Parameters
        ----------
        who
            Name of the person, or of the operating system's user for the command line.
        did
            In the form `noun.verb`: `model.promote`, `job.start`, `token.revoke`.
        what
            The thing it was done to.
        facts
            Anything else worth keeping; never a secret, never pixels.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": who}
        line |= {"did": did, "what": what, **facts}
        data = json.dumps(line, ensure_ascii=False, default=str).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest lines, newest first; a line that a crash cut off is passed over."""
        try:
            lines = self.path.read_bytes().splitlines()[-count:]
        except FileNotFoundError:
            return []
        return [entry for line in reversed(lines) if (entry := _parsed(line)) is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
