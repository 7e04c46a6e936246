"""Publish, resolve, promote, list: every version of every model, behind one small protocol.

`open_registry` is the door; callers hold a `Registry` and never learn that it
is MLflow. Nothing of MLflow is imported before a registry is opened.
"""

from micserve.artifact.verification import Check, Verification
from micserve.registry.environment import quiet_environment
from micserve.registry.model import (
    Card,
    Model,
    ModelRef,
    ModelVersion,
    Progress,
    Promotion,
    QualityControl,
    RunRecord,
)
from micserve.registry.protocol import Registry, Run
from micserve.registry.settings import RegistrySettings

__all__ = [
    "Card",
    "Check",
    "Model",
    "ModelRef",
    "ModelVersion",
    "Progress",
    "Promotion",
    "QualityControl",
    "Registry",
    "RegistrySettings",
    "Run",
    "RunRecord",
    "Verification",
    "open_registry",
    "quiet_environment",
]


def open_registry(uri: str | None = None, *, settings: RegistrySettings | None = None) -> Registry:
    """The registry at `uri`, or where the settings (by default the environment) say.

    A server that is away is noticed by the first call; a database is opened here, and made
    when it is new, which takes some seconds.

    Parameters
    ----------
    uri
        `http(s)://…` of a tracking server, or `sqlite:///…` of its database for a
        program that is alone with it.
    """
    quiet_environment()
    from micserve.registry.mlflow import MlflowRegistry

    settings = settings or RegistrySettings()
    return MlflowRegistry(uri or settings.uri, cache=settings.cache_folder)
