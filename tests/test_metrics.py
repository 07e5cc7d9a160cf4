import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iqa import metrics
from iqa.predictions import read_regression


def test_the_originals_predictions_give_its_published_figures(shared):
    predictions = read_regression(shared / "golden/tid_wtf_regression.mat")
    result = metrics.agreement(predictions.labels, predictions.predictions)
    assert result.n == 360
    assert result.lcc[0] == pytest.approx(0.9205231, abs=1e-6)
    assert result.srcc[0] == pytest.approx(0.9020757, abs=2e-6)
    assert result.accuracy == pytest.approx(0.8810526, abs=1e-6)
    assert result.score_difference_std == pytest.approx(0.3366617, abs=1e-6)
    # The published table has the first bin last; otherwise it is this one.
    published = np.array(
        [[1, 0, 0, 0, 0, 0], [3, 6, 2, 0, 0, 0], [1, 1, 21, 1, 0, 0], [0, 0, 13, 65, 13, 1], [0, 0, 1, 13, 55, 28],
         [0, 0, 0, 0, 17, 78]]
    )  # fmt: skip
    np.testing.assert_array_equal(result.confusion_matrix[:6, :6], published)


def test_perfect_predictions_are_perfect():
    true = np.array([1.5, 2.5, 7.25])
    result = metrics.agreement(true, true)
    assert (result.accuracy, result.rmse, result.score_difference_std) == (1, 0, 0)
    assert result.lcc[0] == pytest.approx(1)
    assert result.srcc[0] == result.krcc[0] == pytest.approx(1)
    assert np.array_equal(result.confusion_matrix.nonzero(), [[1, 2, 7], [1, 2, 7]])


def test_rows_of_the_confusion_matrix_are_predictions():
    assert metrics.confusion_matrix([2.5], [7.5])[7, 2] == 1


def test_a_score_within_rounding_of_an_integer_counts_as_that_integer():
    assert metrics.confusion_matrix([5 - 1e-10], [5.0])[5, 5] == 1


def test_scores_outside_the_scale_go_to_the_edge_bins():
    matrix = metrics.confusion_matrix([0, 9.5], [-0.4, 12])
    assert matrix[0, 0] == matrix[9, 9] == 1


def test_a_constant_side_has_no_correlation_and_warns_of_nothing():
    result = metrics.agreement([1, 2, 3], [4, 4, 4])
    assert np.isnan([result.lcc[0], result.srcc[0], result.krcc[0]]).all()


@pytest.mark.parametrize("true, predicted", [([1, 2], [1]), ([1], [1]), ([1, np.nan], [1, 2])])
def test_unusable_scores_are_refused(true, predicted):
    with pytest.raises(ValueError):
        metrics.agreement(true, predicted)


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=3, max_size=30, unique_by=lambda p: p[0]))
def test_rank_correlation_equals_pearson_of_the_ranks(pairs):
    true, predicted = np.array(pairs).T
    if np.ptp(predicted) == 0:
        return
    ranks = np.corrcoef(stats.rankdata(true), stats.rankdata(predicted))[0, 1]
    assert metrics.agreement(true, predicted).srcc[0] == pytest.approx(ranks, abs=1e-9)


def test_ordered_share_counts_falling_pairs():
    assert metrics.ordered_share([[3, 2, 1], [1, 2, 0]]) == 0.75
