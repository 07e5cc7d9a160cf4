"""Compile weights, so that scoring needs no Keras; or write them as a file for another program.

    python -m iqa.export ava_vanilla runs/first/best.weights.h5    # NAME.tflite beside each, its hash on the card
    python -m iqa.export old.hdf5 --like ava_vanilla                # of Keras 2, without a card: which is written, too
    python -m iqa.export ava_vanilla --format onnx --out models/ava_vanilla.onnx

Scoring finds NAME.tflite beside the weights. It is compared with Keras on 50 pictures before it is written.

Formats: litert (.tflite), onnx (.onnx), saved_model (a folder). A file takes `pixels`, uint8 0-255, (N, 224, 224, 3) RGB,
and normalises them, but it neither cuts nor resizes a picture: docs/deploy.md says how to do that. It gives `histogram`
(N, 10) or `score` (N, 1), and the `features` behind it. The card of the weights is written beside it.
"""

if __name__ == "__main__":  # before anything else is imported
    from iqa import forget_working_folder

    forget_working_folder()

import sys
from dataclasses import replace
from pathlib import Path

from iqa.cards import CARDLESS, card_of, compiled_beside, read_card, weights_file
from iqa.commands.terminal import add_overwrite, load_quietly, parser_of, run
from iqa.errors import CardError, OutputError
from iqa.files import check_target, printable, write_json
from iqa.models.compiled import EXACT, FORMATS, PICTURES, check_file, check_keras, compile_weights, export, outputs_of


def main() -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("weights", nargs="+", metavar="NAME", help="name of shipped weights, or path of a weight file")
    parser.add_argument("--like", choices=CARDLESS, help="read a Keras 2 file without a card as this model")
    parser.add_argument("--format", choices=FORMATS, help="export for another program in this format")
    parser.add_argument("--out", type=Path, help="file or folder to export to (with --format)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if (arguments.format is None) != (arguments.out is None) or (arguments.out and len(arguments.weights) > 1):
        parser.error("to write a file for another program, name one weight file, --format and --out")
    for name in arguments.weights:
        weights = weights_file(name)
        if arguments.out and (arguments.format, arguments.out.resolve()) != ("litert", compiled_beside(weights).resolve()):
            _export(weights, arguments.format, arguments.out, arguments.overwrite)
            continue
        cardless = CARDLESS.get(arguments.like)
        if cardless is None and not card_of(weights).is_file():
            raise CardError(f"{weights}: it has no card; give --like and one of {', '.join(CARDLESS)}")
        file = load_quietly(lambda weights=weights, card=cardless: compile_weights(weights, card))  # type: ignore[misc]
        print(f"{printable(file)}: of {PICTURES} pictures its scores are within {EXACT:g} of Keras's")
    return 0


def _export(weights: Path, format: str, out: Path, overwrite: bool) -> None:
    check_file(out, format)
    if not out.is_dir():
        check_target(out, overwrite, inputs=[weights])
    elif not overwrite:  # of a saved_model
        raise OutputError(f"{out}: a model is there; choose another name, or give --overwrite")
    card, beside = read_card(card_of(weights)), out.with_suffix(".json")
    has_card = beside.exists() and beside.samefile(card_of(weights))
    if not has_card:
        check_target(beside, overwrite, lambda path: read_card(path).sha256 == card.sha256, inputs=[weights])
    check_keras(weights)

    def write() -> None:
        from iqa.models.networks import network_of

        export(network_of(card, weights), card, out, format)

    load_quietly(write)
    if not has_card:
        write_json(beside, replace(card, compiled={}).to_json())
    print(f"{printable(out)}: uint8 pixels, 0-255, of {card.preprocessing.size} a side -> {' and '.join(outputs_of(card))}")
    print(f"{printable(beside)}: its card; docs/deploy.md says how a picture becomes these pixels", file=sys.stderr)
    if format == "litert":
        print("scoring looks beside the weights: to write it there, leave out --format and --out", file=sys.stderr)


if __name__ == "__main__":
    run(main)
