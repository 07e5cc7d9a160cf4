"""The learning rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3).

The loss of a batch is divided by that of the untouched network on it: batches differ by more than a few steps change.
"""

import math
from typing import Any

import keras
import numpy as np

from iqa.errors import UsageError
from iqa.training.network_state import own_optimizer, set_frozen
from iqa.training.trainer import HEAD, Trainer

#: Weight of the past in the smoothed loss; how many times its lowest value ends the test; the steps before which neither
#: the lowest loss counts nor a rise ends the test: the mean is of too few.
SMOOTHING, DIVERGED, FIRST = 0.8, 4.0, 5


def measure_rates(
    trainer: Trainer, lowest: float, highest: float, steps: int, frozen: bool
) -> tuple[list[float], list[float], float]:
    """Train a copy of a trainer's network at rates that rise by the same factor, until the loss diverges.

    Returns of each step the rate, and the smoothed loss as a share of the untouched network's; then the rate of the lowest
    loss. Raises a `UsageError` if the rates are no range, the steps are fewer than 10, or no loss is finite.
    """
    if not 0 < lowest < highest < math.inf:
        raise UsageError(f"the rates must rise from above 0, got {lowest:g} to {highest:g}")
    if steps < 2 * FIRST:
        raise UsageError(f"a range test needs at least {2 * FIRST} steps, got {steps}")
    network, data = keras.models.clone_model(keras.Model(trainer.model.inputs, trainer.model.outputs)), trainer.train_data
    network.set_weights(trainer.model.get_weights())
    set_frozen(network, HEAD, frozen, keep_normalisation=trainer.pretrained)
    network.compile(keras.optimizers.Adam(1e-3), loss=trainer.loss)

    def measure(model: keras.Model, pixels: Any, labels: Any) -> float:
        predicted = keras.ops.convert_to_tensor(model.predict_on_batch(pixels))
        return float(keras.ops.convert_to_numpy(trainer.loss(keras.ops.convert_to_tensor(labels), predicted)))

    rates: list[float] = []
    losses: list[float] = []
    mean, epoch = 0.0, data.epoch
    try:
        for number, rate in enumerate(map(float, np.geomspace(lowest, highest, steps)), start=1):
            trainer.interrupt.check()
            data.epoch, index = epoch + (number - 1) // data.steps, (number - 1) % data.steps
            batch = data[index]
            loss = measure(network, *batch) / measure(trainer.model, *batch)
            if not math.isfinite(loss):
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            rates.append(rate)
            losses.append(mean / (1 - SMOOTHING**number))  # without this the first means would lean to 0
            if number > FIRST and losses[-1] > DIVERGED * min(losses):
                break
            own_optimizer(network).learning_rate = rate
            network.train_on_batch(*batch)
    finally:
        data.epoch = epoch
    if not losses:
        raise UsageError("the loss is not finite before the first step")
    first = min(FIRST, len(losses) - 1)
    return rates, losses, rates[first + int(np.argmin(losses[first:]))]
