import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from iqa.training import losses


def column(values):
    return ops.convert_to_tensor(np.asarray(values, np.float32).reshape(-1, 1))


def ladder_loss_in_numpy(true, predicted, steps, weight, temperature):
    true, predicted = (np.asarray(x, float).reshape(-1, steps) for x in (true, predicted))
    penalties = [
        temperature * np.log1p(np.exp(-np.sign(t[i] - t[j]) * (p[i] - p[j]) / temperature))
        for t, p in zip(true, predicted, strict=True)
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


def test_of_ladders_whose_scores_are_not_known_the_order_alone_counts():
    loss, unknown = losses.LadderLoss(), [np.nan] * 5
    falling = float(loss(column(unknown), column([5, 4, 3, 2, 1])))
    assert float(loss(column(unknown), column([8, 7, 6, 5, 4]))) == pytest.approx(falling)
    assert float(loss(column(unknown), column([4, 5, 3, 2, 1]))) > falling + 0.1


def test_unknown_scores_change_neither_value_nor_correlation_of_the_others():
    rng = np.random.default_rng(2)
    true, predicted = rng.uniform(0, 9, 10), rng.uniform(0, 9, 10)
    both = [np.append(true, [np.nan] * 5), np.append(predicted, [9, 8, 7, 6, 5])]
    metric, alone = losses.LCC(), losses.LCC()
    metric.update_state(*map(column, both))
    alone.update_state(column(true), column(predicted))
    assert float(metric.result()) == pytest.approx(float(alone.result()))
    for loss in (losses.known_mse, losses.pearson_loss):
        assert float(loss(*map(column, both))) == pytest.approx(float(loss(column(true), column(predicted))), rel=1e-5)


RNG = np.random.default_rng(7)
TRUE, PREDICTED = (RNG.dirichlet(np.full(10, 0.7), 12) for _ in range(2))
VALUES = np.arange(1, 11)


def tensors(*arrays):
    return [ops.convert_to_tensor(np.asarray(array, np.float32)) for array in arrays]


def moments(histograms, order):
    means = histograms @ VALUES
    return np.sum(histograms * (VALUES - means[:, None]) ** order, axis=1)


def rms(difference):
    return np.sqrt(np.mean(difference**2))


def twins(true=TRUE, predicted=PREDICTED):
    """Losses and metrics by NumPy."""
    means, cdf = (true @ VALUES, predicted @ VALUES), np.cumsum(true, 1) - np.cumsum(predicted, 1)
    emd = np.mean(np.sqrt(np.mean(cdf**2, 1)))
    first, second = rms(means[0] - means[1]), rms(moments(true, 2) - moments(predicted, 2))
    r = np.corrcoef(*means)[0, 1]
    return {
        losses.emd: emd,
        losses.first_moment: first,
        losses.second_moment: second,
        losses.emd_and_moments: 50 * emd + 2 * first + second,
        losses.pearson_loss: 1 - r**2,
        "accuracy": np.mean(1 - np.abs(means[1] - means[0]) / means[0]),
        "binary_accuracy": np.mean(np.floor(means[0] / 5) == np.floor(means[1] / 5)),
        "lcc": r,
        "srcc": stats.spearmanr(*means).statistic,
    }


LOSSES = [loss for loss in twins() if callable(loss)]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.__name__)
def test_losses_of_histograms_are_their_numpy_twins(loss):
    assert float(loss(*tensors(TRUE, PREDICTED))) == pytest.approx(twins()[loss], rel=1e-4)


# One-hot, uniform, and with bins that nobody chose; each against itself too.
DEGENERATE = (np.eye(10)[[0, 5, 9]], np.full((3, 10), 0.1), np.tile([0.5, 0, 0.5, 0, 0, 0, 0, 0, 0, 0], (3, 1)))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.__name__)
def test_gradients_of_histogram_losses_are_finite_on_degenerate_histograms(loss):
    import tensorflow as tf

    for true, predicted in itertools.product(DEGENERATE, repeat=2):
        y_true, y_pred = tf.constant(true, tf.float32), tf.Variable(predicted, dtype=tf.float32)
        with tf.GradientTape() as tape:
            value = loss(y_true, y_pred)
        gradient = tape.gradient(value, y_pred)
        assert np.isfinite(float(value))
        assert gradient is None or np.isfinite(gradient.numpy()).all()


