"""Keras callbacks that tell a trainer how far a `fit` has come, and stop it after Ctrl-C."""

import math
import time
from typing import Any, Protocol

import keras

from iqa.errors import RunError
from iqa.training.interrupts import Interrupt
from iqa.training.network_state import is_finite, pace_of, restore_metrics
from iqa.training.run_state import OpenEpoch, RunState

Logs = dict[str, Any] | None


class Fitting(Protocol):
    """A trainer, as a recorder sees it."""

    state: RunState
    interrupt: Interrupt
    train_data: Any

    def end_epoch(self, logs: dict[str, Any], seconds: float) -> None: ...


class Stopper(keras.callbacks.Callback):
    """Stops an evaluation at the next step after Ctrl-C."""

    def __init__(self, interrupt: Interrupt) -> None:
        super().__init__()
        self.interrupt = interrupt

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.interrupt.check()


class Recorder(Stopper):
    """Follows the epochs and steps of a `fit`.

    Attributes:
        began: whether Keras has begun to train.
        step, steps: done in this epoch, and in all of it (None if unknown).
        validating: whether the steps of the epoch are done and the test data is being evaluated.
        ended: whether the epoch is in the log; only its checkpoint may be missing.
        loss, logs: of the last step.
        pace: see `pace_of`, after the last step that did not fail.
    """

    def __init__(self, trainer: Fitting) -> None:
        super().__init__(trainer.interrupt)
        self.trainer, self.step, self.first = trainer, 0, 0
        self.began = self.validating = self.ended = False
        self.loss: float | None = None
        self.logs: dict[str, Any] = {}
        self.pace: tuple[list[Any], int] | None = None
        self.started = time.monotonic()

    @property
    def steps(self) -> int | None:
        count = self.params.get("steps")
        return None if count is None else self.first + count

    @property
    def seconds(self) -> float:
        """Since the epoch began, without the time for which it was stopped."""
        return time.monotonic() - self.started

    def on_train_begin(self, logs: Logs = None) -> None:
        self.began = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        state = self.trainer.state
        opened = state.open_epoch or OpenEpoch(0, 0.0, [])
        if state.open_epoch:  # Keras has just set the metrics to 0
            if not restore_metrics(self.model, opened.metrics):
                raise RunError(f"the epoch that was stopped after step {opened.step} had other metrics")
            state.phases[-1].seconds -= opened.seconds
            state.open_epoch = None
        else:
            state.drawn += 1
        # Set, not counted: Keras calls a data set's `on_epoch_end` once more than there are epochs in a `fit`.
        self.trainer.train_data.epoch = state.drawn - 1
        self.started = time.monotonic() - opened.seconds
        self.step = self.first = opened.step
        self.validating = self.ended = False
        self.pace = pace_of(self.model)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.step += 1
        self.trainer.state.phases[-1].steps += 1
        self.logs = logs or {}
        self.loss = float(self.logs["loss"])
        self.pace = pace_of(self.model)
        if math.isfinite(self.loss):
            self.interrupt.check()

    def on_test_begin(self, logs: Logs = None) -> None:
        self.settle()
        self.validating = True

    def settle(self) -> dict[str, Any]:
        """The figures of the epoch's steps, from the metrics: what the last step told may be an estimate.

        Once the test data is being evaluated the metrics are about that, and the figures are those from before.
        """
        if not self.validating:
            found = self.model.get_metrics_result()
            self.logs = {name: float(keras.ops.convert_to_numpy(value)) for name, value in found.items()}
        return self.logs

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        # The loss of the last step was that of the weights before it.
        if not is_finite(self.model):
            self.loss = math.nan
            raise RuntimeError("the weights are not finite")
        self.ended = True
        self.trainer.end_epoch(logs or {}, self.seconds)
        self.validating, self.step = False, 0
        self.interrupt.check()
