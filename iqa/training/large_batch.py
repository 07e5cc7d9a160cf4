"""`--large-batch`: batches of 256 in 16 bits, which keep a GPU busy, at a learning rate scaled and warmed up for them."""

from typing import Any

import keras

#: The batch that a large one replaces, and the large one.
SMALL, LARGE = 16, 256


def scale_rate(rate: float, batch_size: int, steps: int, cosine: bool = False) -> Any:
    """The learning rate schedule of a phase that was meant for batches of `SMALL`.

    Adam's learning rate grows as the square root of the batch does (Malladi et al., "On the SDEs and scaling rules for
    adaptive gradient algorithms", NeurIPS 2022). It rises from the small one through the first half of an epoch of AVA, 500
    steps, or a half of the phase if that is less.

    Args:
        steps: of the whole phase.
        cosine: whether it falls to 0 as a cosine after that.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.
    """
    highest, rising = rate * (batch_size / SMALL) ** 0.5, max(1, min(500, steps // 2))
    if cosine:
        return keras.optimizers.schedules.CosineDecay(
            rate, max(1, steps - rising), warmup_target=highest, warmup_steps=rising
        )
    return keras.optimizers.schedules.PolynomialDecay(rate, rising, highest)  # which stays there
