"""How a version and a promotion are written into MLflow's tags, and read back.

A model version that MLflow lists is one of ours only when it carries the tag
PUBLISHED, which is written in the same request that makes the version, after
its package was stored: what has the tag is whole. All else is overlooked.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from micserve.artifact.contract import ModelContract
from micserve.artifact.verification import Verification
from micserve.errors import IntegrityError, ParameterError
from micserve.registry.model import (
    Card,
    ModelVersion,
    Promotion,
    QualityControl,
)

M = TypeVar("M", Verification, QualityControl)

PUBLISHED = "micserve.published"
PUBLICATION = "micserve.publication"
DIGEST = "micserve.digest"
FAMILY = "micserve.family"
NDIM = "micserve.ndim"
CARD = "micserve.card"
VERIFICATION = "micserve.verification"
QC = "micserve.qc"
PROMOTION = "micserve.promotion."

LONGEST_VERSION_TAG = 60_000
"""Characters; MLflow 3.17 takes 100 000, a MySQL database behind it 65 535 bytes."""
LONGEST_MODEL_TAG = 5_000
"""Characters of a registered model's tag: `SqlRegisteredModelTag` in MLflow 3.17."""


def publication_tags(
    contract: ModelContract, *, digest: str, card: Card, verification: Verification | None
) -> dict[str, str]:
    """All tags of a new version; PUBLICATION tells this attempt from every other."""
    tags = {
        PUBLISHED: "1",
        PUBLICATION: uuid4().hex,
        DIGEST: digest,
        FAMILY: contract.family,
        NDIM: str(contract.ndim),
        CARD: bounded(card.model_dump_json(), LONGEST_VERSION_TAG, "The model's card"),
    }
    if verification is not None:
        tags[VERIFICATION] = verification_tag(verification)
    return tags


def verification_tag(verification: Verification) -> str:
    return bounded(verification.model_dump_json(), LONGEST_VERSION_TAG, "The verification")


def qc_tag(qc: QualityControl) -> str:
    return bounded(qc.model_dump_json(), LONGEST_VERSION_TAG, "The quality report's summary")


def bounded(text: str, most: int, what: str) -> str:
    if len(text) > most:
        raise ParameterError(
            f"{what} has {len(text)} characters, and the registry keeps at most {most}: put the "
            "long part into a file."
        )
    return text


def is_published(entity: Any) -> bool:
    return (entity.tags or {}).get(PUBLISHED) == "1"


def version_of(entity: Any, aliases: Iterable[str] | None = None) -> ModelVersion:
    """Read an MLflow model version; `aliases` where the entity does not carry its own.

    Raises
    ------
    IntegrityError
        When its tags are not what `publication_tags` writes.
    """
    tags = entity.tags
    own = entity.aliases or () if aliases is None else aliases
    try:
        return ModelVersion.model_validate(
            {
                "name": entity.name,
                "version": int(entity.version),
                "digest": tags[DIGEST],
                "family": tags[FAMILY],
                "ndim": int(tags[NDIM]),
                "created": moment(entity.creation_timestamp),
                "run_id": entity.run_id,
                "aliases": tuple(sorted(own)),
                "verification": _parsed(Verification, tags.get(VERIFICATION)),
                "qc": _parsed(QualityControl, tags.get(QC)),
                "card": Card.model_validate_json(tags[CARD]),
                "source": entity.source,
            }
        )
    except (KeyError, ValueError) as error:
        raise IntegrityError(
            f"What the registry says of {entity.name}@{entity.version} cannot be read: it was "
            "changed by hand or published by a newer micserve. Update micserve, or choose another "
            "version."
        ) from error


def promotion_key() -> str:
    """Sorts by time, and never twice the same."""
    return f"{PROMOTION}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.{uuid4().hex[:8]}"


def promotions_in(tags: dict[str, str]) -> tuple[Promotion, ...]:
    keys = sorted(key for key in tags if key.startswith(PROMOTION))
    return tuple(Promotion.model_validate_json(tags[key]) for key in keys)


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _parsed(kind: type[M], text: str | None) -> M | None:
    return None if text is None else kind.model_validate_json(text)
