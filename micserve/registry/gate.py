"""What a person sees before an alias moves: the candidate against the version it would replace.

Reads the numbers that quality reports keep with their versions (`held_out.json`)
and compares them image by image. Refuses nothing itself: that is
`micserve.registry.rules`, which asks for verification. Two versions are compared
only on images that both were judged on, known by the digest of their ground truth.
"""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from micserve.artifact.contract import Contract
from micserve.errors import NotFoundError, VersionNotFoundError
from micserve.qc.held_out import FILE, Difference, HeldOut, against_method, against_version
from micserve.registry.model import ModelRef, ModelVersion
from micserve.registry.protocol import Registry
from micserve.registry.rules import objection


class AgainstMethod(Contract):
    """The candidate's prediction minus the input or a plain filter, on its held-out images."""

    method: str
    label: str
    differences: tuple[Difference, ...]


class Gate(Contract):
    """The candidate, what it is compared with, and what that says."""

    name: str
    alias: str
    candidate: int
    current: int | None
    """The version that the alias means now; None when it is new."""
    verified: bool
    objection: str
    """Why it is not promoted without force; empty when it may be."""
    images: int
    """That the candidate was judged on; 0 without a quality report."""
    against_methods: tuple[AgainstMethod, ...]
    against_current: tuple[Difference, ...]
    """Empty where they cannot be compared; `sentences` says why."""
    sentences: tuple[str, ...]
    """For the person who decides."""
    warnings: tuple[str, ...]
    """Of these, those that speak against it; kept with the promotion."""


def gate(registry: Registry, candidate: ModelVersion, alias: str) -> Gate:
    """Compare a version with the one that `alias` means now, and with plain filters."""
    current = _current(registry, candidate.name, alias)
    ours = read_held_out(registry, candidate)
    methods = () if ours is None else tuple(_methods(ours))
    said = [] if ours is None or not ours.sentence else [ours.sentence]
    differences: tuple[Difference, ...] = ()
    warnings = [
        f"{_name(one.label)} does better than {candidate.ref} ({difference_in_words(worse)})."
        for one in methods
        for worse in [d for d in one.differences if d.outcome == "worse"][:1]
    ]
    if current is not None and current.version != candidate.version:
        theirs = read_held_out(registry, current)
        differences = against_version(ours, theirs) if ours and theirs else ()
        sentence, warn = _against_current(candidate, current, ours, theirs, differences)
        (warnings if warn else said).append(sentence)
    return Gate(
        name=candidate.name,
        alias=alias,
        candidate=candidate.version,
        current=None if current is None else current.version,
        verified=not objection(candidate),
        objection=objection(candidate),
        images=0 if ours is None else len(ours.images),
        against_methods=methods,
        against_current=differences,
        sentences=(*said, *warnings),
        warnings=tuple(warnings),
    )


def read_held_out(registry: Registry, version: ModelVersion) -> HeldOut | None:
    """The numbers kept with the version's last quality report; None without (readable) ones."""
    if version.qc is None:
        return None
    try:
        text = registry.read_file(version, f"{version.qc.folder}/{FILE}")
        return HeldOut.model_validate_json(text)
    except (NotFoundError, ValidationError):
        return None


def difference_in_words(one: Difference) -> str:
    """`SSIM +0.010 [0.004, 0.015]`"""
    if one.mean is None:
        return f"{one.label} –"
    unit = f" {one.unit}" if one.unit else ""
    write: Callable[[float], str] = ("{:+.2f}" if one.unit else "{:+.4f}").format
    around = ""
    if one.low is not None and one.high is not None:
        kind = "" if one.interval == "bootstrap" else "range "
        around = f" [{kind}{write(one.low)}, {write(one.high)}]"
    return f"{one.label} {write(one.mean)}{unit}{around}"


def _current(registry: Registry, name: str, alias: str) -> ModelVersion | None:
    try:
        return registry.resolve(ModelRef(name=name, alias=alias))
    except VersionNotFoundError:
        return None


def _methods(ours: HeldOut) -> Sequence[AgainstMethod]:
    return [
        AgainstMethod(method=key, label=label, differences=against_method(ours, key))
        for key, label in ours.methods.items()
        if key != "prediction"
    ]


def _against_current(
    candidate: ModelVersion,
    current: ModelVersion,
    ours: HeldOut | None,
    theirs: HeldOut | None,
    differences: Sequence[Difference],
) -> tuple[str, bool]:
    """(sentence, whether it speaks against the candidate)."""
    pair = f"{candidate.ref} and version {current.version}"
    if ours is None or theirs is None:
        without = [str(v.ref) for v, h in ((candidate, ours), (current, theirs)) if h is None]
        return (
            f"{pair} cannot be compared: {' and '.join(without)} "
            f"{'has' if len(without) == 1 else 'have'} no quality report with numbers. Make one "
            "with micserve qc --attach, on the same images.",
            True,
        )
    if not differences:
        return (
            f"{pair} cannot be compared: they were judged on different images. Judge both on the "
            "same ones with micserve qc --attach.",
            True,
        )
    images = max(one.images for one in differences)
    on = f"on the {images} images that both were judged on" if images > 1 else "on one image"
    words = "; ".join(difference_in_words(one) for one in differences)
    outcomes = {one.outcome for one in differences}
    if "worse" in outcomes and "better" not in outcomes:
        return f"{candidate.ref} is worse than version {current.version} {on}: {words}.", True
    if "worse" in outcomes:
        verdict = "better by one measure and worse by another than"
    elif "better" in outcomes:
        verdict = "better than"
    else:
        verdict = "not clearly different from"
    return f"{candidate.ref} is {verdict} version {current.version} {on}: {words}.", False


def _name(label: str) -> str:
    return "The unprocessed input" if label == "Input" else f"The plain filter {label}"
