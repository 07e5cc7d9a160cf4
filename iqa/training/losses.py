"""Keras losses of mean opinion scores (N, 1) or histograms (N, 10) of shares that add to 1, whose means are their scores.

A score that is NaN is not known: `LadderLoss` and `known_mse` leave it out.
"""

from typing import Any

import keras
from keras import ops

#: r divides by deviations, and a root's slope is infinite at 0: without this their gradients would not be finite.
EPSILON = 1e-6


def scores_of(y: Any) -> Any:
    """The scores behind labels or predictions: the means of histograms (N, bins), or scores (N, 1) as they are: (N,)."""
    return histogram_mean(y) if len(y.shape) > 1 and y.shape[-1] > 1 else ops.reshape(y, (-1,))


def picture_means(scores: Any, patches: int) -> Any:
    """Scores (N * patches,) or (N * patches, 1) -> the mean over each picture's consecutive patches, (N, 1)."""
    return ops.mean(ops.reshape(scores, (-1, patches)), axis=1, keepdims=True)


def _mask_unknown(scores: Any) -> tuple[Any, Any]:
    known = 1 - ops.cast(ops.isnan(scores), scores.dtype)
    return known / ops.maximum(ops.sum(known), 1), ops.where(ops.isnan(scores), 0.0, scores)


def pearson_loss(y_true: Any, y_pred: Any) -> Any:
    """1 - r^2, r Pearson's correlation of the scores in the batch, which is 0 where either side does not vary."""
    shares, true = _mask_unknown(scores_of(ops.cast(y_true, y_pred.dtype)))
    predicted = scores_of(y_pred)
    true = true - ops.sum(shares * true)
    predicted = predicted - ops.sum(shares * predicted)
    covariance = ops.sum(shares * true * predicted)
    deviations = ops.sqrt(ops.sum(shares * true**2) * ops.sum(shares * predicted**2) + EPSILON**2)
    return 1 - (covariance / deviations) ** 2


def known_mse(y_true: Any, y_pred: Any) -> Any:
    """Mean squared error of the scores that are known; 0 if there are none."""
    shares, true = _mask_unknown(scores_of(ops.cast(y_true, y_pred.dtype)))
    return ops.sum(shares * (true - scores_of(y_pred)) ** 2)


class LadderLoss(keras.losses.Loss):
    """`known_mse` + `pearson_loss`, and a penalty on every pair of a ladder that is ranked wrongly or too close to call.

    A batch holds whole ladders: `steps` consecutive pictures of one scene, each as `patches` consecutive patches, whose
    mean is the prediction. For two pictures of a ladder whose labels differ, with d the difference of their predictions in
    the direction of the labels, the penalty is `weight` times T log(1 + exp(-d / T)), the logistic loss of ranking by pairs
    (Burges et al., "Learning to rank using gradient descent", ICML 2005); T, `temperature`, is in units of the score.
    Pictures whose score is not known, NaN, count in the penalty alone, as if each were worse than the one before it.
    """

    def __init__(self, steps: int = 5, weight: float = 2.0, temperature: float = 0.15, patches: int = 1) -> None:
        super().__init__(name="ladder_loss", reduction="mean")
        self.steps, self.weight, self.temperature, self.patches = steps, weight, temperature, patches

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = (picture_means(ops.cast(y, y_pred.dtype), self.patches) for y in (y_true, y_pred))
        whole = ops.shape(y_pred)[0] // self.steps * self.steps  # what is left over at the end has no pairs
        true, predicted = (ops.reshape(y[:whole], (-1, self.steps)) for y in (y_true, y_pred))
        true = ops.where(ops.isnan(true), -ops.arange(self.steps, dtype=true.dtype), true)
        direction = ops.sign(true[:, :, None] - true[:, None, :])
        difference = direction * (predicted[:, :, None] - predicted[:, None, :])
        pairs = ops.abs(direction)
        penalty = self.temperature * ops.softplus(-difference / self.temperature) * pairs
        ranking = ops.sum(penalty) / ops.maximum(ops.sum(pairs), 1)
        return known_mse(y_true, y_pred) + pearson_loss(y_true, y_pred) + self.weight * ranking


def histogram_mean(histogram: Any) -> Any:
    """The mean scores of histograms (N, bins), bins worth 1 ... bins: (N,)."""
    return ops.sum(histogram * ops.arange(1, histogram.shape[-1] + 1, dtype=histogram.dtype), axis=-1)


def histogram_variance(histogram: Any) -> Any:
    """The variances, second central moments, of histograms (N, bins): (N,)."""
    deviation = ops.arange(1, histogram.shape[-1] + 1, dtype=histogram.dtype) - histogram_mean(histogram)[:, None]
    return ops.sum(histogram * deviation**2, axis=-1)


def _root(square: Any) -> Any:
    return ops.sqrt(square + EPSILON**2)


def image_emd(y_true: Any, y_pred: Any) -> Any:
    """Earth mover's distance of each image, r = 2: sqrt(mean over bins of (CDF difference)^2), (N,).

    Talebi, Milanfar, "NIMA: Neural Image Assessment", IEEE TIP 27(8), 2018, eq. 1.
    """
    return _root(ops.mean(ops.cumsum(ops.cast(y_true, y_pred.dtype) - y_pred, axis=-1) ** 2, axis=-1))


def emd(y_true: Any, y_pred: Any) -> Any:
    """The mean of `image_emd` over the images of the batch."""
    return ops.mean(image_emd(y_true, y_pred))


def first_moment(y_true: Any, y_pred: Any) -> Any:
    """Root mean square difference of the mean scores in the batch."""
    return _root(ops.mean((histogram_mean(ops.cast(y_true, y_pred.dtype)) - histogram_mean(y_pred)) ** 2))


def second_moment(y_true: Any, y_pred: Any) -> Any:
    """Root mean square difference of the variances (second central moments) in the batch."""
    return _root(ops.mean((histogram_variance(ops.cast(y_true, y_pred.dtype)) - histogram_variance(y_pred)) ** 2))


def emd_and_moments(y_true: Any, y_pred: Any) -> Any:
    """50 EMD + 2 first_moment + second_moment: the loss of the vanilla model."""
    return 50 * emd(y_true, y_pred) + 2 * first_moment(y_true, y_pred) + second_moment(y_true, y_pred)
