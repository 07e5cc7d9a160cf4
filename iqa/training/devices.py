"""What must be set before a model is built: the seed, 16 bits, several GPUs (`--strategy mirrored`)."""

from collections.abc import Callable
from typing import Any

import keras

from iqa.errors import UsageError
from iqa.models.settings import settle


def prepare(seed: int, strategy: str | None = None, mixed_precision: bool = False) -> None:
    """Settle for the whole process what must be known before a model is built.

    Args:
        seed: of Python, NumPy and the backend.
        strategy: "mirrored": TensorFlow's `MirroredStrategy` on all GPUs of the machine, else on all logical CPUs.
        mixed_precision: compute in float16 on GPUs, else in bfloat16.

    Raises:
        UsageError: if the strategy does not fit the backend.
    """
    settle()
    keras.utils.set_random_seed(seed)
    if strategy and keras.backend.backend() != "tensorflow":
        raise UsageError(f"--strategy {strategy} needs KERAS_BACKEND=tensorflow")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_logical_devices("GPU")
        if strategy:
            devices = gpus or tf.config.list_logical_devices("CPU")
            tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy([device.name for device in devices]))
    else:
        gpus = [device for device in keras.distribution.list_devices() if "cpu" not in device]
    if mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_float16" if gpus else "mixed_bfloat16")


def place_among_replicas() -> tuple[Any, int]:
    """(number of the replica that computes, how many there are) within a step of a strategy; (0, 1) elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return (context.replica_id_in_sync_group, context.num_replicas_in_sync) if context else (0, 1)


def over_replicas(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The loss of the whole batch on every replica, each of which sees a part of it.

    Correlation, moments and ranking are not means over images: those of the parts do not make that of the whole. Keras
    adds up losses and gradients of the replicas, and divides only a loss for each row by their number.
    """
    if keras.backend.backend() != "tensorflow":
        return loss
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return loss

    def whole(y_true: Any, y_pred: Any) -> Any:
        context = tf.distribute.get_replica_context()
        if context is None:  # Keras tries the loss out on symbols, outside the replicas
            return loss(y_true, y_pred) / replicas
        return loss(*(context.all_gather(tf.convert_to_tensor(y), axis=0) for y in (y_true, y_pred))) / replicas

    return whole
