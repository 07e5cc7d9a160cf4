"""Learn another model's scores of many photographs: those of idealo's model, or of weights that use flip averaging.

    python AVA/infer_vanilla.py data/photographs --out data/teacher.jsonl
    python AVA/distill.py --labels data/teacher.jsonl --weights ava_vanilla --out runs/one_look.weights.h5
    python idealo_comparison/infer.py --six-crops data/photographs --out data/teacher.jsonl
    python AVA/distill.py --labels data/teacher.jsonl --backbone imagenet --epochs 4 --out runs/new.weights.h5

The student sees every photograph beside its mirror image and learns one score for both, so that it does not need flip
averaging. With --patches it sees pixels at their own size instead of the whole picture. The learning rate rises at first
and falls like a cosine; what is saved is the exponential average of the weights. To resume a run that was killed, repeat
the command.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from iqa.cards import AVA_SCALE, BACKBONES, Card, Head, Preprocessing
from iqa.commands.terminal import add_overwrite, check_weights_target, natural, parser_of, positive, run
from iqa.environment import without_greetings
from iqa.errors import LabelError
from iqa.files import printable, text_to_name
from iqa.images.geometry import MARGIN, random_patch, random_view
from iqa.labels.histograms import normal_histogram
from iqa.labels.ratings import read_ratings

NOISE, DROPOUT = 0.003, 0.2
STEADY = 10.0  # weight of the difference between mirror images
WARM_UP = 500  # steps of rising rate, at most a quarter of all: new layers must not spoil the others

# What a frame of one colour deserves (`blank-*.png` of make_training_set.py); idealo's model finds it mediocre.
BLANK = normal_histogram(2.5, 1.4, np.arange(1.0, 11))


class Lesson(NamedTuple):
    """A photograph, and the histogram to be learnt of it."""

    path: Path
    label: np.ndarray


def read_names(file):
    """The names in a label file, or in a text of one name a line, without suffix."""
    names = file.read_text().splitlines() if file.suffix == ".txt" else [image.name for image in read_ratings(file)]
    return {Path(name).stem for name in names}


def read_lessons(arguments):
    """A `Lesson` for each picture that the teacher scored; people's votes take the place of the teacher's score."""
    rated = read_ratings(arguments.votes) if arguments.votes else []
    votes = {Path(image.name).stem: image.label for image in rated}
    held_out = set().union(*map(read_names, arguments.exclude))
    lessons, voted = [], 0
    for line in arguments.labels.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        path = Path(text_to_name(row["path"]))
        if "histogram" not in row or path.stem in held_out:
            continue
        voted += path.stem in votes
        label = BLANK if path.stem.startswith("blank-") else votes.get(path.stem, row["histogram"])
        lessons.append(Lesson(path, np.array(label, np.float32)))
    if not lessons:
        raise LabelError(f"{arguments.labels}: no picture with a histogram to learn from")
    print(f"{len(lessons)} photographs to learn from, {voted} of them with people's votes")
    return lessons


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--labels", required=True, type=Path, help="the teacher's scores: the .jsonl of an infer script")
    parser.add_argument("--votes", type=Path, help="people's votes on some of the photographs, .csv or .json")
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], help="label files, or .txt of names, to leave out")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    parser.add_argument("--weights", help="weights to start from (default: those of --backbone)")
    parser.add_argument("--network", choices=BACKBONES, default=BACKBONES[0], help="default: %(default)s, or as --weights")
    parser.add_argument("--backbone", default="imagenet", help="its weights: imagenet, none, or a .pth")
    parser.add_argument("--patches", action="store_true", help="see patches at their own size, for the patches model")
    parser.add_argument("--size", type=positive, default=224, help="pixels in a side of what is seen (default: 224)")
    parser.add_argument("--epochs", type=positive, default=1)
    parser.add_argument("--rate", type=float, default=1e-4, help="highest learning rate (default: 1e-4)")
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--seed", type=natural, default=0)
    add_overwrite(parser)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    check_weights_target(arguments.out, arguments.overwrite, [arguments.labels])
    lessons = read_lessons(arguments)

    def cut(pixels, rng):
        return (random_patch if arguments.patches else random_view)(pixels, arguments.size, rng)

    with without_greetings():  # and only now: --help should not wait for TensorFlow
        import keras

        from iqa.models.networks import network_to_train
        from iqa.models.settings import settle
        from iqa.models.weight_files import save_with_card
        from iqa.training.batches import Photographs, naming_broken_images
        from iqa.training.losses import emd_and_moments, histogram_mean

        settle()
        keras.utils.set_random_seed(arguments.seed)
        begin = (arguments.backbone, NOISE, DROPOUT, arguments.weights)
        model, facts = network_to_train("histogram", *begin, size=arguments.size, network=arguments.network)

    def steady(y_true, y_pred):
        """The loss, and a penalty on the difference between the mean scores of a picture and of its mirror image."""
        pairs = keras.ops.reshape(histogram_mean(y_pred), (-1, 2))
        apart = keras.ops.mean((pairs[:, 0] - pairs[:, 1]) ** 2)
        return emd_and_moments(y_true, y_pred) + STEADY * keras.ops.sqrt(apart + 1e-12)

    for layer in model.layers:  # the statistics of the weights that it starts from
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization) or arguments.backbone == "none"
    data = Photographs(lessons, arguments.batch_size, cut, arguments.seed, mirrored=True)
    steps = arguments.epochs * len(data)
    rising = min(WARM_UP, steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        arguments.rate / 20, steps - rising, alpha=0.05, warmup_target=arguments.rate, warmup_steps=rising
    )
    average = max(0.0, min(0.999, 1 - 10 / steps))  # over the last tenth of a short run
    model.compile(keras.optimizers.Adam(rate, use_ema=True, ema_momentum=average), steady)
    resume = keras.callbacks.BackupAndRestore(arguments.out.with_suffix(".backup"), save_freq=500)
    with naming_broken_images(data):
        model.fit(data, epochs=arguments.epochs, shuffle=False, callbacks=[resume, keras.callbacks.TerminateOnNaN(True)])
    seen = "random patch" if arguments.patches else f"whole image to {MARGIN:g} times the size, random crop"
    kind, interpolation = ("patch", None) if arguments.patches else ("resize", "bilinear")
    named = ("size", "epochs", "rate", "batch_size", "seed", "weights")
    learnt = {name: getattr(arguments, name) for name in named} | {"images": len(lessons), "labels": arguments.labels.name}
    preprocessing = Preprocessing(kind, 224, interpolation, training=seen)
    card = Card(facts, Head("histogram", DROPOUT), preprocessing, AVA_SCALE, trained_on=learnt)
    save_with_card(model, arguments.out, card)
    print(f"wrote {printable(arguments.out)}")
    return 0


if __name__ == "__main__":
    run(main)
