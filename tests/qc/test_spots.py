"""Spots that are there are found, those that are not are not, and lost dim spots are told."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest

from micserve.errors import QualityControlError
from micserve.qc import RestorationCase, draw_pictures, evaluate_restoration, report_json
from micserve.qc.blobs import Blobs, find_blobs
from micserve.qc.spots import Spot, TrueSpot, match, spots_sentence, wilson
from micserve.serving.spot_tables import read_spots


def gaussian_spots(shape, spots):
    """Background 50, one Gaussian per (y, x, sigma, height)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    image = np.full(shape, 50.0)
    for sy, sx, sigma, height in spots:
        image += height * np.exp(-((y - sy) ** 2 + (x - sx) ** 2) / (2 * sigma**2))
    return image


GRID = [
    (20 + 32 * (n // 6), 20 + 32 * (n % 6), 3.0, 4.0 if n % 3 == 0 else 60.0) for n in range(36)
]
"""A third of them dim: 4 grey values high."""


@pytest.fixture(scope="module")
def grid():
    clean = gaussian_spots((200, 200), GRID)
    noisy = clean + np.random.default_rng(0).normal(0, 4, clean.shape)
    return clean, noisy


@settings(max_examples=15, deadline=None)
@given(
    y=st.floats(24, 40),
    x=st.floats(24, 40),
    sigma=st.sampled_from([1.5, 2.1, 3.0, 4.2, 6.0]),
    height=st.floats(1, 1e4),
)
def test_a_gaussian_spot_is_found_where_it_is_with_its_size_and_height(y, x, sigma, height):
    found = find_blobs(gaussian_spots((64, 64), [(y, x, sigma, height)]))
    assert abs(found.y[0] - y) <= 1
    assert abs(found.x[0] - x) <= 1
    assert found.sigma[0] == sigma
    assert found.contrast[0] == pytest.approx(height, rel=0.2)  # the peak is between pixels


def test_a_flat_plane_and_one_pixel_have_no_blobs():
    assert len(find_blobs(np.full((40, 40), 7.0))) == 0
    assert len(find_blobs(np.ones((1, 1)))) == 0


def test_the_strongest_blob_takes_the_spot_and_each_spot_is_taken_once():
    true = [TrueSpot("a", 0, 10, 10, 3, 9), TrueSpot("a", 0, 30, 10, 3, 9)]
    places = np.array([[10, 11], [11, 10], [30, 10], [50, 50]], float)
    blobs = Blobs(places[:, 0], places[:, 1], np.full(4, 3.0), np.array([9.0, 8, 7, 6]))
    assert match(blobs, true).tolist() == [0, -1, 1, -1]


def test_a_prediction_that_wipes_out_dim_spots_is_told_so_and_the_filter_recommended(grid):
    clean, noisy = grid
    bright = gaussian_spots(clean.shape, [spot for spot in GRID if spot[3] > 10])
    report = evaluate_restoration(
        [RestorationCase(n, bright, clean, noisy + k) for k, n in enumerate("abcd")]
    )
    assert report.summary.verdict.light == "green"
    found = report.spots
    assert len(found.true) == 144
    assert found.in_bin("prediction", 0)[0] == 0
    assert found.methods["prediction"].recall == pytest.approx(2 / 3, abs=0.01)
    assert found.methods["prediction"].precision == 1
    outcome, p = found.dim_against("gaussian")
    assert outcome == "fewer"
    hits, _ = found.in_bin("gaussian", 0)
    assert p == binomtest(0, hits, 0.5).pvalue
    assert "The prediction loses dim spots" in report.summary.verdict.spots
    kinds = [picture.kind for picture in draw_pictures(report, images=[])]
    assert kinds == ["spots", "dim"]


def test_a_perfect_prediction_finds_all_and_the_json_has_the_counts(grid):
    clean, noisy = grid
    report = evaluate_restoration([RestorationCase("a", clean, clean, noisy)])
    one = report.spots.methods["prediction"]
    assert (one.recall, one.precision, one.f1) == (1, 1, 1)
    document = json.loads(report_json(report).model_dump_json())["spots"]
    assert document["true"] == 36
    [ours] = [m for m in document["methods"] if m["method"] == "prediction"]
    assert sum(b["found"] for b in ours["bins"]) == 36
    assert all(
        b["recall_low"] <= b["recall"] <= b["recall_high"] for b in ours["bins"] if b["true"]
    )


def test_gain_and_offset_of_a_prediction_do_not_change_what_is_found(grid):
    clean, noisy = grid
    smooth = gaussian_filter(noisy, 2)
    ours, scaled = (
        evaluate_restoration([RestorationCase("a", image, clean, noisy)], baselines=())
        for image in (smooth, smooth * 300 - 1000)
    )
    one, other = (report.spots.methods["prediction"] for report in (ours, scaled))
    np.testing.assert_array_equal(one.found, other.found)
    assert one.threshold == pytest.approx(other.threshold, rel=1e-3)


def test_places_that_are_given_are_the_true_ones(grid):
    clean, noisy = grid
    dim = [spot for spot in GRID if spot[3] < 10] * 2
    bright = [spot for spot in GRID if spot[3] > 10]
    told = tuple(Spot(y, x, sigma) for y, x, sigma, _ in dim)
    case = RestorationCase("a", clean, clean, noisy, spots=told)
    found = evaluate_restoration([case], baselines=()).spots
    assert found.given
    assert len(found.true) == 24
    assert max(one.contrast for one in found.true) == pytest.approx(4, rel=0.1)
    wrong = sum(found.methods["prediction"].detected) - sum(found.methods["prediction"].right)
    assert wrong >= len(bright)  # they are there, but nobody said so


def test_few_spots_say_nothing_and_a_stack_is_searched_slice_by_slice(grid):
    clean, _ = grid
    few = evaluate_restoration([RestorationCase("a", clean[:40, :40], clean[:40, :40])])
    assert few.spots is None
    assert few.summary.verdict.spots == ""
    stack = RestorationCase("z", np.stack([clean] * 3), np.stack([clean] * 3))
    found = evaluate_restoration([stack]).spots
    assert (found.planes, len(found.true)) == (3, 108)
    assert spots_sentence(found, {"prediction": "Prediction"}).endswith("at its best threshold.")


def test_wilsons_interval_is_that_of_its_formula():
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_tables_of_centres_and_of_the_macro_are_read_alike(tmp_path):
    (tmp_path / "a.csv").write_text("X,Y,Diameter\n15,25,10\n")
    (tmp_path / "b.csv").write_text("Class\tXC\tYC\tDiameter\n1\t10\t20\t10\n")
    assert read_spots(tmp_path / "a.csv") == read_spots(tmp_path / "b.csv")
    assert read_spots(tmp_path / "a.csv")[0] == Spot(25, 15, 5 / np.sqrt(2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "columns \\(none\\)"),
        ("A,B\n1,2\n", "columns A, B; it needs X and Y"),
        ("X,Y\n1,here\n", "line 2 of the table of spots t.csv"),
        ("X,Y\n1\n", "line 2"),
        ("X,Y\n1,nan\n", "line 2"),
    ],
)
def test_tables_that_say_no_places_are_refused_in_words(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(QualityControlError, match=words):
        read_spots(tmp_path / "t.csv")
