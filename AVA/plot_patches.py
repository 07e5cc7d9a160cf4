"""Print how well the patches model's predictions agree with people's votes, in the words of the original's tables.

python AVA/plot_patches.py
python AVA/plot_patches.py FILE.mat --json metrics.json --figure figure.png
"""

from pathlib import Path

from iqa.commands.terminal import run
from iqa.commands.train import plot


def main():
    return plot(__doc__, Path(__file__).with_name("wtf_patches.mat"))


if __name__ == "__main__":
    run(main)
