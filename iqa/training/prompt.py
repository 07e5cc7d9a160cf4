"""The prompt of a training session: its commands, its first screen, and the tables that it prints."""

import functools
import math
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from iqa.errors import IqaError
from iqa.evaluation.tables import align_columns
from iqa.training.recorder import Interrupted
from iqa.training.run_folder import BY_HAND, Figures, PhaseRecord

HELP = """pretrain(epochs=1, learning_rate=1e-3)   train the head, backbone frozen
fit(learning_rate, epochs=1)             train all layers; Ctrl-C stops after the step
finish()                                 train the rest of what Ctrl-C stopped
evaluate()  predict("photo.jpg")         figures on the test data; the score of a picture
phases()  curve()  curve("curve.png")    what was done; loss, LCC and SRCC over all epochs
save("name")  load("name")  undo()       weights with their card; undo: as before the last phase
freeze()  unfreeze()                     the backbone, for Keras by hand:
model.compile(...)  model.fit(train_data, validation_data=test_data, epochs=1)"""

#: The methods of `Session` that a prompt offers.
COMMANDS = (
    *("pretrain", "fit", "finish", "freeze", "unfreeze", "evaluate", "predict", "save", "load", "undo"),
    *("phases", "curve"),
)


class Prompt:
    """A session's commands: Ctrl-C within one waits for a safe point and ends in one line, as our own errors do."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise AttributeError(name)
        command = getattr(self.session, name)

        @functools.wraps(command)
        def guarded(*arguments: Any, **settings: Any) -> Any:
            with self.session.interrupt:
                try:
                    return command(*arguments, **settings)
                except Interrupted:
                    print("stopped")
                except IqaError as error:
                    print(error)

        return guarded

    def commands(self) -> dict[str, Any]:
        """What a prompt offers, {name: value}: `COMMANDS` and the plain Keras objects."""
        objects = {name: getattr(self.session, name) for name in ("model", "train_data", "test_data")}
        return {name: getattr(self, name) for name in COMMANDS} | objects | {"session": self.session}


def open_prompt(prompt: Prompt, *facts: str) -> None:
    """Under `python3 -i`: the first screen, `facts` above it, and Ctrl-C and our own errors as one line from now on."""
    if not sys.flags.interactive:
        return
    session, state = prompt.session, prompt.session.state
    done = f"{len(state.log)} epochs in {len(state.phases)} phases so far" if state.phases else "new"
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
        for side, found in (("before", phase.before), ("after", phase.after)):
            figures.append([str(number), side, *(_figure(found, name) for name in names)])
    return "\n\n".join([align_columns(done), align_columns([["phase", "", *names], *figures])])


def _figure(figures: Figures | None, name: str) -> str:
    return f"{figures[name]:.4f}" if figures and figures.get(name) is not None else "-"


def epoch_table(log: Sequence[dict[str, Any]], phases: Sequence[PhaseRecord], monitor: str) -> str:
    """A row for each epoch: losses, correlations, and the monitored figure as a bar from the worst to the best of the run.

    Epochs that were undone have an x behind their number.
    """
    figures = [row[monitor] for row in log if math.isfinite(row.get(monitor, math.nan))]
    low, high, width = (min(figures), max(figures), 34) if figures else (0, 0, 34)
    label = f"{monitor}, {low:.4f} to {high:.4f}" if figures else monitor
    names = ["loss", "val_loss", *dict.fromkeys((monitor, "val_srcc"))]
    rows, legend = [["epoch", "phase", "rate", *names, label.ljust(width)]], ""
    for row in log:
        mark, bar = " ", ""
        if phases[row["phase"] - 1].status == "undone":
            mark, legend = "x", "\nx: undone"
        if row.get(monitor) in figures:
            bar = "#" * round(1 + (width - 1) * ((row[monitor] - low) / (high - low) if high > low else 0))
        place = [f"{row['epoch']}{mark}", str(row["phase"]), f"{row['learning_rate']:g}"]
        rows.append([*place, *(_figure(row, name) for name in names), bar.ljust(width)])
    return align_columns(rows) + legend
