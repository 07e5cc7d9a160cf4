"""The learning rate range test: how the loss of a few steps moves while the learning rate rises.

The loss of a batch is divided by that of the untouched network on the same batch: batches differ by more than a few steps
change.

Leslie N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, arXiv:1506.01186, section 3.3.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from iqa.errors import UsageError
from iqa.training.batches import Batch, Batches
from iqa.training.devices import over_replicas, strategy_of
from iqa.training.network_state import own_optimizer, set_frozen
from iqa.training.trainer import Trainer

#: Weight of the past in the smoothed loss.
SMOOTHING = 0.8

#: The test ends when the smoothed loss is this many times its lowest value.
DIVERGED = 4.0

#: Steps before which neither the lowest loss counts nor a rise ends the test: the mean is of too few.
FIRST = 5


@dataclass(frozen=True)
class RateRange:
    """What a range test found.

    Attributes:
        rates, losses: of each step; the losses are shares of those of the untouched network, and smoothed.
        lowest: the rate at which the smoothed loss was lowest.
        suggested: a tenth of it: the loss still falls well there, and is far from where it rises again.
    """

    rates: list[float]
    losses: list[float]

    @property
    def lowest(self) -> float:
        place = min(FIRST, len(self.losses) - 1)
        return self.rates[place + int(np.argmin(self.losses[place:]))]

    @property
    def suggested(self) -> float:
        return float(f"{self.lowest / 10:.1g}")

    @property
    def falls(self) -> bool:
        """Whether the loss fell at all, by more than a hundredth."""
        return min(self.losses) < 0.99


def spread_rates(lowest: float, highest: float, steps: int) -> list[float]:
    """Rates from the lowest to the highest, each the same factor above the one before.

    Raises:
        UsageError: if they are no range, or the steps are too few.
    """
    if not 0 < lowest < highest < math.inf:
        raise UsageError(f"the rates must rise from above 0, got {lowest:g} to {highest:g}")
    if steps < 2 * FIRST:
        raise UsageError(f"a range test needs at least {2 * FIRST} steps, got {steps}")
    return [float(rate) for rate in np.geomspace(lowest, highest, steps)]


def try_rates(rates: list[float], step: Callable[[float], float]) -> RateRange:
    """Take a step at each rate until the loss diverges.

    Args:
        step: function (rate) -> the loss of a batch, as a share of that before the test, after which the weights have moved
            at that rate.
    """
    tried: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for number, rate in enumerate(rates, start=1):
        loss = step(rate)
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        tried.append(rate)
        losses.append(mean / (1 - SMOOTHING**number))  # without this the first means would lean to 0
        if number > FIRST and losses[-1] > DIVERGED * min(losses):
            break
    if not losses:
        raise UsageError(f"the loss is not finite at a learning rate of {rates[0]:g}")
    return RateRange(tried, losses)


def copy_network(trainer: Trainer, frozen: bool) -> keras.Model:
    """A copy of the network with the trainer's loss and an Adam of its own: training it moves nothing else."""
    model = trainer.model
    with strategy_of(model).scope():
        copied = keras.models.clone_model(keras.Model(model.inputs, model.outputs))
        copied.set_weights(model.get_weights())
        pretrained = trainer.card.backbone.backbone_weights != "none"
        set_frozen(copied, trainer.objective.head, frozen, keep_normalisation=pretrained)
        copied.compile(keras.optimizers.Adam(1e-3), loss=over_replicas(trainer.objective.loss, copied))
    return copied


def _draw_batches(data: Batches) -> Iterator[Batch]:
    """Batches without end, epoch after epoch, of a copy of the data: its own epochs go on where they were."""
    drawn = copy.copy(data)
    while True:
        for index in range(drawn.steps):
            yield drawn[index]
        drawn.epoch += 1


def measure_range(trainer: Trainer, rates: list[float], frozen: bool) -> RateRange:
    """The range test of a trainer's network on its training data; leaves its weights and its optimizer as they are.

    Raises:
        Interrupted: after Ctrl-C.
        ImageError: naming an image that cannot be read.
    """
    network = copy_network(trainer, frozen)
    optimizer, batches = own_optimizer(network), _draw_batches(trainer.train_data)

    def measure(model: keras.Model, pixels: Any, labels: Any) -> float:
        predicted = keras.ops.convert_to_tensor(model.predict_on_batch(pixels))
        return float(keras.ops.convert_to_numpy(trainer.objective.loss(keras.ops.convert_to_tensor(labels), predicted)))

    def step(rate: float) -> float:
        trainer.interrupt.check()
        batch = next(batches)
        share = measure(network, *batch) / measure(trainer.model, *batch)
        optimizer.learning_rate = rate
        network.train_on_batch(*batch)
        return share

    return try_rates(rates, step)
