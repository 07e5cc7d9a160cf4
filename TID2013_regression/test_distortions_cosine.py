"""How far do the features move when a picture gets worse? The original found them to behave better than the score.

    python TID2013_regression/test_distortions_cosine.py                     the photograph that matplotlib ships
    python TID2013_regression/test_distortions_cosine.py photo.jpg --figure f.png
    python TID2013_regression/test_distortions_cosine.py scene/              the shortest name is the undistorted file

A row a picture: its score and the cosine distance of its features from those of the undistorted one, 0 (equal) to 2.
"""

from scipy.spatial.distance import cosine

from iqa.commands.degrade import scene_parser, scene_series, score_steps
from iqa.commands.terminal import load_quietly, run
from iqa.errors import ImageError
from iqa.files import printable
from iqa.images.geometry import CROPS
from TID2013_regression.infer_regression import WEIGHTS, load


def main():
    parser = scene_parser(__doc__, WEIGHTS, CROPS)
    arguments = parser.parse_args()
    scorer = load_quietly(lambda: load(arguments.weights, arguments.crop))
    curves, refused = {}, 0
    for title, steps in scene_series(arguments.scene).items():
        print(f"{title}:")
        scored, bad = score_steps(scorer, steps)
        refused += bad
        undistorted = printable(steps[0][0])
        if not scored or scored[0][0] != undistorted:
            raise ImageError(f"{undistorted}: without the undistorted picture there is no distance from it")
        distances = [float(cosine(scored[0][1].features, result.features)) for _, result in scored]
        for (label, result), distance in zip(scored, distances):
            print(f"file:{label}, score:{result.score:.6f}, cos: {distance:.6f}")
        curves[title] = ([label for label, _ in scored], distances)
    if arguments.figure:
        from iqa.evaluation.plots import distortion_curves

        distortion_curves(curves, arguments.figure, ylabel="cosine distance of the features (0-2)")
    return 1 if refused else 0


if __name__ == "__main__":
    run(main)
