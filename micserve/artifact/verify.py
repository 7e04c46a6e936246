"""What must be true of a package before anybody may use it, checked and written down.

Knows the checks and what passing means; how a network is run comes from the
caller, since backends lie above this layer. A check that fails is a finding,
not an exception: the report says all that is wrong at once.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micserve.artifact import rdf, zoo
from micserve.artifact.contract import Head, ModelContract
from micserve.artifact.halo import RUNTIME_ERRORS, measure_halo
from micserve.artifact.package import Package, open_package
from micserve.artifact.rounding import difference
from micserve.artifact.verification import Check, Verification
from micserve.errors import MicserveError, PackageError
from micserve.files import sha256_of
from micserve.normalize import fit
from micserve.tiling import Tile, pad_frame, plan_tiles

Float = NDArray[np.float32]

Run = Callable[[Float], Mapping[str, Float]]
"""A loaded network: (B, C, (Z,) Y, X) in network units to one array per head."""

REPRODUCED = 1e-4
"""Largest difference from the test output, as a share of its range. Another processor or thread
count changes the order of float32 sums, which moves a U-Net's output by 1e-6 to 1e-5 of it."""

ROUNDING = 1e-5
"""Largest difference between tiles and the whole image, as a share of the output's range. Float32
sums in another order were measured to differ by 0 to 4e-7 (N2V's U-Net, 2D and 3D, on the CPU);
a halo that is one stride too small, by 4e-5 and more."""

LIBRARIES = ("numpy", "onnx", "onnxruntime", "bioimageio.core", "bioimageio.spec", "pydantic")


def verify_package(
    path: Path, *, network_of: Callable[[Path], Run], digest: str | None = None
) -> Verification:
    """Check a package; what fails becomes a failed check, never an exception.

    Parameters
    ----------
    network_of
        Opens an ONNX file.
    digest
        What was published, when there is such a thing yet.
    """
    checks = []
    package = None
    try:
        package = open_package(path, digest=digest)
    except MicserveError as error:
        checks.append(Check(name="integrity", passed=False, sentence=_sentence(error)))
    else:
        checks.append(_integrity(package))
        checks += _looked_at(package, network_of)
    return Verification(
        digest=package.digest if package else sha256_of(path) if path.is_file() else "",
        checks=tuple(checks),
        versions={name: _version(name) for name in ("micserve", *LIBRARIES)},
        when=datetime.now(UTC),
    )


def _looked_at(package: Package, network_of: Callable[[Path], Run]) -> Iterator[Check]:
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("description", lambda: _description(package)),
        ("agreement", lambda: _agreement(package)),
        ("bioimage.io test", lambda: _bioimageio_test(package)),
        ("test tensors", lambda: _test_tensors(package, network_of(package.onnx))),
        ("halo", lambda: _halo(package)),
        ("tiled equals whole", lambda: _tiled(package.contract, network_of(package.onnx))),
    ]
    for name, look in looks:
        try:
            yield look()
        except (MicserveError, *RUNTIME_ERRORS) as error:
            yield Check(name=name, passed=False, sentence=_sentence(error))


def _integrity(package: Package) -> Check:
    return Check(
        name="integrity",
        passed=True,
        sentence="The file is whole, and every file in it is the one that its description names.",
        measured={"bytes": package.path.stat().st_size},
    )


def _description(package: Package) -> Check:
    opinion = zoo.validate(package.path)
    return Check(
        name="description",
        passed=opinion.accepted,
        sentence="It is a valid bioimage.io model description."
        if opinion.accepted
        else f"bioimageio.spec does not accept the description: {'; '.join(opinion.reasons)}.",
        measured={"format_version": str(package.rdf.get("format_version"))},
    )


def _agreement(package: Package) -> Check:
    found = rdf.disagreements(package.rdf, package.contract)
    return Check(
        name="agreement",
        passed=not found,
        sentence="The bioimage.io description and micserve's contract say the same."
        if not found
        else "The bioimage.io description says something else than micserve's contract: "
        f"{'; '.join(found)}.",
    )


def _bioimageio_test(package: Package) -> Check:
    opinion = zoo.test(package.path)
    return Check(
        name="bioimage.io test",
        passed=opinion.accepted,
        sentence="bioimageio.core gets the test output from the test input, and runs other sizes."
        if opinion.accepted
        else f"bioimageio.core does not reproduce the model: {'; '.join(opinion.reasons)}.",
        measured={"tests": len(opinion.tests)},
    )


