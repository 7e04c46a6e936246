"""Weights and optimiser state as named NumPy arrays, which is how checkpoints keep them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from micserve.errors import ParameterError

Arrays = Mapping[str, NDArray[Any]]


def weights_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: _array(value) for name, value in network.state_dict().items()}


def load_weights(network: nn.Module, arrays: Arrays) -> None:
    """Put weights into a network of the same shape.

    Raises
    ------
    ParameterError
        When they are another network's.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: value.shape for name, value in arrays.items()}
    if expected != given:
        different = sorted(
            name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name)
        )
        raise ParameterError(
            "The weights belong to a network of another shape: "
            f"{len(different)} of {len(expected)} arrays differ (the first is {different[0]}). "
            "Train with the depth, filters and classes of the model that you start from."
        )
    network.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    """Without the learning rate, which the schedule knows."""
    return {
        f"{number:04d}.{name}": _array(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, arrays: Arrays) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = torch.from_numpy(np.array(array))
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, Tensor):
        return np.array(value.detach().cpu().numpy())
    return np.array(value)
