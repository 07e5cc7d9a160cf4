"""Train the TID2013 model, which predicts the mean opinion score of a patch of 224x224 pixels.

    python TID2013_regression/tid2013_regression.py --images data/tid2013_remade --ladders data/ladders \\
        --run runs/tid2013 --schedule "1@1e-3:frozen,5@1e-4,2@3e-5,2@1e-5"
    python3 -i TID2013_regression/tid2013_regression.py --images data/tid2013      # a prompt: pretrain(), fit(1e-4, 2)
    python TID2013_regression/tid2013_regression.py --images my_pictures --train-labels scores.csv --scale 0 100 \\
        --test-share 0.2 --weights tid2013_regression --schedule "20@1e-4:frozen:cosine"

--images is the folder of TID2013, or of the images that make_images.py re-made, with mos_with_names.txt. References 1-3
are the original's test scenes and are not used here, references 4-6 choose the checkpoint, and the network is trained
on the others and on the photographs of make_ladders.py: TID2013 alone has too few scenes. With --train-labels FILE.csv
the network is trained on your own scores of any pictures; see docs/own-pictures.md.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from iqa.cards import TID2013_SCALE, Head, Preprocessing
from iqa.commands.terminal import positive, run
from iqa.commands.train import cross_validate, open_session, parse_options, read_sets, scale_of, start_network, train_parser
from iqa.environment import without_greetings
from iqa.errors import LabelError
from iqa.files import printable
from iqa.images.finding import usable_images
from iqa.images.geometry import Geometry, random_patch
from iqa.images.reading import read_image
from iqa.labels import ratings, tid2013

# --- settings --------------------------------------------------------------------------------------------------------

NETWORK = "mobilenet_v2"

# The original dropped 0.75 of the features. With another draw for each step of a ladder, its order becomes a lottery.
HEAD = Head("regression", dropout=0.25, hidden=0)

# Noise on the pixels in training, the original's 0.3 % of their range.
NOISE = 0.003

PREPROCESSING = Preprocessing("patch", 224, pooling="detail", training="random patch, mirrored or not")

BATCH_SIZE = 30  # six ladders of five levels

# "Pretrain it for 3-4 epochs with high learning rate 10-3, or 10-4, then 200-300 epochs with lr=10-5 or lower" (the
# original's README).
ORIGINAL_SCHEDULE = "4@1e-3:frozen,250@1e-5"

# How often TID2013 is seen in an epoch, since people scored these very images; the weight of the order within ladders.
REPEATS, RANKING = 2, 2.0


# --- labels ----------------------------------------------------------------------------------------------------------


def read_data(options, size):
    """(ladders to train on, images to choose the checkpoint by)."""
    images = [image for ladder in tid2013.read_ladders(options.images, options.train_labels) for image in ladder]
    known, _ = tid2013.split_by_reference(images, tid2013.TEST_REFERENCES)
    train, validation = tid2013.split_by_reference(known, tid2013.VALIDATION_REFERENCES)
    if options.test_labels:
        validation = [
            image for image in tid2013.locate(tid2013.read_mos(options.test_labels), options.images) if image.path
        ]
    if both := {image.reference for image in train} & {image.reference for image in validation}:
        raise LabelError(f"scenes to train on and to choose by: {', '.join(sorted(both))}")
    memory = options.run / "images.json"
    validation = usable_images(validation, size, memory)
    photographs = [ladder for folder in options.ladders for ladder in tid2013.read_ladders(folder)]
    tid, photographs = (usable_ladders(part, size, memory) for part in (tid2013.ladders(train)[0], photographs))
    if not tid or not validation:
        raise LabelError(f"{options.images} holds no ladders to train on or none to validate on")
    print(f"{len(tid)} ladders of TID2013, {len(photographs)} of photographs, {len(validation)} images to validate on")
    return tid * REPEATS + photographs, validation


def usable_ladders(ladders, size, memory):
    """The ladders all of whose images can be used; the others are named on stderr."""
    files = {image.path for image in usable_images([image for ladder in ladders for image in ladder], size, memory)}
    for ladder in ladders:
        if not all(image.path in files for image in ladder):
            print(printable(f"left out, incomplete: {', '.join(image.name for image in ladder)}"), file=sys.stderr)
    return [ladder for ladder in ladders if all(image.path in files for image in ladder)]


# --- augmentation ----------------------------------------------------------------------------------------------------


def augment(pixels, rng, seen):
    """A random patch, mirrored or not: uint8 (size, size, 3). `Ladders` cuts all levels of a ladder so, and alike."""
    return random_patch(pixels, seen.size, rng, seen.multiple)


def see_at_random(path, seen, patches):
    """Random patches, always in the same places, to test on: uint8 (patches, size, size, 3)."""
    picture, rng = read_image(path), np.random.default_rng(0)
    return np.stack([random_patch(picture, seen.size, rng, seen.multiple) for _ in range(patches)])


# --- training --------------------------------------------------------------------------------------------------------


def train(options, training, testing):
    """A session that trains on ladders, or on single images with scores, and tests on images."""
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        from iqa.training.batches import Evaluation, Ladders, Photographs
        from iqa.training.losses import LCC, SRCC, ImageMean, LadderLoss, squared_mean_difference

    # Network and head: from --weights, else a new head on the --backbone.
    model, card = start_network(options, NETWORK, HEAD, PREPROCESSING, NOISE, TID2013_SCALE)
    patches, seen, rows, workers = options.patches, card.preprocessing, options.batch_size, options.data_workers
    cut = partial(augment, seen=seen)

    # Batches, and the loss: mean squared error, correlation, and in ladders the order of their levels.
    if options.of_scores:
        card = replace(card, scale=scale_of(options.train_labels, options.scale, TID2013_SCALE))
        train_data = Photographs(training, rows, cut, options.seed, patches=patches, workers=workers)
        loss = LadderLoss(steps=1, weight=0.0, patches=patches)  # each picture is a ladder of its own
    else:
        train_data = Ladders(training, rows, cut, options.seed, patches, workers)
        loss = LadderLoss(weight=RANKING, patches=patches)
        training = [image for ladder in training for image in ladder]
    see = Geometry.of(card, "centre").patches if patches == 1 else partial(see_at_random, seen=seen, patches=patches)
    test_data = Evaluation(testing, max(1, rows // patches), see, workers)

    # What is measured in each epoch, on both sets. The epoch with the best LCC on the test set becomes best.weights.h5.
    capacity = max(len(testing), 4096)
    metrics = [ImageMean(squared_mean_difference, "mse"), LCC(patches=patches), SRCC(patches=patches, capacity=capacity)]

    data, sets = (train_data, test_data), (training, testing)
    return open_session(options, __file__, model, card, data, sets, loss, metrics, see, patches=patches)


def main():
    parser = train_parser(__doc__, "runs/tid2013", BATCH_SIZE)
    ladders = "also learn the scores in these folders of make_ladders.py"
    parser.add_argument("--ladders", type=Path, nargs="+", default=[], help=ladders)
    parser.add_argument("--patches", type=positive, default=1, help="number of patches per picture (default: 1)")
    options = parse_options(parser, ORIGINAL_SCHEDULE)
    options.of_scores = bool(options.train_labels) and options.train_labels.suffix.lower() == ".csv"
    if not options.of_scores:
        if options.test_share or options.split_by or options.folds:
            parser.error("--test-share, --split-by and --folds need a .csv of scores as --train-labels")
        return train(options, *read_data(options, PREPROCESSING.size))
    if options.ladders:
        parser.error("--ladders do not go with a .csv of scores")
    if not (options.test_share or options.split_by or options.test_labels or options.folds):
        parser.error("a .csv of scores needs --test-share, --split-by, --test-labels or --folds: what to test on")
    options.scale = options.scale or ratings.TID2013
    read = partial(ratings.read_scores, scale=tuple(options.scale))
    training, testing = read_sets(options, read, PREPROCESSING.size)
    return cross_validate(options, training, train) if options.folds else train(options, training, testing)


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})
