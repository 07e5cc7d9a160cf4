import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iqa.errors import IqaError
from iqa.evaluation import uncertainty
from iqa.evaluation.metrics import measure_agreement, measure_distribution_agreement
from iqa.evaluation.uncertainty import (
    correct_p_values,
    estimate_interval,
    estimate_kendall,
    estimate_p_value,
    map_logistically,
    resample_metrics,
    williams_test,
)


def correlated(rng, number, r):
    true = rng.normal(5, 1, number)
    return true, 5 + r * (true - 5) + np.sqrt(1 - r * r) * rng.normal(0, 1, number)


@pytest.fixture(scope="module")
def scored():
    true, predicted = correlated(np.random.default_rng(1), 200, 0.7)
    return np.round(true, 1), np.round(predicted, 1)  # with ties


def drawn_by_hand(number, groups, seed=0):
    """The first resample, as indices."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    chosen = names[rng.integers(len(names), size=(3, len(names)))[0]]
    return np.concatenate([np.flatnonzero(groups == name) for name in chosen])


@pytest.mark.parametrize("group_size", [1, 10])
def test_a_replicate_is_the_metric_of_the_images_drawn(scored, group_size):
    true, predicted = scored
    groups = np.arange(200) // group_size
    found = resample_metrics(true, predicted, resamples=3, groups=groups)
    chosen = drawn_by_hand(200, groups)
    expected = measure_agreement(true[chosen], predicted[chosen])
    for name in ("accuracy", "score_difference_std", "rmse"):
        assert found[name][0] == pytest.approx(getattr(expected, name), abs=1e-10)
    assert found["lcc"][0] == pytest.approx(expected.lcc[0], abs=1e-10)
    assert found["srcc"][0] == pytest.approx(expected.srcc[0], abs=1e-10)


def test_a_replicate_of_histograms_has_their_metrics_too():
    rng = np.random.default_rng(2)
    true, predicted = rng.dirichlet(np.ones(10), 60), rng.dirichlet(np.ones(10), 60)
    found = resample_metrics(true, predicted, resamples=3)
    chosen = drawn_by_hand(60, np.arange(60))
    expected = measure_distribution_agreement(true[chosen], predicted[chosen]).as_json()
    for name, values in found.items():
        assert values[0] == pytest.approx(expected[name], abs=1e-10)


def test_the_interval_of_lcc_agrees_with_scipys_bootstrap(scored):
    ours = estimate_interval(resample_metrics(*scored, resamples=4000)["lcc"])
    theirs = stats.bootstrap(
        scored, lambda a, b: stats.pearsonr(a, b)[0], paired=True, vectorized=False, n_resamples=4000, method="percentile",
        rng=np.random.default_rng(3)
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx(tuple(theirs), abs=0.01)


def test_a_side_that_does_not_vary_has_no_correlation():
    found = resample_metrics(np.arange(1.0, 9), np.ones(8), resamples=10)
    assert np.isnan(found["lcc"]).all() and np.isnan(found["srcc"]).all()
    assert np.isfinite(found["rmse"]).all()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=40))
@settings(deadline=None)
def test_kendalls_tau_is_scipys_with_ties(pairs):
    true, predicted = np.array(pairs, float).T
    if np.ptp(true) and np.ptp(predicted):
        assert estimate_kendall(true, predicted)[0] == pytest.approx(stats.kendalltau(true, predicted).statistic, abs=1e-9)


@pytest.mark.parametrize("block", [1, 7, 512])
def test_points_that_are_smaller_in_both_are_counted_in_blocks_of_any_size(block):
    x, y = np.random.default_rng(4).integers(0, 9, (2, 50))
    expected = ((x[None, :] < x[:, None]) & (y[None, :] < y[:, None])).sum(axis=1)
    np.testing.assert_array_equal(uncertainty._count_dominated(x, y, block), expected)


def test_kendalls_interval_covers_the_true_tau():
    rng = np.random.default_rng(5)
    tau = 2 / np.pi * np.arcsin(0.6)  # of a bivariate normal distribution
    covered = [low <= tau <= high for _, low, high in (estimate_kendall(*correlated(rng, 150, 0.6)) for _ in range(400))]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_williams_test_gives_the_worked_value_of_its_formula_and_calls_no_difference_none():
    rng = np.random.default_rng(6)
    true, first = correlated(rng, 103, 0.4)
    assert williams_test(true, first, first) == (0.0, 1.0)
    # Steiger 1980, p. 246, the example: n = 103, r12 = 0.4, r13 = 0.5, r23 = 0.1.
    matrix = iter((0.4, 0.5, 0.1))
    t, p = williams_test(true, first, true, lambda a, b: next(matrix))
    assert t == pytest.approx(-0.89, abs=0.005)
    assert p == pytest.approx(0.373, abs=0.005)


def test_williams_test_errs_in_one_of_twenty_equal_models():
    rng = np.random.default_rng(7)
    called = 0
    for _ in range(600):
        true = rng.normal(size=80)
        first, second = (0.6 * true + 0.8 * rng.normal(size=80) for _ in range(2))
        called += williams_test(true, first, second)[1] < 0.05
    assert 0.03 <= called / 600 <= 0.075


def test_the_logistic_makes_a_bent_scale_straight():
    true = np.linspace(0.01, 8.99, 200)
    predicted = 5 + np.log(true / (9 - true))
    assert stats.pearsonr(true, predicted)[0] < 0.98
    assert stats.pearsonr(true, map_logistically(true, predicted))[0] > 0.9999


def test_intervals_of_a_known_difference_cover_it_as_often_as_they_say():
    # Percentile intervals of 1,000 trials: 93-97 %. With fewer trials the count itself scatters by more.
    trials, low, high = (1000, 0.93, 0.97) if os.environ.get("IQA_THOROUGH") else (200, 0.90, 0.99)
    rng = np.random.default_rng(8)
    covered = 0
    for trial in range(trials):
        true = rng.normal(5, 1, 300)
        first, second = (5 + r * (true - 5) + np.sqrt(1 - r * r) * rng.normal(0, 1, 300) for r in (0.7, 0.6))
        drawn = [resample_metrics(true, predicted, 500, seed=trial)["lcc"] for predicted in (first, second)]
        lower, upper = estimate_interval(drawn[0] - drawn[1])
        covered += lower <= 0.1 <= upper
    assert low <= covered / trials <= high


def test_images_without_an_accuracy_do_not_spoil_its_resamples():
    true, predicted = np.array([0.0, 2, 4, 5, 6, 7]), np.array([1.0, 2, 3, 5, 6, 8])
    found = resample_metrics(true, predicted, resamples=40)
    chosen = drawn_by_hand(6, np.arange(6))
    assert found["accuracy"][0] == pytest.approx(measure_agreement(true[chosen], predicted[chosen]).accuracy)
    assert np.isnan(resample_metrics(np.zeros(4), np.arange(4.0), resamples=3)["accuracy"]).all()


def test_figures_that_are_not_defined_are_nan_without_a_warning():
    flat, rising = np.full(6, 5.0), np.arange(6.0)
    assert np.isnan(estimate_interval(np.full(3, np.nan))).all()
    assert np.isnan(estimate_kendall(rising, flat)).all()
    assert np.isnan(williams_test(rising, flat, rising[::-1])).all()
    assert np.isnan(williams_test(rising[:3], rising[:3], rising[2::-1])).all()
    assert np.isnan(estimate_p_value(float("nan"), np.full(3, np.nan), 6))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_keep_their_order_and_are_never_smaller(p_values):
    corrected = correct_p_values(p_values)
    assert (corrected >= p_values).all() and (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p_values, kind="stable")]) >= 0).all()
    assert corrected[np.argmin(p_values)] == pytest.approx(min(1, len(p_values) * min(p_values)))


def test_p_values_that_are_not_defined_do_not_count_as_comparisons():
    np.testing.assert_array_equal(correct_p_values([0.02, np.nan, 0.5]), [0.04, np.nan, 0.5])


def test_the_p_value_of_a_difference_is_that_of_students_test_of_the_paired_errors():
    rng = np.random.default_rng(13)
    true = rng.uniform(1, 8, 400)
    first, second = true + rng.normal(0, 1, 400), true + rng.normal(0, 1.1, 400)
    accuracies = [1 - np.abs(side - true) / true for side in (first, second)]
    drawn = [resample_metrics(true, side, 3000)["accuracy"] for side in (first, second)]
    p = estimate_p_value(float(np.mean(accuracies[0] - accuracies[1])), drawn[0] - drawn[1], 400)
    assert p == pytest.approx(stats.ttest_rel(*accuracies).pvalue, rel=0.1)


def test_a_logistic_that_cannot_be_fitted_is_an_error_for_its_user():
    with pytest.raises(IqaError, match="four images"):
        map_logistically([1, 2, 3], [1, 2, 3])
    map_logistically([1, 2, 3, 4], [3, 3, 3, 3])  # what SciPy says of its covariance is nobody's business
