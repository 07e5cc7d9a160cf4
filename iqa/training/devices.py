"""What must be set before a model is built: several GPUs (`--strategy mirrored`), 16 bits, the seed."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from iqa.errors import UsageError
from iqa.models.settings import settle


def prepare(seed: int, strategy: str | None = None, mixed_precision: bool = False) -> Any:
    """Set seed and precision, and open the strategy that models are built in; see `open_strategy`."""
    settle()
    keras.utils.set_random_seed(seed)
    opened = open_strategy(strategy)
    if mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_float16" if _on_gpu() else "mixed_bfloat16")
    return opened


def _on_gpu() -> bool:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return any("cpu" not in device for device in keras.distribution.list_devices())


def open_strategy(name: str | None) -> Any:
    """The `tf.distribute` strategy of `--strategy`: "mirrored" on all GPUs of the machine (else on all logical CPUs).

    Returns:
        An object whose `scope()` models are built in; for None one that does nothing.

    Raises:
        UsageError: for another backend than TensorFlow.
    """
    if name is None:
        return _NoStrategy()
    if keras.backend.backend() != "tensorflow":
        raise UsageError("--strategy mirrored needs KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


class _NoStrategy:
    num_replicas_in_sync = 1

    def scope(self) -> Any:
        return contextlib.nullcontext()


def strategy_of(model: keras.Model) -> Any:
    """The strategy that a model was built in; see `open_strategy`."""
    return getattr(model, "distribute_strategy", None) or _NoStrategy()


def over_replicas(loss: Callable[[Any, Any], Any], model: keras.Model) -> Callable[[Any, Any], Any]:
    """The loss of the whole batch on every replica, each of which sees a part of it.

    Correlation, moments and ranking are not means over images: those of the parts do not make that of the whole. Keras
    adds up losses and gradients of the replicas; it divides a loss a row by their number, but not one that is a single
    number already, as all of `iqa.training.losses` are.
    """
    replicas = strategy_of(model).num_replicas_in_sync
    if replicas == 1:
        return loss
    import tensorflow as tf

    def whole(y_true: Any, y_pred: Any) -> Any:
        context = tf.distribute.get_replica_context()
        if context is None:  # Keras tries the loss out on symbols, outside the replicas
            return loss(y_true, y_pred) / replicas
        return loss(*(context.all_gather(tf.convert_to_tensor(y), axis=0) for y in (y_true, y_pred))) / replicas

    return whole


def place_among_replicas() -> tuple[Any, int]:
    """(the number of the replica that computes, how many there are), within a step of a strategy; (0, 1) elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync
