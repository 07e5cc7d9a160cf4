"""Ctrl-C that waits for a safe point.

A `KeyboardInterrupt` breaks in wherever Python happens to be: in Keras while it traces a step, which leaves a train
function that fails from then on, or half-way through a checkpoint. Here Ctrl-C is only noted, and `check` raises
`Interrupted` where it can do no harm: between two steps.
"""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """Ctrl-C was pressed, and this is a safe point to stop at."""


class Interrupt(contextlib.AbstractContextManager):
    """A context in which Ctrl-C is noted for `check` instead of raising `KeyboardInterrupt`; it can be nested."""

    def __init__(self) -> None:
        self.asked, self._depth = False, 0
        self._previous: Any = None

    def __enter__(self) -> "Interrupt":
        # Only the main thread may set handlers, and only it is sent Ctrl-C.
        if self._depth == 0 and threading.current_thread() is threading.main_thread():
            self.asked = False
            self._previous = signal.signal(signal.SIGINT, self._note)
        self._depth += 1
        return self

    def __exit__(self, *_: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def check(self) -> None:
        """Raise `Interrupted` if Ctrl-C was pressed."""
        if self.asked:
            raise Interrupted

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if not self.asked:
            # Not `print`: a handler may run in the middle of another print to the same stream, which Python refuses.
            os.write(2, b"\nCtrl-C: stopping after this step\n")
        self.asked = True
