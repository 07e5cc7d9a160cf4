"""Train the head of a TID2013 network alone, on features that are computed once: minutes where frozen phases take hours.

    python TID2013_regression/fit_head.py --images data/tid2013_remade --ladders data/judged_weak \\
        --weights runs/tid2013/best.weights.h5 --out fitted.weights.h5

The head is widened first: beside the last features it sees the pooled activations of four earlier levels, where noise, blur
and blocks are plainer. And it learns from whole pictures, which is what people scored, where a step of
tid2013_regression.py sees patches: what it is shown is the mean of what the backbone sees of several patches of a picture,
as `--crop grid` takes the mean of their scores. Of photographs (--ladders), a patch each, it learns the order alone: what
people would say of them is only estimated. Scenes are left out as in tid2013_regression.py.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from iqa.cards import card_of, read_card
from iqa.commands.terminal import natural, parser_of, positive, quiet_start, run
from iqa.errors import ImageError, LabelError
from iqa.images.geometry import grid_patches, left_top_patch, random_patches
from iqa.images.reading import read_image
from iqa.labels.tid2013 import TEST_REFERENCES, VALIDATION_REFERENCES, read_ladders, read_order
from TID2013_regression.tid2013_regression import DROPOUT, NOISE

SIZE = 224  # pixels in a side of a patch
BATCH = 12  # ladders a step

# Patches begin on multiples of this, in fitting and in scoring: on the units of a JPEG with halved chroma, counted from the
# picture's upper left corner, so that the edges of its blocks always fall on the same places of a patch.
MULTIPLE = 16

SETTINGS = ("epochs", "learning_rate", "dropout", "ranking", "order_rate", "order_ranking", "seed")  # for the card


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="TID2013, or what make_images.py re-made")
    parser.add_argument("--ladders", type=Path, nargs="+", default=[], help="folders of make_ladders.py")
    parser.add_argument("--weights", required=True, type=Path, help="the network to go on from, with its card")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    parser.add_argument("--epochs", type=positive, default=32, help="times that TID2013 is seen (default: 32)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="falls to a hundredth (default: 2e-4)")
    parser.add_argument("--dropout", type=float, default=0.5, help="share left out of what the head sees (default: 0.5)")
    parser.add_argument("--ranking", type=float, default=2.0, help="weight of the order within ladders (default: 2)")
    parser.add_argument("--order-rate", type=float, default=2e-5, help="learning rate of photographs (default: 2e-5)")
    parser.add_argument("--order-ranking", type=float, default=3.0, help="weight of their order (default: 3)")
    parser.add_argument("--seed", type=natural, default=0)
    return parser.parse_args()


def features_of(backbone, ladders, cut, seed):
    """What a backbone sees of the patches that `cut` cuts from ladders, and their scores; those of bad files are left out.

    Returns:
        (features, scores): float32 (ladders, 5, patches, n) and (ladders, 5).
    """
    features, scores = [], []
    for number, ladder in enumerate(tqdm(ladders, unit="ladder", file=sys.stderr)):
        try:
            patches = cut([read_named(image.path) for image in ladder], np.random.default_rng((seed, number)))
            if features and patches.shape[1] != features[0].shape[1]:
                raise ImageError(f"{ladder[0].path}: of another size than the pictures before it")
        except ImageError as error:
            print(f"ladder left out: {error}", file=sys.stderr)
            continue
        seen = np.asarray(backbone.predict_on_batch(patches.reshape(-1, *patches.shape[2:])))
        features.append(seen.reshape(*patches.shape[:2], -1))
        scores.append([image.mos for image in ladder])
    if not features:
        raise LabelError(f"{ladders[0][0].path.parent} holds no ladder that can be learnt from")
    return np.stack(features), np.array(scores, np.float32)


def read_named(path):
    """`read_image` of pictures large enough for a patch, whose error names the file."""
    try:
        image = read_image(path)
        left_top_patch(image, SIZE)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    return image


def one_patch(pictures, rng):
    """A random patch of the pictures of a ladder: uint8 (5, 1, size, size, 3)."""
    return np.stack(random_patches(pictures, SIZE, rng, MULTIPLE))[:, None]


def many_patches(pictures, rng):
    """The grid that covers the pictures of a ladder, and as many random patches: uint8 (5, patches, size, size, 3)."""
    grid = np.stack([grid_patches(picture, SIZE, MULTIPLE) for picture in pictures])
    return np.concatenate([grid, *(one_patch(pictures, rng) for _ in range(grid.shape[1]))], axis=1)


def batches(features, scores, rng):
    """Endless batches of `BATCH` ladders in random order: for each picture the mean features of a half of its patches."""
    patches = features.shape[2]
    while True:
        order = rng.permutation(len(features))
        for start in range(0, max(1, len(order) - BATCH + 1), BATCH):
            chosen = order[start : start + BATCH]
            halves = [rng.permutation(patches)[: max(1, patches // 2)] for _ in chosen]
            seen = np.concatenate([features[ladder][:, half].mean(axis=1) for ladder, half in zip(chosen, halves)])
            yield seen, scores[chosen].reshape(-1, 1)


def main():
    arguments = parse_arguments()
    with quiet_start():  # and only now: whoever asks for --help should not wait for TensorFlow
        import keras

        from iqa.models.heads import LEVELS, STANDARDISED, levels_of, pool_levels, widen_head
        from iqa.models.networks import network_to_train
        from iqa.models.weight_files import save_with_card
        from iqa.training.losses import LadderLoss

        card = read_card(card_of(arguments.weights))
        model, _ = network_to_train("regression", "none", NOISE, DROPOUT, arguments.weights)
    tid = [
        ladder
        for ladder in read_ladders(arguments.images)
        if ladder[0].reference not in TEST_REFERENCES + VALIDATION_REFERENCES
    ]
    if not tid:
        raise LabelError(f"{arguments.images} holds no ladders to learn from")
    photographs = [ladder for folder in arguments.ladders for ladder in read_order(folder)]
    keras.utils.set_random_seed(arguments.seed)
    backbone = pool_levels(model, levels_of(model) or LEVELS)
    seen_of_tid = features_of(backbone, tid, many_patches, arguments.seed)
    if not levels_of(model):
        everything = seen_of_tid[0].reshape(-1, seen_of_tid[0].shape[-1])
        model = widen_head(model, everything.mean(axis=0), everything.var(axis=0))
    standardised = model.get_layer(STANDARDISED)
    standardised.trainable = False  # its statistics are set once
    seen = keras.Input(standardised.input.shape[1:])
    kept = keras.layers.Dropout(arguments.dropout)(standardised(seen))
    score = model.get_layer("score")(model.get_layer("features")(kept))
    steps = arguments.epochs * max(1, len(tid) // BATCH)

    def task(features, scores, rate, **terms):
        """(the head with an optimizer of its own, the batches that it learns from)."""
        head = keras.Model(seen, score)
        falling = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
        head.compile(keras.optimizers.Adam(falling), LadderLoss(**terms))
        return head, batches(features, scores, np.random.default_rng(arguments.seed))

    tasks = {"TID2013": task(*seen_of_tid, arguments.learning_rate, weight=arguments.ranking)}
    if photographs:
        seen_of_photographs = features_of(backbone, photographs, one_patch, arguments.seed)
        tasks["photographs"] = task(*seen_of_photographs, arguments.order_rate, weight=arguments.order_ranking)
    losses = {name: [] for name in tasks}
    for _ in tqdm(range(steps), unit="step", file=sys.stderr):
        for name, (head, endless) in tasks.items():
            losses[name].append(float(head.train_on_batch(*next(endless))))
    for name, noted in losses.items():
        tenth = max(1, steps // 10)
        print(f"{name}: loss {np.mean(noted[:tenth]):.3f} in the first tenth, {np.mean(noted[-tenth:]):.3f} in the last")

    settings = {name: getattr(arguments, name) for name in SETTINGS} | {"photographs' ladders": len(photographs)}
    fitted = replace(
        card,
        head=replace(card.head, levels=levels_of(model)),
        geometry=replace(card.geometry, multiple=MULTIPLE),
        training=card.training | {"head": settings},
        figures={},
    )
    save_with_card(model, arguments.out, fitted)
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    run(main)
