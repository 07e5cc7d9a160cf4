"""Figures from metrics, scores and training logs, drawn without a display; every function writes one file.

Series differ in line style and marker as well as in colour, so that a print in grey can be read.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iqa.files import temporary_beside
from iqa.labels.histograms import mean_scores, std

#: Above so many pictures a scatter of points is one blot, and their density is drawn instead.
MOST_POINTS = 2000

STYLES = (("tab:blue", "-", "o"), ("tab:orange", "--", "s"), ("tab:green", ":", "^"), ("tab:red", "-.", "D"))


def _figure(width, height):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path):
    # Text stays text in a PDF, to be searched; and the same numbers make the same file, without the time of day.
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(Path(path).suffix.lower())
    settings = {"pdf.fonttype": 42, "svg.hashsalt": "iqa"}
    with temporary_beside(path) as file, matplotlib.rc_context(settings):
        figure.savefig(file, dpi=150, metadata=undated)


def predictions_against_truth(true, predicted, path, scale):
    """Panels for a paper: the histograms of the scores, prediction over truth, and calibration.

    Args:
        true, predicted: float (N,) scores, or (N, 10) histograms of votes 1-10, for which a panel of the histograms of
            the standard deviations comes second.
        path: file to write; its suffix tells the format (.pdf and .svg are vectors).
        scale: of the scores, such as "TID2013, 0-9".

    Returns:
        The caption, a text.
    """
    means = [mean_scores(side) for side in (true, predicted)]
    lowest, highest = np.floor(np.min(means)), np.ceil(np.max(means))
    captions = [f"The scores ({scale}) that people gave (grey) and that the model predicts (line)."]
    if np.ndim(true) == 2:
        figure = _figure(7.5, 6.2)
        panels = list(figure.subplots(2, 2).ravel())
        _overlaid(panels[0], *means, np.linspace(1, 10, 101), f"mean score ({scale})")
        deviations = [std(side) for side in (true, predicted)]
        bins = np.linspace(0, max(2.5, np.max(deviations)), 101)
        _overlaid(panels[1], *deviations, bins, "standard deviation of the votes")
        captions.append("The standard deviations of the votes on a picture, the same.")
    else:
        figure = _figure(10.5, 3.3)
        panels = list(figure.subplots(1, 3))
        _overlaid(panels[0], *means, np.linspace(lowest, highest, 41), f"score ({scale})")
    captions.append(_scatter(figure, panels[-2], *means, (lowest, highest), scale))
    captions.append(_calibration(panels[-1], *means, scale))
    for panel, letter in zip(panels, "abcd"):
        panel.set_title(f"({letter})", loc="left")
    _save(figure, path)
    lettered = " ".join(f"({letter}) {caption}" for letter, caption in zip("abcd", captions))
    return f"{len(true)} pictures. {lettered}"


def _overlaid(axis, people, model, bins, name):
    axis.hist(people, bins, color="0.75", label="people")
    axis.hist(model, bins, histtype="step", color="black", linewidth=1.2, label="model")
    axis.set(xlabel=name, ylabel="pictures", xlim=bins[[0, -1]])
    axis.legend()


def _scatter(figure, axis, true, predicted, limits, scale):
    axis.set(xlabel=f"people: mean score ({scale})", ylabel="model: mean score", xlim=limits, ylim=limits, aspect="equal")
    caption = "The model's mean score over people's; on the dashed line both are equal."
    if len(true) > MOST_POINTS:
        drawn = {"gridsize": 50, "extent": (*limits, *limits), "linewidths": 0}
        cells = axis.hexbin(true, predicted, bins="log", mincnt=1, cmap="cividis_r", **drawn)
        figure.colorbar(cells, ax=axis, label="pictures in a cell")
        caption = f"{caption[:-1]}; the darker a cell, the more pictures lie in it, on a logarithmic scale."
    else:
        axis.plot(true, predicted, "o", markersize=3, markerfacecolor="none", markeredgecolor="black", markeredgewidth=0.6)
    axis.plot(limits, limits, "--", color="0.4", linewidth=1)
    return caption


def _calibration(axis, true, predicted, scale):
    groups = np.array_split(np.argsort(predicted, kind="stable"), min(10, max(1, len(predicted) // 2)))
    model, people = (np.array([side[group].mean() for group in groups]) for side in (predicted, true))
    reach = [1.96 * true[group].std(ddof=1) / np.sqrt(len(group)) if len(group) > 1 else 0 for group in groups]
    edges = [min(model.min(), people.min()), max(model.max(), people.max())]
    axis.plot(edges, edges, "--", color="0.4", linewidth=1)
    axis.errorbar(model, people, reach, fmt="o", color="black", markersize=4, capsize=2, linewidth=1)
    axis.set(xlabel=f"model: group mean ({scale})", ylabel="people: group mean")
    return (
        f"Calibration: the pictures in {len(groups)} groups of equal size by the model's score; mean of people's scores "
        "over mean of the model's. Bars: 95 % intervals of the mean, pictures taken as independent."
    )


def distribution_curves(quantiles, path, scale):
    """The share of a set that scores lower, over the score.

    Args:
        quantiles: {name: float (101,)}, the quantiles 0, 1 ... 100 %.
        path: file to write.
        scale: of the scores.

    Returns:
        The caption, a text.
    """
    figure = _figure(6, 3.3)
    axis = figure.subplots()
    for (name, values), (_, line, _) in zip(quantiles.items(), STYLES):
        axis.plot(values, np.arange(len(values)), line, color="black", label=name)
    axis.set(xlabel=scale, ylabel="% that score lower", ylim=(0, 100))
    axis.grid(color="0.9")
    axis.legend()
    _save(figure, path)
    return f"The percentage of pictures whose mean score is lower, for {' and '.join(quantiles)}."


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
