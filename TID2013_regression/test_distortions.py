"""Test whether the score falls when a picture gets worse. The original's score did not.

    python TID2013_regression/test_distortions.py                            the photograph that matplotlib ships
    python TID2013_regression/test_distortions.py photo.jpg --figure f.png   degraded by JPEG, blur, noise, JPEG2000
    python TID2013_regression/test_distortions.py scene/                     files of one scene, as they are
    python TID2013_regression/test_distortions.py photo.jpg --heat-map where.png    the score and the fault, place by place
    python TID2013_regression/test_distortions.py --photos data/photos --list TID2013_regression/ladder_photographs.txt

Prints a row for each picture. With --photos it prints the share of neighbouring steps in the right order, over all
photographs listed.
"""

from pathlib import Path

import numpy as np

from iqa.cards import CARDLESS
from iqa.commands.degrade import check_figure_of, list_series, print_curves, scene_parser
from iqa.commands.infer import PATCH_OPTIONS
from iqa.commands.terminal import load_quietly, run
from iqa.distortions.everyday import everyday_ladders
from iqa.errors import ImageError
from iqa.files import printable
from iqa.images.geometry import patch, places_that_cover
from iqa.images.reading import Picture, read_image
from iqa.labels.faults import main_fault
from iqa.scoring.scorer import load_scorer

WEIGHTS = "tid2013_regression"


def print_shares(scorer, folder, names):
    """Print, for each everyday distortion, the share of neighbouring steps whose score falls."""
    from tqdm import tqdm

    scores = {}
    for name in tqdm(names, unit="photograph"):
        for title, steps in everyday_ladders(read_image(folder / name)).items():
            scores.setdefault(title, []).append([scorer.score(image) for _, image in steps])
    shares = {title: float(np.mean(np.diff(rows, axis=1) < 0)) for title, rows in scores.items()}
    for title, rows in scores.items():
        means = " ".join(f"{score:.2f}" for score in np.mean(rows, axis=0))
        print(f"{title:12s} {shares[title]:.4f} of {len(rows) * (len(rows[0]) - 1)} pairs in order; mean scores {means}")
    print(f"{'mean':12s} {np.mean(list(shares.values())):.4f}")


def draw_places(scorer, image, figure):
    """Draw what the model says of each patch of a picture: its score, and its main fault if it knows any."""
    from iqa.evaluation.plots import save_figure, start_figure

    pixels, size = read_image(image), scorer.geometry.size
    if min(pixels.shape[:2]) < size:
        raise ImageError(f"{image}: {pixels.shape[1]}x{pixels.shape[0]} pixels are fewer than the {size}x{size} of a patch")
    rows = []
    for top, left in places_that_cover(*pixels.shape[:2], size, scorer.card.preprocessing.multiple):
        judged = scorer.judge([Picture(patch(pixels, top, left, size))])[0]
        fault = None if judged.faults is None else main_fault(judged.faults)
        rows.append((top, left, float(judged.output[0]), fault.kind if fault else ""))
    sheet = start_figure(9, 8 * pixels.shape[0] / pixels.shape[1] + 1)
    axis = sheet.subplots()
    axis.imshow(pixels)
    axis.set_axis_off()
    tops, lefts, scores, words = zip(*rows, strict=True)
    xs, ys, middle = np.array(lefts) + size / 2, np.array(tops) + size / 2, (min(scores) + max(scores)) / 2
    squares = axis.scatter(xs, ys, c=scores, cmap="cividis", s=2500, marker="s", alpha=0.75)  # dark where it is low
    for x, y, score, word in zip(xs, ys, scores, words, strict=True):
        style = {"color": "black" if score > middle else "white", "fontsize": 7, "weight": "bold"}
        axis.text(x, y, f"{score:.1f}\n{word}".strip(), ha="center", va="center", **style)
    sheet.colorbar(squares, label=f"score ({scorer.card.scale.name})")
    save_figure(sheet, figure)
    print(f"{printable(figure)}: the score and the main fault of {len(rows)} patches")


def main():
    parser = scene_parser(__doc__, WEIGHTS, patches=True)
    parser.add_argument("--photos", type=Path, help="count the steps in the right order over these photographs")
    parser.add_argument("--list", type=Path, help="take only the photographs named in this file (with --photos)")
    parser.add_argument("--heat-map", type=Path, metavar="FILE", help="draw the score and the fault of each patch instead")
    arguments = parser.parse_args()
    if bool(arguments.photos) != bool(arguments.list):
        parser.error("--photos and --list go together")
    if arguments.heat_map and (arguments.figure or not arguments.scene or Path(arguments.scene).is_dir()):
        parser.error("--heat-map takes the place of --figure and is of one image: name it")
    arguments.figure = arguments.figure or arguments.heat_map
    check_figure_of(arguments)
    options = {name: getattr(arguments, name) for name in PATCH_OPTIONS}
    scorer = load_quietly(lambda: load_scorer(arguments.weights, cardless=CARDLESS[WEIGHTS], **options))
    if arguments.heat_map:
        draw_places(scorer, Path(arguments.scene), arguments.heat_map)
    elif arguments.photos:
        print_shares(scorer, arguments.photos, arguments.list.read_text().splitlines())
    else:
        return print_curves(list_series(arguments.scene), scorer, arguments.figure, f"score ({scorer.card.scale.name})")
    return 0


if __name__ == "__main__":
    run(main)
