"""The options that all train scripts share, and how --resume restores those of the run."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iqa.cards import BACKBONES, Backbone, Preprocessing, sha256, weights_file
from iqa.commands.terminal import natural, parser_of, positive
from iqa.errors import RunError
from iqa.files import printable
from iqa.labels.rating_files import GROUP_COLUMN
from iqa.labels.ratings import RatedImage
from iqa.labels.splits import TEST_SPLIT, split_by_group, split_by_name
from iqa.training.run_folder import read_record, read_state
from iqa.training.usable import Labelled, fingerprint

#: What a cross-validation writes into --run: its options, and the figures of each fold.
FOLDS_NAME = "folds.json"

#: Options that say what to do with a run, and not what the run is.
_OF_THE_CALL = ("run", "resume", "schedule")


def train_parser(description: str, run: str, batch_size: int) -> argparse.ArgumentParser:
    """The parser with the options that all train scripts share; `run` and `batch_size` are their defaults."""
    parser = parser_of(description)
    parser.add_argument("--images", type=Path, help="folder of the images (required for a new run)")
    parser.add_argument("--network", choices=BACKBONES, help=f"what is trained (default: {BACKBONES[0]}, or as --weights)")
    parser.add_argument(
        "--backbone", help="its weights: imagenet (default), none, or a .pth of mobilenet_v2 or efficientnet_lite0"
    )
    parser.add_argument("--weights", metavar="FILE", help="weights of this model to start from: a file, or a shipped name")
    parser.add_argument("--size", type=positive, help="pixels in a side of what it sees (default: 224, or as --weights)")
    parser.add_argument("--batch-size", type=positive, default=batch_size, help=f"images per step (default: {batch_size})")
    parser.add_argument("--run", type=Path, default=Path(run), help="folder of the log and the checkpoints")
    parser.add_argument(
        "--schedule",
        help='phases, such as "1@1e-3:frozen,4@1e-4:cosine,until-plateau@1e-5", or "original"; without it: a prompt '
        "(python3 -i)",
    )
    parser.add_argument("--keep-epochs", action="store_true", help="keep every epoch's checkpoint, to average them")
    parser.add_argument("--mixed-precision", action="store_true", help="compute in 16 bits: float16 on GPUs, else bfloat16")
    parser.add_argument(
        "--strategy",
        choices=["mirrored", "machines"],
        help="mirrored: on all GPUs of the machine; machines: docs/machines.md",
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --run with the options it began with")
    parser.add_argument("--seed", type=natural, default=0, help="of order, crops and first weights (default: 0)")
    return parser


def add_split_options(parser: argparse.ArgumentParser, scale: tuple[float, float]) -> None:
    """Add how a file of labels of one's own is read and split; `scale` is the default of --scale."""
    lowest, highest = scale
    parser.add_argument("--test-share", type=fraction, metavar="SHARE", help="test on this share of --train-labels instead")
    parser.add_argument(
        "--split-by",
        metavar="COLUMN",
        help="of a .csv: train on rows that say `train...` in this column, and test on those of --test-split",
    )
    parser.add_argument("--test-split", metavar="NAME", help=f"what --split-by tests on (default: {TEST_SPLIT})")
    parser.add_argument(
        "--folds", type=positive, metavar="K", help="train K times, each time testing on another Kth of --train-labels"
    )
    parser.add_argument("--seeds", type=positive, help="with --folds: repeat them with so many seeds (default: 1)")
    parser.add_argument(
        "--group-by",
        metavar="COLUMN",
        help=f"of a .csv: splits keep its groups whole (default: {GROUP_COLUMN!r}, if any)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        nargs=2,
        metavar=("LOWEST", "HIGHEST"),
        help=f"of the votes or scores in a .csv (default: {lowest:g} {highest:g})",
    )
    parser.add_argument("--test-images", type=Path, help="folder of the test images (default: --images)")


