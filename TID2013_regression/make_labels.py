"""Turn TID2013's mean opinion scores into histograms, for networks that predict distributions.

    python TID2013_regression/make_labels.py --mos data/tid2013/mos_with_names.txt --out labels.json

Each histogram has 10 bins, centred on 0 ... 9, and the score as its mean. It is the one of maximum entropy, as idealo
used, or with --std a normal distribution with the given standard deviation. The output is JSON in idealo's form: a list
of {"image_id", "label"}.
"""

import json
from pathlib import Path

import numpy as np
import scipy

from iqa.commands.terminal import add_overwrite, parser_of, run
from iqa.errors import LabelError
from iqa.files import check_target, printable, written_whole
from iqa.labels.histograms import normal_histogram
from iqa.labels.tid2013 import read_mos


def maximum_entropy_histogram(mos, values):
    """The histogram of greatest entropy that has a given mean: p_i proportional to exp(lambda v_i) (Jaynes 1957).

    Raises:
        LabelError: if the mean is not strictly between the first and the last of the bin centres `values`.
    """
    values = np.asarray(values, float)
    if not values.min() < mos < values.max():
        raise LabelError(f"no histogram on {values.min():g}-{values.max():g} has the mean {mos:g} and entropy to choose")

    def excess(rate):
        return scipy.special.softmax(rate * values) @ values - mos

    limit = 1.0
    while excess(-limit) > 0 or excess(limit) < 0:
        limit *= 2
    return scipy.special.softmax(values * scipy.optimize.brentq(excess, -limit, limit, xtol=1e-14, rtol=1e-14))


def read_deviations(file, count):
    """Standard deviations above 0, one per line; as many as there are scores."""
    try:
        deviations = [float(line) for line in file.read_text(encoding="utf-8").split()]
    except ValueError as error:
        raise LabelError(f"{file}: {error}") from None
    if len(deviations) != count or not all(0 < deviation < np.inf for deviation in deviations):
        raise LabelError(f"{file}: not one deviation above 0 for each of the {count} scores")
    return deviations


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--mos", type=Path, required=True, help="TID2013's scores, mos_with_names.txt")
    add("--out", type=Path, required=True, help="write the histograms to this .json")
    add("--std", type=Path, help="use the standard deviations in this file, one per line")
    add_overwrite(parser)
    arguments = parser.parse_args()
    check_target(arguments.out, arguments.overwrite, inputs=filter(None, (arguments.mos, arguments.std)))
    images, bins, rows = read_mos(arguments.mos), np.arange(10.0), []
    deviations = read_deviations(arguments.std, len(images)) if arguments.std else [None] * len(images)
    for image, deviation in zip(images, deviations, strict=True):
        try:
            known = deviation is not None
            label = normal_histogram(image.mos, deviation, bins) if known else maximum_entropy_histogram(image.mos, bins)
        except LabelError as error:
            raise LabelError(f"{image.name}: {error}") from None
        rows.append({"image_id": image.name, "label": label.tolist()})
    with written_whole(arguments.out) as file:
        file.write(json.dumps(rows, allow_nan=False).encode())
    print(f"{printable(arguments.out)}: {len(rows)} histograms")
    return 0


if __name__ == "__main__":
    run(main)
