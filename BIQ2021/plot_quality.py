"""Print how well the quality model's predictions agree with people's grades, in the words of the original's tables.

    python BIQ2021/plot_quality.py
    python BIQ2021/plot_quality.py FILE.mat --json metrics.json --figure figure.png

Without a file it reads quality.mat beside this script. Below the table stand the figures of BIQ2021's three parts.
"""

from pathlib import Path

import numpy as np

from iqa.commands.plot import check_targets, plot_parser, print_results, write_results
from iqa.commands.terminal import run
from iqa.evaluation.metrics import correlate, measure_agreement
from iqa.evaluation.predictions import read_predictions
from iqa.labels.biq2021 import PARTS


def main() -> int:
    arguments = plot_parser(__doc__, Path(__file__).with_name("quality.mat")).parse_args()
    check_targets(arguments)
    read = read_predictions(arguments.file, bins=1)
    result = measure_agreement(read.labels, read.predictions)
    print_results(arguments, read, result)
    parts = np.array([PARTS.get(name[:4].lower(), "") for name in read.ids])
    for part in PARTS.values():
        if (parts == part).sum() > 2:
            lcc, srcc = correlate(read.labels[parts == part], read.predictions[parts == part])
            print(f"{part}: n {(parts == part).sum()}, LCC {lcc:.4f}, SRCC {srcc:.4f}")
    write_results(arguments, read, result, "1-5")
    return 0


if __name__ == "__main__":
    run(main)
