"""Does idealo's score fall when a picture gets worse?

python idealo_comparison/test_distortions.py                             the photograph that matplotlib ships
python idealo_comparison/test_distortions.py photo.jpg --figure f.png    degraded by JPEG, blur, noise, JPEG2000
python idealo_comparison/test_distortions.py scene/                      files of one scene, as they are
"""

from pathlib import Path

from idealo_comparison.infer import HINT, WEIGHTS, load
from iqa.command_line import parser_of, print_curves, quiet_start, run, scene_series
from iqa.scoring import CardError


def main():
    parser = parser_of(__doc__)
    parser.add_argument("scene", nargs="?", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="idealo's .hdf5, aesthetic or technical")
    parser.add_argument("--figure", type=Path, help="write the curves here")
    arguments = parser.parse_args()
    try:
        with quiet_start():
            scorer = load(arguments.weights)
        return print_curves(scene_series(arguments.scene), scorer, arguments.figure, "mean score (1-10)")
    except CardError as error:
        parser.error(f"{error}; {HINT}")
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    run(main)