def check_split_options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options of `add_split_options` that do not go together."""
    ways = ("test_share", "split_by", "test_labels", "folds")
    chosen = [f"--{name.replace('_', '-')}" for name in ways if getattr(arguments, name)]
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)} do not go together: choose one")
    if arguments.split_by and arguments.group_by:
        parser.error("--split-by and --group-by do not go together: the split is the file's own")
    if arguments.test_split and not arguments.split_by:
        parser.error("--test-split names rows of --split-by, and there is no --split-by")
    if arguments.seeds and not arguments.folds:
        parser.error("--seeds repeats --folds, and there is no --folds")
    if arguments.folds == 1:
        parser.error("--folds must be at least 2, got 1")
    if arguments.test_images and not arguments.test_labels:
        parser.error("--test-images is the folder of --test-labels, and there is no --test-labels")
    if arguments.folds and not arguments.schedule:
        parser.error("--folds trains unattended and needs a --schedule")


def group_column(arguments: argparse.Namespace) -> str:
    """The column of a CSV that says to which group, or to which split, an image belongs."""
    return str(arguments.split_by or arguments.group_by or GROUP_COLUMN)


def split(arguments: argparse.Namespace, images: Sequence[RatedImage]) -> tuple[list[RatedImage], list[RatedImage]]:
    """Split images that were read with `group_column` as --test-share or --split-by say: (train, test).

    Raises:
        LabelError: if one of the two would be empty.
    """
    if not arguments.split_by:
        return split_by_group(images, arguments.test_share, arguments.seed)
    train, test, others = split_by_name(images, arguments.test_split or TEST_SPLIT)
    if others:
        names = ", ".join(f"{printable(name)}: {count}" for name, count in others.items())
        print(f"in neither split: {names}")
    return train, test


def parse_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of the command line. With --resume, those that are not given are the ones that the run began with.

    Raises:
        RunError: if the run cannot be read.
    """
    arguments = _parse(parser)
    if arguments.resume:
        file, stored = _read_stored(arguments.run)
        known = vars(arguments).keys() & stored.keys()
        try:
            parser.set_defaults(**{name: _decode(stored[name]) for name in known})
        except RunError as error:
            raise RunError(f"{file}: {error}") from None
        arguments = _parse(parser)
    if arguments.images is None:
        parser.error("--images is missing: the folder of the images")
    for name in ("backbone", "network"):
        if arguments.weights and getattr(arguments, name):
            parser.error(f"--{name} and --weights do not go together: the weights bring their {name}")
    return arguments


def _parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options as they are given; of several machines, each but the first has a run of its own within --run."""
    arguments, machine = parser.parse_args(), os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "")
    if machine.isdecimal() and int(machine):
        arguments.run /= f"machine-{int(machine)}"
    return arguments


def _read_stored(run: Path) -> tuple[Path, dict[str, Any]]:
    """(file, options) that the run or the cross-validation in a folder began with; no options if it holds neither."""
    file = run / FOLDS_NAME
    if file.exists():
        record = read_record(file)
        stored = record.get("options") if isinstance(record, dict) else None
        if not isinstance(stored, dict):
            raise RunError(f"{file}: not the record of a cross-validation")
        return file, {name: value for name, value in stored.items() if name not in ("run", "resume")}
    file = run / "phases.json"
    stored = read_state(run).options if file.exists() else {}
    return file, {name: value for name, value in stored.items() if name not in _OF_THE_CALL}


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a new run, as JSON holds them; paths are absolute, so that it can be resumed from anywhere."""
    return {name: _encode(value) for name, value in vars(arguments).items() if name not in _OF_THE_CALL}


def settings_of(
    arguments: argparse.Namespace,
    training: Sequence[Labelled],
    testing: Sequence[Labelled],
    facts: Backbone,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """What must be the same when a run of any train script is resumed, {name: value}.

    Args:
        arguments: of `train_parser`.
        training, testing: the images to train on and to test on.
        facts: of the network's backbone.
        preprocessing: what the network sees.
    """
    return {
        "training set": fingerprint(training),
        "test set": fingerprint(testing),
        "batch size": arguments.batch_size,
        "seed": arguments.seed,
        "began with": sha256(weights_file(arguments.weights)) if arguments.weights else facts.backbone_weights,
        "mixed precision": arguments.mixed_precision,
        "network": facts.backbone,
        "size": preprocessing.size,
    }


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": str(value.absolute())}
    return [_encode(entry) for entry in value] if isinstance(value, list) else value


def _decode(value: Any) -> Any:
    """An option behind what `_encode` made of it. A number becomes text, so that `argparse` checks it as a typed one.

    Raises:
        RunError: if it is nothing that `_encode` makes.
    """
    if isinstance(value, list):
        return [_decode_part(entry) for entry in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _decode_part(value)


def _decode_part(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"path"} and isinstance(value["path"], str):
        return Path(value["path"])
    if not isinstance(value, str | int | float | None):
        raise RunError("its options are not those of a run")
    return value


def fraction(text: str) -> float:
    """A number of 0 to below 1, for `argparse`."""
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return number


def above_zero(text: str) -> float:
    """A number above 0, for `argparse`."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number
