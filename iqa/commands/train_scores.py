"""Training the regression on scores of your own: the data and the session behind a .csv of scores on any scale."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from iqa.cards import Card, Head, Preprocessing, Scale
from iqa.commands.folds import cross_validate
from iqa.commands.run_options import group_column, options_of, settings_of, split
from iqa.commands.terminal import quiet_start
from iqa.commands.training_run import begin, start_network
from iqa.errors import LabelError
from iqa.images.geometry import Geometry, random_patch
from iqa.labels.ratings import RatedImage, locate_ratings
from iqa.labels.scores import TID2013, describe_range, read_scores
from iqa.labels.splits import check_apart
from iqa.training.schedule import Phase
from iqa.training.usable import usable_images

if TYPE_CHECKING:
    from iqa.training.prompt import Prompt


@dataclass(frozen=True)
class Regression:
    """What a script says of the network that it trains; see `iqa.models.networks.network_to_train`."""

    preprocessing: Preprocessing
    cardless: Card
    noise: float
    dropout: float


def train_on_scores(arguments: argparse.Namespace, phases: Sequence[Phase], regression: Regression) -> "Prompt | int":
    """Train the regression on a .csv of scores as the command line says: a session, or with --folds a cross-validation.

    Args:
        arguments: of `iqa.commands.run_options.train_parser` and `add_split_options`, and `patches`.
        phases: of the schedule, if there is one.
        regression: what is trained.

    Raises:
        IqaError: what is wrong with the options, the labels, the images or the run.
    """
    lowest, highest = arguments.scale or TID2013
    scale = (lowest, highest)
    images = _read(arguments, arguments.train_labels, scale)
    testing: list[RatedImage] = []
    if arguments.test_labels:
        testing = _read(arguments, arguments.test_labels, scale)
        check_apart(images, testing)
    smallest, memory = Geometry(regression.preprocessing, "centre").smallest, arguments.run / "images.json"
    images = _locate(images, arguments.images, smallest, memory)
    testing = _locate(testing, arguments.test_images or arguments.images, smallest, memory)
    if arguments.folds:
        return cross_validate(arguments, phases, images, lambda *fold: _prepare(regression, scale, *fold))
    if arguments.test_share or arguments.split_by:
        images, testing = split(arguments, images)
    if not images or not testing:
        raise LabelError(f"{arguments.images} holds no usable image of the training or of the test labels")
    print(f"{len(images)} images to train on, {len(testing)} to test on")
    prompt = _prepare(regression, scale, arguments, images, testing)
    trainer, card = prompt.session.trainer, prompt.session.trainer.card
    return begin(
        prompt,
        phases,
        arguments.resume,
        f"{card.backbone.backbone}, regression of scores {lowest:g}-{highest:g} as 0-9; {Geometry.of(card, 'centre')}",
        f"training on {len(images)} images in {len(trainer.train_data)} steps, testing on {len(testing)}",
    )


def _read(arguments: argparse.Namespace, file: Path, scale: tuple[float, float]) -> list[RatedImage]:
    images = read_scores(file, scale, group_column(arguments))
    print(f"{file}: {len(images)} images, {describe_range(images, scale)}")
    return images


def _locate(images: Sequence[RatedImage], folder: Path, smallest: int, memory: Path) -> list[RatedImage]:
    if not folder.is_dir():
        raise LabelError(f"{folder}: there is no such folder")
    return usable_images(locate_ratings(images, folder), smallest, memory)[0] if images else []


def _prepare(
    regression: Regression,
    scale: tuple[float, float],
    arguments: argparse.Namespace,
    training: Sequence[RatedImage],
    testing: Sequence[RatedImage],
) -> "Prompt":
    """The network, its data and its run folder, ready to begin."""
    preprocessing, patches, rows = regression.preprocessing, arguments.patches, arguments.batch_size
    model, facts = start_network(
        arguments, "regression", regression.noise, regression.dropout, regression.cardless, preprocessing.size
    )
    with quiet_start():
        from iqa.models.heads import levels_of
        from iqa.training.batches import Evaluation, Photographs, see_at_random
        from iqa.training.losses import LadderLoss
        from iqa.training.metrics import score_metrics
        from iqa.training.prompt import Prompt
        from iqa.training.run_folder import RunFolder
        from iqa.training.session import Beginning, Session
        from iqa.training.trainer import Objective, Trainer
    settings = settings_of(arguments, training, testing, facts, preprocessing) | {
        "patches": patches,
        "multiple": preprocessing.multiple,
    }
    span = f"{scale[0]:g}-{scale[1]:g}"
    meaning = f"{arguments.train_labels.name} mean opinion score, {span} mapped linearly to 0-9, higher is better"
    described = {"images": len(training), "labels": arguments.train_labels.name, "seed": arguments.seed}
    described |= {"patches": patches, "began with": settings["began with"]}
    head = Head("regression", regression.dropout, tuple(levels_of(model)))
    card = Card(facts, head, preprocessing, Scale(*TID2013, meaning), trained_on=described)
    see = Geometry.of(card, "centre").patches if patches == 1 else see_at_random(preprocessing, patches)
    trainer = Trainer(
        model,
        Photographs(
            training,
            rows,
            lambda pixels, rng: random_patch(pixels, preprocessing.size, rng, preprocessing.multiple),
            arguments.seed,
            patches=patches,
        ),
        Evaluation(testing, max(1, rows // patches), see),
        # Each picture is a ladder of its own: the loss ranks none.
        Objective(LadderLoss(steps=1, weight=0.0, patches=patches), score_metrics(patches, len(testing))),
        card,
        RunFolder(arguments.run, arguments.keep_epochs),
    )
    return Prompt(Session(trainer, Beginning(settings, options_of(arguments), arguments.seed)), see)
