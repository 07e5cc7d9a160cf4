"""What the experiments on AVA share: the options, data and session of training."""

import sys
from pathlib import Path

from iqa.cards import AVA_SCALE, Card, Head, keras2_card, sha256, weights_file
from iqa.commands.terminal import quiet_start, train_parser
from iqa.labels.ratings import check_apart, locate_ratings, oversample, read_ratings

# 0.75 as in NIMA. The noise is the original's 0.3 %, a share of the range of the pixels.
DROPOUT, NOISE = 0.75, 0.003

# "1 epoch pretrain (base model frozen), 4 epochs 1e-4, 12 epochs 5e-6, 1 epoch 5e-7" (the original's README).
ORIGINAL_SCHEDULE = "1@1e-3:frozen,4@1e-4,12@5e-6,1@5e-7"


def train(description, run, loss, cut, cut_to_score, geometry, smallest=1):
    """Train one of the AVA models as its command line says, and return the `Session`.

    Args:
        description: the script's docstring.
        run: the default run folder.
        loss: name of a loss of `iqa.training.losses`.
        cut: function (pixels, rng) -> uint8 (224, 224, 3), for training.
        cut_to_score: the same without chance, for evaluation; what `geometry` describes.
        geometry: that part of the card.
        smallest: pixels that the shorter side of an image must have.
    """
    parser = train_parser(description, run, batch_size=16)
    parser.add_argument(
        "--train-labels", type=Path, default=Path("data/ava_labels_train.json"), help=".json, AVA.txt, .csv"
    )
    parser.add_argument("--test-labels", type=Path, default=Path("data/ava_labels_test.json"), help="the same")
    parser.add_argument("--test-images", type=Path, help="folder of the test images (default: --images)")
    parser.add_argument("--oversample", action="store_true", help="see images with a mean below 4 or above 7 eight times")
    parser.add_argument("--dropout", type=float, default=DROPOUT, help=f"before the head (default: {DROPOUT})")
    parser.add_argument(
        "--steady",
        type=float,
        metavar="WEIGHT",
        help="see pictures beside their mirror images, punish the difference",
    )
    arguments = parser.parse_args()
    with quiet_start():  # and only now: whoever asks for --help should not wait for TensorFlow
        from iqa.models.networks import network_to_train
        from iqa.training import losses
        from iqa.training.batches import Evaluation, Photographs
        from iqa.training.devices import prepare
        from iqa.training.session import Session, open_prompt, parse_schedule

        strategy = prepare(arguments)
    phases = parse_schedule(arguments.schedule, ORIGINAL_SCHEDULE) if arguments.schedule else []
    training, testing = read_ratings(arguments.train_labels), read_ratings(arguments.test_labels)
    check_apart(training, testing)
    (training, unusable), (testing, untestable) = (
        _usable(images, folder, arguments.run / f"{split}_images.json", smallest)
        for images, folder, split in (
            (training, arguments.images, "train"),
            (testing, arguments.test_images or arguments.images, "test"),
        )
    )
    if not training or not testing:
        parser.error(f"{arguments.images} holds no usable image of the training or of the test labels")
    with quiet_start(), strategy.scope():
        cardless = keras2_card("histogram", geometry.kind, AVA_SCALE)
        model, facts = network_to_train(
            "histogram", arguments.backbone, NOISE, arguments.dropout, arguments.weights, cardless, geometry.size
        )
    print(f"{len(training)} images to train on, {len(testing)} to test on")
    data = Photographs(
        oversample(training) if arguments.oversample else training,
        arguments.batch_size,
        cut,
        arguments.seed,
        mirrored=bool(arguments.steady),
    )
    loss = getattr(losses, loss)
    session = Session(
        model,
        data,
        Evaluation(testing, arguments.batch_size, cut_to_score),
        loss=losses.Steady(loss, arguments.steady) if arguments.steady else loss,
        metrics=[
            losses.emd,
            losses.accuracy,
            losses.binary_accuracy,
            losses.first_moment,
            losses.second_moment,
            losses.LCC(),
        ],
        run=arguments.run,
        cut=cut_to_score,
        keep_epochs=arguments.keep_epochs,
        seed=arguments.seed,
        card=Card(
            facts,
            Head("histogram", arguments.dropout),
            geometry,
            AVA_SCALE,
            trained_on={
                "images": len(training),
                "labels": arguments.train_labels.name,
                "oversampled": arguments.oversample,
                "steady": arguments.steady,
                "began with": sha256(weights_file(arguments.weights)) if arguments.weights else facts.backbone_weights,
                "seed": arguments.seed,
            },
        ),
    )
    session.begin(phases, arguments.resume)
    open_prompt(
        session,
        f"MobileNetV2 ({facts.backbone_weights}), histogram of the votes 1-10",
        f"training on {len(data.images)} images in {len(data)} steps ({unusable} unusable), "
        f"testing on {len(testing)} ({untestable} unusable)",
    )
    return session


def _usable(images, folder, memory, smallest):
    """The images that can be used, and how many cannot: those are named on stderr."""
    from iqa.training.batches import usable

    good, refused = usable(locate_ratings(images, folder), smallest, memory)
    for name, reason in refused:
        print(f"{name}: {reason}", file=sys.stderr)
    if refused:
        print(f"{len(refused)} of {len(images)} images cannot be used", file=sys.stderr)
    return good, len(refused)