@pytest.mark.parametrize("batch_size", [16, 17, 5])
def test_metrics_of_an_epoch_are_means_over_images_whatever_the_batches(batch_size):
    rng = np.random.default_rng(3)
    true, predicted = (rng.dirichlet(np.full(10, 0.7), 17) for _ in range(2))
    true[16], predicted[16] = np.eye(10)[9], np.eye(10)[0]  # the image that has a batch for itself is the worst
    model = keras.Sequential([keras.Input((10,)), keras.layers.Rescaling(1.0)])
    means = map(losses.ImageMean, (losses.accuracy, losses.binary_accuracy))
    moments = (losses.squared_mean_difference, "first_moment"), (losses.squared_variance_difference, "second_moment")
    roots = (losses.ImageMean(*moment, root=True) for moment in moments)
    measured = [losses.ImageMean(losses.image_emd, "emd"), *means, *roots, losses.LCC(), losses.SRCC()]
    model.compile(loss=losses.emd, metrics=measured)
    figures = model.evaluate(*tensors(predicted, true), batch_size=batch_size, verbose=0, return_dict=True)
    expected = {getattr(name, "__name__", name): value for name, value in twins(true, predicted).items()}
    assert figures == pytest.approx(
        {name: expected[name] for name in figures if name != "loss"} | {"loss": expected["emd"]}, abs=1e-4
    )
    assert len(figures) == 8


def test_srcc_is_scipys_over_all_batches_with_ties_and_without_what_is_not_known():
    rng = np.random.default_rng(4)
    true, predicted = rng.integers(0, 9, 1000).astype(float), rng.normal(size=1000).round(1)
    predicted = (predicted + true / 3).astype(np.float32)
    true[5:9] = np.nan
    metric = losses.SRCC()
    for start in range(0, 1000, 90):
        metric.update_state(column(true[start : start + 90]), column(predicted[start : start + 90]))
    known = ~np.isnan(true)
    assert float(metric.result()) == pytest.approx(stats.spearmanr(true[known], predicted[known]).statistic, abs=1e-6)
    alike = losses.SRCC()
    alike.update_state(column([1, 2, 3]), column([4, 4, 4]))
    assert float(alike.result()) == 0


def test_srcc_is_that_of_the_last_pictures_and_of_the_means_of_their_patches():
    true, predicted = np.arange(30.0), np.r_[np.arange(20.0)[::-1], np.arange(10.0)]
    metric, patches = losses.SRCC(capacity=10), losses.SRCC(patches=2)
    for start in range(0, 30, 6):
        metric.update_state(column(true[start : start + 6]), column(predicted[start : start + 6]))
    assert float(metric.result()) == pytest.approx(1)
    patches.update_state(column([1, 1, 2, 2, 3, 3]), column([9, 0, 4, 4, 1, 0]))  # means 4.5, 4, 0.5
    assert float(patches.result()) == pytest.approx(-1)


@pytest.mark.parametrize("middle", [3, 5.5, 8])
@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4, 0])
def test_the_lcc_of_a_network_that_hardly_tells_pictures_apart_is_that_of_numpy(middle, spread):
    rng = np.random.default_rng(0)
    t = rng.uniform(3, 8, (24, 1)).astype(np.float32)
    p = (middle + spread * rng.standard_normal((24, 1))).astype(np.float32)
    metric = losses.LCC()
    for part in (slice(0, 12), slice(12, 20), slice(20, 24)):
        metric.update_state(t[part], p[part])
    expected = np.corrcoef(t[:, 0].astype(float), p[:, 0].astype(float))[0, 1] if spread else 0
    assert float(metric.result()) == pytest.approx(expected, abs=5e-3)
