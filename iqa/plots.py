"""Figures from metrics, scores and training logs, drawn without a display; every function writes one file.

Series differ in line style and marker as well as in colour, so that a print in grey can be read.
"""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iqa.files import temporary_beside

STYLES = (("tab:blue", "-", "o"), ("tab:orange", "--", "s"), ("tab:green", ":", "^"), ("tab:red", "-.", "D"))


def _figure(width, height):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path):
    with temporary_beside(path) as file:
        figure.savefig(file, dpi=150)


def predictions_against_truth(true, predicted, path, scale="mean opinion score (TID2013, 0-9)", title=""):
    """Two panels: the histograms of true and predicted scores, and a scatter of one over the other.

    Args:
        true, predicted: float (N,).
        path: file to write; its suffix tells the format.
    """
    figure = _figure(10, 4.5)
    left, right = figure.subplots(1, 2)
    lowest, highest = (f(f(true), f(predicted)) for f in (min, max))
    bins = np.linspace(np.floor(lowest), np.ceil(highest), 41)
    left.hist(true, bins, color="0.75", label="people")
    left.hist(predicted, bins, histtype="step", color="black", linewidth=1.5, label="model")
    left.set(xlabel=scale, ylabel="images")
    left.legend()
    right.plot(bins[[0, -1]], bins[[0, -1]], color="0.6", linewidth=1, label="equal")
    right.plot(true, predicted, "o", markersize=3, markerfacecolor="none", color="tab:blue")
    right.set(xlabel=f"people: {scale}", ylabel="model", xlim=bins[[0, -1]], ylim=bins[[0, -1]], aspect="equal")
    right.legend()
    figure.suptitle(title)
    _save(figure, path)


