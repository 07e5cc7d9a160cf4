"""Learn a teacher's opinions of many photographs, before people's votes on a few of them have their say.

    python idealo_comparison/infer.py --mean-opinion data/photographs --labels-out data/teacher.json \\
        --features-out data/teacher.npy
    python AVA/distill.py --images data/photographs --labels data/teacher.json --features data/teacher.npy --size 160 \\
        --epochs 2 --rate 4e-4 --backbone data/imagenet/mobilenet_v2-b0353104.pth --out runs/small.weights.h5
    python AVA/distill.py --images data/photographs --labels data/teacher.json --features data/teacher.npy --size 224 \\
        --epochs 1 --rate 1e-4 --weights runs/small.weights.h5 --out runs/distilled.weights.h5

A mean score says little about a scene. So the network has a second target: the features from which the teacher draws its
opinion, through a linear layer that is thrown away afterwards (Romero et al., "FitNets: hints for thin deep nets", 2015).
Small pictures come first, because a step at 160 pixels takes half the time of one at 224. With --patches the network sees
pixels at their own size instead of the whole picture. --votes names what people said of some of the photographs: it takes
the place of the teacher's opinion. To resume a run that was killed, repeat the command.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from iqa.cards import AVA_SCALE, Card, Head, Sight
from iqa.commands.terminal import natural, parser_of, positive, quiet_start, run
from iqa.errors import LabelError
from iqa.images.geometry import random_patch, resize
from iqa.labels.histograms import normal_histogram
from iqa.labels.ratings import locate_ratings, read_ratings

NOISE, DROPOUT = 0.003, 0.2

#: Of the features in the loss, beside the 50 EMD + moments of the histograms: both are about 2 at the end.
FEATURES_WEIGHT = 5.0

#: A whole picture is resized to this many times the size that the network sees, of which a random crop is cut.
MARGIN = 8 / 7

WARM_UP = 500  # steps of rising rate, for the two new layers

#: What a frame of one colour deserves (`blank-*.png` of make_training_set.py); the teacher finds it mediocre.
BLANK_SCORE, BLANK_STD = 2.5, 1.4


class Lesson(NamedTuple):
    """A photograph and all that is to be learnt of it: float32 (10 + n,), the histogram, then the teacher's features."""

    path: Path
    label: np.ndarray


def read_lessons(arguments) -> list[Lesson]:
    """What the command line names, in the order of the labels; people's votes take the place of the teacher's opinion."""
    opinions = read_ratings(arguments.labels)
    features = np.load(arguments.features, mmap_mode="r", allow_pickle=False)
    if len(features) != len(opinions):
        raise LabelError(
            f"{arguments.features}: features of {len(features)} images, {arguments.labels} has {len(opinions)}"
        )
    votes = {Path(image.name).stem: image.histogram for image in read_ratings(arguments.votes)} if arguments.votes else {}
    held_out = {name for file in arguments.exclude for name in file.read_text(encoding="utf-8").split()}
    blank = normal_histogram(BLANK_SCORE, BLANK_STD, np.arange(1.0, 11))
    chosen = features[:: max(1, len(features) // 10_000)].astype(np.float32)
    centre, spread = chosen.mean(axis=0), chosen.std(axis=0) + 0.02
    lessons, missing = [], 0
    for row, image in enumerate(locate_ratings(opinions, arguments.images)):
        stem = Path(image.name).stem
        if {stem, Path(image.name).name} & held_out:
            continue
        if image.path is None:
            missing += 1
            continue
        histogram = blank if stem.startswith("blank-") else votes.get(stem, image.histogram)
        lessons.append(
            Lesson(image.path, np.concatenate([histogram, (features[row] - centre) / spread]).astype(np.float32))
        )
    print(f"{len(lessons)} photographs to learn from, {missing} missing; people's votes on {len(votes)}")
    return lessons


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="folder of the photographs")
    parser.add_argument(
        "--labels", required=True, type=Path, help="the teacher's opinions, .json of idealo_comparison/infer.py"
    )
    parser.add_argument("--features", required=True, type=Path, help="its features in the same order, .npy")
    parser.add_argument("--votes", type=Path, help="people's votes on some of the photographs, .csv or .json")
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], help="files of names that are not learnt from")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    parser.add_argument("--weights", help="weights to start from (default: those of --backbone)")
    parser.add_argument("--backbone", default="imagenet", help="imagenet, none, or torchvision's mobilenet_v2 .pth")
    parser.add_argument("--patches", action="store_true", help="see patches at their own size, for the patches model")
    parser.add_argument("--size", type=positive, default=224, help="pixels in a side of what is seen (default: 224)")
    parser.add_argument("--epochs", type=positive, default=1)
    parser.add_argument(
        "--rate", type=float, default=1e-4, help="highest learning rate; it falls to a twentieth (default: 1e-4)"
    )
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--seed", type=natural, default=0)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    lessons = read_lessons(arguments)
    side = round(MARGIN * arguments.size)

    def cut(pixels, rng):
        return random_patch(pixels if arguments.patches else resize(pixels, side), arguments.size, rng)

    with quiet_start():  # and only now: --help should not wait for TensorFlow
        import keras

        from iqa.models.networks import network_to_train
        from iqa.models.weight_files import save_with_card
        from iqa.training.batches import Photographs
        from iqa.training.losses import emd_and_moments

        keras.utils.set_random_seed(arguments.seed)
        model, facts = network_to_train(
            "histogram", arguments.backbone, NOISE, DROPOUT, arguments.weights, size=arguments.size
        )
    for layer in model.layers:  # ImageNet's statistics are better than those of a batch
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    bins, width = model.output_shape[-1], len(lessons[0].label)
    guess = keras.layers.Dense(width - bins, name="teacher")(model.get_layer("pooling").output)
    student = keras.Model(model.input, keras.layers.Concatenate()([model.output, guess]))

    def loss(y_true, y_pred):
        features = keras.ops.mean((y_true[:, bins:] - y_pred[:, bins:]) ** 2)
        return emd_and_moments(y_true[:, :bins], y_pred[:, :bins]) + FEATURES_WEIGHT * features

    data = Photographs(lessons, arguments.batch_size, cut, arguments.seed)
    steps = arguments.epochs * len(data)
    rate = keras.optimizers.schedules.CosineDecay(
        0.05 * arguments.rate, max(1, steps - WARM_UP), alpha=0.05, warmup_target=arguments.rate, warmup_steps=WARM_UP
    )
    student.compile(keras.optimizers.Adam(rate), loss)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    backup = keras.callbacks.BackupAndRestore(arguments.out.with_suffix(".backup"), save_freq=500)
    student.fit(data, epochs=arguments.epochs, shuffle=False, callbacks=[backup, keras.callbacks.TerminateOnNaN()])
    seen = "random patch" if arguments.patches else f"whole image to {side}x{side}, random crop"
    sight = Sight("patch" if arguments.patches else "resize", 224, None if arguments.patches else "bilinear", training=seen)
    learnt = {
        "images": len(lessons),
        "labels": arguments.labels.name,
        "votes": str(arguments.votes and arguments.votes.name),
    }
    learnt |= {"size": arguments.size, "epochs": arguments.epochs, "rate": arguments.rate, "seed": arguments.seed}
    save_with_card(model, arguments.out, Card(facts, Head("histogram", DROPOUT), sight, AVA_SCALE, trained_on=learnt))
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    run(main)
