"""Cross-validation: a training for each fold of the images, `RUN/fold-F`, and what they reach, with its spread.

The figures are those of the last epoch. Those of the best would flatter: it is chosen by the pictures that test it.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any

from iqa.commands.train import FOLDS_NAME
from iqa.errors import RunError
from iqa.evaluation.tables import align_columns
from iqa.files import write_json
from iqa.labels.splits import split_into_folds
from iqa.training.run_folder import RunState, read_state
from iqa.training.usable import fingerprint

#: The figures of the printed table, those that a training has; `folds.json` has all.
SHOWN = ("mse", "emd", "lcc", "srcc")


def cross_validate(options: argparse.Namespace, images: Sequence[Any], train: Callable[..., Any]) -> int:
    """Train on all folds but one, for each fold in turn, and print what that reaches; returns the exit code.

    `train` is a function (options of one fold, images to train on, images to test on) -> a prompt, once it has trained.
    Raises a `RunError` if the folder holds what is not to be resumed, and a `KeyboardInterrupt` after Ctrl-C.
    """
    done: list[dict[str, Any]] = []
    record = options.run / FOLDS_NAME
    splits = split_into_folds(images, options.folds, options.seed)
    if (record.exists() or (options.run / "checkpoint.npz").exists()) and not options.resume:
        raise RunError(f"{options.run} holds a run: resume it (--resume) or choose another folder (--run)")
    options.run.mkdir(parents=True, exist_ok=True)
    for number, (training, testing) in enumerate(splits, start=1):
        write_json(record, {"options": options.begun, "folds": done}, durable=True)
        print(f"\nfold {number} of {options.folds}: {len(training)} images to train on, {len(testing)} to test on")
        fold = copy.copy(options)
        fold.run = options.run / f"fold-{number}"
        begun = (fold.run / "checkpoint.npz").exists()
        state, fold.resume = read_state(fold.run) if begun else RunState(), options.resume and begun
        if not (state.kept and state.has_finished() and state.settings["training set"] == fingerprint(training)):
            state = train(fold, training, testing).session.state
            if state.kept[-1].status != "done":
                raise KeyboardInterrupt  # under python3 -i
            import keras

            keras.backend.clear_session()  # or the networks of all folds stay in memory
        figures = {"before": state.kept[0].before or {}, "after": state.kept[-1].after or {}}
        done.append({"fold": number, "tested on": len(testing), **figures})
    write_json(record, {"options": options.begun, "folds": done}, durable=True)
    print(f"\n{len(images)} images in {options.folds} folds; figures on the test images, before > after the last epoch")
    names = [name for name in SHOWN if name in done[0]["after"]]
    rows = [["fold", "images", *names]]

    def add(first: str, second: str, before: dict[str, float], after: dict[str, float]) -> None:
        rows.append([first, second, *(f"{before[name]:.3f} > {after[name]:.3f}" for name in names)])

    for row in done:
        add(str(row["fold"]), str(row["tested on"]), row["before"], row["after"])
    for label, of in (("mean", mean), ("+-", stdev)):
        add("", label, *({name: of(row[side][name] for row in done) for name in names} for side in ("before", "after")))
    print(align_columns(rows))
    return 0
