"""Cross-validation: a training for each fold of the images and for each seed, and what they reach, with its spread.

Each training is a run of its own, `RUN/seed-S-fold-F`. The figures are those of its last epoch, on pictures that it did not
learn from. Those of its best epoch would flatter it: they are chosen by the very pictures that test it.
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
from iqa.training.run_folder import RunState, read_state
from iqa.training.usable import fingerprint

#: The figures of the printed table, those that a training has; `folds.json` has all.
SHOWN = ("mse", "emd", "lcc", "srcc")


def cross_validate(options: argparse.Namespace, images: Sequence[Any], train: Callable[..., Any]) -> int:
    """Train on all folds but one, for each fold and seed in turn, and print what that reaches; returns the exit code.

    Args:
        options: with `folds` and `seeds`; a run of one fold has its own `run` and `seed`.
        images: usable ones, with paths.
        train: function (options of one fold, images to train on, images to test on) -> a prompt, once it has trained.

    Raises:
        LabelError: if the images cannot be split so.
        RunError: if the folder holds a cross-validation or run that is not to be resumed.
        KeyboardInterrupt: after Ctrl-C; the same command with --resume continues.
    """
    record, seeds = options.run / FOLDS_NAME, range(options.seed, options.seed + (options.seeds or 1))
    splits = [(seed, split_into_folds(images, options.folds, seed)) for seed in seeds]
    if (record.exists() or (options.run / "checkpoint.npz").exists()) and not options.resume:
        raise RunError(f"{options.run} holds a run: resume it (--resume) or choose another folder (--run)")
    options.run.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    write_json(record, {"options": options.begun, "folds": done})
    for seed, pairs in splits:
        for number, (training, testing) in enumerate(pairs, start=1):
            print(
                f"\nseed {seed}, fold {number} of {options.folds}: {len(training)} to train on, {len(testing)} to test on"
            )
            fold = copy.copy(options)
            fold.run, fold.seed = options.run / f"seed-{seed}-fold-{number}", seed
            phases = _finished(fold.run, training) or _train(fold, training, testing, train)
            figures = {"before": phases[0].before or {}, "after": phases[-1].after or {}}
            done.append({"seed": seed, "fold": number, "tested on": len(testing), **figures})
            write_json(record, {"options": options.begun, "folds": done, **summarise(done)}, durable=True)
    print(f"\n{len(images)} images in {options.folds} folds; figures on the test images, before > after the last epoch")
    print(format_folds(done))
    return 0


def _finished(run: Path, training: Sequence[Any]) -> list[Any] | None:
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

    keras.backend.clear_session()
    return state.kept


def summarise(folds: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Means and spreads of the figures of folds: {"before" or "after": {"lcc": value, "lcc over folds": value ...}}.

    "over folds" is the standard deviation between the folds of one seed, "over seeds" that between the means of the seeds;
    None where there is but one.
    """
    found: dict[str, dict[str, float | None]] = {"before": {}, "after": {}}
    for side, figures in found.items():
        for name in folds[0]["after"]:
            by_seed: dict[int, list[float]] = {}
            for fold in folds:
                if fold[side].get(name) is not None:
                    by_seed.setdefault(fold["seed"], []).append(fold[side][name])
            means = [mean(values) for values in by_seed.values()]
            variances = [stdev(values) ** 2 for values in by_seed.values() if len(values) > 1]
            figures[name] = mean(means) if means else None
            figures[f"{name} over folds"] = mean(variances) ** 0.5 if variances else None
            figures[f"{name} over seeds"] = stdev(means) if len(means) > 1 else None
    return found


def format_folds(folds: Sequence[dict[str, Any]]) -> str:
    """The table of `cross_validate`: a row for each fold, then the means and the spreads."""
    names = [name for name in SHOWN if name in folds[0]["after"]]
    rows = [["seed", "fold", "images", *names]]
    for fold in folds:
        place = [str(fold[name]) for name in ("seed", "fold", "tested on")]
        rows.append([*place, *(_pair(fold["before"].get(name), fold["after"].get(name)) for name in names)])
    found = summarise(folds)
    for label, kind in (("mean", ""), ("+- over folds", " over folds"), ("+- over seeds", " over seeds")):
        spreads = [(found["before"][f"{name}{kind}"], found["after"][f"{name}{kind}"]) for name in names]
        if any(after is not None for _, after in spreads):
            rows.append(["", "", label, *(_pair(*pair) for pair in spreads)])
    return align_columns(rows)


def _pair(before: float | None, after: float | None) -> str:
    return " > ".join("-" if value is None else f"{value:.3f}" for value in (before, after))
