"""The prompt of a training session: its commands, its first screen, and the tables that it prints."""

import functools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import keras
from numpy.typing import NDArray

from iqa.errors import ImageError, IqaError
from iqa.evaluation.tables import align_columns
from iqa.labels.histograms import Score
from iqa.training import rate_range
from iqa.training.recorder import Interrupted
from iqa.training.run_folder import BY_HAND, Figures, PhaseRecord
from iqa.training.schedule import Phase
from iqa.training.session import Rate, Session, first_rate

#: Columns of a terminal that the tables keep to, and those of the bars of `curve()`.
WIDTH, BAR = 100, 34

HELP = """pretrain(epochs=1, learning_rate=1e-3)   train the head, backbone frozen
fit(learning_rate, epochs=1)             train all layers; Ctrl-C stops after the step
finish()                                 train the rest of what Ctrl-C stopped
find_rate()                              suggests a learning rate; changes nothing
evaluate()  predict("photo.jpg")         figures on the test data; the score of a picture
phases()  curve()  curve("curve.png")    what was done; loss, LCC and SRCC over all epochs
save("name")  load("name")  undo()       weights with their card; undo: as before the last phase
freeze()  unfreeze()                     the backbone, for Keras by hand:
model.compile(...)  model.fit(train_data, validation_data=test_data, epochs=1)"""

COMMANDS = (
    *("pretrain", "fit", "finish", "freeze", "unfreeze", "find_rate", "evaluate", "predict", "save", "load", "undo"),
    *("phases", "curve"),
)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _guard(method: _Command) -> _Command:
    """A command of the prompt: Ctrl-C within it waits for a safe point and ends in one line, as our own errors do."""

    @functools.wraps(method)
    def guarded(self: "Prompt", *args: Any, **kwargs: Any) -> Any:
        with self.session.interrupt:
            try:
                return method(self, *args, **kwargs)
            except Interrupted:
                print("stopped")
            except IqaError as error:
                print(error)
            return None

    return guarded  # type: ignore[return-value]


class Prompt:
    """The commands that a prompt offers.

    Args:
        session: the run.
        see: function (path) -> the patches that the model sees of a picture, uint8 (K, size, size, 3).
    """

    def __init__(self, session: Session, see: Callable[[Path], NDArray[Any]]) -> None:
        self.session, self.see = session, see

    def commands(self) -> dict[str, Any]:
        """What a prompt offers, {name: value}: the commands below and the plain Keras objects."""
        session = self.session
        objects = {"model": session.model, "train_data": session.train_data, "test_data": session.test_data}
        return {name: getattr(self, name) for name in COMMANDS} | objects | {"session": session}

    @_guard
    def pretrain(self, epochs: int = 1, learning_rate: Rate = 1e-3, callbacks: Any = None) -> None:
        """Train the head alone, with the backbone frozen."""
        self.fit(learning_rate, epochs, True, callbacks)

    @_guard
    def fit(self, learning_rate: Rate, epochs: int = 1, frozen: bool = False, callbacks: Any = None) -> None:
        """Train a new phase, all layers unless `frozen`; with a new optimizer.

        Args:
            learning_rate: a number, or a learning rate schedule of Keras.
            epochs: at least 1.
            frozen: train the head alone.
            callbacks: Keras callbacks.
        """
        decay = learning_rate if callable(learning_rate) else None
        self.session.train_phase(Phase(first_rate(learning_rate), epochs, frozen), decay, callbacks)

    @_guard
    def finish(self) -> None:
        """Train the rest of the phase that Ctrl-C stopped, and of the schedule if there is one."""
        self.session.finish()

    @_guard
    def freeze(self) -> None:
        """Freeze the backbone for training by `model.fit`; compiles the model again with the session's loss."""
        self.session.set_frozen(True)
        self.session.compile()
        print("backbone frozen for model.fit by hand; fit() trains all layers, pretrain() the head")

    @_guard
    def unfreeze(self) -> None:
        """The opposite of `freeze`."""
        self.session.set_frozen(False)
        self.session.compile()
        print("all layers are trained by model.fit")

    @_guard
    def find_rate(self, lowest: float = 1e-7, highest: float = 1.0, steps: int = 60, frozen: bool = False) -> float | None:
        """Suggest a learning rate for `fit`, by a range test; leaves the weights and the optimizer as they are.

        A tenth of the rate at which the smoothed loss is lowest, by a common rule of thumb; None if the loss never fell.

        Args:
            lowest, highest: rates of the first and the last step; between them they rise by the same factor each time.
            steps: batches to train on, at least 10. The test ends earlier where the loss diverges.
            frozen: test for the head alone, as `pretrain` trains it.
        """
        found = rate_range.find_rate(self.session, lowest, highest, steps, frozen)
        tried = f"{len(found.rates)} steps at rates of {found.rates[0]:.1g} to {found.rates[-1]:.1g}"
        print(f"{tried}: the loss is {min(found.losses):.3g} of what it was at best, {found.losses[-1]:.3g} at last")
        if not found.falls:
            print("the loss did not fall at any of these rates: nothing to suggest")
            return None
        print(f"lowest at {found.lowest:.1g}; suggested learning rate: {found.suggested:g}, a tenth of that")
        return found.suggested

    @_guard
    def evaluate(self) -> Figures:
        """The loss and the metrics on the test data, {name: value}."""
        return self.session.evaluate()

    @_guard
    def predict(self, path: str | Path) -> float | Score | None:
        """The score of a picture by the current weights: a float, or a `Score` of mean, deviation and histogram."""
        try:
            patches = self.see(Path(path))
        except ImageError as error:
            print(f"{path}: {error}")
            return None
        output = keras.ops.convert_to_numpy(self.session.model.predict_on_batch(patches)).mean(axis=0)
        return float(output[0]) if len(output) == 1 else Score.of(output, self.session.card.scale.population)

    @_guard
    def save(self, name: str | Path) -> None:
        """Save the weights alone, with their card, as NAME.weights.h5 in the run folder, or where a path says."""
        print(f"saved {self.session.save(name)}")

    @_guard
    def load(self, name: str | Path) -> None:
        """Load weights by a name given to `save`, or from a path; the optimizer is a new one."""
        print(f"loaded {self.session.load(name)}")

    @_guard
    def undo(self) -> None:
        """Go back to the weights before the last phase. It works once, not phase by phase."""
        phase, state = self.session.undo(), self.session.state
        if phase is None:
            print("nothing to undo")
            return
        print(f"phase {phase} is undone: the weights are those before it")
        if state.best and state.log[state.best["epoch"] - 1]["phase"] == phase:
            print(f"best.weights.h5 stays that of epoch {state.best['epoch']}, which is undone")

    @_guard
    def phases(self) -> None:
        """Print what was done: a row for each phase."""
        print(phase_table(self.session.state.phases))

    @_guard
    def curve(self, file: str | Path | None = None) -> None:
        """Loss, LCC and SRCC over all epochs: printed, or drawn into a file."""
        state = self.session.state
        if file is None:
            print(epoch_table(state.log, state.phases, self.session.monitor))
            return
        from iqa.evaluation.plots import draw_training

        numbered = dict(enumerate(state.phases, start=1))
        undone = {number for number, phase in numbered.items() if phase.status == "undone"}
        draw_training(state.log, file, {number: phase.rate for number, phase in numbered.items()}, undone)
        print(f"wrote {file}")


