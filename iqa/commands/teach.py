"""What idealo's infer scripts do beyond scoring: with --labels-out, a model's opinions become labels to train on."""

import argparse
from collections.abc import Callable
from pathlib import Path

from iqa.commands.infer import infer_images, infer_parser, run_options
from iqa.commands.terminal import Parser, load_quietly
from iqa.files import check_target, printable
from iqa.labels.ratings import locate_ratings, read_ratings
from iqa.scoring.collection import is_features, is_labels_of, write_labels
from iqa.scoring.scorer import Scorer


def infer_or_label(description: str | None, weights: Path, load: Callable[[argparse.Namespace], Scorer], hint: str) -> int:
    """The command line of a model whose opinions may become labels; returns the exit code.

    Args:
        description: the script's docstring.
        weights: the default of --weights.
        load: function of the arguments that loads the model.
        hint: where to get missing weights.
    """
    parser = infer_parser(description, weights)
    parser.add_argument("--labels-out", type=Path, help="write labels in AVA's form for one folder of images")
    parser.add_argument("--features-out", type=Path, help="write the features behind the labels as well: .npy")
    parser.add_argument("--six-crops", action="store_true", help="mean over the mirror image and small shifts")
    arguments = parser.parse_args()
    if arguments.features_out and (not arguments.labels_out or arguments.features_out.suffix != ".npy"):
        parser.error("--features-out takes a name like features.npy, and goes with --labels-out")
    if arguments.labels_out:
        return _write_labels(parser, arguments, lambda: load(arguments), hint)
    return infer_images(
        parser,
        arguments,
        lambda: load(arguments),
        lambda: locate_ratings(read_ratings(arguments.labels), arguments.folder),
        hint,
    )


def _write_labels(parser: Parser, arguments: argparse.Namespace, load: Callable[[], Scorer], hint: str) -> int:
    names = {"--list": arguments.list, "--json": arguments.json, "--out": arguments.out, "--report": arguments.report}
    names |= {"--labels": arguments.labels, "--images": arguments.folder}
    names["--engine ray"] = arguments.engine == "ray"
    for name, value in names.items():
        if value:
            parser.error(f"--labels-out does not go with {name}")
    if len(arguments.images) != 1 or not Path(arguments.images[0]).is_dir():
        parser.error("--labels-out takes one folder of images")
    _check_targets(arguments)
    scorer = load_quietly(load, hint)
    _check_targets(arguments, scorer)
    folder, options = Path(arguments.images[0]), run_options(arguments)
    outcome = write_labels(scorer, folder, arguments.labels_out, options, features=arguments.features_out)
    print(f"{printable(arguments.labels_out)}: {outcome.scored} images labelled, {outcome.skipped} could not be")
    return 1 if outcome.skipped else 0


def _check_targets(arguments: argparse.Namespace, scorer: Scorer | None = None) -> None:
    """As `iqa.commands.infer.check_targets`, of what is written here."""
    check_target(
        arguments.labels_out,
        arguments.overwrite,
        lambda path: scorer is None or is_labels_of(path, scorer),
        [arguments.weights],
    )
    if arguments.features_out:
        check_target(arguments.features_out, arguments.overwrite, is_features, [arguments.weights])
