"""`make trust-study`: does the trust light tell wrong inputs, and bad results, from good ones?

    python -m tests.bench.trust [--images ../shared/data] [--write docs/trust.md]

Two networks that others trained, so that nothing is trained here: a U-Net for nuclei
(bioimage.io, on the images of the Data Science Bowl 2018) and a CARE network for W2S. The
envelope is measured on one part of the images; the limit is chosen on a second part,
changed and unchanged; what is reported is of a third. The error is the true one, with
masks that people drew and with clean images.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter, zoom
from scipy.stats import rankdata, spearmanr

from micserve.backends.onnx import OnnxBackend
from micserve.codecs import read_image
from micserve.importing.conversion import convert
from micserve.normalize import ScaleRange, ZeroMeanUnitVariance, fit
from micserve.qc import scale_invariant_psnr
from micserve.tiling import pad_frame
from micserve.trust import Envelope, Trust, judge, measure_envelope
from micserve.trust.light import AMBER, RED
from tests.bench.parts import write_between_marks

ROOT = Path(__file__).resolve().parents[2]
EM = "isbi2012_em/image"
HARM = 1.1
"""A change does harm when the error is larger by more than a tenth."""
SIDE = 512
"""Pixels that the nuclei network takes, no more and no less."""

Float = NDArray[np.float32]
Change = Callable[[Float], Float]


def clipped(image: Float) -> Float:
    """Overexposed: what is above the middle of the bright part is white."""
    low, high = np.percentile(image, (1, 99.5))
    return np.minimum(image, low + 0.35 * (high - low))


def noisier(image: Float) -> Float:
    low, high = np.percentile(image, (1, 99.5))
    noise = np.random.default_rng(0).normal(0, 0.25 * (high - low), image.shape)
    return (image + noise).astype(np.float32)


def _zoomed(factor: float) -> Change:
    return lambda image: np.asarray(zoom(image, factor, order=1), np.float32)


CHANGES: dict[str, tuple[Change, float]] = {
    "as it is": (lambda image: image, 1),
    "clipped": (clipped, 1),
    "blurred, σ 2 px": (lambda image: gaussian_filter(image, 2), 1),
    "denoised already (median 5 px)": (lambda image: median_filter(image, 5), 1),
    "noisier": (noisier, 1),
    "pixels half as large": (_zoomed(2), 2),
    "pixels twice as large": (_zoomed(0.5), 0.5),
}
"""Name to what is done to an image, and by what its truth is magnified."""


@dataclass(frozen=True, slots=True)
class Pair:
    """(Y, X) image and truth; None where nobody knows the truth for this network."""

    image: Float
    truth: Float | None


@dataclass(frozen=True, slots=True)
class Bench:
    """One network and its images."""

    title: str
    envelope: Envelope
    run: Callable[[Float], Float]
    error: Callable[[Float, Float], float]
    error_name: str
    choose: Sequence[Pair]
    """For the limit."""
    score: Sequence[Pair]
    others: dict[str, Sequence[Pair]]
    """Other modalities."""
    shows_source: bool


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    trust: Trust
    error: float | None
    times: float | None = None
    """The error, by that of the same image unchanged."""

    @property
    def harmed(self) -> bool:
        return self.times is not None and self.times > HARM


def cases(bench: Bench, pairs: Sequence[Pair]) -> Iterator[Case]:
    """Every image in every change, as it is first."""
    for pair in pairs:
        usual: float | None = None
        for name, (change, factor) in CHANGES.items():
            truth = None if pair.truth is None else zoom(pair.truth, factor, order=0)
            found = _case(bench, name, change(pair.image), truth)
            usual = found.error if usual is None else usual
            times = found.error / usual if found.error is not None and usual else None
            yield replace(found, times=times)


def _case(bench: Bench, kind: str, image: Float, truth: Float | None) -> Case:
    result = bench.run(image)
    shown = [result[None]] if bench.shows_source else None
    trust = judge(bench.envelope, [image[None]], results=shown)
    error = None
    if truth is not None:
        high, wide = (min(a, b) for a, b in zip(result.shape, truth.shape, strict=True))
        error = bench.error(result[:high, :wide], truth[:high, :wide])
    return Case(kind, trust, error)


def nuclei(images: Path) -> Bench:
    """Foreground of nuclei by the U-Net of bioimage.io."""
    folder = images / "dsb2018_train160"
    names = sorted(path.name for path in (folder / "images").glob("*.tif"))
    pairs = [
        Pair(_read(folder / "images" / n), (_read(folder / "masks" / n) > 0).astype(np.float32))
        for n in names
    ]
    known, choose, score = pairs[0::4] + pairs[2::4], pairs[1::16], pairs[3::12]
    backend = OnnxBackend(images / "models/unet2d_nuclei_broad/weights.onnx", provider="cpu")

    def run(image: Float) -> Float:
        shown = image[:SIDE, :SIDE]
        missing = [(0, SIDE - n) for n in shown.shape]
        padded = np.pad(shown, missing, mode="symmetric")[None]
        heads = backend.run(fit(padded, ZeroMeanUnitVariance()).apply(padded)[None])
        answer = next(iter(heads.values()))[0, 0]
        return (answer[: shown.shape[0], : shown.shape[1]] > 0).astype(np.float32)

    def error(found: Float, truth: Float) -> float:
        either = float(((found > 0) | (truth > 0)).sum())
        return 1 - float(((found > 0) & (truth > 0)).sum()) / either if either else 0.0

    electron = [Pair(_read(p), None) for p in sorted((images / EM).glob("*"))]
    w2s = [Pair(_read(p), None) for p in sorted((images / "w2s/noisy_avg1").glob("*_0.tif"))]
    return Bench(
        "U-Net, nuclei (dsb2018)", _envelope(known), run, error, "1 − IoU",
        choose, score, {"electron microscopy": electron[:8], "W2S (noisy)": w2s}, False,
    )  # fmt: skip


def care(images: Path, scratch: Path) -> Bench:
    """W2S, restored by a CARE network, on crops."""
    import zipfile

    folder = scratch / "care"
    with zipfile.ZipFile(images / "models/care2d_salomepx/TF_SavedModel.zip") as archive:
        archive.extractall(folder)
    backend = OnnxBackend(convert("tf", "saved-model", folder, scratch / "onnx").onnx)
    names = sorted(path.name for path in (images / "w2s/noisy_avg1").glob("*.tif"))
    noisy, clean = (images / "w2s" / kind for kind in ("noisy_avg1", "clean_avg400"))
    pairs = [Pair(_crop(noisy / name), _crop(clean / name)) for name in names]

    def run(image: Float) -> Float:
        affine = fit(image[None], ScaleRange())
        padded = pad_frame(image[None], multiple=(4, 4), side="end")
        whole = tuple(slice(0, n) for n in padded.shape)
        heads = backend.run(affine.apply(padded.read(whole))[None])
        answer = affine.invert(next(iter(heads.values()))[0])
        return np.asarray(answer[0, : image.shape[0], : image.shape[1]], np.float32)

    def error(found: Float, truth: Float) -> float:
        return float(10 ** (-scale_invariant_psnr(found, truth) / 20))

    spots = images / "mri_spots/evaluation"
    mri = [
        Pair(_crop(path), _crop(spots / "gt" / path.name))
        for path in sorted((spots / "input").glob("*.tif"))
    ]
    known = pairs[0::2]
    answered = [([pair.image[None]], [run(pair.image)[None]]) for pair in known[:6]]
    envelope = measure_envelope([[pair.image[None]] for pair in known], answered=answered)
    assert envelope is not None
    electron = [Pair(_crop(path), None) for path in sorted((images / EM).glob("*"))]
    others = {"synthetic spots": mri, "electron microscopy": electron[:6]}
    return Bench(
        "CARE, W2S", envelope, run, error, "NRMSE (scale-invariant)",
        pairs[1::4], pairs[3::4], others, True,
    )  # fmt: skip


def _envelope(pairs: Sequence[Pair]) -> Envelope:
    found = measure_envelope([[pair.image[None]] for pair in pairs])
    assert found is not None
    return found


def _crop(path: Path) -> Float:
    return _read(path)[:384, :384]


def _read(path: Path) -> Float:
    return np.asarray(read_image(path).data, np.float32)


def auroc(wrong: Sequence[float], right: Sequence[float]) -> float:
    """Probability that one of `wrong` is larger than one of `right`; half for equals."""
    ranks = rankdata([*wrong, *right])
    count = len(wrong)
    above = ranks[:count].sum() - count * (count + 1) / 2
    return float(above / (count * len(right)))


def best_limit(found: Sequence[Case]) -> float:
    """The distance with the highest balanced accuracy between unchanged and changed images."""
    right = np.array([c.trust.distance for c in found if c.kind == "as it is"])
    wrong = np.array([c.trust.distance for c in found if c.kind != "as it is"])
    tried = np.unique([*right, *wrong])
    balance = [((right <= t).mean() + (wrong > t).mean()) / 2 for t in tried]
    return float(tried[int(np.argmax(balance))])


@dataclass(frozen=True, slots=True)
class Studied:
    bench: Bench
    limit: float
    found: list[Case]
    """Of the images that no limit was chosen on."""

    @property
    def with_error(self) -> list[Case]:
        return [case for case in self.found if case.error is not None]

    @property
    def bad_from(self) -> float:
        """The error that one in ten unchanged images exceeds."""
        usual = [case.error or 0.0 for case in self.found if case.kind == "as it is"]
        return float(np.quantile(usual, 0.9))


def study(bench: Bench) -> Studied:
    limit = best_limit(list(cases(bench, bench.choose)))
    found = list(cases(bench, bench.score))
    for name, pairs in bench.others.items():
        found += [_case(bench, name, pair.image, pair.truth) for pair in pairs]
    return Studied(bench, limit, found)


def table(studied: Studied) -> str:
    """As the document has it."""
    usual = [c.trust.distance for c in studied.found if c.kind == "as it is"]
    rows = [
        f"**{studied.bench.title}**; {studied.bench.envelope.images} images in the envelope, "
        f"{len(studied.bench.choose)} for the limit, {len(studied.bench.score)} scored",
        "",
        "| images | n | green | amber | red | distance, median "
        f"| {studied.bench.error_name}, median | AUROC against unchanged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(case.kind for case in studied.found):
        these = [case for case in studied.found if case.kind == kind]
        lights = [sum(c.trust.light == light for c in these) for light in ("green", "amber", "red")]
        errors = [case.error for case in these if case.error is not None]
        error = f"{np.median(errors):.3f}" if errors else "not known"
        away = [case.trust.distance for case in these]
        apart = "" if kind == "as it is" else f"{auroc(away, usual):.2f}"
        rows.append(
            f"| {kind} | {len(these)} | {' | '.join(map(str, lights))} | {np.median(away):.2f} "
            f"| {error} | {apart} |"
        )
    return "\n".join([*rows, "", *_sums(studied, usual)])


def _sums(studied: Studied, usual: Sequence[float]) -> Iterator[str]:
    wrong = [c.trust.distance for c in studied.found if c.kind != "as it is"]
    known = studied.with_error
    bad = [c.trust.distance for c in known if (c.error or 0) > studied.bad_from]
    good = [c.trust.distance for c in known if (c.error or 0) <= studied.bad_from]
    rho = spearmanr([c.trust.distance for c in known], [c.error for c in known]).statistic
    at_limit = (
        np.mean([d <= studied.limit for d in usual]),
        np.mean([d > studied.limit for d in wrong]),
    )
    at_code = (np.mean([d <= AMBER for d in usual]), np.mean([d > AMBER for d in wrong]))
    yield (
        f"- wrong inputs against unchanged ones: AUROC {auroc(wrong, usual):.3f}. At the limit "
        f"that was best on the other images ({studied.limit:.2f}) {100 * at_limit[0]:.0f} % of the "
        f"unchanged images pass and {100 * at_limit[1]:.0f} % of the wrong ones are caught; at the "
        f"built-in limit ({AMBER}) {100 * at_code[0]:.0f} % and {100 * at_code[1]:.0f} %."
    )
    yield (
        f"- bad results (error above {studied.bad_from:.3f}, which one in ten unchanged images "
        f"exceeds) against the others: AUROC {auroc(bad, good):.3f} "
        f"({len(bad)} bad, {len(good)} others); rank correlation of distance and error {rho:.2f}."
    )
    paired = [case for case in known if case.times is not None]
    harmed = [c.trust.distance for c in paired if c.harmed]
    unharmed = [c.trust.distance for c in paired if not c.harmed]
    missed = sum(c.harmed and c.trust.light == "green" for c in paired)
    yield (
        "- images whose error grew by more than a tenth over that of the same image unchanged, "
        f"against the others: AUROC {auroc(harmed, unharmed):.3f} ({len(harmed)} harmed, "
        f"{len(unharmed)} not); {missed} of the harmed ones are green."
    )


def picture(results: Sequence[Studied], target: Path) -> None:
    """Distance against true error, one dot per image, one panel per network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = (
        "#000000",
        "#E69F00",
        "#56B4E9",
        "#009E73",
        "#CC79A7",
        "#0072B2",
        "#D55E00",
        "#777777",
    )
    marks = ("o", "s", "D", "^", "v", "P", "X", "<")
    figure = Figure(figsize=(11, 5.2), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    names = list(dict.fromkeys(c.kind for one in results for c in one.with_error))
    for axes, one in zip(panels, results, strict=True):
        for place, kind in enumerate(names):
            these = [case for case in one.with_error if case.kind == kind]
            axes.scatter(
                [case.trust.distance + 0.01 for case in these], [case.error for case in these],
                color=colours[place % 8], marker=marks[place % 8], s=34, label=kind,
                alpha=0.85, linewidths=0,
            )  # fmt: skip
        for limit, word in ((AMBER, "amber"), (RED, "red")):
            axes.axvline(limit, color="#555555", linewidth=1, linestyle="--")
            axes.text(limit * 1.05, 0.99, word, transform=axes.get_xaxis_transform(), va="top")
        axes.axhline(one.bad_from, color="#555555", linewidth=1, linestyle=":")
        axes.set_xscale("symlog", linthresh=0.1, linscale=0.4)
        axes.set_xlim(0, None)
        axes.set_title(one.bench.title)
        axes.set_xlabel("distance from the training images (widths of the span)")
        axes.set_ylabel(f"true error, {one.bench.error_name}")
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.set_dpi(110)
    FigureCanvasAgg(figure).print_png(str(target))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trust", description=__doc__)
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--write", type=Path, help="put the tables and the picture there")
    asked = parser.parse_args(arguments)
    if not asked.images.is_dir():
        print(f"There are no images at {asked.images}; name their folder with --images.")
        return 2
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        makers: Sequence[Callable[[], Bench]] = (
            lambda: nuclei(asked.images),
            lambda: care(asked.images, Path(scratch)),
        )
        for make in makers:
            results.append(study(make()))
            print(table(results[-1]), flush=True)
    if asked.write:
        said = "\n\n".join(table(one) for one in results)
        write_between_marks(asked.write, said, command="make trust-study")
        picture(results, asked.write.with_name("trust-study.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
