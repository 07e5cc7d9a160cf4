"""A Keras model beside its weights: which layers are trained, the optimizer, random generators, metrics."""

from typing import Any

import keras
import numpy as np


def is_finite(model: keras.Model) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(np.isfinite(weight).all() for weight in model.get_weights())


def set_frozen(model: keras.Model, head: str, frozen: bool, keep_normalisation: bool) -> None:
    """Freeze or unfreeze the backbone.

    Args:
        model: flat.
        head: the name of the head's first layer; from there on all layers are trained.
        frozen: whether to freeze the layers before the head.
        keep_normalisation: never train batch normalisation. The statistics of a few ladders of a few
            scenes are worse than those of ImageNet, and a step takes half the time. A backbone of random weights has none
            to keep, and nothing normalises it but training.
    """
    first = _head_at(model, head)
    for number, layer in enumerate(model.layers):
        kept = keep_normalisation and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not kept and (number >= first or not frozen)


def is_frozen(model: keras.Model, head: str) -> bool:
    """Whether no layer before the head is trained."""
    return not any(layer.trainable and layer.trainable_weights for layer in model.layers[: _head_at(model, head)])


def _head_at(model: keras.Model, head: str) -> int:
    return [layer.name for layer in model.layers].index(head)


def own_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer that a model was compiled with; in 16 bits Keras wraps it to scale the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def optimizer_config(model: keras.Model) -> dict[str, Any] | None:
    """The configuration of the optimizer as JSON holds it; None if it has none."""
    try:
        return keras.optimizers.serialize(model.optimizer)
    except NotImplementedError:
        return None


def optimizer_from(config: dict[str, Any] | None) -> keras.optimizers.Optimizer:
    """The optimizer of an `optimizer_config`, without the wrapper that scales the loss.

    Raises:
        ValueError: if it is none of Keras's optimizers, nor one that this process registered with Keras.
    """
    if not config or not _is_of_keras(config):
        raise ValueError("not an optimizer that is known here")
    try:
        optimizer = keras.optimizers.deserialize(config)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not an optimizer that is known here ({error})") from None
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError("not an optimizer")
    return optimizer


def _is_of_keras(config: Any) -> bool:
    """Whether a configuration builds nothing but optimizers and their schedules: Keras would build other things too."""
    if isinstance(config, list):
        return all(_is_of_keras(part) for part in config)
    if not isinstance(config, dict):
        return True
    if "class_name" in config:
        known = config.get("module") in ("keras.optimizers", "keras.optimizers.schedules")
        if not known and keras.saving.get_registered_object(str(config.get("registered_name"))) is None:
            return False
    return all(_is_of_keras(part) for part in config.values())


def decay_config(model: keras.Model) -> dict[str, Any] | None:
    """The configuration of the learning rate schedule that the optimizer follows; None for a plain rate."""
    try:
        rate = own_optimizer(model).get_config()["learning_rate"]
    except NotImplementedError:  # of a schedule that cannot say how it was made
        return {"class_name": "schedule"}
    return rate if isinstance(rate, dict) else None


def learning_rate_of(model: keras.Model) -> float:
    """The learning rate of the next step, to six digits: float32 cannot hold 0.001."""
    return float(f"{float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)):.6g}")


def generators_of(model: keras.Model) -> list[Any]:
    """The states of the random generators of dropout and noise, which no weight file holds."""
    return [keras.ops.convert_to_numpy(layer.seed_generator.state).tolist() for layer in _random_layers(model)]


def restore_generators(model: keras.Model, states: list[Any]) -> bool:
    """Restore what `generators_of` returned; False if it is of another model."""
    try:
        for layer, state in zip(_random_layers(model), states, strict=True):
            layer.seed_generator.state.assign(np.array(state, np.uint32))
    except (OverflowError, TypeError, ValueError):  # other numbers, texts, another count
        return False
    return True


def pace_of(model: keras.Model) -> tuple[list[Any], int]:
    """What a step changes even if its data is missing: the random generators, and the optimizer's count of steps."""
    return generators_of(model), int(keras.ops.convert_to_numpy(own_optimizer(model).iterations))


def restore_pace(model: keras.Model, pace: tuple[list[Any], int]) -> None:
    """Restore what `pace_of` returned."""
    restore_generators(model, pace[0])
    own_optimizer(model).iterations.assign(pace[1])


def _random_layers(model: keras.Model) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, "seed_generator")]


def metrics_of(model: keras.Model) -> list[Any]:
    """The values of the variables of the loss and the metrics, as nested lists."""
    return [keras.ops.convert_to_numpy(variable).tolist() for variable in model.metrics_variables]


def restore_metrics(model: keras.Model, values: list[Any]) -> bool:
    """Restore what `metrics_of` returned; False if the model is compiled with other metrics."""
    variables = model.metrics_variables
    try:
        arrays = [np.asarray(value, np.float64) for value in values]
    except (TypeError, ValueError):  # texts, or rows of several lengths
        return False
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        return False
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return True
