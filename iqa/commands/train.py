"""What the experiments on AVA share: the options, data and session of training, and the printed table of results."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import AVA_SCALE, Card, Head, Preprocessing, card_for, keras2_card, weights_file
from iqa.commands.folds import cross_validate
from iqa.commands.run_options import (
    above_zero,
    add_split_options,
    check_split_options,
    fraction,
    group_column,
    options_of,
    parse_options,
    settings_of,
    split,
    train_parser,
)
from iqa.commands.terminal import quiet_start
from iqa.commands.training_run import begin, start_network
from iqa.errors import LabelError
from iqa.images.geometry import Geometry
from iqa.labels.rating_files import SCALE
from iqa.labels.ratings import RatedImage, locate_ratings, oversample, read_ratings
from iqa.labels.splits import check_apart
from iqa.training.schedule import parse_schedule
from iqa.training.usable import usable_images

if TYPE_CHECKING:
    from iqa.training.prompt import Prompt

# 0.75 as in NIMA. The noise is the original's 0.3 %, a share of the range of the pixels.
DROPOUT, NOISE = 0.75, 0.003

# "1 epoch pretrain (base model frozen), 4 epochs 1e-4, 12 epochs 5e-6, 1 epoch 5e-7" (the original's README).
ORIGINAL_SCHEDULE = "1@1e-3:frozen,4@1e-4,12@5e-6,1@5e-7"


#: AVA's own test split, of idealo.
TEST_LABELS = Path("data/ava_labels_test.json")


@dataclass(frozen=True)
class Experiment:
    """What makes one experiment on AVA different from the others.

    Attributes:
        description: the script's docstring.
        run: the default run folder.
        loss: name of a loss of `iqa.training.losses`.
        geometry: what the network sees of a picture; see `preprocessing_to_train`.
        cut: function (pixels, rng, geometry) -> uint8 (size, size, 3), for training.
    """

    description: str
    run: str
    loss: str
    geometry: Preprocessing
    cut: Callable[[NDArray[np.uint8], np.random.Generator, Preprocessing], NDArray[np.uint8]]


def train(experiment: Experiment) -> "Prompt | int":
    """Train one of the AVA models as its command line says: a session, or with --folds a cross-validation.

    Raises:
        IqaError: what is wrong with the options, the labels, the images or the run.
    """
    parser = _parser(experiment)
    arguments = parse_options(parser)
    check_split_options(parser, arguments)
    phases = parse_schedule(arguments.schedule, ORIGINAL_SCHEDULE) if arguments.schedule else []
    training, testing = _read_splits(arguments)
    preprocessing = preprocessing_to_train(arguments.weights, experiment.geometry, arguments.size)
    smallest = Geometry(preprocessing, "centre" if preprocessing.kind == "patch" else None).smallest
    training, unusable = _locate(training, arguments.images, arguments.run / "train_images.json", smallest)
    if arguments.folds:
        return cross_validate(arguments, phases, training, lambda *fold: _prepare(experiment, preprocessing, *fold))
    test_folder = arguments.test_images or arguments.images
    testing, untestable = _locate(testing, test_folder, arguments.run / "test_images.json", smallest)
    if not training or not testing:
        raise LabelError(f"{arguments.images} holds no usable image of the training or of the test labels")
    print(f"{len(training)} images to train on, {len(testing)} to test on")
    prompt = _prepare(experiment, preprocessing, arguments, training, testing)
    trainer = prompt.session.trainer
    return begin(
        prompt,
        phases,
        arguments.resume,
        f"{trainer.card.backbone.backbone}, histogram of the votes 1-10; {Geometry.of(trainer.card, 'centre')}",
        f"training on {len(training)} images in {len(trainer.train_data)} steps ({unusable} unusable), "
        f"testing on {len(testing)} ({untestable} unusable)",
    )


def _prepare(
    experiment: Experiment,
    preprocessing: Preprocessing,
    arguments: argparse.Namespace,
    training: Sequence[RatedImage],
    testing: Sequence[RatedImage],
) -> "Prompt":
    """The network, its data and its run folder, ready to begin."""
    cardless, dropout = keras2_card("histogram", experiment.geometry.kind, AVA_SCALE), arguments.dropout
    model, facts = start_network(arguments, "histogram", NOISE, dropout, cardless, preprocessing.size)
    with quiet_start():
        from iqa.training import losses
        from iqa.training.batches import Evaluation, Photographs
        from iqa.training.metrics import histogram_metrics
        from iqa.training.prompt import Prompt
        from iqa.training.run_folder import RunFolder
        from iqa.training.session import Beginning, Session
        from iqa.training.trainer import Objective, Trainer
    own = {name: getattr(arguments, name) for name in ("dropout", "oversample", "steady")}
    own |= {"interpolation": preprocessing.interpolation, "loss": experiment.loss}
    settings = settings_of(arguments, training, testing, facts, preprocessing) | own
    card = Card(
        facts, Head("histogram", dropout), preprocessing, AVA_SCALE, trained_on=_describe_training(arguments, settings)
    )
    see = Geometry.of(card, "centre").patches
    loss = getattr(losses, experiment.loss)
    trainer = Trainer(
        model,
        Photographs(
            oversample(training) if arguments.oversample else training,
            arguments.batch_size,
            lambda pixels, rng: experiment.cut(pixels, rng, preprocessing),
            arguments.seed,
            mirrored=arguments.steady is not None,
        ),
        Evaluation(testing, arguments.batch_size, see),
        Objective(losses.Steady(loss, arguments.steady) if arguments.steady else loss, histogram_metrics(len(testing))),
        card,
        RunFolder(arguments.run, arguments.keep_epochs),
    )
    return Prompt(Session(trainer, Beginning(settings, options_of(arguments), arguments.seed)), see)


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = train_parser(experiment.description, experiment.run, batch_size=16)
    parser.add_argument(
        "--train-labels", type=Path, default=Path("data/ava_labels_train.json"), help=".json, AVA.txt, .csv"
    )
    parser.add_argument("--test-labels", type=Path, help=f"the same (default: {TEST_LABELS})")
    add_split_options(parser, SCALE)
    parser.add_argument("--oversample", action="store_true", help="show images with a mean below 4 or above 7 eight times")
    parser.add_argument("--dropout", type=fraction, default=DROPOUT, help=f"before the head (default: {DROPOUT})")
    parser.add_argument(
        "--steady",
        type=above_zero,
        metavar="WEIGHT",
        help="train on pictures beside their mirror images, and punish differences in their scores",
    )
    return parser


def _read_splits(arguments: argparse.Namespace) -> tuple[list[RatedImage], list[RatedImage]]:
    """(images to train on, images to test on), without an image in both; with --folds (all, none)."""
    (lowest, highest), group = arguments.scale or SCALE, group_column(arguments)
    images = read_ratings(arguments.train_labels, (lowest, highest), group)
    if arguments.folds:
        return images, []
    if arguments.test_share or arguments.split_by:
        return split(arguments, images)
    testing = read_ratings(arguments.test_labels or TEST_LABELS, (lowest, highest), group)
    check_apart(images, testing)
    return images, testing


def preprocessing_to_train(weights: str | None, geometry: Preprocessing, size: int | None = None) -> Preprocessing:
    """What the network sees. Weights of a model of the same kind keep the geometry that they were trained with.

    Args:
        weights: of --weights.
        geometry: the experiment's.
        size: of --size.
    """
    known = geometry
    if weights is not None:
        known = card_for(weights_file(weights), keras2_card("histogram", geometry.kind, AVA_SCALE)).preprocessing
    if known.kind != geometry.kind:
        known = geometry
    return replace(known, size=size or known.size, training=geometry.training)


def _locate(images: Sequence[RatedImage], folder: Path, memory: Path, smallest: int) -> tuple[list[RatedImage], int]:
    if not folder.is_dir():
        raise LabelError(f"{folder}: there is no such folder")
    return usable_images(locate_ratings(images, folder), smallest, memory)


def _describe_training(arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training."""
    return {
        "images": int(settings["training set"].split()[0]),
        "labels": arguments.train_labels.name,
        "oversampled": arguments.oversample,
        "steady": arguments.steady,
        "began with": settings["began with"],
        "seed": arguments.seed,
    }
