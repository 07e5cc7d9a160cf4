import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from idealo_comparison.compare import correct_p_values, estimate_p_value, williams_test
from iqa.errors import IqaError
from iqa.evaluation.metrics import (
    estimate_interval,
    estimate_kendall,
    map_logistically,
    measure_agreement,
    measure_distribution_agreement,
    resample_metrics,
)


def correlated(rng, number, r):
    true = rng.normal(5, 1, number)
    return true, 5 + r * (true - 5) + np.sqrt(1 - r * r) * rng.normal(0, 1, number)


def drawn_by_hand(number, groups, seed=0):
    """The first resample, as indices."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    chosen = names[rng.integers(len(names), size=(3, len(names)))[0]]
    return np.concatenate([np.flatnonzero(groups == name) for name in chosen])


WITH_ZEROS = np.array([[0.0, 2, 4, 5, 6, 7], [1.0, 2, 3, 5, 6, 8]])
WITH_TIES = np.round(correlated(np.random.default_rng(1), 200, 0.7), 1)
HISTOGRAMS = np.random.default_rng(2).dirichlet(np.ones(10), (2, 60))


@pytest.mark.parametrize("pair, group_size", [(WITH_TIES, 1), (WITH_TIES, 10), (HISTOGRAMS, 1), (WITH_ZEROS, 1)])
def test_a_resample_has_the_metrics_of_the_images_drawn(pair, group_size):
    true, predicted = pair
    groups = np.arange(len(true)) // group_size
    found = resample_metrics(true, predicted, resamples=3, groups=groups)
    chosen = drawn_by_hand(len(true), groups)
    measure = measure_agreement if true.ndim == 1 else measure_distribution_agreement
    expected = measure(true[chosen], predicted[chosen]).as_json()
    assert set(found) == set(expected) - {"n", "confusion_matrix", "krcc", "accuracy_n"}
    for name, values in found.items():
        assert values[0] == pytest.approx(expected[name], abs=1e-10)


def test_kendalls_tau_is_scipys_with_ties_too_and_its_interval_covers_the_true_one():
    many = correlated(np.random.default_rng(4), 1200, 0.6)  # more than are counted at a time
    for pair in (many, WITH_TIES, np.array([[3, 1, 1], [2, 2, 0]], float)):
        assert estimate_kendall(*pair)[0] == pytest.approx(stats.kendalltau(*pair).statistic, abs=1e-9)
    rng = np.random.default_rng(5)
    tau = 2 / np.pi * np.arcsin(0.6)  # of a bivariate normal distribution
    covered = [low <= tau <= high for _, low, high in (estimate_kendall(*correlated(rng, 150, 0.6)) for _ in range(400))]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_williams_test_gives_the_worked_value_of_its_formula_and_calls_no_difference_none():
    assert williams_test(0.4, 0.4, 1.0, 103) == (0.0, 1.0)
    # Steiger 1980, p. 246, the example: n = 103, r12 = 0.4, r13 = 0.5, r23 = 0.1.
    t, p = williams_test(0.4, 0.5, 0.1, 103)
    assert t == pytest.approx(-0.89, abs=0.005)
    assert p == pytest.approx(0.373, abs=0.005)


def test_the_logistic_makes_a_bent_scale_straight():
    true = np.linspace(0.01, 8.99, 200)
    predicted = 5 + np.log(true / (9 - true))
    assert stats.pearsonr(true, predicted)[0] < 0.98
    assert stats.pearsonr(true, map_logistically(true, predicted))[0] > 0.9999
    with pytest.raises(IqaError, match="four images"):
        map_logistically([1, 2, 3], [1, 2, 3])
    map_logistically([1, 2, 3, 4], [3, 3, 3, 3])  # what SciPy says of its covariance is nobody's business


def test_figures_that_are_not_defined_are_nan_without_a_warning():
    flat, rising = np.full(6, 5.0), np.arange(6.0)
    found = resample_metrics(rising, flat, resamples=10)
    assert np.isnan(found["lcc"]).all() and np.isnan(found["srcc"]).all() and np.isfinite(found["rmse"]).all()
    assert np.isnan(resample_metrics(np.zeros(4), np.arange(4.0), resamples=3)["accuracy"]).all()
    assert np.isnan(estimate_interval(np.full(3, np.nan))).all()
    assert np.isnan(estimate_kendall(rising, flat)).all()
    assert np.isnan([*williams_test(float("nan"), 0.5, 0.5, 9), *williams_test(0.4, 0.5, 0.5, 3)]).all()
    assert np.isnan(estimate_p_value(float("nan"), np.full(3, np.nan), 6))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_keep_their_order_and_are_never_smaller(p_values):
    corrected = correct_p_values(p_values)
    assert (corrected >= p_values).all() and (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p_values, kind="stable")]) >= 0).all()
    assert corrected[np.argmin(p_values)] == pytest.approx(min(1, len(p_values) * min(p_values)))


def test_the_p_value_of_a_difference_is_that_of_students_test_of_the_paired_errors():
    rng = np.random.default_rng(13)
    true = rng.uniform(1, 8, 400)
    first, second = true + rng.normal(0, 1, 400), true + rng.normal(0, 1.1, 400)
    accuracies = [1 - np.abs(side - true) / true for side in (first, second)]
    drawn = [resample_metrics(true, side, 1000)["accuracy"] for side in (first, second)]
    p = estimate_p_value(float(np.mean(accuracies[0] - accuracies[1])), drawn[0] - drawn[1], 400)
    assert p == pytest.approx(stats.ttest_rel(*accuracies).pvalue, rel=0.15)