def _test_tensors(package: Package, run: Run) -> Check:
    contract = package.contract
    worst = 0.0
    for number, sample in enumerate(package.test_input):
        affine = fit(sample, contract.normalization)
        answers = _answers(contract, run, affine.apply(sample))
        for name, expected in package.test_output.items():
            got = affine.invert(answers[name]) if contract.described_in_grey else answers[name]
            worst = max(worst, difference(name, got, expected[number]))
    return Check(
        name="test tensors",
        passed=worst <= REPRODUCED,
        sentence=f"The network differs from its test output by {worst:.1e} of the range; "
        f"{REPRODUCED:.0e} is allowed.",
        measured={"difference": worst, "allowed": REPRODUCED},
    )


def _halo(package: Package) -> Check:
    network, ndim = package.contract.network, package.contract.ndim
    stated = network.tiling.halo
    measured = measure_halo(
        package.onnx, ndim=ndim, channels=network.channels, multiple=network.tiling.multiple
    )
    return Check(
        name="halo",
        passed=stated == measured,
        sentence=f"The network sees {_pixels(measured)}, as the package says."
        if stated == measured
        else f"The package says that the network sees {_pixels(stated)}, but it sees "
        f"{_pixels(measured)}. Tiles would give other pixels than the whole image; export it "
        "again with the measured halo.",
        measured={"stated": _pixels(stated), "measured": _pixels(measured)},
    )


def _tiled(contract: ModelContract, run: Run) -> Check:
    if contract.network.tiling.halo is None:
        return Check(
            name="tiled equals whole",
            passed=True,
            sentence="The network looks at the whole image, so it is never cut into tiles.",
        )
    images = _test_sizes(contract)
    worst = max(_tiling_difference(contract, run, shape, tile) for shape, tile in images)
    largest = " and ".join(" × ".join(map(str, shape)) for shape, _ in images)
    return Check(
        name="tiled equals whole",
        passed=worst <= ROUNDING,
        sentence=f"On {largest} pixels, tiles differ from the whole image by {worst:.1e} of the "
        f"range; {ROUNDING:.0e} is rounding.",
        measured={"difference": worst, "allowed": ROUNDING, "size": largest},
    )


def _test_sizes(contract: ModelContract) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Images of odd size with the tile they are cut into.

    In 2D one image of three by three tiles. In 3D that would take minutes, so each axis is cut
    in turn while the others are short.
    """
    multiple, halo = contract.network.tiling.multiple, contract.network.tiling.halo or ()
    core = [max(2 * m, 8 // m * m) for m in multiple]
    tile = tuple(2 * h + c for h, c in zip(halo, core, strict=True))
    long = tuple(t + 2 * c - 1 for t, c in zip(tile, core, strict=True))
    if contract.ndim == 2:
        return [(long, tile)]
    short = tuple(2 * m + 1 if m > 1 else 5 for m in multiple)
    return [
        (tuple(long[a] if a == axis else short[a] for a in range(3)), tile) for axis in range(3)
    ]


def _tiling_difference(
    contract: ModelContract, run: Run, shape: tuple[int, ...], tile: tuple[int, ...]
) -> float:
    """Largest difference over all heads, as a share of the whole image's output range."""
    tiling = contract.network.tiling
    noise = np.random.default_rng(0).standard_normal((contract.network.channels, *shape))
    padded = pad_frame(noise.astype(np.float32), multiple=tiling.multiple, side=tiling.pad)
    everything = tuple(slice(0, size) for size in padded.shape)
    whole = _answers(contract, run, padded.read(everything))
    tiled = {name: np.full_like(values, np.nan) for name, values in whole.items()}
    for part in plan_tiles(
        padded.shape, tile=tile, halo=tiling.halo or (), multiple=tiling.multiple
    ):
        answers = _answers(contract, run, padded.read(part.read))
        for head in contract.network.heads:
            tiled[head.name][_in_head(part.write, head)] = answers[head.name][_core(part, head)]
    return max(difference(name, tiled[name], whole[name]) for name in whole)


def _core(tile: Tile, head: Head) -> tuple[slice, ...]:
    return _in_head(tile.core, head)


def _in_head(window: tuple[slice, ...], head: Head) -> tuple[slice, ...]:
    """Input pixels to the head's pixels, all channels."""
    parts = zip(window, head.stride, strict=True)
    return (slice(None), *(slice(w.start // s, w.stop // s) for w, s in parts))


def _answers(contract: ModelContract, run: Run, values: Float) -> dict[str, Float]:
    """One image (C, …) through the network, without the batch axis."""
    answers = run(np.ascontiguousarray(values[None]))
    expected = [head.name for head in contract.network.heads]
    if sorted(answers) != sorted(expected):
        raise PackageError(f"the network answers {sorted(answers)}; expected {sorted(expected)}")
    return {name: answers[name][0] for name in expected}


def _pixels(halo: tuple[int, ...] | None) -> str:
    return "the whole image" if halo is None else f"{' × '.join(map(str, halo))} pixels far"


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
