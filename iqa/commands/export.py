"""Write a model as a file for a runtime that needs no Keras.

    python -m iqa.export ava_vanilla --format litert --out ava_vanilla.tflite
    python -m iqa.export runs/first/best.weights.h5 --format onnx --input uint8 --out best.onnx
    python -m iqa.export --shipped                      # all weights that ship, or those that are named

The file takes `pixels`, 0-255, (N, 224, 224, 3) RGB, as float32 or as uint8. It normalises them, but it neither cuts nor
resizes a picture to that size: docs/deploy.md says how to do that, with a script for each runtime. It gives two arrays,
`histogram` (N, 10) or `score` (N, 1), and the `features` behind it. Formats: litert (.tflite), onnx (.onnx), openvino
(.xml, with a .bin beside it), saved_model (a folder). The card of the weights is written beside the file, and into it.

With --shipped, NAME.tflite is written beside NAME.weights.h5, and its hash on the card: scoring then needs no Keras. The
file takes uint8 pixels. It is compared with Keras on 50 pictures, and not written if a score differs by more than 1e-5.
"""

import sys
from pathlib import Path

from iqa.cards import card_of, read_card, shipped_weights, weights_file
from iqa.commands.terminal import add_overwrite, load_quietly, parser_of, quiet_start
from iqa.errors import OutputError
from iqa.files import check_target, printable, write_json
from iqa.images.finding import list_images
from iqa.models.export import FORMATS, INPUTS, check_file, export
from iqa.models.metadata import card_to_export, outputs_of
from iqa.scoring.shipping import PICTURES, ship


def main() -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("weights", nargs="*", metavar="NAME", help="shipped weights, or a .weights.h5 with its card")
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--input", choices=INPUTS, default="float32", help="type of the pixels, 0-255 (default: float32)")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shipped", action="store_true", help="write the compiled file that ships beside the weights")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help=f"for --shipped: compare on the first {PICTURES} of these (default: views of matplotlib's sample photograph)",
    )
    add_overwrite(parser)
    arguments = parser.parse_args()
    if arguments.shipped:
        if arguments.format or arguments.out:
            parser.error("--shipped has a format and names of its own: leave out --format and --out")
        return _ship(arguments.weights, arguments.pictures)
    if len(arguments.weights) != 1 or not arguments.format or not arguments.out or arguments.pictures:
        parser.error("name one weight file, --format and --out; or give --shipped")
    return _export(arguments.weights[0], arguments.format, arguments.input, arguments.out, arguments.overwrite)


def _ship(names: list[str], folder: Path | None) -> int:
    pictures = list_images(folder)[:PICTURES] if folder else []
    every = sorted(shipped_weights("*").parent.glob("*.weights.h5"))
    for weights in [weights_file(name) for name in names] or every:
        shipped = load_quietly(lambda weights=weights: ship(weights, pictures))  # type: ignore[misc]
        print(
            f"{shipped.file}: {shipped.pictures} pictures, scores within {shipped.score:.1e} of Keras's, all that it says "
            f"within {shipped.output:.1e}; sha256 {shipped.sha256[:12]}... is on {card_of(weights).name}"
        )
    return 0


def _export(name: str, format: str, input: str, out: Path, overwrite: bool) -> int:
    check_file(out, format)
    weights = weights_file(name)
    if out.is_dir():  # of a saved_model
        if not overwrite:
            raise OutputError(f"{out}: a model is there; choose another name, or give --overwrite")
    else:
        check_target(out, overwrite, inputs=[weights])
        if format == "openvino":
            check_target(out.with_suffix(".bin"), overwrite, inputs=[weights])
    card, beside = read_card(card_of(weights)), out.with_suffix(".json")
    has_card = beside.exists() and beside.samefile(card_of(weights))
    if not has_card:
        check_target(beside, overwrite, lambda path: read_card(path).sha256 == card.sha256, inputs=[weights])
    with quiet_start():
        from iqa.models.networks import network_of

        network = network_of(card, weights)
        export(network, card, out, format, input)
    if not has_card:
        write_json(beside, card_to_export(card).to_json())
    shapes = [str((None, *output.shape[1:])).replace("None", "N") for output in network.outputs]
    gives = " and ".join(f"{name} {shape}" for name, shape in zip(outputs_of(card), shapes, strict=True))
    size = network.input_shape[1]
    print(f"{printable(out)}: {input} pixels (N, {size}, {size}, 3), 0-255 -> {gives}")
    print(f"{printable(beside)}: its card; docs/deploy.md says how a picture becomes these pixels", file=sys.stderr)
    return 0
