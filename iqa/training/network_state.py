"""Which layers of a network are trained, and what its optimizer does."""

from typing import Any

import keras
import numpy as np


def set_frozen(model: keras.Model, head: str, frozen: bool, keep_normalisation: bool) -> None:
    """Freeze or unfreeze the backbone.

    Args:
        model: flat.
        head: the name of the head's first layer; from there on all layers are trained.
        frozen: whether to freeze the layers before the head.
        keep_normalisation: never train batch normalisation. The statistics of a few ladders of a few
            scenes are worse than those of ImageNet, and a step takes half the time. A backbone of random weights has none
            to keep.
    """
    first = [layer.name for layer in model.layers].index(head)
    for number, layer in enumerate(model.layers):
        kept = keep_normalisation and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not kept and (number >= first or not frozen)


def is_frozen(model: keras.Model, head: str) -> bool:
    """Whether no layer before the head is trained."""
    first = [layer.name for layer in model.layers].index(head)
    return not any(layer.trainable and layer.trainable_weights for layer in model.layers[:first])


def is_finite(model: keras.Model) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(np.isfinite(weight).all() for weight in model.get_weights())


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
