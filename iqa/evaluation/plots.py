"""Figures from metrics, scores and training logs, drawn without a display; every function writes one file."""

import math
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle, groupby
from os import PathLike
from pathlib import Path
from typing import Any

if "matplotlib" not in sys.modules and (backend := os.environ.pop("MPLBACKEND", None)):
    import matplotlib  # it would fail if that names one that is not installed, as of a notebook's child

    os.environ["MPLBACKEND"] = backend
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = backend

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from iqa.errors import OutputError
from iqa.files import check_target, printable, read_beginning, temporary_beside
from iqa.labels.histograms import mean_scores, std

Floats = NDArray[np.float64]
File = str | PathLike[str]

#: Above so many pictures their density is drawn instead of points.
MOST_POINTS = 2000

STYLES = (("tab:blue", "-", "o"), ("tab:orange", "--", "s"), ("tab:green", ":", "^"), ("tab:red", "-.", "D"))

#: What a figure says of itself, by suffix; not when it was made, so that the same numbers make the same file.
_MAKER = "image-quality-assessment"
_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": _MAKER},
    ".svg": {"Creator": _MAKER, "Date": None},
    ".pdf": {"Creator": _MAKER, "CreationDate": None},
}


def start_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, without a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(name: str) -> str:
    """A name as matplotlib shows it, which takes what lies between two dollars for a formula."""
    return printable(name).replace("$", r"\$")


def _check_suffix(path: File) -> str:
    suffix = Path(path).suffix.lower()
    if suffix.removeprefix(".") not in FigureCanvasAgg.get_supported_filetypes():
        raise OutputError(f"{path}: figures are .png, .svg, .pdf or another suffix of matplotlib's, not {suffix!r}")
    return suffix


def check_figure(path: File, overwrite: bool = False, inputs: Iterable[File] = ()) -> None:
    """Raise `OutputError`, before the work, if a figure of this name may not or cannot be written."""
    _check_suffix(path)
    check_target(path, overwrite, lambda path: _MAKER.encode() in read_beginning(path), inputs)


def save_figure(figure: Figure, path: File) -> None:
    """Write a figure, whole or not at all."""
    suffix = _check_suffix(path)
    settings: Any = {"pdf.fonttype": 42, "svg.hashsalt": "iqa"}  # text stays text in a PDF, to be searched
    with temporary_beside(path) as file, matplotlib.rc_context(settings):
        figure.savefig(file, dpi=150, metadata=_METADATA.get(suffix))


def draw_predictions(true: ArrayLike, predicted: ArrayLike, path: File, scale: str) -> str:
    """Panels for a paper: the histograms of the scores, prediction over truth, and calibration; returns the caption.

    `true` and `predicted` are float (N,) scores, or (N, 10) histograms of votes 1-10, for which a panel of the histograms
    of the standard deviations comes second. `scale` is such as "TID2013, 0-9"; see `iqa.cards.Scale.name`.
    """
    people, model = mean_scores(true), mean_scores(predicted)
    lowest = float(np.floor(min(people.min(), model.min())))
    highest = max(lowest + 1, float(np.ceil(max(people.max(), model.max()))))
    captions = [f"The scores ({scale}) that people gave (grey) and that the model predicts (line)."]
    if np.ndim(true) == 2:
        figure = start_figure(7.5, 6.2)
        panels = list(figure.subplots(2, 2).ravel())
        edges = np.linspace(lowest, highest, choose_bins(len(people)) + 1)
        _overlay_histograms(panels[0], people, model, edges, f"mean score ({scale})")
        deviations = std(true), std(predicted)
        least, most = min(side.min() for side in deviations), max(side.max() for side in deviations)
        bins = np.linspace(np.floor(2 * least) / 2, np.floor(2 * most) / 2 + 0.5, len(edges))
        _overlay_histograms(panels[1], *deviations, bins, "standard deviation of the votes")
        captions.append("The standard deviations of the votes on a picture, the same.")
    else:
        figure = start_figure(10.5, 3.3)
        panels = list(figure.subplots(1, 3))
        edges = np.linspace(lowest, highest, min(40, choose_bins(len(people))) + 1)
        _overlay_histograms(panels[0], people, model, edges, f"score ({scale})")
    captions.append(_scatter(figure, panels[-2], people, model, (lowest, highest), scale))
    captions.append(_calibrate(panels[-1], people, model, scale))
    letters = "abcd"[: len(panels)]
    for panel, letter in zip(panels, letters, strict=True):
        panel.set_title(f"({letter})", loc="left")
    save_figure(figure, path)
    lettered = " ".join(f"({letter}) {caption}" for letter, caption in zip(letters, captions, strict=True))
    return f"{len(people)} pictures. {lettered}"


