"""Average the weights of several epochs, which generalises better than any one of them (Izmailov et al., UAI 2018).

    python TID2013_regression/average_weights.py runs/tid2013/*-epoch-00[2-5]-*.weights.h5 --out averaged.weights.h5

The epochs are those that training kept with --keep-epochs, of one run or of several that began with the same weights. An
epoch's card is the one beside it with its name, or that of its run, best.json. All must describe the same network.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from iqa.cards import card_of, read_card, sha256
from iqa.commands.terminal import add_overwrite, check_weights_target, parser_of, quiet_start, run
from iqa.errors import CardError, UsageError
from iqa.files import printable

# What cards may say differently of one network: it matters in training alone, or after the network.
APART = ("backbone.noise", "backbone.backbone_weights", "head.dropout", "geometry.training", "geometry.pooling")


def card_of_epoch(epoch):
    """(path, card) of an epoch: the card with its name, or that of its run.

    Raises:
        CardError: if there is neither, or the epoch's own card is that of another file.
    """
    path = card_of(epoch)
    if not path.is_file():
        path = card_of(epoch.with_name("best.weights.h5"))
        return path, read_card(path)
    card = read_card(path)
    if card.sha256 and card.sha256 != sha256(epoch):
        raise CardError(f"{epoch}: not the weights that {path.name} describes")
    return path, card


def network_facts(card):
    """The facts of a card that decide what a network computes and sees, {"backbone.padding": "keras", ...}."""
    parts = {"backbone": card.backbone, "head": card.head, "geometry": card.preprocessing}
    facts = {f"{name}.{key}": value for name, part in parts.items() for key, value in asdict(part).items()}
    return {name: value for name, value in facts.items() if name not in APART}


def read_common_card(epochs):
    """The card of the first epoch, if those of the others describe the same network.

    Raises:
        CardError: naming the card that does not, and the first fact that differs.
    """
    first, common = card_of_epoch(epochs[0])
    expected = network_facts(common)
    for epoch in epochs[1:]:
        path, card = card_of_epoch(epoch)
        for name, value in network_facts(card).items():
            if value != expected[name]:
                raise CardError(f"{path}: {name} is {value!r}, and {expected[name]!r} in {first}: not the same network")
    return common


def main():
    parser = parser_of(__doc__)
    parser.add_argument("epochs", nargs="+", type=Path, help="weights of one network")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if arguments.out.resolve() in [epoch.resolve() for epoch in arguments.epochs]:
        raise UsageError(f"{arguments.out}: one of the epochs, which would be overwritten; choose another name for --out")
    for epoch in arguments.epochs:
        if not epoch.is_file():
            raise UsageError(f"{epoch}: there is no such file")
    check_weights_target(arguments.out, arguments.overwrite)
    card = read_common_card(arguments.epochs)
    with quiet_start():
        from iqa.models.networks import build_from_card
        from iqa.models.settings import settle
        from iqa.models.weight_files import check_name, load_weights, save_with_card

        settle()
        check_name(arguments.out)
        model = build_from_card(card)
    mean = [np.zeros(weight.shape) for weight in model.get_weights()]
    for epoch in arguments.epochs:
        load_weights(model, epoch)
        weights = model.get_weights()
        mean = [total + weight / len(arguments.epochs) for total, weight in zip(mean, weights, strict=True)]
    model.set_weights(mean)
    training = card.training | {"averaged": [epoch.name for epoch in arguments.epochs]}
    save_with_card(model, arguments.out, replace(card, training=training, figures={}))
    print(f"{printable(arguments.out)}: the mean of {len(arguments.epochs)} epochs")
    return 0


if __name__ == "__main__":
    run(main)
