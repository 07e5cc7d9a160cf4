import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iqa.errors import LabelError
from iqa.labels import histograms as scores
from TID2013_regression.make_labels import maximum_entropy_histogram

histograms = st.lists(st.floats(0, 100), min_size=2, max_size=20).filter(lambda shares: sum(shares) > 1e-3)


@given(histograms)
def test_moments_are_those_of_scipys_discrete_distribution(shares):
    histogram = scores.normalise(shares)
    twin = stats.rv_discrete(values=(np.arange(1, len(histogram) + 1), histogram))
    assert histogram.sum() == pytest.approx(1)
    assert scores.mean(histogram) == pytest.approx(twin.mean())
    assert scores.std(histogram) == pytest.approx(twin.std(), abs=1e-6)


@given(st.floats(0.05, 8.95))
def test_maximum_entropy_has_the_mean_asked_for_and_a_constant_ratio_of_neighbours(mos):
    values = np.linspace(0, 9, 10)
    histogram = maximum_entropy_histogram(mos, values)
    assert histogram @ values == pytest.approx(mos, abs=1e-9)
    assert np.ptp(np.diff(np.log(histogram))) < 1e-6


def test_maximum_entropy_equals_the_labels_that_idealo_derived(shared):
    labels = json.loads((shared / "tid2013/idealo_tid_labels_test.json").read_text())
    lines = (shared / "tid2013/mos_with_names.txt").read_text().split("\n")[: len(labels)]
    values = np.linspace(0, 9, 10)
    for label, line in zip(labels, lines, strict=True):
        mos, name = line.split()
        assert label["image_id"].lower() == name.lower().removesuffix(".bmp")
        np.testing.assert_allclose(maximum_entropy_histogram(float(mos), values), label["label"], atol=1e-6)


def test_normal_histogram_keeps_mean_and_deviation_where_nothing_is_cut_off():
    values = np.arange(1.0, 11)
    histogram = scores.normal_histogram(np.array([5.0, 6.0]), np.array([0.5, 0.6]), values)
    np.testing.assert_allclose(scores.mean(histogram), [5, 6], atol=1e-6)
    np.testing.assert_allclose(scores.std(histogram), np.sqrt([0.5**2 + 1 / 12, 0.6**2 + 1 / 12]), atol=1e-2)


@pytest.mark.parametrize(
    "function, value, reason",
    [
        *((scores.normalise, shares, "histogram") for shares in ([0, 0], [1, -1], [np.nan, 1], [np.inf, 1])),
        *((lambda mos: maximum_entropy_histogram(mos, range(10)), mos, "has the mean") for mos in (0, 9, -1, 10)),
        *(
            (lambda std: scores.normal_histogram(5.0, std, scores.centres(10)), std, "above 0")
            for std in (0.0, -1.0, np.nan)
        ),
    ],
)
def test_what_has_no_histogram_is_refused(function, value, reason):
    with pytest.raises(LabelError, match=reason):
        function(value)


@given(st.lists(st.tuples(st.floats(1, 10), st.floats(0.01, 9)), min_size=1, max_size=20))
def test_shares_that_are_moved_to_other_bins_keep_sum_and_mean(pairs):
    values, shares = np.array(pairs).T
    moved = scores.rebin(shares, values, scores.centres(10))
    assert moved.sum() == pytest.approx(shares.sum())
    assert moved @ scores.centres(10) == pytest.approx(shares @ values)
