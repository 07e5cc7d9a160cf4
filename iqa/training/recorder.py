"""Ctrl-C that waits for a safe point, and the Keras callbacks that follow a `fit` and stop it there.

A `KeyboardInterrupt` breaks in anywhere: half-way through a checkpoint, or in Keras while it traces a step, whose train
function then fails for good. Here Ctrl-C is only noted, and `check` raises `Interrupted` between two steps.
"""

import contextlib
import math
import os
import signal
import threading
import time
from typing import Any

import keras
import numpy as np

Logs = dict[str, Any] | None


def is_finite(model: keras.Model) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(np.isfinite(weight).all() for weight in model.get_weights())


class Interrupted(Exception):
    """Ctrl-C was pressed, and this is a safe point to stop at."""


class NotFinite(Exception):
    """The loss or a weight is NaN or infinite."""


class Interrupt(contextlib.AbstractContextManager):
    """A context in which Ctrl-C is noted for `check` instead of raising `KeyboardInterrupt`; it can be nested."""

    def __init__(self) -> None:
        self.asked, self._depth = False, 0
        self._previous: Any = None

    def __enter__(self) -> "Interrupt":
        # Only the main thread may set handlers, and only it is sent Ctrl-C.
        if self._depth == 0 and threading.current_thread() is threading.main_thread():
            self.asked, self._previous = False, signal.signal(signal.SIGINT, self._note)
        self._depth += 1
        return self

    def __exit__(self, *_: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def check(self) -> None:
        if self.asked:
            raise Interrupted

    def _note(self, *_: Any) -> None:
        if not self.asked:  # and not `print`: Python refuses one in the middle of another to the same stream
            os.write(2, b"\nCtrl-C: stopping after this step\n")
        self.asked = True


class Stopper(keras.callbacks.Callback):
    """Stops an evaluation at the next step after Ctrl-C."""

    def __init__(self, interrupt: Interrupt) -> None:
        super().__init__()
        self.interrupt = interrupt

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.interrupt.check()


class Recorder(Stopper):
    """Follows a `fit` of a session: how many steps of an epoch are done, and their figures once it is being evaluated."""

    def __init__(self, session: Any) -> None:
        super().__init__(session.interrupt)
        self.session, self.step, self.began = session, 0, False
        self.figures: dict[str, float] | None = None
        self.started = time.monotonic()

    def on_train_begin(self, logs: Logs = None) -> None:
        self.began = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        state, opened = self.session.state, self.session.state.open_epoch
        self.started = time.monotonic() - (opened["seconds"] if opened else 0)
        self.step, self.figures = opened["step"] if opened else 0, None
        if opened:  # Keras has just set the metrics to 0
            for variable, value in zip(self.model.metrics_variables, opened["metrics"], strict=True):
                variable.assign(np.asarray(value))
            state.phases[-1].seconds -= opened["seconds"]
            state.open_epoch = None
        else:
            state.drawn += 1
        # Set, not counted: Keras calls a data set's `on_epoch_end` once more than there are epochs in a `fit`.
        self.session.train_data.epoch = state.drawn - 1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.step += 1
        self.session.state.phases[-1].steps += 1
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise NotFinite(f"the loss is {loss} in epoch {self.session.epoch} after step {self.step}")
        self.interrupt.check()

    def on_test_begin(self, logs: Logs = None) -> None:
        self.figures = self.measure()

    def measure(self) -> dict[str, float]:
        """The figures of the epoch's steps, from the metrics: what the last step said may be an estimate."""
        found = {} if self.figures else self.model.get_metrics_result()
        return self.figures or {name: float(keras.ops.convert_to_numpy(value)) for name, value in found.items()}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        # The loss of the last step was that of the weights before it.
        if not is_finite(self.model):
            raise NotFinite(f"a weight is not finite after epoch {self.session.epoch}")
        self.session.end_epoch(logs or {}, time.monotonic() - self.started)
        self.step, self.figures = 0, None
        self.interrupt.check()
