"""Average the weights of several epochs, which generalises better than any one of them (Izmailov et al., UAI 2018).

    python TID2013_regression/average_weights.py runs/tid2013/*-epoch-00[2-5]-*.weights.h5 --out averaged.weights.h5

The epochs are those that training kept with --keep-epochs, of one run or of several that went on from the same weights; the
card of the first one's run (best.json) tells the network.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from iqa.cards import card_of, read_card
from iqa.commands.terminal import parser_of, quiet_start, run


def main():
    parser = parser_of(__doc__)
    parser.add_argument("epochs", nargs="+", type=Path, help="weights of one network")
    parser.add_argument("--out", required=True, type=Path, help=".weights.h5 to write, with its card beside it")
    arguments = parser.parse_args()
    card = read_card(card_of(arguments.epochs[0].with_name("best.weights.h5")))
    with quiet_start():
        from iqa.models.networks import build_from_card
        from iqa.models.weight_files import load_weights, save_with_card

        model = build_from_card(card)
    mean = [np.zeros(weight.shape) for weight in model.get_weights()]
    for epoch in arguments.epochs:
        load_weights(model, epoch)
        mean = [total + weight / len(arguments.epochs) for total, weight in zip(mean, model.get_weights())]
    model.set_weights(mean)
    training = card.training | {"averaged": [epoch.name for epoch in arguments.epochs]}
    save_with_card(model, arguments.out, replace(card, training=training, figures={}))
    print(f"{arguments.out}: the mean of {len(arguments.epochs)} epochs")
    return 0


if __name__ == "__main__":
    run(main)
