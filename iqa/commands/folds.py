"""Cross-validation: a training for each fold of the images, and what they reach, with its spread.

Each training is a run of its own, `RUN/fold-F`. The figures are those of its last epoch, on pictures that it did not learn
from. Those of its best epoch would flatter it: they are chosen by the very pictures that test it.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from iqa.commands.train import FOLDS_NAME
from iqa.errors import RunError
from iqa.evaluation.tables import align_columns
from iqa.files import write_json
from iqa.labels.splits import split_into_folds
from iqa.training.run_folder import PhaseRecord, RunState, read_state
from iqa.training.usable import fingerprint

#: The figures of the printed table, those that a training has; `folds.json` has all.
SHOWN = ("mse", "emd", "lcc", "srcc")


def cross_validate(options: argparse.Namespace, images: Sequence[Any], train: Callable[..., Any]) -> int:
    """Train on all folds but one, for each fold in turn, and print what that reaches; returns the exit code.

    Args:
        options: with `folds`; the run of a fold has its own `run`.
        images: usable ones, with paths.
        train: function (options of one fold, images to train on, images to test on) -> a prompt, once it has trained.

    Raises:
        LabelError: if the images cannot be split so.
        RunError: if the folder holds a cross-validation or run that is not to be resumed.
        KeyboardInterrupt: after Ctrl-C; the same command with --resume continues.
    """
    record, done = options.run / FOLDS_NAME, []
    splits = split_into_folds(images, options.folds, options.seed)
    if (record.exists() or (options.run / "checkpoint.npz").exists()) and not options.resume:
        raise RunError(f"{options.run} holds a run: resume it (--resume) or choose another folder (--run)")
    options.run.mkdir(parents=True, exist_ok=True)
    write_json(record, {"options": options.begun, "folds": []})
    for number, (training, testing) in enumerate(splits, start=1):
        print(f"\nfold {number} of {options.folds}: {len(training)} images to train on, {len(testing)} to test on")
        fold = copy.copy(options)
        fold.run = options.run / f"fold-{number}"
        phases = _finished(fold.run, training) or _train(fold, training, testing, train)
        figures = {"before": phases[0].before or {}, "after": phases[-1].after or {}}
        done.append({"fold": number, "tested on": len(testing), **figures})
        write_json(record, {"options": options.begun, "folds": done}, durable=True)
    print(f"\n{len(images)} images in {options.folds} folds; figures on the test images, before > after the last epoch")
    print(format_folds(done))
    return 0


def _finished(run: Path, training: Sequence[Any]) -> list[PhaseRecord] | None:
    """The phases of a run on the same images that has finished its schedule; None if there is none."""
    state = read_state(run) if (run / "checkpoint.npz").exists() else RunState()
    same = state.settings.get("training set") == fingerprint(training)
    done = bool(state.kept) and len(state.kept) == len(state.schedule) and state.kept[-1].status == "done"
    return state.kept if same and done else None


def _train(fold: argparse.Namespace, training: Sequence[Any], testing: Sequence[Any], train: Callable[..., Any]) -> Any:
    fold.resume = fold.resume and (fold.run / "checkpoint.npz").exists()
    state = train(fold, training, testing).session.state
    if state.kept[-1].status != "done":
        raise KeyboardInterrupt  # under python3 -i
    import keras

    keras.backend.clear_session()  # or the networks of all folds stay in memory
    return state.kept


def format_folds(folds: Sequence[dict[str, Any]]) -> str:
    """The table of `cross_validate`: a row for each fold, then the means and the standard deviations over the folds."""
    names = [name for name in SHOWN if name in folds[0]["after"]]
    rows = [["fold", "images", *names]]
    for fold in folds:
        rows.append([str(fold["fold"]), str(fold["tested on"]), *(_pair(fold, name) for name in names)])
    for label, of in (("mean", mean), ("+-", stdev)):
        sides = {side: {name: of(fold[side][name] for fold in folds) for name in names} for side in ("before", "after")}
        rows.append(["", label, *(_pair(sides, name) for name in names)])
    return align_columns(rows)


def _pair(sides: dict[str, Any], name: str) -> str:
    return f"{sides['before'][name]:.3f} > {sides['after'][name]:.3f}"
