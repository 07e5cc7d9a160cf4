"""Train the AVA patches model, which predicts the votes 1-10 on a photograph from patches of 224x224 pixels.

    python AVA/ava_patches.py --images data/ava --schedule original
    python3 -i AVA/ava_patches.py --images data/ava                   # a prompt: pretrain(), then fit(1e-4, 4)

This file is the whole experiment: settings, labels, network and head, augmentation, loss, metrics, schedule. To try
another one, edit it and choose a new --run: a run can be resumed only with the script that began it. Images smaller
than a patch are named and left out.
"""

from functools import partial

from iqa.cards import AVA_SCALE, Head, Preprocessing
from iqa.commands.terminal import run
from iqa.commands.train import cross_validate, open_session, parse_options, read_sets, scale_of, start_network, train_parser
from iqa.environment import without_greetings
from iqa.images.geometry import Geometry, random_patch
from iqa.labels.ratings import oversample, read_ratings

# --- settings --------------------------------------------------------------------------------------------------------

# The original's network; `iqa.cards.BACKBONES` has others.
NETWORK = "mobilenet_v2"

# The head: 0.75 of the features are dropped, as in NIMA (Talebi, Milanfar 2018). hidden=256 puts a dense layer of 256 units
# before the ten votes.
HEAD = Head("histogram", dropout=0.75, hidden=0)

# Noise on the pixels in training, the original's 0.3 % of their range.
NOISE = 0.003

# What the network sees: in training a random patch, in testing the one in the centre.
PREPROCESSING = Preprocessing("patch", 224, training="random patch, mirrored or not")

# Images a step, as in the original. The loss has a correlation in the batch, which smaller ones would make a lottery.
BATCH_SIZE = 16

# "1 epoch pretrain (base model frozen), 4 epochs 1e-4, 12 epochs 5e-6, 1 epoch 5e-7" (the original's README).
ORIGINAL_SCHEDULE = "1@1e-3:frozen,4@1e-4,12@5e-6,1@5e-7"

# AVA has few photographs with a mean below 4 or above 7. True shows each of them eight times in an epoch.
OVERSAMPLE = False

# AVA's votes; the test split is idealo's.
TRAIN_LABELS, TEST_LABELS = "data/ava_labels_train.json", "data/ava_labels_test.json"


# --- augmentation ----------------------------------------------------------------------------------------------------


def augment(pixels, rng, seen):
    """A random patch of the image at its own size, mirrored or not: uint8 (size, size, 3).

    Args:
        pixels: uint8 (H, W, 3).
        rng: all chance comes from it, so that a resumed run sees the same patches.
        seen: the `Preprocessing` of the network.
    """
    return random_patch(pixels, seen.size, rng, seen.multiple)


# --- training --------------------------------------------------------------------------------------------------------


def train(options, training, testing):
    """A session that trains on some images and tests on others."""
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        from iqa.training import losses
        from iqa.training.batches import Evaluation, Photographs

    # Network and head: from --weights, else a new head on the --backbone.
    scale = scale_of(options.train_labels, options.scale, AVA_SCALE)  # one's own labels are not AVA's
    model, card = start_network(options, NETWORK, HEAD, PREPROCESSING, NOISE, scale)

    # Batches.
    shown = oversample(training) if OVERSAMPLE else training
    cut, workers = partial(augment, seen=card.preprocessing), options.data_workers
    train_data = Photographs(shown, options.batch_size, cut, options.seed, workers=workers)
    see = Geometry.of(card, "centre").patches
    test_data = Evaluation(testing, options.batch_size, see, workers)

    # Loss: that of the vanilla model, and the correlation of the means in the batch: a patch says less of a photograph than
    # the whole of it, and the order of photographs is what is asked for.
    def emd_moments_and_pearson(y_true, y_pred):
        return losses.emd_and_moments(y_true, y_pred) + 5 * losses.pearson_loss(y_true, y_pred)

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
    return open_session(options, __file__, model, card, data, sets, emd_moments_and_pearson, metrics, see)


def main():
    options = parse_options(train_parser(__doc__, "runs/ava_patches", BATCH_SIZE, TRAIN_LABELS), ORIGINAL_SCHEDULE)
    options.scale = options.scale or (1, 10)
    read = partial(read_ratings, scale=tuple(options.scale))
    training, testing = read_sets(options, read, PREPROCESSING.size, TEST_LABELS)
    return cross_validate(options, training, train) if options.folds else train(options, training, testing)


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})
