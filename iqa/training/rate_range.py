"""The learning rate range test: how the loss of a few steps moves while the learning rate rises.

The loss of a batch is divided by that of the untouched network on the same batch: batches differ by more than a few steps
change.

Leslie N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, arXiv:1506.01186, section 3.3.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from iqa.errors import UsageError
from iqa.training.devices import over_replicas
from iqa.training.network_state import own_optimizer, set_frozen
from iqa.training.trainer import HEAD, Trainer

#: Weight of the past in the smoothed loss; how many times its lowest value ends the test.
SMOOTHING, DIVERGED = 0.8, 4.0

#: Steps before which neither the lowest loss counts nor a rise ends the test: the mean is of too few.
FIRST = 5


class RateRange(NamedTuple):
    """What a range test found: of each step the rate, and the smoothed loss as a share of the untouched network's."""

    rates: list[float]
    losses: list[float]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss was lowest."""
        place = min(FIRST, len(self.losses) - 1)
        return self.rates[place + int(np.argmin(self.losses[place:]))]

    @property
    def suggested(self) -> float:
        """A tenth of the lowest: the loss still falls well there, and is far from where it rises again."""
        return float(f"{self.lowest / 10:.1g}")

    @property
    def falls(self) -> bool:
        """Whether the loss fell at all, by more than a hundredth."""
        return min(self.losses) < 0.99


def try_rates(lowest: float, highest: float, steps: int, step: Callable[[float], float]) -> RateRange:
    """Take steps at rates that rise by the same factor, until the loss diverges.

    Args:
        lowest, highest: rates of the first and the last step.
        steps: at least 10.
        step: function (rate) -> the loss of a batch, as a share of that before the test, after which the weights have moved
            at that rate.

    Raises:
        UsageError: if the rates are no range, the steps are too few, or no loss is finite.
    """
    if not 0 < lowest < highest < math.inf:
        raise UsageError(f"the rates must rise from above 0, got {lowest:g} to {highest:g}")
    if steps < 2 * FIRST:
        raise UsageError(f"a range test needs at least {2 * FIRST} steps, got {steps}")
    found, mean = RateRange([], []), 0.0
    for number, rate in enumerate(map(float, np.geomspace(lowest, highest, steps)), start=1):
        loss = step(rate)
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.rates.append(rate)
        found.losses.append(mean / (1 - SMOOTHING**number))  # without this the first means would lean to 0
        if number > FIRST and found.losses[-1] > DIVERGED * min(found.losses):
            break
    if not found.losses:
        raise UsageError(f"the loss is not finite at a learning rate of {lowest:g}")
    return found


def measure_rates(trainer: Trainer, lowest: float, highest: float, steps: int, frozen: bool) -> RateRange:
    """The range test of a copy of a trainer's network on its training data; leaves the network as it is.

    Raises:
        Interrupted: after Ctrl-C.
        ImageError: naming an image that cannot be read.
    """
    network, data = keras.models.clone_model(keras.Model(trainer.model.inputs, trainer.model.outputs)), trainer.train_data
    network.set_weights(trainer.model.get_weights())
    set_frozen(network, HEAD, frozen, keep_normalisation=trainer.pretrained)
    network.compile(keras.optimizers.Adam(1e-3), loss=over_replicas(trainer.loss))
    batches, epoch = _draw_batches(data), data.epoch

    def measure(model: keras.Model, pixels: Any, labels: Any) -> float:
        predicted = keras.ops.convert_to_tensor(model.predict_on_batch(pixels))
        return float(keras.ops.convert_to_numpy(trainer.loss(keras.ops.convert_to_tensor(labels), predicted)))

    def step(rate: float) -> float:
        trainer.interrupt.check()
        batch = next(batches)
        share = measure(network, *batch) / measure(trainer.model, *batch)
        own_optimizer(network).learning_rate = rate
        network.train_on_batch(*batch)
        return share

    try:
        return try_rates(lowest, highest, steps, step)
    finally:
        data.epoch = epoch


def _draw_batches(data: Any) -> Iterator[Any]:
    """Batches without end, epoch after epoch."""
    while True:
        yield from (data[index] for index in range(data.steps))
        data.epoch += 1
