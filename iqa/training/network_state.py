"""What is set before a network is built, which of its layers are trained, and what its optimizer does."""

from typing import Any

import keras

from iqa.models.settings import settle


def prepare(seed: int, mixed_precision: bool = False) -> None:
    """Settle what must be known before a network is built: the seed, and 16 bits, float16 on GPUs, else bfloat16."""
    settle()
    keras.utils.set_random_seed(seed)
    if mixed_precision:
        on_cpus = all("cpu" in device.lower() for device in keras.distribution.list_devices())
        keras.mixed_precision.set_global_policy("mixed_bfloat16" if on_cpus else "mixed_float16")


def set_frozen(model: keras.Model, head: str, frozen: bool, keep_normalisation: bool) -> None:
    """Freeze or unfreeze the backbone of a flat model: what comes before the layer `head`.

    With `keep_normalisation` batch normalisation is never trained: the statistics of a few ladders of a few scenes are
    worse than those of ImageNet, and a step takes half the time. A backbone of random weights has none to keep.
    """
    first = [layer.name for layer in model.layers].index(head)
    for number, layer in enumerate(model.layers):
        kept = keep_normalisation and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not kept and (number >= first or not frozen)


def is_frozen(model: keras.Model, head: str) -> bool:
    """Whether no layer before the head is trained."""
    first = [layer.name for layer in model.layers].index(head)
    return not any(layer.trainable and layer.trainable_weights for layer in model.layers[:first])


def own_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer that a model was compiled with; in 16 bits Keras wraps it to scale the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def learning_rate_of(model: keras.Model) -> float:
    """The learning rate of the next step, to six digits: float32 cannot hold 0.001."""
    return float(f"{float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)):.6g}")


def optimizer_config(model: keras.Model) -> dict[str, Any] | None:
    """The configuration of the optimizer as JSON holds it; None if a schedule of its own cannot say how it was made."""
    try:
        return keras.optimizers.serialize(own_optimizer(model))
    except NotImplementedError:
        return None


def decay_of(model: keras.Model) -> str | None:
    """The class of the learning rate schedule that the optimizer follows; None for a plain rate."""
    rate = (optimizer_config(model) or {"config": {"learning_rate": {"class_name": "schedule"}}})["config"]["learning_rate"]
    return str(rate["class_name"]) if isinstance(rate, dict) else None


def decay_over(rate: float, steps: int, cosine: bool, large_batch: int | None = None) -> Any:
    """The learning rate of a phase of so many steps: a number, or a schedule of Keras.

    With `cosine` it falls to 0 as half a period of one does (Loshchilov, Hutter, "SGDR", ICLR 2017, arXiv:1608.03983). For
    a `large_batch` Adam's rate grows as the square root of its images does (Malladi et al., "On the SDEs and scaling rules
    for adaptive gradient algorithms", NeurIPS 2022): it rises from that of batches of 16 through 500 steps, half an epoch
    of AVA in batches of 256, or a half of the phase if that is less.
    """
    schedules = keras.optimizers.schedules
    if not large_batch:
        return schedules.CosineDecay(rate, steps) if cosine else rate
    highest, rising = rate * (large_batch / 16) ** 0.5, max(1, min(500, steps // 2))
    if cosine:
        return schedules.CosineDecay(rate, max(1, steps - rising), warmup_target=highest, warmup_steps=rising)
    return schedules.PolynomialDecay(rate, rising, highest)  # which stays there
