"""What a report is about: given by whoever asks for it, printed in its header."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class About:
    """All of it may be left out."""

    title: str = "Restoration quality control"
    model: str = ""
    """`name@version` of the model that made the predictions."""
    digest: str = ""
    """sha256 of its package."""
    made_at: datetime | None = None
    details: tuple[tuple[str, str], ...] = ()
    """Further lines of the header, (what, value): training data, parameters, …"""
