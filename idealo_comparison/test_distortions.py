"""Does idealo's score fall when a picture gets worse?

    python idealo_comparison/test_distortions.py                             the photograph that matplotlib ships
    python idealo_comparison/test_distortions.py photo.jpg --figure f.png    degraded by JPEG, blur, noise, JPEG2000
    python idealo_comparison/test_distortions.py scene/                      files of one scene, as they are

A row a picture: its mean score, 1-10.
"""

from idealo_comparison.infer import HINT, WEIGHTS, load
from iqa.commands.degrade import print_curves, scene_parser, scene_series
from iqa.commands.terminal import load_quietly, run


def main():
    arguments = scene_parser(__doc__, WEIGHTS).parse_args()
    scorer = load_quietly(lambda: load(arguments.weights), HINT)
    return print_curves(scene_series(arguments.scene), scorer, arguments.figure, "mean score (1-10)")


if __name__ == "__main__":
    run(main)
