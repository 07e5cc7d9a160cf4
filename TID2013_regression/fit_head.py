"""Train the head of a TID2013 network alone, on features that are computed once: minutes where frozen phases take hours.

    python TID2013_regression/fit_head.py --images data/tid2013_remade --ladders data/judged_weak \\
        --weights runs/tid2013/best.weights.h5 --out fitted.weights.h5

First the head is widened: in addition to the last features it then sees the pooled activations of four earlier levels,
where noise, blur and blocks are plainer. It learns from whole pictures, which is what people scored; a step of
tid2013_regression.py sees patches. The backbone sees several patches of a picture, and the head the mean of their
features, as `--crop grid` takes the mean of their scores. From photographs (--ladders), one patch each, the head learns
the order alone, because their scores are only estimates. The scenes that tid2013_regression.py leaves out are
left out here too.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from iqa.cards import TID2013_SCALE, card_for, keras2_card, weights_file
from iqa.commands.terminal import add_overwrite, check_weights_target, natural, parser_of, positive, quiet_start, run
from iqa.errors import CardError, ImageError, LabelError, UsageError
from iqa.files import printable
from iqa.images.geometry import grid_patches, left_top_patch, random_patches
from iqa.images.reading import read_image
from iqa.labels.tid2013 import TEST_REFERENCES, VALIDATION_REFERENCES, read_ladders, read_order

BATCH = 12  # ladders a step

# Patches begin on multiples of this, in fitting and in scoring: on the units of a JPEG with halved chroma, counted from the
# picture's upper left corner, so that the edges of its blocks always fall on the same places of a patch.
MULTIPLE = 16

CARDLESS = keras2_card("regression", "patch", TID2013_SCALE)  # of the original's weights, which have no card

SETTINGS = ("epochs", "learning_rate", "dropout", "ranking", "order_rate", "order_ranking", "seed")  # for the card


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="TID2013, or what make_images.py re-made")
    parser.add_argument("--ladders", type=Path, nargs="+", default=[], help="folders of make_ladders.py")
    parser.add_argument("--weights", required=True, help="network to begin with: a file or a shipped name")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    parser.add_argument("--epochs", type=positive, default=32, help="passes over TID2013 (default: 32)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="falls to 1/100 of this (default: 2e-4)")
    parser.add_argument("--dropout", type=float, default=0.5, help="share of its inputs that the head drops (default: 0.5)")
    parser.add_argument("--ranking", type=float, default=2.0, help="weight of the order within ladders (default: 2)")
    parser.add_argument("--order-rate", type=float, default=2e-5, help="learning rate for the photographs (default: 2e-5)")
    parser.add_argument("--order-ranking", type=float, default=3.0, help="weight of the photographs' order (default: 3)")
    parser.add_argument("--seed", type=natural, default=0)
    add_overwrite(parser)
    return parser.parse_args()


def read_labelled(arguments):
    """The ladders of TID2013 to learn from, and those of the photographs."""
    held_out = (*TEST_REFERENCES, *VALIDATION_REFERENCES)
    tid = [ladder for ladder in read_ladders(arguments.images) if ladder[0].reference not in held_out]
    if not tid:
        raise LabelError(f"{arguments.images} holds no ladders to learn from")
    return tid, [ladder for folder in arguments.ladders for ladder in read_order(folder)]


def find_network(weights):
    """(path, card) of the regression network that sees patches.

    Raises:
        CardError: if it is missing, or another kind of network.
    """
    path = weights_file(weights)
    card = card_for(path, CARDLESS)
    if (card.head.kind, card.geometry.kind) != ("regression", "patch"):
        sees = "patches" if card.geometry.kind == "patch" else "whole pictures"
        raise CardError(f"{path}: a {card.head.kind} network of {sees}, but a regression network of patches is needed")
    return path, card


def load(path, card):
    """The model of a weight file."""
    from iqa.models.networks import network_to_train

    noise, dropout, size = card.backbone.noise, card.head.dropout, card.geometry.size
    model, _ = network_to_train("regression", "none", noise, dropout, path, CARDLESS, size)
    return model


# --- what the head sees ----------------------------------------------------------------------------------------------


def compute_features(backbone, ladders, cut, seed):
    """What a backbone sees of the patches that `cut` cuts from ladders, and their scores; those of bad files are left out.

    Returns:
        (features, scores): float32 (ladders, 5, patches, n) and (ladders, 5).
    """
    size = backbone.input_shape[1]
    features, scores = [], []
    for number, ladder in enumerate(tqdm(ladders, unit="ladder", file=sys.stderr)):
        try:
            pictures = [read_named(image.path, size) for image in ladder]
            patches = cut(pictures, size, np.random.default_rng((seed, number)))
            if features and patches.shape[1] != features[0].shape[1]:
                raise ImageError(f"{ladder[0].path}: its size differs from that of the pictures before it")
        except ImageError as error:
            print(printable(f"ladder left out: {error}"), file=sys.stderr)
            continue
        seen = np.asarray(backbone.predict_on_batch(patches.reshape(-1, *patches.shape[2:])))
        features.append(seen.reshape(*patches.shape[:2], -1))
        scores.append([image.mos for image in ladder])
    if not features:
        raise LabelError(f"{ladders[0][0].path.parent} holds no ladder that can be used")
    return np.stack(features), np.array(scores, np.float32)


def read_named(path, size):
    """`read_image` of pictures large enough for a patch, whose error names the file."""
    try:
        image = read_image(path)
        left_top_patch(image, size)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    return image


def cut_one(pictures, size, rng):
    """A random patch of the pictures of a ladder: uint8 (5, 1, size, size, 3)."""
    return np.stack(random_patches(pictures, size, rng, MULTIPLE))[:, None]


def cut_many(pictures, size, rng):
    """The grid that covers the pictures of a ladder, and as many random patches: uint8 (5, patches, size, size, 3)."""
    grid = np.stack([grid_patches(picture, size, MULTIPLE) for picture in pictures])
    return np.concatenate([grid, *(cut_one(pictures, size, rng) for _ in range(grid.shape[1]))], axis=1)


def draw_batches(features, scores, seed):
    """Endless batches of `BATCH` ladders in random order: for each picture the mean features of a half of its patches."""
    rng = np.random.default_rng(seed)
    patches = features.shape[2]
    while True:
        order = rng.permutation(len(features))
        for start in range(0, max(1, len(order) - BATCH + 1), BATCH):
            chosen = order[start : start + BATCH]
            halves = [rng.permutation(patches)[: max(1, patches // 2)] for _ in chosen]
            pairs = zip(chosen, halves, strict=True)
            seen = np.concatenate([features[ladder][:, half].mean(axis=1) for ladder, half in pairs])
            yield seen, scores[chosen].reshape(-1, 1)


# --- fitting ---------------------------------------------------------------------------------------------------------


def layers_to_fit(model, dropout):
    """(input, output) of the head, from what it sees to the score; its standardisation stays as it is."""
    import keras

    from iqa.models.heads import STANDARDISED

    standardised = model.get_layer(STANDARDISED)
    standardised.trainable = False  # its statistics are set once
    seen = keras.Input(standardised.input.shape[1:])
    kept = keras.layers.Dropout(dropout)(standardised(seen))
    return seen, model.get_layer("score")(model.get_layer("features")(kept))


def compile_head(layers, rate, steps, ranking):
    """The head as a model with its own optimizer, whose rate falls to a hundredth."""
    import keras

    from iqa.training.losses import LadderLoss

    head = keras.Model(*layers)
    falling = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    head.compile(keras.optimizers.Adam(falling), LadderLoss(weight=ranking))
    return head


def fit(tasks, steps):
    """Take a step of each task in turn, `steps` times, and print how the losses fell.

    Args:
        tasks: {name: (compiled model, endless batches)}; the models share their layers.
    """
    losses = {name: [] for name in tasks}
    for _ in tqdm(range(steps), unit="step", file=sys.stderr):
        for name, (head, batches) in tasks.items():
            losses[name].append(float(head.train_on_batch(*next(batches))))
    tenth = max(1, steps // 10)
    for name, noted in losses.items():
        print(f"{name}: loss {np.mean(noted[:tenth]):.3f} in the first tenth, {np.mean(noted[-tenth:]):.3f} in the last")


def main():
    arguments = parse_arguments()
    if Path(arguments.weights).resolve() == arguments.out.resolve():
        raise UsageError(f"{arguments.out}: --weights, which would be overwritten; choose another name for --out")
    path, card = find_network(arguments.weights)
    check_weights_target(arguments.out, arguments.overwrite, [path])
    tid, photographs = read_labelled(arguments)
    with quiet_start():  # only now: --help must not wait for TensorFlow
        import keras

        from iqa.models.heads import LEVELS, levels_of, pool_levels, widen_head
        from iqa.models.settings import settle
        from iqa.models.weight_files import check_name, save_with_card

        check_name(arguments.out)
        settle()
        model = load(path, card)
    keras.utils.set_random_seed(arguments.seed)
    seed, steps = arguments.seed, arguments.epochs * max(1, len(tid) // BATCH)
    backbone = pool_levels(model, levels_of(model) or LEVELS)
    features, scores = compute_features(backbone, tid, cut_many, seed)
    if not levels_of(model):
        everything = features.reshape(-1, features.shape[-1])
        model = widen_head(model, everything.mean(axis=0), everything.var(axis=0))
    layers = layers_to_fit(model, arguments.dropout)
    head = compile_head(layers, arguments.learning_rate, steps, arguments.ranking)
    tasks = {"TID2013": (head, draw_batches(features, scores, seed))}
    if photographs:
        seen = compute_features(backbone, photographs, cut_one, seed)
        head = compile_head(layers, arguments.order_rate, steps, arguments.order_ranking)
        tasks["photographs"] = (head, draw_batches(*seen, seed))
    fit(tasks, steps)
    settings = {name: getattr(arguments, name) for name in SETTINGS} | {"photographs' ladders": len(photographs)}
    fitted = replace(
        card,
        head=replace(card.head, levels=levels_of(model)),
        geometry=replace(card.geometry, multiple=MULTIPLE),
        training=card.training | {"head": settings},
        figures={},
    )
    save_with_card(model, arguments.out, fitted)
    print(f"wrote {printable(arguments.out)}")
    return 0


if __name__ == "__main__":
    run(main)
