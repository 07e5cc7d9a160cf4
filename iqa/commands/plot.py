"""What the plot scripts do: a `.mat` of predictions becomes the printed table, a JSON file and a figure."""

import sys
import webbrowser
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from iqa.commands.terminal import Parser, add_overwrite, natural, parser_of
from iqa.evaluation.metrics import Agreement, measure_distribution_agreement
from iqa.evaluation.predictions import Predictions, read_predictions
from iqa.evaluation.tables import format_agreement, format_intervals
from iqa.files import check_target, holds, printable, write_json


def plot_parser(description: str | None, predictions: Path) -> Parser:
    """The options that all plot scripts share; the script's docstring, and the default file."""
    parser = parser_of(description)
    add = parser.add_argument
    add("file", nargs="?", type=Path, default=predictions, help=f"predictions (default: {predictions.name} beside this)")
    add("--json", type=Path, help="also write the metrics to this file")
    add("--figure", type=Path, help="draw histograms, scatter and calibration into this .pdf, .svg or .png")
    add("--show", action="store_true", help="show the figure in a window")
    add_overwrite(parser)
    add("--bootstrap", type=natural, default=1000, help="resamples for the 95 %% intervals; 0 for none (default: 1000)")
    add("--logistic", action="store_true", help="also print the LCC after fitting VQEG's logistic function")
    return parser


def check_targets(arguments: Namespace) -> None:
    """Refuse, before the work, to write over anything but older figures and metrics; `figure` gets its default."""
    if arguments.json:
        check_target(arguments.json, arguments.overwrite, holds("n", "confusion_matrix", "srcc"), [arguments.file])
    if arguments.show and not arguments.figure:
        arguments.figure = arguments.file.with_suffix(".png")
    for figure in (arguments.figure, getattr(arguments, "heat_map", None)):
        if figure:
            from iqa.evaluation.plots import check_figure

            check_figure(figure, arguments.overwrite, [arguments.file])


def plot_histograms(description: str | None, predictions: Path) -> int:
    """Print the original's table for a `.mat` of histograms, as the command line asks; returns the exit code."""
    arguments = plot_parser(description, predictions).parse_args()
    check_targets(arguments)
    read = read_predictions(arguments.file, bins=10)
    result = measure_distribution_agreement(read.labels, read.predictions)
    print_results(arguments, read, result)
    write_results(arguments, read, result, "AVA, 1-10")
    return 0


def print_results(arguments: Namespace, read: Predictions, result: Agreement, scenes: Sequence[str] | None = None) -> None:
    """Print the table, the intervals below it (for `scenes` see `format_intervals`), and on stderr what was left out."""
    intervals = format_intervals(read.labels, read.predictions, arguments.bootstrap, arguments.logistic, scenes)
    print(*format_agreement(result), *intervals, sep="\n")
    if result.accuracy_n < result.n:
        left = f"{result.n - result.accuracy_n} of {result.n} images"
        print(f"{left} have a label of 0: the accuracy, which divides by the label, leaves them out", file=sys.stderr)
    if read.skipped:
        print(f"{len(read.skipped)} images were skipped, see `skipped` in {printable(arguments.file)}", file=sys.stderr)


def write_results(arguments: Namespace, read: Predictions, result: Agreement, scale: str) -> None:
    """Write the metrics, draw the figure and print its caption; `scale` is such as "TID2013, 0-9", if none is in `read`."""
    if arguments.json:
        write_json(arguments.json, result.as_json())
    if arguments.figure:
        from iqa.evaluation.plots import draw_predictions

        caption = draw_predictions(read.labels, read.predictions, arguments.figure, read.provenance.get("scale", scale))
        print(printable(f"{arguments.figure}: {arguments.file.name}, {caption}"))
        if arguments.show:
            webbrowser.open(arguments.figure.resolve().as_uri())
