"""Teach a network to tell what is wrong with a picture, beside how good it is.

    python TID2013_regression/fit_faults.py --references data/kodak --photos data/photographs/unsplash1 \\
        data/photographs/coco5k --clean data/photographs/biq2021

Which distortion a picture got is known, so its labels are free. On what the head of the network sees, several levels of
the backbone, a softmax regression learns the kinds of `iqa.labels.faults`. The photographs of BIQ2021 that people graded
best have no fault, as they are. The network and its scores stay as they are. NAME.faults.npy is written beside the
weights, and its hash on the card. One photograph in four, and the references 1-6, are left out and tested on.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy
from tqdm import tqdm

from iqa.cards import CARDLESS, card_for, card_of, sha256, weights_file
from iqa.commands.terminal import add_overwrite, load_quietly, natural, parser_of, positive, run
from iqa.distortions.everyday import shrink
from iqa.distortions.table import distort, read_reference
from iqa.errors import CardError, ImageError, LabelError
from iqa.files import check_target, printable, write_json, written_whole
from iqa.images.finding import list_images
from iqa.images.reading import Picture, read_image
from iqa.labels.biq2021 import read_grades
from iqa.labels.faults import KINDS, main_fault
from iqa.labels.tid2013 import TEST_REFERENCES, VALIDATION_REFERENCES
from iqa.scoring.scorer import load_scorer

DATA = Path(__file__).resolve().parents[1] / "data"

KIND_OF = {number: place for place, numbers in enumerate(KINDS.values()) for number in numbers}

# Made smaller to this, a photograph loses the traces of its own JPEG; both sides stay larger than a patch.
SHRUNK, SMALLEST = 0.75, 232

# Of each photograph and of each reference: how many distortions, and at how many levels.
OF_A_PHOTOGRAPH, LEVELS_OF_A_REFERENCE = 4, 2

# BIQ2021's photographs of this mean grade or a better one count as clean.
CLEAN = 4.3

DECAY = 1e-3  # weight of the squared kernel


def scenes(arguments, rng):
    """Yield (picture, [(distortion, level), ...], tested): first of the references, then of photographs."""
    held_out = {*TEST_REFERENCES, *VALIDATION_REFERENCES}
    for number in tqdm(range(1, 25), unit="reference", file=sys.stderr):
        reference = read_reference(arguments.references, number)
        if reference is None:
            raise LabelError(f"{arguments.references}: no kodim{number:02d}.png")
        levels = {kind: rng.choice(np.arange(1.0, 6.0), LEVELS_OF_A_REFERENCE, replace=False) for kind in KIND_OF}
        yield reference, [(kind, level) for kind in KIND_OF for level in levels[kind]], f"i{number:02d}" in held_out
    photographs = [path for folder in arguments.photos for path in list_images(folder)]
    if not photographs:
        raise ImageError(f"{', '.join(map(str, arguments.photos))}: no photographs")
    chosen = rng.permutation(len(photographs))[: arguments.limit]
    for place, number in enumerate(tqdm(chosen, unit="photograph", file=sys.stderr)):
        try:
            picture = shrink(read_image(photographs[number]), SHRUNK, SMALLEST)
        except ImageError as error:
            print(printable(f"left out: {photographs[number]}: {error}"), file=sys.stderr)
            continue
        distortions = rng.choice(list(KIND_OF), OF_A_PHOTOGRAPH, replace=False)
        yield picture, [(int(kind), rng.uniform(1, 5)) for kind in distortions], place % 4 == 0
    graded = read_grades(arguments.grades, arguments.clean) if arguments.clean else []
    clean = [image.path for image in graded if image.path and image.label >= CLEAN]
    for place, path in enumerate(tqdm(clean, unit="clean photograph", file=sys.stderr)):
        yield read_image(path), [], place % 4 == 0


def fit(seen, kinds):
    """The layer, float32 (n + 1, kinds): a softmax regression in which rare kinds weigh more, by their square root."""
    count, width, known = len(KINDS), seen.shape[1], np.eye(len(KINDS))[kinds]
    weights = 1 / np.sqrt(np.bincount(kinds, minlength=count))[kinds]
    weights /= weights.sum()

    def loss(flat):
        layer = flat.reshape(width + 1, count)
        logits = seen @ layer[:-1] + layer[-1]
        shares = scipy.special.softmax(logits, axis=1)
        wrong = weights[:, None] * (shares - known)
        slope = np.concatenate([seen.T @ wrong + 2 * DECAY * layer[:-1], wrong.sum(axis=0, keepdims=True)])
        likelihood = weights @ np.log(np.maximum((shares * known).sum(axis=1), 1e-12))
        return DECAY * (layer[:-1] ** 2).sum() - likelihood, slope.ravel()

    start = np.zeros((width + 1) * count)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return found.x.reshape(width + 1, count).astype(np.float32)


def measure(layer, seen, kinds, levels, clean):
    """{figure: share of pictures whose kind is found}, and how many they are."""
    right = (seen @ layer[:-1] + layer[-1]).argmax(axis=1) == kinds
    plain = (levels >= 2) | (kinds == 0)
    shown = [main_fault(logits) is not None for logits in (seen @ layer[:-1] + layer[-1])[clean]]
    figures = {"n": len(kinds), "top-1": right.mean(), "top-1, levels 2-5 and untouched": right[plain].mean()}
    figures |= {name: right[kinds == place].mean() for place, name in enumerate(KINDS) if (kinds == place).any()}
    figures |= {"clean photographs": clean.sum(), "of which a fault is shown": np.mean(shown)} if clean.any() else {}
    return {name: round(float(value), 3) for name, value in figures.items()}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--references", required=True, type=Path, help="folder of kodim01.png ... kodim24.png")
    parser.add_argument("--photos", required=True, type=Path, nargs="+", help="folders of photographs")
    parser.add_argument("--clean", type=Path, help="folder of BIQ2021's photographs, of which the best are clean")
    parser.add_argument(
        "--grades", type=Path, default=DATA / "biq2021/train.csv", help="their grades (default: %(default)s)"
    )
    parser.add_argument("--limit", type=positive, default=400, help="photographs, drawn at random (default: %(default)s)")
    parser.add_argument("--weights", default="tid2013_regression", help="a file or a shipped name (default: %(default)s)")
    parser.add_argument("--seed", type=natural, default=0)
    add_overwrite(parser)
    arguments = parser.parse_args()
    path = weights_file(arguments.weights)
    card = card_for(path, CARDLESS["tid2013_regression"])
    if not card.head.levels:
        raise CardError(f"{card_of(path)}: its head sees no levels, and the last features know little of faults")
    out = card_of(path).with_suffix(".faults.npy")
    check_target(out, arguments.overwrite or out.name in card.faults)
    scorer, rng, rows = load_quietly(lambda: load_scorer(path, "regression")), np.random.default_rng(arguments.seed), []
    for picture, chosen, tested in scenes(arguments, rng):
        made = ((distort(picture, kind, float(level), int(rng.integers(2**31))), kind, level) for kind, level in chosen)
        for image, kind, level in ((picture, 0, 0.0), *made):
            judged = scorer.judge([Picture(image)])[0]
            rows.append((judged.levels.astype(float), KIND_OF.get(kind, 0), level, tested, not chosen))
    seen, kinds, levels, tested, clean = (np.array(column) for column in zip(*rows, strict=True))
    layer = fit(seen[~tested], kinds[~tested])
    figures = measure(layer, seen[tested], kinds[tested], levels[tested], clean[tested])
    for name, value in figures.items():
        print(f"{name}: {value}")
    with written_whole(out, durable=True) as file:
        np.save(file, layer)
    noted = card.figures | {"faults, references 1-6 and photographs that were left out": figures}
    write_json(card_of(path), replace(card, faults={out.name: sha256(out)}, figures=noted).to_json(), durable=True)
    print(f"wrote {printable(out)}")
    return 0


if __name__ == "__main__":
    run(main)
