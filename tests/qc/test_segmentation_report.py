"""The forms of a segmentation report, and what the gate reads of it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from micserve.cli import app
from micserve.codecs import read_image, write_tiff
from micserve.image import Image as Picture
from micserve.qc import About
from micserve.qc.held_out import HeldOut, against_version
from micserve.qc.segmentation import (
    SegmentationCase,
    SegmentationDocument,
    SegmentationReport,
    draw_segmentation,
    evaluate_segmentation,
    segmentation_csv,
    segmentation_held_out,
    segmentation_html,
    segmentation_json,
)
from micserve.serving.segmentation_files import write_segmentation


def _nuclei(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(source, truth, prediction), (96, 120): round objects, one of them lost, one cut in two."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :120]
    truth = np.zeros((96, 120), np.uint16)
    for label in range(1, 9):
        top, left = 14 + 32 * ((label - 1) // 3), 18 + 38 * ((label - 1) % 3)
        truth[(y - top) ** 2 + (x - left) ** 2 < random.integers(80, 150)] = label
    prediction = truth.copy()
    prediction[truth == 2] = 0
    prediction[(truth == 5) & (y > 46)] = 20
    source = random.normal(100 + 60 * (truth > 0), 8).astype(np.uint16)
    return source, truth, prediction


@pytest.fixture(scope="module")
def report() -> SegmentationReport:
    cases = []
    for seed in range(4):
        source, truth, prediction = _nuclei(seed)
        cases.append(SegmentationCase(f"nuclei_{seed}.tif", prediction, truth, source, 0.5))
    return evaluate_segmentation(cases, reading="objects")


def test_the_json_is_its_own_schema_and_has_every_count(report: SegmentationReport) -> None:
    text = segmentation_json(report).model_dump_json()
    again = SegmentationDocument.model_validate_json(text)
    values = again.summary.values["prediction"]
    assert (values["n_true"], values["missed"], values["split"]) == (32, 4, 4)
    assert len(again.images[0].scores[0].average_precision) == len(again.iou_thresholds)


def test_the_csv_has_a_row_per_image_and_method(report: SegmentationReport) -> None:
    rows = list(csv.DictReader(io.StringIO(segmentation_csv(report))))
    assert len(rows) == 4 * 3
    assert {row["slice"] for row in rows} == {"all"}
    assert float(rows[0]["recall"]) == pytest.approx(7 / 8)


def test_a_stack_has_a_row_per_slice() -> None:
    _, truth, prediction = _nuclei(0)
    stack = SegmentationCase("stack", np.stack([prediction] * 2), np.stack([truth] * 2))
    rows = list(csv.DictReader(io.StringIO(segmentation_csv(evaluate_segmentation([stack])))))
    assert [row["slice"] for row in rows] == ["all", "1", "2"]


def test_the_page_says_what_became_of_the_objects(report: SegmentationReport) -> None:
    pictures = draw_segmentation(report, limit=1)
    page = segmentation_html(report, pictures)
    assert "Of 32 true objects" in page
    assert page.count("data:image/png;base64,") == len(pictures) == 2
    assert 'src="http' not in page


def test_pictures_show_missed_and_split_objects_in_their_colours(
    report: SegmentationReport,
) -> None:
    overlay = draw_segmentation(report, limit=1)[1]
    assert "1 missed" in overlay.alt
    assert "1 split" in overlay.alt
    pixels = np.asarray(Image.open(io.BytesIO(overlay.png)).convert("RGB")).reshape(-1, 3)
    for colour in ((0xE6, 0x9F, 0x00), (0xF0, 0xE4, 0x42), (0x56, 0xB4, 0xE9)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 12).sum() > 50


def test_all_files_of_a_report_are_written_and_the_gate_reads_them(
    report: SegmentationReport, tmp_path: Path
) -> None:
    truth = Picture(data=_nuclei(0)[1], axes="YX")
    write_segmentation(report, tmp_path, about=About(title="Test"), truths={"nuclei_0.tif": truth})
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    errors = read_image(tmp_path / "maps" / "Errors_nuclei_0.tif").data
    assert set(np.unique(errors)) == {0, 1, 2, 4}
    kept = HeldOut.model_validate_json((tmp_path / "held_out.json").read_text())
    assert kept.measures[0].key == "mean_ap"
    assert next(iter(kept.methods)) == "prediction"


def test_the_gate_tells_a_better_segmentation_from_a_worse(report: SegmentationReport) -> None:
    perfect = evaluate_segmentation(
        [
            SegmentationCase(case.name, case.target, case.target, case.source)
            for case in report.cases
        ],
        reading="objects",
    )
    found = against_version(segmentation_held_out(perfect), segmentation_held_out(report))
    assert {one.outcome for one in found if one.measure == "mean_ap"} == {"better"}
    assert found[0].images == 4


def test_classes_have_a_report_of_their_own() -> None:
    source, truth, prediction = _nuclei(0)
    mask = (prediction > 0).astype(np.uint8) * 255
    report = evaluate_segmentation([SegmentationCase("mask", mask, truth > 0, source)])
    page = segmentation_html(report, draw_segmentation(report))
    assert report.reading == "classes"
    assert "The IoU with the ground truth is" in page
    assert [method.key for method in report.methods] == ["prediction", "threshold"]


def test_the_command_compares_folders_and_prints_the_verdict(tmp_path: Path) -> None:
    for seed in range(2):
        names = ("source", "target", "prediction")
        for name, pixels in zip(names, _nuclei(seed), strict=True):
            (tmp_path / name).mkdir(exist_ok=True)
            write_tiff(Picture(data=pixels, axes="YX"), tmp_path / name / f"{seed}.tif")
    asked = [
        "qc", "--kind", "segmentation", "--report", str(tmp_path / "report"),
        *(part for name in names for part in (f"--{name}", str(tmp_path / name))),
    ]  # fmt: skip
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "Of 16 true objects" in result.output
    summary = json.loads((tmp_path / "report" / "report.json").read_text())["summary"]
    assert summary["values"]["prediction"]["missed"] == 2


def test_an_unknown_kind_is_refused_in_words(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["qc", "--kind", "magic", "--target", str(tmp_path), "--prediction", str(tmp_path)]
    )
    assert result.exit_code != 0
    assert "restoration or segmentation" in str(result.exception)
