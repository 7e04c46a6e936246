"""`make reproduce-spots`, shortened: the slides' experiment leaves all its figures."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from micserve.codecs import read_image
from micserve.qc import snr
from training.n2v import spots_report

ROOT = Path(__file__).resolve().parents[2]

KINDS = ("training", "panels", "maps", "curves", "spots", "dim")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder, what was printed) of one epoch on small images of our own."""
    if not (ROOT / ".venvs/n2v/bin/python").is_file():
        pytest.skip("no training environment at .venvs/n2v; make setup-n2v makes it")
    home = tmp_path_factory.mktemp("reproduction")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MICSERVE_", "MAKE"))}
    asked = ("EPOCHS=1", "ARGS=--size 240", f"SPOTS={home}/no-such-folder")
    done = subprocess.run(
        ["make", "--no-print-directory", "reproduce-spots", *asked],
        cwd=ROOT,
        env={**inherited, "MICSERVE_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "reproduction", done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_one_command_leaves_every_figure_in_one_page(reproduced: tuple[Path, str]) -> None:
    folder, printed = reproduced
    assert "only ours are used" in printed
    page = (folder / "reproduction.html").read_text()
    assert len(re.findall('src="data:image/png;base64,', page)) == len(KINDS)
    assert not re.search(r"https?://|<script|url\(", page)
    text = (folder / "reproduction.md").read_text()
    for kind in KINDS:
        picture = folder / "pictures" / f"ours-{kind}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"(pictures/{picture.name})" in text
    assert {f.name for f in (folder / "ours/qc").iterdir()} >= {
        *("report.html", "report.pdf", "report.json", "metrics.csv", "maps", "pictures"),
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_its_numbers_are_those_of_the_images_that_it_leaves(reproduced: tuple[Path, str]) -> None:
    folder, printed = reproduced
    ours = folder / "ours"
    restored, clean, noisy = (
        read_image(ours / part / "spots_5.tif").data for part in ("prediction", "clean", "noisy")
    )
    rows = {
        cells[1]: cells[3]
        for line in (folder / "reproduction.md").read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) == 8
    }
    assert rows["Noise2Void"] == f"{snr(restored, clean):.2f}"
    assert rows["Noisy image"] == f"{snr(noisy, clean):.2f}"
    assert rows["Noise2Void"] in printed
    record = json.loads((ours / "training.json").read_text())
    assert [row["epoch"] for row in record["snr_db"]] == [1]
    # The packed ONNX network is the one that was measured while it learnt: float rounding apart.
    assert record["snr_db"][0]["spots_5"] == pytest.approx(snr(restored, clean), abs=0.02)


def looked(*values: float) -> list[dict[str, float]]:
    return [{"epoch": 10.0 * n, "spots_5": value} for n, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((30, 35, 38.7), "never reached the slides' 38.72 dB; the highest was 38.70 dB after"),
        ((30, 39, 40), "first reached the slides' 38.72 dB at epoch 20 (39.00 dB), and was never"),
        ((39, 38, 40), "epoch 10 (39.00 dB), fell below it again, and was above it from epoch 30"),
        ((39, 40, 38), "epoch 10 (39.00 dB), but ended below it: 38.00 dB"),
    ],
)
def test_how_many_epochs_it_takes_is_said_as_it_was(values: tuple[float, ...], words: str) -> None:
    assert words in spots_report._reached(looked(*values))


def test_a_folder_without_a_finished_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        spots_report.main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert "no finished training" in capsys.readouterr().err


def test_the_document_quotes_the_slides_and_shows_pictures_that_are_there() -> None:
    text = (ROOT / "docs/reproduction.md").read_text()
    for what, values in spots_report.SLIDES.items():
        for value, decimals in zip(values, spots_report.DECIMALS, strict=True):
            assert f"{value:.{decimals}f}" in text, what
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) >= len(KINDS)
    for picture in pictures:
        assert (ROOT / "docs" / picture).stat().st_size < 400_000, picture
