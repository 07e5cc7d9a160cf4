"""Write a model as a file for a runtime that needs no Keras.

    python -m iqa.export ava_vanilla --format litert --out ava_vanilla.tflite
    python -m iqa.export runs/first/best.weights.h5 --format onnx --input uint8 --out best.onnx

The file takes pixels 0-255, (N, 224, 224, 3) RGB, as float32 or as uint8. It normalises them, but it neither cuts nor
resizes a picture to that size: the card says how to do that. It gives two arrays, the histogram (N, 10) or score (N, 1),
and the features behind it. Formats: litert (.tflite), onnx (.onnx), openvino (.xml, with a .bin beside it), saved_model
(a folder).
"""

import sys
from pathlib import Path

from iqa.cards import card_of, read_card, weights_file
from iqa.commands.terminal import parser_of, quiet_start
from iqa.models.export import FORMATS, INPUTS, check_file, export


def main() -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("weights", metavar="NAME", help="shipped weights, or a .weights.h5 with its card")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--input", choices=INPUTS, default="float32", help="type of the pixels, 0-255 (default: float32)")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    check_file(arguments.out, arguments.format)
    weights = weights_file(arguments.weights)
    card = read_card(card_of(weights))
    with quiet_start():
        from iqa.models.networks import network_of

        network = network_of(card, weights)
        export(network, arguments.out, arguments.format, arguments.input)
    shapes = " and ".join(str((None, *output.shape[1:])).replace("None", "N") for output in network.outputs)
    size = network.input_shape[1]
    print(f"{arguments.out}: {arguments.input} pixels (N, {size}, {size}, 3), 0-255 -> {shapes}")
    print(f"geometry: {card.to_json()['geometry']}", file=sys.stderr)
    return 0
