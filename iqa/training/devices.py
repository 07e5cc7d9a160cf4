"""What must be set before a model is built: several GPUs or machines (`--strategy`), 16 bits, the seed."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

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
    """The strategy of `--strategy`.

    Args:
        name: "mirrored": a `tf.distribute` strategy on all GPUs of the machine (else on all logical CPUs); "machines": see
            `join_machines`; None.

    Returns:
        An object whose `scope()` models are built in; for "machines" and None one that does nothing.

    Raises:
        UsageError: for another backend than the strategy needs.
    """
    if name == "machines":
        join_machines()
    if name in ("machines", None):
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


# --- several machines -------------------------------------------------------------------------------------------------

#: What says to Keras which of the machines this is.
MACHINE = "KERAS_DISTRIBUTION_PROCESS_ID"


def join_machines() -> None:
    """Wait for the other machines, and let Keras split each batch among the devices of all (`DataParallel`, on JAX).

    JAX computes loss, metrics and statistics of the whole batch, so they are those of one machine with the same batch.

    Raises:
        UsageError: for another backend than JAX, or if Keras is not told which machines there are.
    """
    if keras.backend.backend() != "jax":
        raise UsageError("--strategy machines needs KERAS_BACKEND=jax")
    needed = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", MACHINE)
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise UsageError(f"--strategy machines: set {', '.join(missing)} on each machine (see docs/machines.md)")
    keras.distribution.initialize()
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))


def place_among_machines() -> tuple[int, int, int]:
    """(the number of this machine, how many there are, how many devices they have together); (0, 1, 1) without others."""
    if keras.distribution.distribution() is None:
        return 0, 1, 1
    import jax

    return jax.process_index(), jax.process_count(), jax.device_count()


def own_part(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """This machine's rows of a batch: an equal share, in order.

    Raises:
        UsageError: if the devices of all machines cannot have the same number of rows.
    """
    number, machines, devices = place_among_machines()
    check_division(len(batch[0]), devices)
    rows = len(batch[0]) // machines
    return tuple(part[number * rows : (number + 1) * rows] for part in batch)


def check_division(pictures: int, devices: int) -> None:
    """Refuse a batch that cannot be split among devices into equal parts."""
    if pictures % devices:
        raise UsageError(
            f"a batch of {pictures} pictures cannot be split equally among {devices} devices: choose a --batch-size, and "
            "numbers of pictures to train and to test on, that they divide"
        )


def check_agreement(*counts: int) -> None:
    """Make sure that all machines are about to do the same.

    Args:
        counts: such as how many epochs were done.

    Raises:
        UsageError: if another machine has other ones.
    """
    if place_among_machines()[1] == 1:
        return
    from jax.experimental import multihost_utils

    everywhere = np.asarray(multihost_utils.process_allgather(np.array(counts)))
    if (everywhere != everywhere[0]).any():
        raise UsageError(f"the machines were stopped at different places: (phases, epochs, step) {everywhere.tolist()}")
