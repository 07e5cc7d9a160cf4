"""Print how well the patches model's predictions agree with people's votes, in the words of the original's tables.

    python AVA/plot_patches.py
    python AVA/plot_patches.py FILE.mat --json metrics.json --figure figure.png

Without a file it reads wtf_patches.mat beside this script.
"""

from pathlib import Path

from iqa.commands.plot import plot_histograms
from iqa.commands.terminal import run


def main() -> int:
    return plot_histograms(__doc__, Path(__file__).with_name("wtf_patches.mat"))


if __name__ == "__main__":
    run(main)
