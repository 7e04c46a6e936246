"""A model's card: what listings show of a version, picked from its contract.

The contract itself travels in the package; it holds the manifest of the
training data and may be of any size. A card is bounded, so that it fits into
one tag of a version: 100 000 characters in MLflow 3.17, 65 535 bytes in MySQL.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from micserve.artifact.contract import ModelContract
from micserve.registry.model import Card, Scalar

MOST_VALUES = 60
LONGEST_TEXT = 100
LONGEST_DESCRIPTION = 4000


def card_of(contract: ModelContract, *, description: str, size_bytes: int) -> Card:
    """The card of a package of `size_bytes` with this contract."""
    network = contract.network
    return Card(
        description=description[:LONGEST_DESCRIPTION],
        axes=contract.spatial_axes,
        channels=network.channels,
        outputs={head.name: head.channels for head in network.heads},
        pixel_size_um=contract.pixel_size_um,
        halo=network.tiling.halo,
        multiple=network.tiling.multiple,
        normalization=contract.normalization.id,
        parameters=plain_values(contract.parameters),
        training=plain_values(contract.training),
        size_bytes=size_bytes,
    )


def plain_values(tree: Mapping[str, Any]) -> dict[str, Scalar]:
    """Numbers, words and truth values of a nested mapping, names joined with dots.

    Lists (the manifest of files, loss curves) and values that JSON cannot say are
    left out, as is all beyond the first MOST_VALUES; long texts are cut.
    """
    found = _leaves(tree, "")
    return {name: value for (name, value), _ in zip(found, range(MOST_VALUES), strict=False)}


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Scalar]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"[:LONGEST_TEXT]
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        elif isinstance(value, str):
            yield name, value[:LONGEST_TEXT]
        elif isinstance(value, bool | int | float) and math.isfinite(value):
            yield name, value
