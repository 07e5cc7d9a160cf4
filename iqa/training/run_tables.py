"""What the prompt of a training session prints: the first screen, and tables of phases and epochs."""

import math

HELP = """pretrain(epochs=1, learning_rate=1e-3)   train the head, backbone frozen
fit(learning_rate, epochs=1)             train all layers; Ctrl-C stops after the step, go on with another fit
evaluate()  predict("photo.jpg")         figures on the test data; the score of a picture
phases()  curve()  curve("curve.png")    what was done; loss and LCC over all epochs
save("name")  load("name")  undo()       weights with their card; undo: as before the last phase
freeze()  unfreeze()                     the backbone, for Keras by hand:
model.compile(...)  model.fit(train_data, validation_data=test_data, epochs=1)"""


def welcome(session, facts):
    """The first screen of a prompt; see `open_prompt`."""
    run = session.folder.path
    past = f"{len(session.log)} epochs in {len(session.past)} phases so far" if session.past else "new"
    events = "" if session._events() else "; no TensorBoard events: pip install tensorboard"
    return "\n".join([*facts, f"run: {run} ({past}{events})", "", HELP])


def _table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def _figure(figures, name):
    return f"{figures[name]:.4f}" if figures and name in figures else "-"


def phase_table(phases):
    """A row a phase: what was asked, what was done, the figures on the test data before and after it."""
    names = list(dict.fromkeys(n for p in phases for when in ("before", "after") for n in p[when] or {}))
    rows = [["phase", "rate", "backbone", "epochs", "steps", "time", "status", *names]]
    for number, phase in enumerate(phases, start=1):
        minutes, seconds = divmod(round(phase["seconds"]), 60)
        figures = ([_figure(phase[when], name) for when in ("before", "after")] for name in names)
        rows.append(
            [
                str(number),
                f"{phase['learning_rate']:g}",
                "frozen" if phase["frozen"] else "trained",
                f"{phase['done']}/{phase['epochs']}",
                str(phase["steps"]),
                f"{minutes}:{seconds:02d}",
                phase["status"] + (", by hand" if phase["asked"] == "by hand" else ""),
                *(f"{before} > {after}" for before, after in figures),
            ]
        )
    return _table(rows)


def epoch_table(log, phases, monitor):
    """A row an epoch: loss and the monitored figure, with a bar between the worst and the best of the run."""
    figures = [row[monitor] for row in log if math.isfinite(row.get(monitor, math.nan))]
    low, high = (min(figures), max(figures)) if figures else (0, 0)
    rows = [["epoch", "phase", "rate", "loss", "val_loss", monitor, ""]]
    for row in log:
        share = (row[monitor] - low) / (high - low) if row.get(monitor) in figures and high > low else 0
        undone = " (undone)" if phases[row["phase"] - 1]["status"] == "undone" else ""
        cells = [f"{row[name]:.4f}" if name in row else "-" for name in ("loss", "val_loss", monitor)]
        bar = "#" * round(1 + 29 * share) + undone
        rows.append([str(row["epoch"]), str(row["phase"]), f"{row['learning_rate']:g}", *cells, bar.ljust(30)])
    return _table(rows)
