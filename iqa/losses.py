"""Keras losses and training metrics, written with `keras.ops` alone, so that every backend of Keras can use them.

All take `y_true` and `y_pred` of shape (N, 1) or (N,), mean opinion scores.
"""

import keras
from keras import ops

# r is a quotient of deviations: of a batch without any, the gradient would not be finite.
EPSILON = 1e-6


def pearson_correlation(y_true, y_pred):
    """Pearson's correlation r of the scores in a batch, a scalar in -1..1; 0 where either side does not vary."""
    y_true, y_pred = ops.reshape(y_true, (-1,)), ops.reshape(y_pred, (-1,))
    true = y_true - ops.mean(y_true)
    predicted = y_pred - ops.mean(y_pred)
    covariance = ops.mean(true * predicted)
    return covariance / ops.sqrt(ops.mean(true**2) * ops.mean(predicted**2) + EPSILON**2)


@keras.saving.register_keras_serializable("iqa")
def pearson_loss(y_true, y_pred):
    """1 - r^2, r the Pearson correlation of the scores in the batch."""
    return 1 - pearson_correlation(ops.cast(y_true, y_pred.dtype), y_pred) ** 2


@keras.saving.register_keras_serializable("iqa")
def mse_and_pearson(y_true, y_pred):
    """Mean squared error + (1 - r^2): right in value and in order."""
    y_true = ops.cast(ops.reshape(y_true, ops.shape(y_pred)), y_pred.dtype)
    return ops.mean((y_true - y_pred) ** 2) + pearson_loss(y_true, y_pred)


@keras.saving.register_keras_serializable("iqa")
class LadderLoss(keras.losses.Loss):
    """`mse_and_pearson`, and a penalty on every pair of one ladder that is ranked wrongly or too close to call.

    A batch holds whole ladders, `steps` consecutive images of one scene each. For two of them whose labels differ,
    with d the difference of their predictions in the direction of the labels, the penalty is the logistic loss of
    ranking by pairs (Burges et al., "Learning to rank using gradient descent", ICML 2005): T log(1 + exp(-d / T)).

    Args:
        steps: images a ladder.
        weight: of the ranking term.
        temperature: T, in units of the score: how far apart two images should be for the penalty to fade.
    """

    def __init__(self, steps=5, weight=2.0, temperature=0.15, name="ladder_loss", **kwargs):
        super().__init__(name=name, reduction="mean", **kwargs)
        self.steps, self.weight, self.temperature = steps, weight, temperature

    def call(self, y_true, y_pred):
        whole = ops.shape(y_pred)[0] // self.steps * self.steps  # what is left over at the end has no pairs
        true, predicted = (ops.reshape(ops.cast(y[:whole], y_pred.dtype), (-1, self.steps)) for y in (y_true, y_pred))
        direction = ops.sign(true[:, :, None] - true[:, None, :])
        difference = direction * (predicted[:, :, None] - predicted[:, None, :])
        pairs = ops.abs(direction)
        penalty = self.temperature * ops.softplus(-difference / self.temperature) * pairs
        ranking = ops.sum(penalty) / ops.maximum(ops.sum(pairs), 1)
        return mse_and_pearson(y_true, y_pred) + self.weight * ranking

    def get_config(self):
        own = {"steps": self.steps, "weight": self.weight, "temperature": self.temperature}
        return {"name": self.name, **own}


@keras.saving.register_keras_serializable("iqa")
class LCC(keras.metrics.Metric):
    """Pearson's linear correlation coefficient over the whole epoch, which is not the mean of that of its batches."""

    def __init__(self, name="lcc", **kwargs):
        super().__init__(name=name, **kwargs)
        # Sums of 1, t, p, t^2, p^2, tp. Scores stay below 10, so that float32 sums over an epoch lose nothing that
        # shows in three digits.
        self.sums = self.add_weight(shape=(6,), initializer="zeros", name="sums")

    def update_state(self, y_true, y_pred, sample_weight=None):
        t = ops.cast(ops.reshape(y_true, (-1,)), self.dtype)
        p = ops.cast(ops.reshape(y_pred, (-1,)), self.dtype)
        terms = (ops.ones_like(t), t, p, t * t, p * p, t * p)
        self.sums.assign(self.sums + ops.stack([ops.sum(term) for term in terms]))

    def result(self):
        _, t, p, tt, pp, tp = ops.unstack(self.sums / ops.maximum(self.sums[0], 1))
        variances = ops.maximum(tt - t * t, 0) * ops.maximum(pp - p * p, 0)
        return (tp - t * p) / ops.sqrt(variances + EPSILON**2)
