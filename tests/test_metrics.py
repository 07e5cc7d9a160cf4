import json

import numpy as np
import pytest

from iqa.errors import IqaError
from iqa.evaluation import metrics
from iqa.evaluation.predictions import read_predictions


def test_the_originals_histograms_give_its_published_figures(shared):
    predictions = read_predictions(shared / "golden/wtf_patches.mat", bins=10)
    result = metrics.measure_distribution_agreement(predictions.labels, predictions.predictions)
    published = np.zeros((10, 10), int)
    published[2, 1:5] = [6, 52, 49, 2]
    published[3, 1:7] = [27, 455, 2594, 1500, 114, 2]
    published[4, :7] = [1, 11, 210, 3989, 10702, 3381, 181]
    published[5, 2:8] = [2, 57, 810, 1114, 141, 2]
    published[6, 4:7] = [6, 15, 5]
    assert result.n == 25428
    np.testing.assert_array_equal(result.confusion_matrix.sum(axis=1), published.sum(axis=1))
    assert np.abs(result.confusion_matrix - published).max() <= 4
    assert result.binary_accuracy == pytest.approx(0.7684442, abs=2e-4)
    assert result.accuracy == pytest.approx(0.9112602801, abs=1e-6)
    assert result.score_difference_std == pytest.approx(0.3711319099, abs=1e-6)
    assert result.lcc[0] == pytest.approx(0.58826608574, abs=1e-6)
    assert result.srcc[0] == pytest.approx(0.57858829755, abs=2e-6)
    assert result.lcc_std[0] == pytest.approx(0.21782951625, abs=1e-6)
    assert result.srcc_std[0] == pytest.approx(0.21209535803, abs=2e-6)
    assert result.emd_l1 == pytest.approx(0.05074453307, abs=1e-6)


@pytest.mark.parametrize(
    "true, predicted, cell",
    [(2.5, 7.5, (7, 2)), (5 - 1e-10, 5.0, (5, 5)), (0, -0.4, (0, 0)), (9.5, 12, (9, 9))],
    ids=["rows are predictions", "within rounding of an integer", "below the scale", "above it"],
)
def test_a_score_counts_in_its_cell_of_the_confusion_matrix(true, predicted, cell):
    matrix = metrics.count_confusions([true], [predicted])
    assert matrix[cell] == matrix.sum() == 1


@pytest.mark.parametrize("predicted", [np.full(20, 4.0), 5 + 1e-15 * np.arange(20)], ids=["constant", "by rounding"])
def test_a_side_that_does_not_vary_has_no_correlation_and_warns_of_nothing(predicted):
    result = metrics.measure_agreement(np.arange(1.0, 21), predicted)
    assert np.isnan([result.lcc[0], result.srcc[0], result.krcc[0]]).all()


@pytest.mark.parametrize(
    "true, predicted, error", [([1, 2], [1], ValueError), ([1], [1], IqaError), ([1, 2], [1, np.inf], IqaError)]
)
def test_unusable_scores_are_refused(true, predicted, error):
    with pytest.raises(error):
        metrics.measure_agreement(true, predicted)
    with pytest.raises(ValueError, match="instead of"):
        metrics.measure_distribution_agreement(np.ones((3, 9)), np.ones((3, 9)))


def test_an_image_with_a_score_of_0_is_left_out_of_the_accuracy_alone():
    result = metrics.measure_agreement([0, 2, 4], [1, 2, 3])
    assert (result.accuracy, result.accuracy_n, result.n) == (0.875, 2, 3)
    assert result.rmse == pytest.approx(np.sqrt(2 / 3))
    assert result.as_json()["accuracy_n"] == 2
    assert "accuracy_n" not in metrics.measure_agreement([1, 2, 4], [1, 2, 3]).as_json()


def test_what_is_not_defined_is_null_in_json():
    values = metrics.measure_agreement([0, 0, 0], [1, 2, 3]).as_json()
    assert {name for name, value in values.items() if value is None} == {"accuracy", "lcc", "srcc", "krcc"}
    json.dumps(values, allow_nan=False)
