"""Cases in, report out: rows, maps, verdict, and the page, the tables and the JSON."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter, median_filter

from micserve.errors import QualityControlError
from micserve.qc import (
    GAUSSIAN,
    MEASURES,
    About,
    Filter,
    RestorationCase,
    RestorationDocument,
    Scores,
    compare,
    difference_maps,
    draw_pictures,
    evaluate_restoration,
    psnr,
    report_csv,
    report_html,
    report_json,
    snr,
    zerocost_csv,
)

ABOUT = About(
    model="n2v-spots@3",
    digest="sha256:" + "ab" * 32,
    made_at=datetime(2024, 5, 6, 12, 30, tzinfo=UTC),
    details=(("Training data", "2 images"),),
)


def case(name, small_pair, **changes):
    noisy, truth = small_pair
    nearly = (0.8 * truth + 0.2 * gaussian_filter(noisy.astype(float), 1)).astype(np.float32)
    given = {"prediction": nearly, "target": truth, "source": noisy} | changes
    return RestorationCase(name, **given)


@pytest.fixture(scope="module")
def report(small_pair):
    return evaluate_restoration([case("a.tif", small_pair), case("b.tif", small_pair)])


@pytest.fixture(scope="module")
def stack_report(small_pair):
    noisy, truth = (np.stack([image, image[::-1], image[:, ::-1]]) for image in small_pair)
    stack = RestorationCase("z.tif", truth + 1.0, truth.astype(">u2"), noisy, pixel_size_um=0.1)
    return evaluate_restoration([stack])


def test_prediction_input_and_the_best_gaussian_stand_side_by_side(report, small_pair):
    noisy, truth = small_pair
    keys = [method.key for method in report.methods]
    assert keys == ["prediction", "input", "gaussian", "median", "nlm"]
    found = report.images[0].results
    assert found["input"].whole.snr_db == snr(noisy, truth)
    assert found["input"].whole.ssim == compare(noisy, truth).ssim
    sigma = report.method("gaussian").sweep.best
    blurred = gaussian_filter(noisy.astype(float), sigma, mode="nearest")
    assert found["gaussian"].whole.snr_db == pytest.approx(snr(blurred, truth))
    assert report.method("gaussian").label == f"Gaussian σ = {sigma:g} px"
    assert any("chosen with the ground truth" in note for note in report.notes)


def test_the_chosen_sigma_is_the_best_of_those_tried(report, small_pair):
    noisy, truth = small_pair
    sweep = report.method("gaussian").sweep
    assert tuple(setting for setting, _ in sweep.tried) == GAUSSIAN.settings
    for sigma, mean in sweep.tried:
        blurred = gaussian_filter(noisy.astype(float), sigma, mode="nearest")
        assert mean == pytest.approx(compare(blurred, truth).psnr, abs=1e-5)
    assert max(sweep.tried, key=lambda trial: trial[1])[0] == sweep.best


def test_the_slides_images_get_the_known_rows(shared_data):
    folder = shared_data / "mri_spots" / "evaluation"
    truth, noisy = (tifffile.imread(folder / kind / "spots_5.tif") for kind in ("gt", "input"))
    found = evaluate_restoration([RestorationCase("spots_5", noisy, truth, noisy)])
    row = found.images[0].results["input"].whole
    assert row.snr_db == pytest.approx(19.20405144, abs=5e-9)
    assert round(row.ssim, 4) == 0.2518
    assert round(row.zerocost_compat_nrmse, 4) == 0.2227
    assert 1.5 <= found.method("gaussian").sweep.best <= 2.5
    assert found.images[0].results["gaussian"].whole.snr_db > 33
    assert found.summary.verdict.light == "red"  # the input itself is no better than the input


def test_a_further_filter_is_one_more_column(small_pair):
    median = Filter("median", "Median", "r", "px", (1.0, 2.0), _median)
    found = evaluate_restoration([case("a", small_pair)], baselines=(GAUSSIAN, median))
    assert [method.key for method in found.methods] == ["prediction", "input", "gaussian", "median"]
    assert "Median r = " in report_html(found, draw_pictures(found))


def _median(plane, radius):
    return median_filter(plane, size=int(2 * radius + 1))


def test_without_sources_only_the_prediction_is_judged(small_pair):
    found = evaluate_restoration([case("a", small_pair, source=None)])
    assert [method.key for method in found.methods] == ["prediction"]
    assert found.summary.verdict.light == "grey"
    assert "input was not given" in found.summary.verdict.sentence
    assert report_html(found, draw_pictures(found))
    with pytest.raises(QualityControlError, match="input was not given"):
        zerocost_csv(found)


def test_one_missing_source_is_said_and_leaves_out_input_and_filters(small_pair):
    found = evaluate_restoration([case("a", small_pair), case("b", small_pair, source=None)])
    assert [method.key for method in found.methods] == ["prediction"]
    assert any("1 of 2 images came without their input" in note for note in found.notes)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", "<f4", ">f8"])
def test_the_rows_do_not_depend_on_dtype_or_byte_order(small_pair, dtype):
    noisy, truth = small_pair
    plain = evaluate_restoration([RestorationCase("a", noisy, truth, noisy)])
    other = evaluate_restoration(
        [RestorationCase("a", noisy.astype(dtype), truth.astype(dtype), noisy.astype(dtype))]
    )
    for key, found in plain.images[0].results.items():
        for measure in MEASURES:
            assert other.images[0].results[key].whole.value(measure) == pytest.approx(
                found.whole.value(measure), rel=1e-12
            )


def test_a_stack_has_rows_per_slice_and_as_a_whole(stack_report):
    image = stack_report.images[0]
    assert image.shape == (3, 96, 120)
    for found in image.results.values():
        assert len(found.slices) == 3
        assert found.whole.ssim == pytest.approx(np.mean([one.ssim for one in found.slices]))
        assert found.whole.rmse_grey == pytest.approx(
            math.sqrt(np.mean([one.rmse_grey**2 for one in found.slices]))
        )
    assert image.results["prediction"].whole.mae_grey == pytest.approx(1)


def test_frames_and_slices_are_both_slices(small_pair):
    noisy, truth = (np.broadcast_to(image, (2, 3, 96, 120)) for image in small_pair)
    found = evaluate_restoration([RestorationCase("tz", noisy, truth)])
    assert len(found.images[0].results["prediction"].slices) == 6
    assert found.maps("tz", "prediction").error.shape == (2, 3, 96, 120)


def test_maps_are_those_of_the_single_measures(report, stack_report, small_pair):
    noisy, truth = small_pair
    expected = difference_maps(noisy, truth)
    maps = report.maps("a.tif", "input")
    np.testing.assert_array_equal(maps.ssim, expected.ssim)
    np.testing.assert_array_equal(maps.error, expected.error)
    whole = stack_report.maps("z.tif", "gaussian")
    one = stack_report.slice_maps("z.tif", "gaussian", 2)
    np.testing.assert_array_equal(whole.error[2], one.error)
    np.testing.assert_array_equal(whole.ssim[2], one.ssim)


def test_unknown_images_and_methods_are_named_in_words(report):
    with pytest.raises(QualityControlError, match=r"no image 'c\.tif'; it has a\.tif"):
        report.maps("c.tif", "input")
    with pytest.raises(QualityControlError, match="no method 'wavelet'; it has prediction, input"):
        report.maps("a.tif", "wavelet")


def test_progress_is_told_after_each_image_and_may_stop_the_work(small_pair):
    told = []
    evaluate_restoration(
        [case("a", small_pair), case("b", small_pair)],
        progress=lambda fraction, what: told.append((fraction, what)),
    )
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    words = " ".join(what for _, what in told)
    for part in ("best σ of the Gaussian filter", "Prediction of a", "spots of b"):
        assert part in words

    def stop(fraction, what):
        if what.startswith("Input"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_restoration([case("a", small_pair)], progress=stop)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prediction": np.ones((96, 60))}, "the prediction of a has 96 × 60 pixels"),
        ({"source": np.ones((9, 9))}, "the input a has 9 × 9 pixels and the ground truth of a"),
        ({"prediction": np.full((96, 120), np.nan, "f4")}, "11520 of 11520 pixels"),
        ({"target": np.zeros((0, 0)), "prediction": np.zeros((0, 0))}, "at least one pixel"),
    ],
)
def test_images_that_do_not_belong_together_are_refused_in_words(small_pair, changes, words):
    with pytest.raises(QualityControlError, match=words):
        evaluate_restoration([case("a", small_pair, **changes)])


def test_no_image_and_two_of_one_name_are_refused(small_pair):
    with pytest.raises(QualityControlError, match="no image to compare"):
        evaluate_restoration([])
    with pytest.raises(QualityControlError, match="more than one image is called 'a'"):
        evaluate_restoration([case("a", small_pair), case("a", small_pair)])


def test_a_flat_ground_truth_has_grey_value_measures_and_says_why_no_others(small_pair):
    noisy, truth = small_pair
    flat = np.full_like(truth, 70)
    found = evaluate_restoration([RestorationCase("flat", noisy, flat, noisy)])
    row = found.images[0].results["prediction"].whole
    assert row.snr_db == snr(noisy, flat)
    assert row.psnr_db == psnr(noisy, flat)
    assert row.ssim is row.nrmse is row.psnr_normalized_db is row.pearson_r is None
    assert "nearly every pixel" in found.images[0].notes[0]
    assert found.summary.verdict.light == "grey"
    with pytest.raises(QualityControlError, match="no maps of flat"):
        found.maps("flat", "prediction")
    page = report_html(found, draw_pictures(found))
    assert "nearly every pixel" in page
    assert report_csv(found)
    assert report_json(found).images[0].scores[0].whole.ssim is None


def test_a_flat_ground_truth_among_others_does_not_spoil_the_means(small_pair):
    noisy, truth = small_pair
    flat = RestorationCase("flat", noisy, np.full_like(truth, 70), noisy)
    found = evaluate_restoration([flat, case("a", small_pair)])
    good = found.images[1].results["prediction"].whole
    assert found.summary.means["prediction"].ssim == good.ssim


def test_a_flat_prediction_is_judged_and_noted(small_pair):
    found = evaluate_restoration([case("a", small_pair, prediction=np.zeros((96, 120)))])
    assert found.images[0].results["prediction"].whole.pearson_r is None
    assert any("Prediction has the same grey value everywhere" in note for note in found.notes)
    assert draw_pictures(found)


def test_blank_slices_of_a_stack_are_no_reason_to_fail(small_pair):
    noisy, truth = (np.stack([image, np.zeros_like(image)]) for image in small_pair)
    found = evaluate_restoration([RestorationCase("a", noisy, truth, noisy)])
    blank = found.images[0].results["prediction"].slices[1]
    assert blank.snr_db is None
    assert blank.rmse_grey == 0


def test_images_below_the_ssim_window_have_no_ssim_and_say_so():
    truth = np.arange(80.0).reshape(8, 10)
    found = evaluate_restoration([RestorationCase("tiny", truth + 1, truth, truth + 3)])
    assert found.images[0].results["prediction"].whole.ssim is None
    assert any("11 × 11" in note for note in found.notes)
    assert report_html(found, draw_pictures(found))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
def test_images_of_one_pixel_or_line_are_measured(shape):
    truth = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) + 1
    found = evaluate_restoration([RestorationCase("line", truth + 1, truth, truth + 2)])
    assert found.images[0].results["prediction"].whole.rmse_grey == 1
    assert draw_pictures(found)


def test_another_grey_scale_is_noted(small_pair):
    _, truth = small_pair
    found = evaluate_restoration([case("a", small_pair, prediction=truth * 3.0 - 500)])
    assert any("differ by a gain or an offset in this image" in note for note in found.notes)


class TestVerdict:
    """The sentence follows the measures."""

    def test_better_than_input_and_filter_is_green(self, report):
        verdict = report.summary.verdict
        assert verdict.light == "green"
        assert [one.outcome for one in verdict.comparisons] == ["better"] * 4
        assert [one.better_in for one in verdict.comparisons] == [2] * 4
        assert "closer to the ground truth than the input" in verdict.sentence
        assert "mean of 2 images" in verdict.sentence

    def test_better_than_the_input_but_not_than_the_filter_is_amber(self, small_pair):
        noisy, _ = small_pair
        weak = gaussian_filter(noisy.astype(float), 0.6)
        verdict = evaluate_restoration([case("a", small_pair, prediction=weak)]).summary.verdict
        assert verdict.light == "amber"
        assert [one.outcome for one in verdict.comparisons][:2] == ["better", "worse"]
        assert "the filter does the job" in verdict.sentence
        assert "One image says little" in verdict.sentence

    def test_worse_than_the_input_is_red(self, small_pair):
        noisy, _ = small_pair
        noisier = noisy + np.random.default_rng(0).normal(0, 20, noisy.shape)
        verdict = evaluate_restoration([case("a", small_pair, prediction=noisier)]).summary.verdict
        assert verdict.light == "red"
        assert "Do not use this model" in verdict.sentence

    def test_a_perfect_prediction_is_green_and_infinite_decibels_are_no_obstacle(self, small_pair):
        _, truth = small_pair
        found = evaluate_restoration([case("a", small_pair, prediction=truth)])
        assert found.summary.verdict.light == "green"
        assert found.images[0].results["prediction"].whole.snr_db == math.inf
        document = report_json(found)
        assert document.images[0].scores[0].whole.identical
        assert document.images[0].scores[0].whole.snr_db is None
        json.loads(document.model_dump_json())
        assert "∞" in report_html(found)


class TestCsv:
    def test_has_one_row_per_image_and_method_and_units_in_the_header(self, report):
        rows = list(csv.DictReader(io.StringIO(report_csv(report))))
        assert len(rows) == 2 * 5
        assert {row["slice"] for row in rows} == {"all"}
        assert float(rows[1]["SNR (dB)"]) == report.images[0].results["input"].whole.snr_db
        assert rows[0]["setting"] == ""
        assert float(rows[2]["setting"]) == report.method("gaussian").sweep.best
        assert report_csv(report).splitlines()[0].isascii()

    def test_has_rows_per_slice_of_a_stack(self, stack_report):
        rows = list(csv.DictReader(io.StringIO(report_csv(stack_report))))
        assert [row["slice"] for row in rows[:4]] == ["all", "1", "2", "3"]
        assert len(rows) == 5 * 4

    def test_of_the_notebooks_has_their_columns_and_their_nrmse(self, report):
        rows = list(csv.DictReader(io.StringIO(zerocost_csv(report))))
        assert list(rows[0]) == [
            "image #",
            "Prediction v. GT mSSIM",
            "Input v. GT mSSIM",
            "Prediction v. GT NRMSE",
            "Input v. GT NRMSE",
            "Prediction v. GT PSNR",
            "Input v. GT PSNR",
        ]
        scores = report.images[0].results["input"].whole
        assert float(rows[0]["Input v. GT NRMSE"]) == scores.zerocost_compat_nrmse
        assert float(rows[0]["Input v. GT PSNR"]) == scores.psnr_normalized_db

    def test_of_the_notebooks_has_slices_for_stacks(self, stack_report):
        rows = list(csv.DictReader(io.StringIO(zerocost_csv(stack_report))))
        assert [row["Slice #"] for row in rows] == ["0", "1", "2"]
        assert rows[0]["File name"] == "z.tif"


class TestJson:
    def test_follows_its_own_schema_and_comes_back(self, report):
        document = report_json(report, about=ABOUT)
        again = RestorationDocument.model_validate_json(document.model_dump_json())
        assert again == document
        assert document.about.model == "n2v-spots@3"
        assert document.methods[2].chosen_with_ground_truth
        assert document.images[0].scores[1].whole.snr_db == pytest.approx(
            report.images[0].results["input"].whole.snr_db
        )

    def test_knows_every_measure(self, report):
        document = report_json(report)
        keys = {measure.key for measure in document.measures}
        assert keys == set(Scores.__dataclass_fields__)
        assert keys < set(type(document.images[0].scores[0].whole).model_fields)


class Addresses(HTMLParser):
    """Collects everything that a browser would fetch, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestPage:
    def test_is_one_file_with_everything_inside(self, report):
        pictures = draw_pictures(report)
        page = report_html(report, pictures, about=ABOUT)
        parser = Addresses()
        parser.feed(page)
        assert parser.open == []
        assert len(parser.sources) == len(pictures) == 2 * 3
        assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
        assert not re.search(r"url\(|@import|https?://|<script", page)

    def test_says_what_was_compared_the_verdict_and_every_measure_with_its_unit(self, report):
        page = report_html(report, about=ABOUT)
        for words in (
            "n2v-spots@3",
            "sha256 abababab",
            "6 May 2024, 12:30 UTC",
            "Training data",
            report.method("gaussian").label,
            "Better than the input and than every plain filter",
        ):
            assert words in page
        for measure in MEASURES:
            assert measure.label in page
            assert measure.unit in page
            assert measure.meaning.split("'")[0] in page

    def test_marks_the_best_and_prints_a_true_minus_sign(self, small_pair):
        _, truth = small_pair
        wrong = np.random.default_rng(0).normal(0, 900, truth.shape)
        page = report_html(evaluate_restoration([case("a", small_pair, prediction=wrong)]))
        assert 'class="best"' in page
        assert re.search(r"<td>−\d", page)

    def test_escapes_what_people_call_their_files(self, small_pair):
        nasty = "<script>alert(1)</script> $x_1$ & é.tif"
        found = evaluate_restoration([case(nasty, small_pair), case("b", small_pair)])
        page = report_html(found, draw_pictures(found, limit=1), about=About(model="<b>"))
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert "<b>" not in page
        assert "Pictures of 1 of the 2 images" in page

    def test_pictures_are_png_and_differ_between_images_of_a_stack_and_planes(self, stack_report):
        pictures = draw_pictures(stack_report)
        assert [picture.kind for picture in pictures] == ["panels", "maps", "curves", "slices"]
        for picture in pictures:
            assert picture.png.startswith(b"\x89PNG")
            assert picture.caption
            assert picture.alt
        assert "0.1 µm per pixel" in pictures[0].caption

    def test_can_be_drawn_by_several_threads_at_once(self, report):
        alone = draw_pictures(report, images=["a.tif"])
        with ThreadPoolExecutor(2) as pool:
            drawn = list(pool.map(lambda _: draw_pictures(report, images=["a.tif"]), range(2)))
        for pictures in drawn:
            assert [picture.png for picture in pictures] == [picture.png for picture in alone]


def test_importing_quality_control_loads_no_plotting_and_no_file_format():
    script = (
        "import sys, micserve.qc; "
        "print([m for m in ('matplotlib', 'tifffile', 'imageio', 'fastapi', 'onnxruntime') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
