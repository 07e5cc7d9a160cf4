"""Learn a teacher's opinions of many photographs, before people's votes on a few of them have their say.

    python idealo_comparison/infer.py --six-crops data/photographs --labels-out data/teacher.json \\
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

import numpy as np

from iqa.cards import AVA_SCALE, BACKBONES, Card, Head, Preprocessing, card_of, weights_file
from iqa.commands.terminal import add_overwrite, check_weights_target, natural, parser_of, positive, quiet_start, run
from iqa.errors import LabelError
from iqa.files import printable, written_whole
from iqa.images.geometry import MARGIN, random_patch, random_view
from iqa.labels.histograms import normal_histogram
from iqa.labels.ratings import locate_ratings, read_ratings
from iqa.training.usable import usable_images
from iqa.training.views_file import check_views_target

NOISE, DROPOUT = 0.003, 0.2

#: What a frame of one colour deserves (`blank-*.png` of make_training_set.py); the teacher finds it mediocre.
BLANK_SCORE, BLANK_STD = 2.5, 1.4


def read_names(file: Path) -> set[str]:
    """The names in a label file, or in a text of one name a line."""
    if file.suffix == ".txt":
        return set(file.read_text(encoding="utf-8").splitlines())
    return {image.name for image in read_ratings(file)}


def read_lessons(arguments, smallest: int):
    """(photograph, label) of what the command line names, in the order of the labels; see `Lesson`.

    People's votes take the place of the teacher's opinion.
    """
    opinions = read_ratings(arguments.labels)
    features = np.load(arguments.features, mmap_mode="r", allow_pickle=False)
    if len(features) != len(opinions):
        raise LabelError(f"{arguments.features}: features of {len(features)} images instead of {len(opinions)}")
    rows = {image.name: row for row, image in enumerate(opinions)}
    held_out = set().union(*(read_names(file) for file in arguments.exclude))
    wanted = [i for i in opinions if not {Path(i.name).stem, Path(i.name).name} & held_out]
    memory = arguments.out.with_suffix(".usable.json")
    usable, unusable = usable_images(locate_ratings(wanted, arguments.images), smallest, memory)
    votes = {Path(image.name).stem: image.label for image in read_ratings(arguments.votes)} if arguments.votes else {}
    blank = normal_histogram(BLANK_SCORE, BLANK_STD, np.arange(1.0, 11))
    some = features[:: max(1, len(features) // 10_000)].astype(np.float32)
    centre, spread = some.mean(axis=0), some.std(axis=0) + 0.02
    lessons, voted = [], 0
    for image in usable:
        stem = Path(image.name).stem
        voted += stem in votes
        histogram = blank if stem.startswith("blank-") else votes.get(stem, image.label)
        label = np.concatenate([histogram, (features[rows[image.name]] - centre) / spread])
        folder, times = arguments.often or ("", 1)
        seen = times if folder in image.path.parts else 1
        lessons += [(image.path, label.astype(np.float32))] * seen
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


def main():
    arguments = parse_arguments()
    inputs = [arguments.labels, arguments.features, *filter(None, [arguments.votes]), *arguments.exclude]
    check_weights_target(arguments.out, arguments.overwrite, inputs)
    if arguments.views:
        weights = [arguments.out, weights_file(arguments.weights)] if arguments.weights else [arguments.out]
        check_views_target(arguments.views, [*inputs, *weights, *map(card_of, weights)])
    learnt_of = read_lessons(arguments, arguments.size if arguments.patches else 1)

    def cut(pixels, rng):
        return (random_patch if arguments.patches else random_view)(pixels, arguments.size, rng)

    with quiet_start():  # and only now: --help should not wait for TensorFlow
        import keras

        from iqa.models.networks import network_to_train
        from iqa.models.settings import settle
        from iqa.models.weight_files import save_with_card
        from iqa.training.batches import Photographs
        from iqa.training.distillation import Lesson, add_teacher, fit, freeze, see_through_frozen_layers

        settle()
        keras.utils.set_random_seed(arguments.seed)
        network = arguments.network or BACKBONES[0]
        begin = (arguments.backbone, NOISE, arguments.dropout, arguments.weights)
        model, facts = network_to_train("histogram", *begin, size=arguments.size, network=network)
    lessons, bins = [Lesson(*lesson) for lesson in learnt_of], model.output_shape[-1]
    before = Path(arguments.weights).with_suffix(".teacher.npz") if arguments.weights else None
    freeze(model, arguments.frozen_until)
    guess, both = add_teacher(model, len(lessons[0].label) - bins, before)
    batches = {"batch_size": arguments.batch_size, "seed": arguments.seed, "mirrored": bool(arguments.steady)}
    if arguments.views:
        how = f"{'patches' if arguments.patches else 'whole pictures'} of {arguments.size}"
        behind = (model, both, arguments.frozen_until, lessons, cut, arguments.views, how)
        student, data = see_through_frozen_layers(*behind, **batches)
    else:
        student, data = keras.Model(model.input, both), Photographs(lessons, cut=cut, **batches)
    backup = arguments.out.with_suffix(".backup")
    fit(student, data, bins, arguments.epochs, arguments.rate, arguments.steady, backup)
    side = round(MARGIN * arguments.size)
    cut_so = "random patch" if arguments.patches else f"whole image to {side}x{side}, random crop"
    kind, interpolation = ("patch", None) if arguments.patches else ("resize", "bilinear")
    preprocessing = Preprocessing(kind, 224, interpolation, training=cut_so, flip_averaging=arguments.mirrored)
    named = ("size", "epochs", "rate", "batch_size", "frozen_until", "often", "steady", "seed")
    images = len({lesson.path for lesson in lessons})
    learnt = {"images": images, "labels": arguments.labels.name} | {name: getattr(arguments, name) for name in named}
    learnt |= {"votes": arguments.votes.name} if arguments.votes else {}
    learnt |= {"views": "four of each photograph, the same in each epoch"} if arguments.views else {}
    card = Card(facts, Head("histogram", arguments.dropout), preprocessing, AVA_SCALE, trained_on=learnt)
    save_with_card(model, arguments.out, card)
    kernel, bias = guess.get_weights()
    with written_whole(arguments.out.with_suffix(".teacher.npz")) as file:
        np.savez(file, kernel=kernel, bias=bias)
    print(f"wrote {printable(arguments.out)}")
    return 0


if __name__ == "__main__":
    run(main)
