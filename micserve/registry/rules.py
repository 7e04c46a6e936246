"""What may be promoted, and the sentences for what is not there.

Pure: from what is known of versions to a decision or a sentence.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

from micserve.errors import (
    ModelNotFoundError,
    ParameterError,
    PromotionRefusedError,
    VersionNotFoundError,
)
from micserve.registry.model import ModelRef, ModelVersion, Promotion

LONGEST_REASON = 1000
MOST_NAMED = 5


def promotion_of(
    version: ModelVersion,
    alias: str,
    *,
    before: int | None,
    by: str,
    reason: str,
    force: bool,
    warnings: Sequence[str] = (),
) -> Promotion:
    """The move of an alias, when it may be made; `warnings` are kept with it, beside our own.

    Raises
    ------
    PromotionRefusedError
        When the version was never verified or failed, and `force` is not given.
    ParameterError
        When nobody signs for it, or force has no reason.
    """
    by, reason = by.strip(), reason.strip()
    if not by:
        raise ParameterError("A promotion is signed: say who makes it.")
    if len(by) > LONGEST_REASON or len(reason) > LONGEST_REASON:
        raise ParameterError(f"Give the reason in at most {LONGEST_REASON} characters.")
    if force and not reason:
        raise ParameterError("A forced promotion needs a reason, which is kept with it.")
    against = objection(version)
    if against and not force:
        raise PromotionRefusedError(
            f"{version.ref} is not promoted to {alias}: {against}. Verify it with "
            f"'micserve verify {version.ref}', or force the promotion and give a reason."
        )
    return Promotion(
        name=version.name,
        alias=alias,
        from_version=before,
        to_version=version.version,
        by=by,
        at=datetime.now(UTC),
        reason=reason,
        forced=bool(against),
        warnings=(*_warnings(version, against), *warnings),
    )


def objection(version: ModelVersion) -> str:
    """Why a version is not promoted unless it is forced; empty when it may be."""
    if version.verification is None:
        return "it was never verified"
    failed = [check.name for check in version.verification.checks if not check.passed]
    return f"its verification failed ({', '.join(failed)})" if failed else ""


def _warnings(version: ModelVersion, against: str) -> tuple[str, ...]:
    said = [f"{version.ref} was promoted by force: {against}."] if against else []
    if version.qc is None:
        said.append(f"{version.ref} has no quality report: nobody compared it with a plain filter.")
    elif version.qc.summary.get("beats_gaussian") is False:
        said.append(
            f"By its quality report, a plain Gaussian filter does better than {version.ref}."
        )
    return tuple(said)


def unknown_model(name: str, known: Sequence[str]) -> ModelNotFoundError:
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return ModelNotFoundError(
            f"There is no model {name!r} in the registry; did you mean {' or '.join(near)}?"
        )
    if not known:
        return ModelNotFoundError(
            f"There is no model {name!r}: the registry is empty. Train one, or publish a package."
        )
    return ModelNotFoundError(
        f"There is no model {name!r} in the registry, which has {_some(known)}."
    )


def unknown_version(ref: ModelRef, there_are: Sequence[ModelVersion]) -> VersionNotFoundError:
    """`there_are`: the model's versions, at least one, newest first."""
    aliases = [f"{alias} ({v.version})" for v in there_are for alias in v.aliases]
    missing = f"version {ref.version}" if ref.version is not None else f"alias {ref.alias!r}"
    numbers = _some([str(v.version) for v in there_are])
    has = f"It has version {numbers}" if len(there_are) == 1 else f"It has versions {numbers}"
    has += f" and the aliases {_some(aliases)}." if aliases else " and no alias yet."
    return VersionNotFoundError(f"The model {ref.name} has no {missing}. {has}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
