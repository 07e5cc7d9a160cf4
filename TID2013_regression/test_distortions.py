"""Does the score fall when a picture gets worse? The original found with this experiment that its score did not.

    python TID2013_regression/test_distortions.py                            the photograph that matplotlib ships
    python TID2013_regression/test_distortions.py photo.jpg --figure f.png   degraded by JPEG, blur, noise, JPEG2000
    python TID2013_regression/test_distortions.py scene/                     files of one scene, as they are
    python TID2013_regression/test_distortions.py --photos data/photos --list TID2013_regression/ladder_photographs.txt

Prints a row for each picture. With --photos it prints the share of neighbouring steps in the right order, over all
photographs listed.
"""

from pathlib import Path

import numpy as np

from iqa.cards import TID2013_SCALE, keras2_card
from iqa.commands.degrade import check_figure_of, list_series, print_curves, scene_parser
from iqa.commands.infer import looks_of
from iqa.commands.terminal import load_quietly, run
from iqa.distortions.table import everyday_ladders
from iqa.evaluation.metrics import share_in_order
from iqa.images.reading import read_image
from iqa.scoring.scorer import Scorer, load_scorer

WEIGHTS = "tid2013_regression"
CARDLESS = keras2_card("regression", "patch", TID2013_SCALE)


def print_shares(scorer: Scorer, folder: Path, names: list[str]) -> None:
    """Print, for each everyday distortion, the share of neighbouring steps whose score falls."""
    from tqdm import tqdm

    scores: dict[str, list[list[float]]] = {}
    for name in tqdm(names, unit="photograph"):
        for title, steps in everyday_ladders(read_image(folder / name)).items():
            scores.setdefault(title, []).append([scorer.score(image).score for _, image in steps])
    shares = {title: share_in_order(rows) for title, rows in scores.items()}
    for title, rows in scores.items():
        means = " ".join(f"{score:.2f}" for score in np.mean(rows, axis=0))
        print(f"{title:12s} {shares[title]:.4f} of {len(rows) * (len(rows[0]) - 1)} pairs in order; mean scores {means}")
    print(f"{'mean':12s} {np.mean(list(shares.values())):.4f}")


def main() -> int:
    parser = scene_parser(__doc__, WEIGHTS, patches=True)
    parser.add_argument("--photos", type=Path, help="folder of photographs to count over")
    parser.add_argument("--list", type=Path, help="file of their names, one per line")
    arguments = parser.parse_args()
    if bool(arguments.photos) != bool(arguments.list):
        parser.error("--photos and --list go together")
    check_figure_of(arguments)
    scorer = load_quietly(lambda: load_scorer(arguments.weights, cardless=CARDLESS, **looks_of(arguments)))
    if arguments.photos:
        print_shares(scorer, arguments.photos, arguments.list.read_text().splitlines())
        return 0
    return print_curves(list_series(arguments.scene), scorer, arguments.figure, f"score ({scorer.card.scale.name})")


if __name__ == "__main__":
    run(main)
