import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from iqa import losses

scores = st.lists(st.tuples(st.floats(0, 9, width=32), st.floats(0, 9, width=32)), min_size=5, max_size=25)


def column(values):
    return ops.convert_to_tensor(np.asarray(values, np.float32).reshape(-1, 1))


@given(scores)
@settings(deadline=None)
def test_pearson_correlation_is_numpys(pairs):
    true, predicted = np.array(pairs).T
    if min(np.std(true), np.std(predicted)) < 0.05:
        return
    expected = np.corrcoef(true, predicted)[0, 1]
    assert float(losses.pearson_correlation(column(true), column(predicted))) == pytest.approx(expected, abs=1e-3)


def test_the_correlation_of_a_side_without_variation_is_zero():
    assert float(losses.pearson_correlation(column([1, 2, 3]), column([4, 4, 4]))) == pytest.approx(0, abs=1e-6)


def test_pearson_loss_is_zero_for_a_straight_line_and_one_for_no_relation():
    assert float(losses.pearson_loss(column([1, 2, 3]), column([5, 7, 9]))) == pytest.approx(0, abs=1e-5)
    assert float(losses.pearson_loss(column([1, 2, 1, 2]), column([1, 1, 2, 2]))) == pytest.approx(1, abs=1e-5)


def ladder_loss_in_numpy(true, predicted, steps, weight, temperature):
    true, predicted = (np.asarray(x, float).reshape(-1, steps) for x in (true, predicted))
    penalties = [
        temperature * np.log1p(np.exp(-np.sign(t[i] - t[j]) * (p[i] - p[j]) / temperature))
        for t, p in zip(true, predicted)
        for i in range(steps)
        for j in range(steps)
        if t[i] != t[j]
    ]
    r = np.corrcoef(true.ravel(), predicted.ravel())[0, 1]
    return np.mean((true - predicted) ** 2) + (1 - r**2) + weight * np.mean(penalties)


def test_the_ladder_loss_is_its_definition_written_out():
    rng = np.random.default_rng(0)
    true, predicted = rng.uniform(0, 9, (2, 20))
    loss = losses.LadderLoss(steps=5, weight=2, temperature=0.5)
    expected = ladder_loss_in_numpy(true, predicted, 5, 2, 0.5)
    assert float(loss(column(true), column(predicted))) == pytest.approx(expected, rel=1e-5)


def test_a_wrong_order_within_a_ladder_costs_more_than_the_same_error_in_the_right_order():
    true = [5, 4, 3, 2, 1]
    loss = losses.LadderLoss(weight=10)
    wrong, right = [5, 3.4, 3.6, 2, 1], [5, 4.6, 2.4, 2, 1]
    assert float(loss(column(true), column(wrong))) > float(loss(column(true), column(right)))


def test_images_left_over_after_whole_ladders_have_no_pairs():
    loss = losses.LadderLoss()
    assert np.isfinite(float(loss(column([1, 2, 3]), column([1, 2, 4]))))


@pytest.mark.parametrize("true", [[1, 2, 3, 4, 5], [3, 3, 3, 3, 3]])
@pytest.mark.parametrize("predicted", [[2, 2, 2, 2, 2], [1, 2, 3, 4, 5], [1e3, -1e3, 0, 0, 0]])
def test_gradients_are_finite_on_degenerate_batches(true, predicted):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(1e-9), losses.LadderLoss())
    model.train_on_batch(column(predicted), column(true))
    assert np.isfinite(model.get_weights()[0]).all()


def test_lcc_over_an_epoch_is_that_of_all_images_and_not_the_mean_of_batches():
    rng = np.random.default_rng(1)
    true = rng.uniform(0, 9, 90)
    predicted = true + rng.normal(0, 1, 90) + np.repeat([0, 2, 4], 30)
    metric = losses.LCC()
    for batch in range(3):
        rows = slice(30 * batch, 30 * batch + 30)
        metric.update_state(column(true[rows]), column(predicted[rows]))
    assert float(metric.result()) == pytest.approx(np.corrcoef(true, predicted)[0, 1], abs=1e-4)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_losses_are_saved_and_loaded_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", losses.LadderLoss(weight=3.0), metrics=[losses.LCC()])
    model.save(tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras").loss.weight == 3.0