def choose_bins(count: int) -> int:
    """Bins of a histogram of so many pictures: the square root of their number, 5 to 100."""
    return max(5, min(100, math.ceil(math.sqrt(count))))


def _overlay_histograms(axis: Axes, people: Floats, model: Floats, bins: Floats, name: str) -> None:
    edges: Any = bins  # what matplotlib takes; its annotations say less
    axis.hist(people, edges, color="0.75", label="people")
    axis.hist(model, edges, histtype="step", color="black", linewidth=1.2, label="model")
    axis.set(xlabel=name, ylabel="pictures", xlim=(bins[0], bins[-1]))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend()


def _scatter(figure: Figure, axis: Axes, true: Floats, predicted: Floats, limits: tuple[float, float], scale: str) -> str:
    axis.set(xlabel=f"people: mean score ({scale})", ylabel="model: mean score", xlim=limits, ylim=limits, aspect="equal")
    caption = "The model's mean score over people's; on the dashed line both are equal."
    if len(true) > MOST_POINTS:
        drawn: dict[str, Any] = {"gridsize": 50, "extent": (*limits, *limits), "linewidths": 0}
        cells = axis.hexbin(true, predicted, bins="log", mincnt=1, cmap="cividis_r", **drawn)
        figure.colorbar(cells, ax=axis, label="pictures in a cell")
        caption = f"{caption[:-1]}; the darker a cell, the more pictures lie in it, on a logarithmic scale."
    else:
        axis.plot(true, predicted, "o", markersize=3, markerfacecolor="none", markeredgecolor="black", markeredgewidth=0.6)
    axis.plot(limits, limits, "--", color="0.4", linewidth=1)
    return caption


def _calibrate(axis: Axes, true: Floats, predicted: Floats, scale: str) -> str:
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


def draw_ladders(series: Mapping[str, tuple[Sequence[str], Sequence[float]]], path: File, ylabel: str) -> None:
    """Values over the steps of each ladder, {name: (labels of steps, values)}; the first step is untouched."""
    figure = start_figure(max(6, 3.2 * len(series)), 3.8)
    axes = figure.subplots(1, len(series), sharey=True, squeeze=False)[0]
    for axis, (name, (labels, values)), (colour, line, marker) in zip(axes, series.items(), cycle(STYLES), strict=False):
        axis.plot(range(len(values)), values, line, color=colour, marker=marker)
        axis.set_xticks(range(len(values)), map(plain, labels), rotation=30, ha="right")
        axis.set_title(plain(name), fontsize=10)
        axis.grid(axis="y", color="0.9")
    axes[0].set_ylabel(ylabel)
    save_figure(figure, path)


def draw_training(log: Sequence[Mapping[str, Any]], path: File, rates: Mapping[int, str], undone: Collection[int]) -> None:
    """Panels over the epochs of a run: the loss, and the correlations; a line where a phase begins.

    A row of `log` is an epoch: `epoch`, `phase`, and figures by name, with `val_` on test data. `rates`
    are learning rates as the figure shows them, {phase: text}; the epochs of `undone` phases are grey.
    """
    names = {"loss": "loss", "lcc": "LCC", "srcc": "SRCC"}
    kept = [name for name in names if name != "srcc" or any("val_srcc" in row or "srcc" in row for row in log)]
    figure = start_figure(9, 1 + 2.6 * len(kept))
    panels = figure.subplots(len(kept), 1, sharex=True)
    for panel, name in zip(panels, kept, strict=True):
        sides = ((name, "training"), (f"val_{name}", "test"))
        for (key, title), (colour, line, marker) in zip(sides, STYLES, strict=False):
            points = [(row["epoch"], row[key]) for row in log if key in row]
            if points:
                panel.plot(*zip(*points, strict=True), line, color=colour, marker=marker, markersize=4, label=title)
        spans = [(phase, list(rows)) for phase, rows in groupby(log, key=lambda row: row["phase"])]
        label = "undone"
        for phase, rows in spans:
            if phase in undone:
                edges = rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5
                panel.axvspan(*edges, color="0.85", linewidth=0, zorder=0, label=label)
                label = "_"  # which no legend shows
        panel.set_ylabel(names[name])
        panel.grid(axis="y", color="0.9")
        if panel.lines:
            panel.legend()
        for phase, rows in spans:
            panel.axvline(rows[0]["epoch"] - 0.5, color="0.6", linewidth=0.8)
            if panel is panels[0]:
                panel.text(rows[0]["epoch"] - 0.45, 1.01, rates[phase], transform=panel.get_xaxis_transform())
    panels[0].set_title("learning rates above the lines where their phases begin", fontsize=9, pad=20)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    save_figure(figure, path)
