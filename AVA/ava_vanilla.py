"""Train the AVA vanilla model, which predicts the votes 1-10 on a photograph from the whole picture.

    python AVA/ava_vanilla.py --images data/ava --schedule original
    python3 -i AVA/ava_vanilla.py --images data/ava                   # a prompt: pretrain(), then fit(1e-4, 4)
    python AVA/ava_vanilla.py --images my_pictures --train-labels train.csv --test-labels test.csv --schedule "4@1e-4"

This file is the whole experiment: settings, labels, network and head, augmentation, loss, metrics, schedule. To try another
one, edit it and choose a new --run: a run can be resumed only with the script that began it.
"""

from functools import partial
from pathlib import Path

from iqa.cards import AVA_SCALE, Head, Preprocessing
from iqa.commands.terminal import run
from iqa.commands.train import cross_validate, open_session, parse_options, read_sets, scale_of, start_network, train_parser
from iqa.environment import without_greetings
from iqa.images.geometry import MARGIN, Geometry, random_patch
from iqa.labels.ratings import oversample, read_ratings

# --- settings --------------------------------------------------------------------------------------------------------

# The original's network; `iqa.cards.BACKBONES` has others.
NETWORK = "mobilenet_v2"

# The head: 0.75 of the features are dropped, as in NIMA (Talebi, Milanfar 2018). hidden=256 puts a dense layer of 256 units
# before the ten votes.
HEAD = Head("histogram", dropout=0.75, hidden=0)

# Noise on the pixels in training, the original's 0.3 % of their range.
NOISE = 0.003

# What the network sees. Averaging, where the original took the nearest pixel: that made scores jump from one crop to the
# next.
PREPROCESSING = Preprocessing(
    "resize", 224, "bilinear", training="whole image to 8/7 of the size, random crop, mirrored or not"
)

# Images a step, as in the original.
BATCH_SIZE = 16

# "1 epoch pretrain (base model frozen), 4 epochs 1e-4, 12 epochs 5e-6, 1 epoch 5e-7" (the original's README).
ORIGINAL_SCHEDULE = "1@1e-3:frozen,4@1e-4,12@5e-6,1@5e-7"

# AVA has few photographs with a mean below 4 or above 7. True shows each of them eight times in an epoch.
OVERSAMPLE = False

# AVA's votes; the test split is idealo's.
TRAIN_LABELS, TEST_LABELS = "data/ava_labels_train.json", "data/ava_labels_test.json"


# --- augmentation ----------------------------------------------------------------------------------------------------


def augment(pixels, rng, seen):
    """A random crop, mirrored or not: uint8 (size, size, 3).

    Args:
        pixels: the image resized to 8/7 of what the network sees, by the code that scoring uses, uint8 (H, W, 3).
        rng: all chance comes from it, so that a resumed run sees the same crops.
        seen: the `Preprocessing` of the network.
    """
    return random_patch(pixels, seen.size, rng)


# --- training --------------------------------------------------------------------------------------------------------


def train(options, training, testing):
    """A session that trains on some images and tests on others."""
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        from iqa.training import losses
        from iqa.training.batches import Evaluation, Photographs
        from iqa.training.cache import Resized

    # Network and head: from --weights, else a new head on the --backbone.
    scale = scale_of(options.train_labels, options.scale, AVA_SCALE)  # one's own labels are not AVA's
    model, card = start_network(options, NETWORK, HEAD, PREPROCESSING, NOISE, scale)

    # Batches.
    shown = oversample(training) if OVERSAMPLE else training
    workers, kept = options.data_workers, {"cache": options.cache, "cache_size": options.cache_size}
    seen = card.preprocessing
    read = Resized(round(MARGIN * seen.size), seen.interpolation or "bilinear")  # what random crops are cut from
    cut = partial(augment, seen=seen)
    train_data = Photographs(shown, options.batch_size, cut, options.seed, read=read, workers=workers, **kept)
    see = Geometry.of(card).patches
    test_data = Evaluation(testing, options.batch_size, see, workers)

    # Loss: earth mover's distance alone fits the shape of the histograms long before their means; the moments speed these
    # up. Alone it is `losses.emd`.
    loss = losses.emd_and_moments

    # What is measured in each epoch, on both sets. The epoch with the best LCC on the test set becomes best.weights.h5.
    metrics = [
        losses.ImageMean(losses.image_emd, "emd"),
        losses.ImageMean(losses.accuracy),
        losses.ImageMean(losses.binary_accuracy),
        losses.ImageMean(losses.squared_mean_difference, "first_moment", root=True),
        losses.ImageMean(losses.squared_variance_difference, "second_moment", root=True),
        losses.LCC(),
        losses.SRCC(capacity=max(len(testing), 4096)),
    ]

    data, sets = (train_data, test_data), (training, testing)
    return open_session(options, __file__, model, card, data, sets, loss, metrics, see)


def main():
    parser = train_parser(__doc__, "runs/ava_vanilla", BATCH_SIZE, TRAIN_LABELS)
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the resized images in FOLDER (50 GB for AVA)")
    parser.add_argument("--cache-size", type=float, metavar="GB", help="keep at most this many GB in --cache")
    options = parse_options(parser, ORIGINAL_SCHEDULE)
    options.scale = options.scale or (1, 10)
    training, testing = read_sets(options, partial(read_ratings, scale=tuple(options.scale)), test=TEST_LABELS)
    return cross_validate(options, training, train) if options.folds else train(options, training, testing)


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})