def contact_sheet(rows, columns, path):
    """A sheet of pictures.

    Args:
        rows: {label: list of uint8 RGB arrays}, one picture a column.
        columns: headings.
        path: file to write.
    """
    height = next(iter(rows.values()))[0].shape[0] / next(iter(rows.values()))[0].shape[1]
    figure = _figure(2.2 * len(columns) + 2, 2.2 * height * len(rows) + 0.4)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for cells, (label, pictures) in zip(axes, rows.items()):
        for cell, picture in zip(cells, pictures):
            cell.imshow(picture)
            cell.set(xticks=[], yticks=[])
        cells[0].set_ylabel(label.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    for cell, heading in zip(axes[0], columns):
        cell.set_title(heading, fontsize=10)
    _save(figure, path)


def ranked_pictures(groups, path, columns=6):
    """Pictures with a caption each, group by group.

    Args:
        groups: {heading: [(uint8 RGB array, caption), ...]}.
        path: file to write.
    """
    rows = {name: -(-len(pictures) // columns) for name, pictures in groups.items()}
    figure = _figure(2.2 * columns, 2.3 * sum(rows.values()) + 0.4 * len(groups))
    for part, (name, pictures) in zip(np.atleast_1d(figure.subfigures(len(groups), 1)), groups.items()):
        part.suptitle(name)
        cells = part.subplots(rows[name], columns, squeeze=False).ravel()
        for cell in cells:
            cell.axis("off")
        for cell, (picture, caption) in zip(cells, pictures):
            cell.imshow(picture)
            cell.set_title(caption, fontsize=8)
    _save(figure, path)


def distortion_curves(series, path, ylabel):
    """Scores over the steps of each ladder.

    Args:
        series: {name: (step labels, values)}; the first step is the untouched image.
        path: file to write.
    """
    figure = _figure(max(6, 3.2 * len(series)), 3.8)
    axes = figure.subplots(1, len(series), sharey=True, squeeze=False)[0]
    for axis, (name, (labels, values)), (colour, line, marker) in zip(axes, series.items(), STYLES * len(series)):
        axis.plot(range(len(values)), values, line, color=colour, marker=marker)
        axis.set_xticks(range(len(values)), labels, rotation=30, ha="right")
        axis.set_title(name, fontsize=10)
        axis.grid(axis="y", color="0.9")
    axes[0].set_ylabel(ylabel)
    _save(figure, path)


def training_curves(log, path):
    """Two panels over the epochs of a run: the loss, and the linear correlation; a line where the learning rate changes.

    Args:
        log: rows of `Session.log`: dicts with `epoch`, `phase`, `learning_rate`, and figures by name, `val_` on test data.
        path: file to write.
    """
    figure = _figure(9, 6.5)
    panels = figure.subplots(2, 1, sharex=True)
    for panel, name, label in zip(panels, ("loss", "lcc"), ("loss", "LCC")):
        for (key, title), (colour, line, marker) in zip(((name, "training"), (f"val_{name}", "test")), STYLES):
            points = [(row["epoch"], row[key]) for row in log if key in row]
            if points:
                panel.plot(*zip(*points), line, color=colour, marker=marker, markersize=4, label=title)
        panel.set_ylabel(label)
        panel.grid(axis="y", color="0.9")
        if panel.lines:
            panel.legend()
        phase = None
        for row in log:
            if row["phase"] != phase:
                panel.axvline(row["epoch"] - 0.5, color="0.6", linewidth=0.8)
                if panel is panels[0]:
                    panel.text(
                        row["epoch"] - 0.45, 1.01, f"{row['learning_rate']:g}", transform=panel.get_xaxis_transform()
                    )
            phase = row["phase"]
    panels[0].set_title("learning rates above the lines where their phases begin", fontsize=9, pad=20)
    panels[1].set_xlabel("epoch")
    panels[1].xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def show(path):
    """Open a figure in the viewer that the system has for its kind."""
    import webbrowser

    webbrowser.open(path.resolve().as_uri())


def opinion_distributions(true, predicted, path, title=""):
    """Two panels, truth and prediction overlaid: the mean scores, and the standard deviations, over all images.

    Args:
        true, predicted: float (2, N), means 1-10 and standard deviations.
        path: file to write.
    """
    figure = _figure(10, 4.5)
    panels = figure.subplots(1, 2)
    ranges = ((1, 10), (0, max(2.5, true[1].max(), predicted[1].max())))
    names = ("mean score (1-10)", "standard deviation of the scores")
    for panel, people, model, limits, name in zip(panels, true, predicted, ranges, names):
        bins = np.linspace(*limits, 101)
        panel.hist(people, bins, color="0.75", label="people")
        panel.hist(model, bins, histtype="step", color="black", linewidth=1.5, label="model")
        panel.set(xlabel=name, ylabel="images", xlim=limits)
        panel.legend()
    figure.suptitle(title)
    _save(figure, path)


def intervals(labels, values, path, scale="difference of the metric (first less second)"):
    """Values with their intervals, a row each; those that exclude 0 are filled.

    Args:
        labels: one a row.
        values: (value, lower, upper) of each.
        path: file to write.
    """
    figure = _figure(8, 0.35 * len(labels) + 1.2)
    axis = figure.subplots()
    for row, (value, low, high) in enumerate(values):
        filled = "black" if low > 0 or high < 0 else "white"
        axis.plot([low, high], [row, row], color="black", linewidth=1.5)
        axis.plot(value, row, "o", markerfacecolor=filled, markeredgecolor="black")
    axis.axvline(0, color="0.6", linestyle="--", linewidth=1)
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel=scale, ylim=(len(labels) - 0.5, -0.5))
    _save(figure, path)


def heat_map(values, rows, columns, scale, path):
    """A table of numbers, dark for small and light for large ones in colour as in grey, each written in its cell.

    Args:
        values: float (rows, columns).
        rows, columns: their names.
        scale: what the numbers are.
        path: file to write.
    """
    figure = _figure(0.9 * len(columns) + 4, 0.28 * len(rows) + 1.2)
    axis = figure.subplots()
    image = axis.imshow(values, cmap="cividis", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(values.shape):
        colour = "white" if values[row, column] < middle else "black"
        axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    figure.colorbar(image, label=scale)
    _save(figure, path)
