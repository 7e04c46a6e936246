"""The findings about one package: words that the verifier, the registry and listings share."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from micserve.artifact.contract import Contract
from micserve.errors import VerificationError


class Check(Contract):
    """One thing that was looked at."""

    name: str
    passed: bool
    sentence: str = ""
    """For people: what was found."""
    measured: dict[str, float | int | str | None] = Field(default_factory=dict)


class Verification(Contract):
    """Everything that was checked of one package, and with which libraries."""

    digest: str = ""
    """sha256 of the package, hexadecimal."""
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    versions: dict[str, str] = Field(default_factory=dict)
    when: AwareDatetime
    """UTC."""

    @property
    def passed(self) -> bool:
        """True when no check failed."""
        return all(check.passed for check in self.checks)

    def require_passed(self) -> None:
        """Raise VerificationError naming the checks that failed."""
        failed = [f"{check.name}: {check.sentence}" for check in self.checks if not check.passed]
        if failed:
            raise VerificationError(
                f"The model package did not pass {len(failed)} of {len(self.checks)} checks, so "
                "it cannot be used. " + " ".join(failed)
            )
