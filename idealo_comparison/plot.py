"""Print how well idealo's model's predictions agree with people's votes, in the words of the original's tables.

    python idealo_comparison/plot.py
    python idealo_comparison/plot.py FILE.mat --json metrics.json --figure figure.png

Without a file it reads wtf_idealo_ava.mat beside this script.
"""

from pathlib import Path

from iqa.commands.plot import plot_histograms
from iqa.commands.terminal import run


def main() -> int:
    return plot_histograms(__doc__, Path(__file__).with_name("wtf_idealo_ava.mat"))


if __name__ == "__main__":
    run(main)
