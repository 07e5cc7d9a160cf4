"""What the plot scripts do: a `.mat` of predictions becomes the printed table, a JSON file and a figure."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from iqa.commands.terminal import Parser, add_overwrite, natural, parser_of
from iqa.evaluation.metrics import Agreement, measure_distribution_agreement
from iqa.evaluation.predictions import Predictions, read_predictions
from iqa.evaluation.tables import IntervalOptions, format_distribution_agreement, format_intervals
from iqa.files import check_target, holds, printable, write_json


def plot_parser(description: str | None, predictions: Path) -> Parser:
    """The options that all plot scripts share.

    Args:
        description: the script's docstring.
        predictions: the default file.
    """
    parser = parser_of(description)
    parser.add_argument("file", nargs="?", type=Path, default=predictions, help=f"default: {predictions.name} beside this")
    parser.add_argument("--json", type=Path, help="write the metrics here")
    parser.add_argument(
        "--figure", type=Path, help="write distributions, scatter and calibration here, as .pdf, .svg or .png"
    )
    parser.add_argument("--show", action="store_true", help="open the figure")
    add_overwrite(parser)
    parser.add_argument(
        "--bootstrap", type=natural, default=1000, help="resamples for the 95 %% intervals (default: 1000; 0 for none)"
    )
    parser.add_argument("--logistic", action="store_true", help="LCC after VQEG's four-parameter logistic as well")
    return parser


def interval_options(arguments: Namespace) -> IntervalOptions:
    """What the arguments of `plot_parser` say about intervals."""
    return IntervalOptions(arguments.bootstrap, arguments.logistic)


def check_targets(arguments: Namespace) -> None:
    """Refuse, before the work, to write over anything but older figures and metrics; see `iqa.files.check_target`.

    Args:
        arguments: of `plot_parser`; `figure` gets its default.
    """
    if arguments.json:
        check_target(arguments.json, arguments.overwrite, holds("n", "confusion_matrix", "srcc"), [arguments.file])
    if arguments.show and not arguments.figure:
        arguments.figure = arguments.file.with_suffix(".png")
    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite, [arguments.file])


def plot_histograms(description: str | None, predictions: Path) -> int:
    """Print the original's table for a `.mat` of histograms, as the command line asks; returns the exit code.

    Args:
        description, predictions: see `plot_parser`.
    """
    arguments = plot_parser(description, predictions).parse_args()
    check_targets(arguments)
    read = read_predictions(arguments.file, bins=10)
    result = measure_distribution_agreement(read.labels, read.predictions)
    print_results(format_distribution_agreement(result), result, read, arguments.file, interval_options(arguments))
    if arguments.json:
        write_json(arguments.json, result.as_json())
    if arguments.figure:
        draw_results(read, "AVA, 1-10", arguments.file, arguments.figure, arguments.show)
    return 0


def print_results(
    table: Sequence[str],
    result: Agreement,
    read: Predictions,
    file: Path,
    options: IntervalOptions,
    scenes: Sequence[str] | None = None,
) -> None:
    """Print a table, the intervals below it, and on stderr what was left out.

    Args:
        table: lines of `iqa.evaluation.tables`.
        result: what the table shows.
        read: the predictions that it was computed from.
        file: where they came from.
        options, scenes: see `format_intervals`.
    """
    print(*table, *format_intervals(read.labels, read.predictions, options, scenes), sep="\n")
    if result.accuracy_n < result.n:
        left = f"{result.n - result.accuracy_n} of {result.n} images"
        print(f"{left} have a label of 0: the accuracy, which divides by the label, leaves them out", file=sys.stderr)
    if read.skipped:
        print(f"{len(read.skipped)} images were skipped, see `skipped` in {printable(file)}", file=sys.stderr)


def draw_results(read: Predictions, scale: str, file: Path, figure: Path, show: bool) -> None:
    """Draw the predictions against the labels and print the caption.

    Args:
        read: the predictions.
        scale: of the scores, such as "TID2013, 0-9", if the predictions do not tell theirs.
        file: where the predictions came from.
        figure: file to write.
        show: open it.
    """
    from iqa.evaluation.plots import draw_predictions, open_figure

    caption = draw_predictions(read.labels, read.predictions, figure, read.provenance.get("scale", scale))
    print(printable(f"{figure}: {file.name}, {caption}"))
    if show:
        open_figure(figure)
