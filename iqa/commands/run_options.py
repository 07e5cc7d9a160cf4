"""The options that all train scripts share, and how --resume restores those of the run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iqa.cards import Backbone, sha256, weights_file
from iqa.commands.terminal import natural, parser_of, positive
from iqa.errors import RunError
from iqa.labels.ratings import RatedImage
from iqa.labels.tid2013 import LabelledImage
from iqa.training.run_folder import read_state
from iqa.training.usable import fingerprint

#: Options that say what to do with a run, and not what the run is.
_OF_THE_CALL = ("run", "resume", "schedule")


def train_parser(description: str, run: str, batch_size: int) -> argparse.ArgumentParser:
    """The parser with the options that all train scripts share; `run` and `batch_size` are their defaults."""
    parser = parser_of(description)
    parser.add_argument("--images", type=Path, help="folder of the images (required for a new run)")
    parser.add_argument("--backbone", help="imagenet (default), none, or torchvision's mobilenet_v2 .pth")
    parser.add_argument("--weights", metavar="FILE", help="weights of this model to start from: a file, or a shipped name")
    parser.add_argument("--batch-size", type=positive, default=batch_size, help=f"images per step (default: {batch_size})")
    parser.add_argument("--run", type=Path, default=Path(run), help="folder of the log and the checkpoints")
    parser.add_argument(
        "--schedule",
        help='phases, such as "1@1e-3:frozen,4@1e-4,until-plateau@1e-5", or "original"; without it: a prompt (python3 -i)',
    )
    parser.add_argument("--keep-epochs", action="store_true", help="keep every epoch's checkpoint, to average them")
    parser.add_argument("--mixed-precision", action="store_true", help="compute in 16 bits: float16 on GPUs, else bfloat16")
    parser.add_argument("--strategy", choices=["mirrored"], help="mirrored: on all GPUs of the machine")
    parser.add_argument("--resume", action="store_true", help="continue the run in --run with the options it began with")
    parser.add_argument("--seed", type=natural, default=0, help="of order, crops and first weights (default: 0)")
    return parser


def parse_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of the command line. With --resume, those that are not given are the ones that the run began with.

    Raises:
        RunError: if the run cannot be read.
    """
    arguments = parser.parse_args()
    if arguments.resume and (arguments.run / "phases.json").exists():
        stored = read_state(arguments.run).options
        known = vars(arguments).keys() & stored.keys() - set(_OF_THE_CALL)
        try:
            parser.set_defaults(**{name: _decode(stored[name]) for name in known})
        except RunError as error:
            raise RunError(f"{arguments.run / 'phases.json'}: {error}") from None
        arguments = parser.parse_args()
    if arguments.images is None:
        parser.error("--images is missing: the folder of the images")
    if arguments.weights and arguments.backbone:
        parser.error("--backbone and --weights do not go together: the weights bring their backbone")
    return arguments


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a new run, as JSON holds them; paths are absolute, so that it can be resumed from anywhere."""
    return {name: _encode(value) for name, value in vars(arguments).items() if name not in _OF_THE_CALL}


def settings_of(
    arguments: argparse.Namespace,
    training: Sequence[LabelledImage | RatedImage],
    testing: Sequence[LabelledImage | RatedImage],
    facts: Backbone,
) -> dict[str, Any]:
    """What must be the same when a run of any train script is resumed, {name: value}.

    Args:
        arguments: of `train_parser`.
        training, testing: the images to train on and to test on.
        facts: of the network's backbone.
    """
    return {
        "training set": fingerprint(training),
        "test set": fingerprint(testing),
        "batch size": arguments.batch_size,
        "seed": arguments.seed,
        "began with": sha256(weights_file(arguments.weights)) if arguments.weights else facts.backbone_weights,
        "mixed precision": arguments.mixed_precision,
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
