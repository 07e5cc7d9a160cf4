"""Learn a teacher's opinions of many photographs, before people's votes on a few of them have their say.

    python idealo_comparison/infer.py --mean-opinion data/photographs --labels-out data/teacher.json \\
        --features-out data/teacher.npy
    distil() {
        python AVA/distill.py --images data/photographs --labels data/teacher.json --features data/teacher.npy "$@"
    }
    distil --size 160 --epochs 2 --rate 4e-4 --backbone data/imagenet/mobilenet_v2-b0353104.pth --out runs/small.weights.h5
    distil --size 224 --epochs 0.5 --rate 2e-4 --weights runs/small.weights.h5 --out runs/large.weights.h5
    distil --epochs 4 --rate 4e-4 --frozen-until block_6_project_BN --weights runs/large.weights.h5 \\
        --out runs/last.weights.h5

A mean score says little about a scene. So the network has a second target: the features from which the teacher draws its
opinion, through a linear layer that is thrown away in the end (Romero et al., "FitNets: hints for thin deep nets", 2015).
Small pictures come first, because a step at 160 pixels takes half the time of one at 224. In the end the early layers,
which take most of the time, can stay as they are (--frozen-until); with --views, what they make of four views of each
photograph is computed only once. With --patches the network sees pixels at their own size instead of the whole picture.
--votes names what people said of some of the photographs: it takes the place of the teacher's opinion. To resume a run
that was killed, repeat the command.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from iqa.cards import AVA_SCALE, BACKBONES, Card, Head, Sight, card_of, weights_file
from iqa.commands.terminal import add_overwrite, check_weights_target, natural, parser_of, positive, quiet_start, run
from iqa.errors import LabelError, UsageError
from iqa.files import printable, written_whole
from iqa.images.geometry import random_patch, resize
from iqa.labels.histograms import normal_histogram
from iqa.labels.ratings import locate_ratings, read_ratings
from iqa.training.usable import usable_images
from iqa.training.views_file import check_views_target

NOISE, DROPOUT = 0.003, 0.2

#: Of the features in the loss, beside the 50 EMD + moments of the histograms: both are about 2 at the end.
FEATURES_WEIGHT = 5.0

#: A whole picture is resized to this many times the size that the network sees, of which a random crop is cut.
MARGIN = 8 / 7

WARM_UP = 500  # steps of rising rate, at most a quarter of all: new layers must not spoil the others

#: What a frame of one colour deserves (`blank-*.png` of make_training_set.py); the teacher finds it mediocre.
BLANK_SCORE, BLANK_STD = 2.5, 1.4


class Lesson(NamedTuple):
    """A photograph and all that is to be learnt of it: float32 (10 + n,), the histogram, then the teacher's features."""

    path: Path
    label: np.ndarray


def read_names(file: Path) -> set[str]:
    """The names in a label file, or in a text of one name a line."""
    if file.suffix == ".txt":
        return set(file.read_text(encoding="utf-8").splitlines())
    return {image.name for image in read_ratings(file)}


