"""Test how far the features move when a picture gets worse. In the original they did better than the score.

    python TID2013_regression/test_distortions_cosine.py                     the photograph that matplotlib ships
    python TID2013_regression/test_distortions_cosine.py photo.jpg --figure f.png
    python TID2013_regression/test_distortions_cosine.py scene/              the shortest name is the undistorted file

Prints a row for each picture: its score, and the cosine distance of its features from those of the undistorted one, from
0 (equal) to 2.
"""

from scipy.spatial.distance import cosine

from iqa.cards import CARDLESS
from iqa.commands.degrade import check_figure_of, list_series, print_curves, scene_parser
from iqa.commands.infer import PATCH_OPTIONS
from iqa.commands.terminal import load_quietly, run
from iqa.scoring.scorer import load_scorer

WEIGHTS = "tid2013_regression"


def main():
    arguments = scene_parser(__doc__, WEIGHTS, patches=True).parse_args()
    check_figure_of(arguments)
    options = {name: getattr(arguments, name) for name in PATCH_OPTIONS}
    scorer = load_quietly(lambda: load_scorer(arguments.weights, cardless=CARDLESS[WEIGHTS], **options))
    return print_curves(
        list_series(arguments.scene), scorer, arguments.figure, "cosine distance of the features (0-2)", cosine
    )


if __name__ == "__main__":
    run(main)