def open_prompt(prompt: Prompt, *facts: str) -> None:
    """Under `python3 -i`: the first screen, and at the prompt Ctrl-C and our own errors as one line.

    Args:
        facts: lines about the model and the data.
    """
    if not sys.flags.interactive:
        return
    session = prompt.session
    done = (
        f"{len(session.state.log)} epochs in {len(session.state.phases)} phases so far" if session.state.phases else "new"
    )
    events = "" if session.writes_events else "; no TensorBoard events: pip install tensorboard"
    print("\n".join([*facts, f"run: {session.folder.path} ({done}{events})", "", HELP]))
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("KeyboardInterrupt", file=sys.stderr)
        elif issubclass(kind, IqaError):
            print(error, file=sys.stderr)
        else:
            shown(kind, error, trace)

    sys.excepthook = hook


# --- tables ----------------------------------------------------------------------------------------------------------


def phase_table(phases: Sequence[PhaseRecord]) -> str:
    """A row for each phase: what was asked and done; below, figures on the test data before and after it."""
    done = [["phase", "rate", "backbone", "epochs", "steps", "time", "loss", "status"]]
    figures: list[list[str]] = []
    names = list(dict.fromkeys(name for phase in phases for name in {**(phase.before or {}), **(phase.after or {})}))
    for number, phase in enumerate(phases, start=1):
        minutes, seconds = divmod(round(phase.seconds), 60)
        shares = [f"{phase.done}/{phase.epochs}", str(phase.steps), f"{minutes}:{seconds:02d}", phase.loss]
        status = ", ".join([phase.status, *([BY_HAND] if phase.asked == BY_HAND else []), *phase.callbacks])
        done.append([str(number), phase.rate, "frozen" if phase.frozen else "trained", *shares, status])
        sides = (("before", phase.before), ("after", phase.after))
        figures += [[str(number), side, *(_figure(found, name) for name in names)] for side, found in sides]
    return "\n\n".join([align_columns(done, WIDTH), align_columns([["phase", "", *names], *figures])])


def _figure(figures: Figures | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "-" if value is None else f"{value:.4f}"


def epoch_table(log: Sequence[dict[str, Any]], phases: Sequence[PhaseRecord], monitor: str) -> str:
    """A row for each epoch: losses, correlations, and the monitored figure as a bar from the worst to the best of the run.

    Epochs that were undone have an x behind their number.
    """
    figures = [row[monitor] for row in log if math.isfinite(row.get(monitor, math.nan))]
    low, high = (min(figures), max(figures)) if figures else (0, 0)
    label = f"{monitor}, {low:.4f} to {high:.4f}" if figures else monitor
    names = ["loss", "val_loss", *dict.fromkeys((monitor, "val_srcc"))]
    rows = [["epoch", "phase", "rate", *names, label.ljust(BAR)]]
    undone = False
    for row in log:
        share = (row[monitor] - low) / (high - low) if row.get(monitor) in figures and high > low else 0
        mark = "x" if phases[row["phase"] - 1].status == "undone" else " "
        undone = undone or mark == "x"
        bar = "#" * round(1 + (BAR - 1) * share) if row.get(monitor) in figures else ""
        place = [f"{row['epoch']}{mark}", str(row["phase"]), f"{row['learning_rate']:g}"]
        rows.append([*place, *(_figure(row, name) for name in names), bar.ljust(BAR)])
    return align_columns(rows) + ("\nx: undone" if undone else "")