def read_lessons(arguments, smallest: int) -> list[Lesson]:
    """What the command line names, in the order of the labels; people's votes take the place of the teacher's opinion."""
    opinions = read_ratings(arguments.labels)
    features = np.load(arguments.features, mmap_mode="r", allow_pickle=False)
    if len(features) != len(opinions):
        raise LabelError(f"{arguments.features}: features of {len(features)} images instead of {len(opinions)}")
    rows = {image.name: row for row, image in enumerate(opinions)}
    held_out = set().union(*(read_names(file) for file in arguments.exclude))
    wanted = [i for i in opinions if not {Path(i.name).stem, Path(i.name).name} & held_out]
    memory = arguments.out.with_suffix(".usable.json")
    usable, unusable = usable_images(locate_ratings(wanted, arguments.images), smallest, memory)
    votes = {Path(image.name).stem: image.histogram for image in read_ratings(arguments.votes)} if arguments.votes else {}
    blank = normal_histogram(BLANK_SCORE, BLANK_STD, np.arange(1.0, 11))
    some = features[:: max(1, len(features) // 10_000)].astype(np.float32)
    centre, spread = some.mean(axis=0), some.std(axis=0) + 0.02
    lessons, voted = [], 0
    for image in usable:
        stem = Path(image.name).stem
        voted += stem in votes
        histogram = blank if stem.startswith("blank-") else votes.get(stem, image.histogram)
        label = np.concatenate([histogram, (features[rows[image.name]] - centre) / spread])
        folder, times = arguments.often or ("", 1)
        seen = times if folder in image.path.parts else 1
        lessons += [Lesson(image.path, label.astype(np.float32))] * seen
    print(f"{len(usable)} photographs to learn from, {voted} of them with people's votes; {unusable} unusable")
    return lessons


def often(text: str) -> tuple[str, int]:
    """FOLDER=N for `argparse`: the name of a folder and a number of times."""
    folder, _, times = text.rpartition("=")
    if not folder:
        raise ValueError
    return folder, positive(times)


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="folder of the photographs")
    parser.add_argument("--labels", required=True, type=Path, help="the teacher's opinions, .json")
    parser.add_argument("--features", required=True, type=Path, help="its features in the same order, .npy")
    parser.add_argument("--votes", type=Path, help="people's votes on some of the photographs, .csv or .json")
    parser.add_argument("--exclude", type=Path, nargs="+", default=[], help="label files, or .txt of names, to leave out")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    parser.add_argument("--weights", help="weights to start from (default: those of --backbone)")
    parser.add_argument("--network", choices=BACKBONES, help=f"the student (default: {BACKBONES[0]}, or as --weights)")
    parser.add_argument("--backbone", default="imagenet", help="its weights: imagenet, none, or a .pth")
    parser.add_argument("--patches", action="store_true", help="see patches at their own size, for the patches model")
    parser.add_argument("--size", type=positive, default=224, help="pixels in a side of what is seen (default: 224)")
    parser.add_argument("--epochs", type=float, default=1, help="a whole number, or a share of one epoch (default: 1)")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate; it falls to a twentieth (default: 1e-4)")
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--dropout", type=float, default=DROPOUT, help=f"before the head (default: {DROPOUT})")
    parser.add_argument("--frozen-until", metavar="LAYER", help="train only the layers behind this one (default: all)")
    parser.add_argument(
        "--views", type=Path, metavar="FILE", help="a large file for what the frozen layers make of the photographs"
    )
    parser.add_argument("--often", type=often, help="FOLDER=N: photographs below FOLDER are seen N times an epoch")
    parser.add_argument("--steady", type=float, help="weight of the difference between mirror images (default: none)")
    parser.add_argument("--mirrored", action="store_true", help="the score is the mean of a picture and its mirror image")
    parser.add_argument("--seed", type=natural, default=0)
    add_overwrite(parser)
    arguments = parser.parse_args()
    if arguments.weights and arguments.network:
        parser.error("--network and --weights do not go together: the weights bring their network")
    if arguments.mirrored and arguments.patches:
        parser.error("--mirrored is for whole pictures: the grid of --patches has many views as it is")
    if arguments.views and not arguments.frozen_until:
        parser.error("--views is for frozen layers: give --frozen-until")
    if arguments.epochs <= 0 or (arguments.epochs > 1 and arguments.epochs % 1):
        parser.error(f"--epochs must be a whole number or a share of one, got {arguments.epochs:g}")
    return arguments


def freeze(model, until):
    """Keep batch normalisation's statistics, those of ImageNet, and the layers up to `until` as they are.

    Raises:
        UsageError: if no layer is called `until`.
    """
    import keras

    names = [layer.name for layer in model.layers]
    if until and until not in names:
        middle = names[len(names) // 2]
        raise UsageError(f"--frozen-until {until}: the network has no such layer; {middle} is in its middle")
    last = names.index(until) if until else -1
    for place, layer in enumerate(model.layers):
        if place <= last or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def add_teacher(model, width, memory):
    """The layer that guesses the teacher's features, and the histogram with that guess behind it: (N, 10 + width).

    Args:
        model: of `network_to_train`.
        width: how many features the teacher has.
        memory: file of the linear layer's weights as an earlier run left them; a new layer if there is none.
    """
    import keras

    guess = keras.layers.Dense(width, name="teacher", dtype="float32")
    both = keras.layers.Concatenate()([model.output, guess(model.get_layer("pooling").output)])
    if memory and memory.exists():
        with np.load(memory, allow_pickle=False) as stored:
            guess.set_weights([stored["kernel"], stored["bias"]])
    return guess, both


def see_through_frozen_layers(model, both, lessons, cut, arguments):
    """(student, data): the layers behind the frozen ones, and what those make of the photographs."""
    from iqa.training.frozen_views import FrozenViews, compute_views, split

    early, student = split(model, arguments.frozen_until, both)
    places = {path: place for place, path in enumerate(dict.fromkeys(lesson.path for lesson in lessons))}
    how = f"{'patches' if arguments.patches else 'whole pictures'} of {arguments.size}"
    views = compute_views(early, list(places), cut, arguments.views, arguments.seed, how)
    rows, labels = np.array([places[lesson.path] for lesson in lessons]), np.stack([lesson.label for lesson in lessons])
    return student, FrozenViews(views, rows, labels, arguments.batch_size, arguments.seed, bool(arguments.steady))


def fit(student, data, arguments, bins):
    """Train with a rate that rises at first and falls like a cosine; what is killed goes on from its last 500 steps."""
    import keras

    from iqa.training.losses import Steady, emd_and_moments

    of_histograms = Steady(emd_and_moments, arguments.steady) if arguments.steady else emd_and_moments

    def loss(y_true, y_pred):
        features = keras.ops.mean((y_true[:, bins:] - y_pred[:, bins:]) ** 2)
        return of_histograms(y_true[:, :bins], y_pred[:, :bins]) + FEATURES_WEIGHT * features

    steps = max(1, int(arguments.epochs * len(data)))
    rising = min(WARM_UP, steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        arguments.rate / 20, steps - rising, alpha=0.05, warmup_target=arguments.rate, warmup_steps=rising
    )
    student.compile(keras.optimizers.Adam(rate), loss)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    backup = keras.callbacks.BackupAndRestore(arguments.out.with_suffix(".backup"), save_freq=500)
    student.fit(
        data,
        epochs=max(1, int(arguments.epochs)),
        steps_per_epoch=min(steps, len(data)),
        shuffle=False,
        callbacks=[backup, keras.callbacks.TerminateOnNaN(raise_error=True)],
    )


def main():
    arguments = parse_arguments()
    inputs = [arguments.labels, arguments.features, *filter(None, [arguments.votes]), *arguments.exclude]
    check_weights_target(arguments.out, arguments.overwrite, inputs)
    if arguments.views:
        weights = [arguments.out, weights_file(arguments.weights)] if arguments.weights else [arguments.out]
        check_views_target(arguments.views, [*inputs, *weights, *map(card_of, weights)])
    lessons = read_lessons(arguments, arguments.size if arguments.patches else 1)
    side = round(MARGIN * arguments.size)

    def cut(pixels, rng):
        return random_patch(pixels if arguments.patches else resize(pixels, side), arguments.size, rng)

    with quiet_start():  # and only now: --help should not wait for TensorFlow
        import keras

        from iqa.models.networks import network_to_train
        from iqa.models.settings import settle
        from iqa.models.weight_files import save_with_card
        from iqa.training.batches import Photographs

        settle()
        keras.utils.set_random_seed(arguments.seed)
        network = arguments.network or BACKBONES[0]
        begin = (arguments.backbone, NOISE, arguments.dropout, arguments.weights)
        model, facts = network_to_train("histogram", *begin, size=arguments.size, network=network)
    bins = model.output_shape[-1]
    before = Path(arguments.weights).with_suffix(".teacher.npz") if arguments.weights else None
    freeze(model, arguments.frozen_until)
    guess, both = add_teacher(model, len(lessons[0].label) - bins, before)
    if arguments.views:
        student, data = see_through_frozen_layers(model, both, lessons, cut, arguments)
    else:
        student = keras.Model(model.input, both)
        data = Photographs(lessons, arguments.batch_size, cut, arguments.seed, mirrored=bool(arguments.steady))
    fit(student, data, arguments, bins)
    cut_so = "random patch" if arguments.patches else f"whole image to {side}x{side}, random crop"
    kind, interpolation = ("patch", None) if arguments.patches else ("resize", "bilinear")
    sight = Sight(kind, 224, interpolation, training=cut_so, mirrored=arguments.mirrored)
    named = ("size", "epochs", "rate", "batch_size", "frozen_until", "often", "steady", "seed")
    images = len({lesson.path for lesson in lessons})
    learnt = {"images": images, "labels": arguments.labels.name} | {name: getattr(arguments, name) for name in named}
    learnt |= {"votes": arguments.votes.name} if arguments.votes else {}
    learnt |= {"views": "four of each photograph, the same in each epoch"} if arguments.views else {}
    card = Card(facts, Head("histogram", arguments.dropout), sight, AVA_SCALE, trained_on=learnt)
    save_with_card(model, arguments.out, card)
    kernel, bias = guess.get_weights()
    with written_whole(arguments.out.with_suffix(".teacher.npz")) as file:
        np.savez(file, kernel=kernel, bias=bias)
    print(f"wrote {printable(arguments.out)}")
    return 0


if __name__ == "__main__":
    run(main)
