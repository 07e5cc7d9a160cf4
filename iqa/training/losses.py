"""Keras losses and metrics of mean opinion scores (N, 1), or of histograms (N, 10) of shares, whose means are their scores.

A score that is NaN is not known: `LadderLoss`, `known_mse` and the metrics leave it out.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import stats

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


# Metrics: means over the images of an epoch, whatever its batches, and correlations over all of them.


class ImageMean(keras.metrics.Mean):
    """The mean over images of a function (y_true, y_pred) -> (N,), or the `root` of that, for a root mean square."""

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None, root: bool = False) -> None:
        super().__init__(name=name or function.__name__)
        self.function, self.root = function, root

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = ops.cast(y_true, y_pred.dtype)
        unknown, values = ops.isnan(scores_of(y_true)), self.function(y_true, y_pred)
        super().update_state(ops.where(unknown, 0.0, values), 1 - ops.cast(unknown, self.dtype))

    def result(self) -> Any:
        mean = super().result()
        return ops.sqrt(mean) if self.root else mean

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "function": self.function, "root": self.root}


class LCC(keras.metrics.Metric):
    """Pearson's linear correlation coefficient over the whole epoch, which is not the mean of that of its batches.

    With `patches` above 1 it is that of pictures, each scored by the mean over so many consecutive patches.
    """

    def __init__(self, name: str = "lcc", patches: int = 1) -> None:
        super().__init__(name=name)
        self.patches = patches
        # Means of t, p in the first batch; sums of 1, t, p, t^2, p^2, tp less these, or float32 cancels and r passes 1.
        self.sums = self.add_weight(shape=(8,), initializer="zeros", name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        t, p = (picture_means(scores_of(ops.cast(y, self.dtype)), self.patches)[:, 0] for y in (y_true, y_pred))
        known = 1 - ops.cast(ops.isnan(t), t.dtype)
        t, p = ops.where(ops.isnan(t), 0.0, t), known * p
        first = ops.stack([ops.sum(t), ops.sum(p)]) / ops.maximum(ops.sum(known), 1)
        first = ops.where(self.sums[2] > 0, self.sums[:2], first)
        t, p = known * (t - first[0]), known * (p - first[1])
        terms = ops.stack([ops.sum(term) for term in (known, t, p, t * t, p * p, t * p)])
        self.sums.assign(ops.concatenate([first, self.sums[2:] + terms]))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "patches": self.patches}

    def result(self) -> Any:
        _, t, p, tt, pp, tp = ops.unstack(self.sums[2:] / ops.maximum(self.sums[2], 1))
        return (tp - t * p) / ops.sqrt(ops.maximum(tt - t * t, 0) * ops.maximum(pp - p * p, 0) + EPSILON**2)


class SRCC(keras.metrics.Metric):
    """Spearman's rank correlation coefficient of the pictures of an epoch: the last `capacity` of them, if there are more.

    In the middle of an epoch, where Keras asks for every metric at every step, it is that of the last 256 pictures
    alone; at the end it is exact. For `patches` see `LCC`.
    """

    def __init__(self, name: str = "srcc", patches: int = 1, capacity: int = 4096) -> None:
        super().__init__(name=name)
        self.patches, self.capacity = patches, capacity
        # Rows of t, p, and 1 where t is known.
        self.rows = self.add_weight(shape=(capacity, 3), initializer="zeros", name="rows")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        t, p = (picture_means(scores_of(ops.cast(y, self.dtype)), self.patches)[:, 0] for y in (y_true, y_pred))
        known = 1 - ops.cast(ops.isnan(t), t.dtype)
        rows = ops.stack([ops.where(ops.isnan(t), 0.0, t), p, known], axis=1)
        places = self._places(ops.arange(ops.shape(t)[0], dtype="int32"))
        self.rows.assign(ops.scatter_update(self.rows, places[:, None], rows))
        self.count.assign(self.count + ops.cast(ops.shape(t)[0], self.dtype))

    def _places(self, following: Any) -> Any:  # of pictures: 0 for the next one, -1 for the last
        return (ops.cast(self.count, "int32") + following) % self.capacity

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "patches": self.patches, "capacity": self.capacity}

    def result(self) -> Any:
        try:
            t, p, known = ops.convert_to_numpy(ops.convert_to_tensor(self.rows)).T
        except (AttributeError, NotImplementedError, TypeError):  # Keras traces a step: there are no numbers yet
            return self._estimate()
        t, p = t[known > 0], p[known > 0]
        varies = len(t) > 1 and np.ptp(t) != 0 and np.ptp(p) != 0  # else 0, as LCC; NaN where a prediction is none
        figure = (stats.spearmanr(t, p).statistic if varies else 0.0) if np.isfinite(p).all() else math.nan
        return ops.convert_to_tensor(figure, dtype=self.dtype)

    def _estimate(self) -> Any:  # ranks by comparing each with each
        places = self._places(-1 - ops.arange(min(256, self.capacity), dtype="int32"))
        t, p, known = ops.unstack(ops.take(self.rows, places, axis=0), axis=1)
        ranks = [ops.sum(ops.sign(x[:, None] - x[None, :]) * known[None, :], axis=1) * known for x in (t, p)]
        products = [ops.sum(ranks[i] * ranks[j]) for i, j in ((0, 1), (0, 0), (1, 1))]
        return products[0] / ops.sqrt(products[1] * products[2] + EPSILON**2)


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 - |predicted - true| / true, of the mean scores."""
    true = scores_of(y_true)
    return 1 - ops.abs(scores_of(y_pred) - true) / true


def binary_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the predicted and the true mean score lie on the same side of 5 (or of 10), else 0."""
    same = ops.equal(ops.floor(scores_of(y_true) / 5 + 1e-6), ops.floor(scores_of(y_pred) / 5 + 1e-6))
    return ops.cast(same, y_pred.dtype)


def squared_mean_difference(y_true: Any, y_pred: Any) -> Any:
    """(true - predicted)^2 of the scores, or of the means of histograms."""
    return (scores_of(y_true) - scores_of(y_pred)) ** 2


def squared_variance_difference(y_true: Any, y_pred: Any) -> Any:
    """(true - predicted)^2 of the variances of histograms."""
    return (histogram_variance(y_true) - histogram_variance(y_pred)) ** 2
