"""How far do the features move when a picture gets worse? The original found them to behave better than the score.

    python TID2013_regression/test_distortions_cosine.py                     the photograph that matplotlib ships
    python TID2013_regression/test_distortions_cosine.py photo.jpg --figure f.png
    python TID2013_regression/test_distortions_cosine.py scene/              the shortest name is the undistorted file

A row a picture: its score and the cosine distance of its features from those of the undistorted one, 0 (equal) to 2.
"""

from pathlib import Path

from scipy.spatial.distance import cosine

from iqa.command_line import parser_of, quiet_start, run, scene_series, score_steps
from iqa.images import CROPS
from TID2013_regression.infer_regression import WEIGHTS, load


def main():
    parser = parser_of(__doc__)
    parser.add_argument("scene", nargs="?", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="a .weights.h5 with its card (default: what ships)")
    parser.add_argument("--crop", choices=CROPS, default="centre")
    parser.add_argument("--figure", type=Path, help="write the curves here")
    arguments = parser.parse_args()
    try:
        with quiet_start():
            scorer = load(arguments.weights, arguments.crop)
        curves, refused = {}, 0
        for title, steps in scene_series(arguments.scene).items():
            print(f"{title}:")
            scored, bad = score_steps(scorer, steps)
            refused += bad
            distances = [float(cosine(scored[0][1].features, result.features)) for _, result in scored]
            for (label, result), distance in zip(scored, distances):
                print(f"file:{label}, score:{result.score:.6f}, cos: {distance:.6f}")
            curves[title] = ([label for label, _ in scored], distances)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.figure:
        from iqa.plots import distortion_curves

        distortion_curves(curves, arguments.figure, ylabel="cosine distance of the features (0-2)")
    return 1 if refused else 0


if __name__ == "__main__":
    run(main)
