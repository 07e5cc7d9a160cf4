"""Test whether idealo's score falls when a picture gets worse.

    python idealo_comparison/test_distortions.py                             the photograph that matplotlib ships
    python idealo_comparison/test_distortions.py photo.jpg --figure f.png    degraded by JPEG, blur, noise, JPEG2000
    python idealo_comparison/test_distortions.py scene/                      files of one scene, as they are

Prints a row for each picture: its mean score, 1-10.
"""

from iqa.commands.degrade import check_figure_of, list_series, print_curves, scene_parser
from iqa.commands.terminal import load_quietly, run
from iqa.scoring.idealo import AESTHETIC, AESTHETIC_WEIGHTS, HINT
from iqa.scoring.scorer import load_scorer


def main():
    arguments = scene_parser(__doc__, AESTHETIC_WEIGHTS).parse_args()
    check_figure_of(arguments)
    scorer = load_quietly(lambda: load_scorer(arguments.weights, head="histogram", cardless=AESTHETIC), HINT)
    return print_curves(list_series(arguments.scene), scorer, arguments.figure, "mean score (1-10)")


if __name__ == "__main__":
    run(main)
