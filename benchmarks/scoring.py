"""How much faster is our way of scoring one image at a time than `model.predict` on each?

    python benchmarks/scoring.py FOLDER [--images 100]

Both sides read, cut and score the same files with the same weights, in turn and in one process. What counts is the
ratio; the absolute times are the machine's own.
"""

import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from iqa.command_line import parser_of, quiet_start, run
from iqa.images import ImageError, centre_patch, list_images, read_image

ROUNDS = 3


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100, help="files to score (default: 100)")
    arguments = parser.parse_args()
    with quiet_start():
        from iqa.models import build_from_card, load_weights
        from iqa.scoring import Scorer

        scorer = Scorer("tid2013_regression")
        model = build_from_card(scorer.card)
        load_weights(model, scorer.weights)

    def ours(path):
        return scorer.score(path).score

    def predict(path):
        patch = centre_patch(read_image(path), scorer.size)
        return float(model.predict(patch[None], verbose=0)[0, 0])

    files = []
    for path in list_images(arguments.folder):
        try:
            centre_patch(read_image(path), scorer.size)
            files.append(path)
        except ImageError:
            continue
        if len(files) == arguments.images:
            break
    if not files:
        parser.error(f"{arguments.folder} holds no image that the model can score")
    seconds = {ours: [], predict: []}
    scores = {}
    for _ in tqdm(range(ROUNDS), unit="round"):
        for way, times in seconds.items():
            way(files[0])  # compiled before the clock starts
            started = time.perf_counter()
            scores[way] = [way(path) for path in files]
            times.append(time.perf_counter() - started)
    best = {way: min(times) for way, times in seconds.items()}
    difference = np.abs(np.subtract(scores[ours], scores[predict])).max()
    print(f"{len(files)} files, best of {ROUNDS} rounds each")
    print(f"model.predict  {len(files) / best[predict]:6.1f} images/s")
    print(f"ours           {len(files) / best[ours]:6.1f} images/s, {best[predict] / best[ours]:.2f} times as fast")
    print(f"largest difference of a score: {difference:.1e}")
    return 0


if __name__ == "__main__":
    run(main)
