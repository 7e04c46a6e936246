"""Which of several forms of an answer the client likes best: `Accept`, RFC 9110."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException


def choose(accept: str, offers: Sequence[str]) -> str:
    """The offer that `accept` prefers; the first of equals.

    Raises
    ------
    HTTPException
        406, naming what there is.
    """
    wanted = [_parse(entry) for entry in (accept or "*/*").split(",")]
    best = max(offers, key=lambda offer: _quality(offer, wanted))
    if _quality(best, wanted) <= 0:
        raise HTTPException(
            406, f"There is no {accept} here. Ask for one of {', '.join(offers)} with Accept."
        )
    return best


def _parse(entry: str) -> tuple[str, float]:
    kind, *options = (part.strip() for part in entry.split(";"))
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            try:
                return kind.lower(), float(value)
            except ValueError:
                return kind.lower(), 0.0
    return kind.lower(), 1.0


def _quality(offer: str, wanted: Sequence[tuple[str, float]]) -> float:
    """By the most exact entry that covers the offer."""
    for pattern in (offer, offer.partition("/")[0] + "/*", "*/*"):
        for kind, quality in wanted:
            if kind == pattern:
                return quality
    return 0.0
