"""Train the head of a TID2013 network alone, on features that are computed once: minutes where frozen phases take hours.

    python TID2013_regression/fit_head.py --images data/tid2013_remade --ladders data/judged_weak \\
        --weights runs/tid2013/best.weights.h5 --out fitted.weights.h5

First the head is widened: in addition to the last features it then sees the pooled activations of four earlier levels,
where noise, blur and blocks are plainer. It learns from whole pictures, which is what people scored; a step of
tid2013_regression.py sees patches. The backbone sees several patches of a picture, and the head the mean of their
features, as `--crop grid` takes the mean of their scores. From photographs (--ladders), one patch each, the head learns
the order alone, because their scores are only estimates; from those of --across, the order of different photographs. The
scenes that tid2013_regression.py leaves out are left out here too.
"""

from dataclasses import replace
from pathlib import Path

from iqa.cards import TID2013_SCALE, card_for, keras2_card, weights_file
from iqa.commands.terminal import add_overwrite, check_weights_target, natural, parser_of, positive, quiet_start, run
from iqa.errors import CardError, LabelError, UsageError
from iqa.files import printable
from iqa.labels.tid2013 import TEST_REFERENCES, VALIDATION_REFERENCES, across_scenes, read_ladders, read_order

CARDLESS = keras2_card("regression", "patch", TID2013_SCALE)  # of the original's weights, which have no card

SETTINGS = ("epochs", "learning_rate", "dropout", "ranking", "order_rate", "order_ranking", "seed")  # for the card


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="TID2013, or what make_images.py re-made")
    parser.add_argument("--ladders", type=Path, nargs="+", default=[], help="folders of make_ladders.py")
    parser.add_argument("--across", type=Path, nargs="+", default=[], help="the same, with steps of different photographs")
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
    """The ladders of TID2013 to learn from, and, by name, those of the photographs."""
    held_out = (*TEST_REFERENCES, *VALIDATION_REFERENCES)
    tid = [ladder for ladder in read_ladders(arguments.images) if ladder[0].reference not in held_out]
    if not tid:
        raise LabelError(f"{arguments.images} holds no ladders to learn from")
    across = across_scenes(read_order(*arguments.across), arguments.seed)
    photographs = {"photographs": read_order(*arguments.ladders), "different photographs": across}
    return tid, {name: found for name, found in photographs.items() if found}


def find_network(weights):
    """(path, card) of the regression network that sees patches.

    Raises:
        CardError: if it is missing, or another kind of network.
    """
    path = weights_file(weights)
    card = card_for(path, CARDLESS)
    if (card.head.kind, card.preprocessing.kind) != ("regression", "patch"):
        sees = "patches" if card.preprocessing.kind == "patch" else "whole pictures"
        raise CardError(f"{path}: a {card.head.kind} network of {sees}, but a regression network of patches is needed")
    return path, card


def load(path, card):
    """The model of a weight file."""
    from iqa.models.networks import network_to_train

    noise, dropout, size = card.backbone.noise, card.head.dropout, card.preprocessing.size
    model, _ = network_to_train("regression", "none", noise, dropout, path, CARDLESS, size)
    return model


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
        from iqa.training.head_fit import BATCH, MULTIPLE, HeadFit, compute_features, cut_many, cut_one

        check_name(arguments.out)
        settle()
        model = load(path, card)
    keras.utils.set_random_seed(arguments.seed)
    seed, steps = arguments.seed, arguments.epochs * max(1, len(tid) // BATCH)
    backbone = pool_levels(model, levels_of(model) or LEVELS)
    _, features, scores = compute_features(backbone, tid, cut_many, seed)
    if not levels_of(model):
        everything = features.reshape(-1, features.shape[-1])
        model = widen_head(model, everything.mean(axis=0), everything.var(axis=0))
    head = HeadFit(model, arguments.dropout)
    head.learn("TID2013", features, scores, arguments.learning_rate, steps, arguments.ranking, seed)
    for name, found in photographs.items():
        _, features, scores = compute_features(backbone, found, cut_one, seed)
        head.learn(name, features, scores, arguments.order_rate, steps, arguments.order_ranking, seed)
    head.fit(steps)
    settings = {name: getattr(arguments, name) for name in SETTINGS} | {
        f"ladders of {name}": len(found) for name, found in photographs.items()
    }
    fitted = replace(
        card,
        head=replace(card.head, levels=levels_of(model)),
        preprocessing=replace(card.preprocessing, multiple=MULTIPLE),
        training=card.training | {"head": settings},
        figures={},
    )
    save_with_card(model, arguments.out, fitted)
    print(f"wrote {printable(arguments.out)}")
    return 0


if __name__ == "__main__":
    run(main)
