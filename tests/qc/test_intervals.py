"""How sure a mean is: a bootstrap where there are images enough, and no pretence where not."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from micserve.qc import differences, interval


def test_from_four_images_on_it_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(3).normal(30, 2, 12)
    found = interval(list(values))
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.kind == "bootstrap"
    assert found.low == pytest.approx(theirs.low, abs=0.1)  # of two random sets of resamples
    assert found.high == pytest.approx(theirs.high, abs=0.1)


def test_the_same_values_always_give_the_same_interval():
    assert interval([1.0, 2.0, 4.0, 8.0]) == interval([1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize("values", [[3.0, 1.0], [2.0, 1.0, 3.0]])
def test_two_and_three_images_have_a_range_that_is_called_so(values):
    found = interval(values)
    assert (found.low, found.high) == (1.0, 3.0)
    assert found.kind == "range"


@pytest.mark.parametrize("values", [[], [1.0], [1.0, None], [1.0, float("inf")]])
def test_one_image_says_nothing_about_others(values):
    assert interval(values) is None


def test_differences_are_paired_and_know_what_is_missing():
    assert differences([3.0, None, 2.0], [1.0, 1.0, 2.0]) == (2.0, None, 0.0)
    inf = float("inf")
    assert differences([inf], [inf]) == (0.0,)


def test_pairing_sees_a_small_gain_that_the_spread_of_images_hides():
    spread = np.array([20.0, 25.0, 30.0, 35.0, 40.0])
    gains = interval(differences(list(spread + 0.3), list(spread)))
    assert gains.excludes_zero
    assert not interval(list(spread - 30)).excludes_zero
