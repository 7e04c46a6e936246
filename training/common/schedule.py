"""Learning rates as functions of what was done so far, so that a resumed training has the same."""

import math
from collections.abc import Sequence
from typing import Literal

WARM_UP = 0.05
"""Share of all steps in which the cosine schedule rises."""
FLOOR = 0.01
"""What is left of the learning rate at the end of the cosine schedule."""
FACTOR, PATIENCE, IMPROVEMENT = 0.5, 10, 1e-4
"""Of the plateau schedule: those of the n2v package and of Keras' ReduceLROnPlateau."""


def cosine(step: int, total: int, highest: float) -> float:
    """At a step counted from 0: a linear rise, then half a cosine."""
    rise = max(1, round(total * WARM_UP))
    if step < rise:
        return highest * (step + 1) / rise
    done = (step - rise) / max(1, total - rise)
    return highest * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def plateau(losses: Sequence[float], highest: float) -> float:
    """After epochs with these validation losses."""
    rate, best, waited = highest, math.inf, 0
    for loss in losses:
        if loss < best - IMPROVEMENT:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= PATIENCE:
            rate, waited = rate * FACTOR, 0
    return rate


def learning_rate(
    kind: Literal["cosine", "plateau", "constant"],
    highest: float,
    *,
    step: int,
    total: int,
    validation_losses: Sequence[float],
) -> float:
    """At a step counted from 0 of `total`, after epochs with these validation losses."""
    match kind:
        case "cosine":
            return cosine(step, total, highest)
        case "plateau":
            return plateau(validation_losses, highest)
        case "constant":
            return highest
