"""Turn TID2013's mean opinion scores into histograms, for networks that predict distributions.

    python TID2013_regression/make_labels.py --mos data/tid2013/mos_with_names.txt --out labels.json
    python TID2013_regression/make_labels.py --mos mos_with_names.txt --std mos_std.txt --kind normal --bins 1000 \\
        --out labels.json

Kinds: `maximum-entropy` uses the score alone; idealo trained on such histograms. `normal` also uses the deviation, which
TID2013 gives for the mean: `--deviation absolute` takes it as it is, `relative` multiplies it by the score, as the
original tried. 10 bins are centred on 0 ... 9, 1000 bins on 0 ... 9 in steps of 9/999. The file of deviations has one
number per line, in the order of the scores. The output is JSON in idealo's form: a list of {"image_id", "label"}.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.commands.terminal import add_overwrite, parser_of, run
from iqa.errors import LabelError
from iqa.files import check_target, printable, written_whole
from iqa.labels.histograms import centres, maximum_entropy_histogram, normal_histogram
from iqa.labels.tid2013 import LabelledImage, read_mos

LOWEST, HIGHEST = 0, 9


def read_deviations(file: Path, count: int) -> NDArray[np.float64]:
    """Standard deviations, one per line, float64 (count,).

    Raises:
        LabelError: if a line is not a number above 0, or there are more or fewer of them.
    """
    deviations = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split(), start=1):
        try:
            deviation = float(line)
        except ValueError:
            deviation = float("nan")
        if not 0 < deviation < float("inf"):
            raise LabelError(f"{file}: deviation {number} is not a number above 0: {line!r}")
        deviations.append(deviation)
    if len(deviations) != count:
        raise LabelError(f"{file} has {len(deviations)} deviations for {count} scores")
    return np.array(deviations)


def make_histograms(
    images: Sequence[LabelledImage], bins: int, deviations: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Histograms of the scores of images, float64 (N, bins): normal ones, or without deviations of maximum entropy.

    Raises:
        LabelError: if a score of an image has no such histogram; the message names the image.
    """
    values, histograms = centres(bins, LOWEST, HIGHEST), []
    for index, image in enumerate(images):
        try:
            if deviations is None:
                histograms.append(maximum_entropy_histogram(image.mos, values))
            else:
                histograms.append(normal_histogram(image.mos, deviations[index], values))
        except LabelError as error:
            raise LabelError(f"{image.name}: {error}") from None
    return np.array(histograms)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--mos", type=Path, required=True, help="mos_with_names.txt")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--kind", choices=("maximum-entropy", "normal"), default="maximum-entropy")
    parser.add_argument("--bins", type=int, choices=(10, 1000), default=10)
    parser.add_argument("--std", type=Path, help="mos_std.txt, one deviation per line; needed for --kind normal")
    parser.add_argument("--deviation", choices=("absolute", "relative"), help="only for --kind normal (default: absolute)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    check_target(arguments.out, arguments.overwrite, inputs=filter(None, (arguments.mos, arguments.std)))
    if (arguments.kind == "normal") != bool(arguments.std):
        parser.error("--kind normal needs --std, and no other kind takes it")
    if arguments.deviation and arguments.kind != "normal":
        parser.error("--deviation goes with --kind normal")
    images = read_mos(arguments.mos)
    deviations = read_deviations(arguments.std, len(images)) if arguments.std else None
    if deviations is not None and arguments.deviation == "relative":
        deviations = deviations * [image.mos for image in images]
    labels = make_histograms(images, arguments.bins, deviations)
    rows = [{"image_id": image.name, "label": label.tolist()} for image, label in zip(images, labels, strict=True)]
    with written_whole(arguments.out) as file:
        file.write(json.dumps(rows, allow_nan=False).encode())
    print(f"{printable(arguments.out)}: {len(rows)} histograms of {arguments.bins} bins")
    return 0


if __name__ == "__main__":
    run(main)
