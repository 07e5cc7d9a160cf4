"""Turn TID2013's mean opinion scores into histograms, for networks that predict distributions.

    python TID2013_regression/make_labels.py --mos data/tid2013/mos_with_names.txt --out labels.json
    python TID2013_regression/make_labels.py --mos mos_with_names.txt --std mos_std.txt --kind normal --bins 1000 \\
        --out labels.json

Kinds: `maximum-entropy` knows the score alone and is what idealo trained on; `normal` takes the deviation too, which
TID2013 gives as that of the mean: `--deviation absolute` uses it as it is, `relative` multiplies it by the score, as
the original tried. 10 bins are centred on 0 ... 9, 1000 bins on 0 ... 9 in steps of 9/999. The deviations are a number
a line, in the order of the scores. Written is JSON in idealo's form: a list of {"image_id", "label"}.
"""

import json
from pathlib import Path

import numpy as np

from iqa.commands.terminal import parser_of, run
from iqa.files import written_whole
from iqa.labels.histograms import centres, maximum_entropy_histogram, normal_histogram
from iqa.labels.tid2013 import read_mos

LOWEST, HIGHEST = 0, 9


def histograms(mos, kind, bins, deviation=None):
    """Histograms of mean opinion scores, float64 (N, bins).

    Args:
        mos: (N,), 0-9.
        kind: "maximum-entropy" or "normal".
        deviation: (N,), above 0, in units of the score; only for "normal".
    """
    values = centres(bins, LOWEST, HIGHEST)
    if kind == "normal":
        return normal_histogram(mos, deviation, values)
    return np.array([maximum_entropy_histogram(score, values) for score in mos])


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--mos", type=Path, required=True, help="mos_with_names.txt")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--kind", choices=("maximum-entropy", "normal"), default="maximum-entropy")
    parser.add_argument("--bins", type=int, choices=(10, 1000), default=10)
    parser.add_argument("--std", type=Path, help="mos_std.txt, a deviation a line; needed for --kind normal")
    parser.add_argument("--deviation", choices=("absolute", "relative"), default="absolute")
    arguments = parser.parse_args()
    if (arguments.kind == "normal") != bool(arguments.std):
        parser.error("--std goes with --kind normal, and is needed there")
    images = read_mos(arguments.mos)
    mos = np.array([image.mos for image in images])
    deviation = None
    if arguments.std:
        deviation = np.array([float(line) for line in arguments.std.read_text().split()])
        if len(deviation) != len(mos):
            parser.error(f"{arguments.std} has {len(deviation)} deviations for {len(mos)} scores")
        if arguments.deviation == "relative":
            deviation = deviation * mos
    labels = histograms(mos, arguments.kind, arguments.bins, deviation)
    rows = [{"image_id": image.name, "label": label.tolist()} for image, label in zip(images, labels)]
    with written_whole(arguments.out) as file:
        file.write(json.dumps(rows).encode())
    print(f"{arguments.out}: {len(rows)} histograms of {arguments.bins} bins")
    return 0


if __name__ == "__main__":
    run(main)
