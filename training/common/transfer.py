"""Start from the weights of a model that was trained before, in the registry or in a file.

Every package holds its network's weights as NumPy arrays (`NATIVE_WEIGHTS`), so
that this works alike for all frameworks and nothing is unpickled. Whether they
fit the new network is for the learner to say.
"""

from pathlib import Path
from typing import Any

import numpy as np

from micserve.artifact.package import open_package
from micserve.errors import PackageError, ParameterError
from micserve.registry import ModelRef, Registry
from training.common.learner import Arrays, Trainer

NATIVE_WEIGHTS = "native_weights.npz"
"""Attachment of every package: the learner's weights, by its own names."""


def weights_of(source: str, registry: Registry, trainer: Trainer[Any]) -> Arrays:
    """The weights of `name@version` or of a package file.

    Raises
    ------
    ParameterError
        When the model is of another family, or its package holds no weights.
    """
    package = open_package(_package(source, registry))
    contract = package.contract
    if (contract.family, contract.ndim) != (trainer.family, trainer.ndim):
        raise ParameterError(
            f"{source} is a {contract.family} model for {contract.ndim}D images, and this is a "
            f"{trainer.family} training for {trainer.ndim}D: start from a model of the same kind."
        )
    stored = package.folder / NATIVE_WEIGHTS
    if not stored.is_file():
        raise ParameterError(
            f"{source} holds its network only in the form that serves, which cannot be trained "
            "on. Start from a model that was trained with this micserve."
        )
    try:
        with np.load(stored, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except ValueError as error:
        raise PackageError(f"The weights in {source} cannot be read: {error}.") from error


def _package(source: str, registry: Registry) -> Path:
    if source.lower().endswith(".zip"):
        return Path(source)
    return registry.fetch(registry.resolve(ModelRef.parse(source)))
