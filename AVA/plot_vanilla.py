"""Print how well the vanilla model's predictions agree with people's votes, in the words of the original's tables.

    python AVA/plot_vanilla.py
    python AVA/plot_vanilla.py FILE.mat --json metrics.json --figure figure.png

Without a file it reads wtf_vanilla.mat beside this script.
"""

from pathlib import Path

from iqa.commands.plot import plot_histograms
from iqa.commands.terminal import run


def main() -> int:
    return plot_histograms(__doc__, Path(__file__).with_name("wtf_vanilla.mat"))


if __name__ == "__main__":
    run(main)
