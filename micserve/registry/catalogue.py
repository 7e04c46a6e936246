"""What is published, as MLflow lists it: read only.

A version without our tags is overlooked, so a listing shows whole versions
and nothing else; one that cannot be read does not hide the others.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from micserve.errors import IntegrityError, ModelNotFoundError, NotFoundError, RefusedError
from micserve.registry import tags
from micserve.registry.connection import Connection
from micserve.registry.model import DEFAULT_ALIAS, Model, ModelRef, ModelVersion
from micserve.registry.rules import unknown_model, unknown_version

log = logging.getLogger(__name__)

PAGE = 1000
"""Entities per request of a listing."""


class Catalogue:
    """The models and versions behind one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def models(self) -> tuple[Model, ...]:
        """All with at least one published version, by name; one request per PAGE of them."""
        models = (self._model(entity) for entity in self._registered())
        return tuple(sorted((m for m in models if m is not None), key=lambda model: model.name))

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """The version that a reference means now: one request."""
        try:
            entity = self._connection.call(partial(_pointed_at, ref=ref))
        except (NotFoundError, RefusedError) as error:
            raise self.unknown(ref) from error
        if not tags.is_published(entity):
            raise self.unknown(ref)
        return tags.version_of(entity)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Published versions, newest first; none of an unknown model. Two requests."""
        try:
            model = self._connection.call(lambda c: c.get_registered_model(name))
        except (NotFoundError, RefusedError):
            return ()
        aliases = {alias: int(number) for alias, number in model.aliases.items()}
        entities = self.entities(name)
        versions = (self._readable(e, aliases) for e in entities if tags.is_published(e))
        return tuple(
            sorted((v for v in versions if v is not None), key=lambda v: v.version, reverse=True)
        )

    def entities(self, name: str) -> list[Any]:
        """MLflow's own entries of all versions of a name, ours or not."""
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._connection.call(partial(_page_of_versions, name=name, token=token))
            found += page
            token = page.token
            if not token:
                return found

    def unknown(self, ref: ModelRef) -> NotFoundError:
        """The error that says what there is instead."""
        versions = self.versions(ref.name)
        return unknown_version(ref, versions) if versions else self.unknown_model(ref.name)

    def unknown_model(self, name: str) -> ModelNotFoundError:
        """The error that names the nearest models."""
        return unknown_model(name, [model.name for model in self.models()])

    def _registered(self) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = self._connection.call(partial(_page_of_models, token=token))
            yield from page
            token = page.token
            if not token:
                return

    def _model(self, entity: Any) -> Model | None:
        """A registered model, by the newest of its published versions; None without any."""
        newest = max(entity.latest_versions, key=lambda mv: int(mv.version), default=None)
        if newest is None:
            return None
        aliases = {alias: int(number) for alias, number in entity.aliases.items()}
        latest = self._readable(newest, aliases) if tags.is_published(newest) else None
        if latest is None:
            latest = next(iter(self.versions(entity.name)), None)
        return None if latest is None else Model(name=entity.name, latest=latest, aliases=aliases)

    @staticmethod
    def _readable(entity: Any, aliases: Mapping[str, int]) -> ModelVersion | None:
        """None for a version that this micserve cannot read: one must not hide all others."""
        own = [alias for alias, number in aliases.items() if number == int(entity.version)]
        try:
            return tags.version_of(entity, own)
        except IntegrityError as error:
            log.warning("left out of the listing: %s", error)
            return None


def _pointed_at(client: Any, *, ref: ModelRef) -> Any:
    if ref.version is not None:
        return client.get_model_version(ref.name, str(ref.version))
    return client.get_model_version_by_alias(ref.name, ref.alias or DEFAULT_ALIAS)


def _page_of_models(client: Any, *, token: str | None) -> Any:
    return client.search_registered_models(max_results=PAGE, page_token=token)


def _page_of_versions(client: Any, *, name: str, token: str | None) -> Any:
    return client.search_model_versions(f"name = '{name}'", max_results=PAGE, page_token=token)
