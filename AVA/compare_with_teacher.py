"""How well the students agree with their teacher on scenes that they never saw, and how steady both are.

    python AVA/compare_with_teacher.py data/distilled/test --figure best_and_worst.png --card

The students are the weights that ship. The teacher is idealo's model (see `idealo_comparison/infer.py`), and its opinion is
the mean over six views of a picture. The script prints the agreement with 95 % intervals (percentile bootstrap over
scenes), how far a score moves when the picture is mirrored or loses a row and a column, and how far when it is degraded.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from iqa.cards import AVA_SCALE, card_of, keras2_card, read_card
from iqa.commands.terminal import add_overwrite, load_quietly, parser_of, run
from iqa.distortions.appearance import change_exposure
from iqa.distortions.table import DISTORTIONS
from iqa.evaluation.metrics import measure_distribution_agreement
from iqa.files import printable, write_json
from iqa.images.finding import list_images
from iqa.images.reading import read_image
from iqa.labels.histograms import mean
from iqa.scoring.idealo import AESTHETIC, AESTHETIC_WEIGHTS, HINT
from iqa.scoring.scorer import Scorer, load_scorer

RESAMPLES = 2000

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

#: What a card must say of weights that learnt from another model's opinions.
DISTILLED = {
    "teacher": "idealo's MobileNet, Apache-2.0; its published LCC on AVA is 0.626",
    "to fine-tune with AVA": "python AVA/ava_{name}.py --images data/ava --weights weights/ava_{name}.weights.h5"
    ' --schedule "2@1e-4,4@5e-6"',
}

#: {name: [(label, function of pixels)]}: how pictures are degraded, from weak to strong.
LADDERS: dict[str, list[tuple[str, Callable[[Pixels], Pixels]]]] = {
    "blur": [(f"sigma {s}", lambda p, s=s: DISTORTIONS[8].apply(p, s, None)) for s in (1, 2, 4)],
    "JPEG": [(f"quality {q}", lambda p, q=q: DISTORTIONS[10].apply(p, q, None)) for q in (50, 20, 10)],
    "darker": [(f"{s} stops", lambda p, s=s: change_exposure(p, s)) for s in (-0.5, -1, -1.5)],
    "brighter": [(f"+{s} stops", lambda p, s=s: change_exposure(p, s)) for s in (0.5, 1, 1.5)],
}


def predict_histograms(scorer: Scorer, pictures: Sequence[Pixels]) -> Floats:
    """float (N, 10), in the order of the pictures."""
    return np.array([prediction.output for _, prediction in scorer.score_all(pictures, batch_size=8)], float)


def predict_means(scorer: Scorer, pictures: Sequence[Pixels]) -> Floats:
    return mean(predict_histograms(scorer, pictures))


def measure(true: Floats, predicted: Floats) -> dict[str, Any]:
    """SRCC and LCC of the means with 95 % intervals, and EMD L1, of histograms (N, 10); {name: value}."""
    result = measure_distribution_agreement(true, predicted)
    found: dict[str, Any] = {"n": result.n, "emd_l1": round(result.emd_l1, 4)}
    for name, value, statistic in (("srcc", result.srcc[0], stats.spearmanr), ("lcc", result.lcc[0], stats.pearsonr)):
        interval = stats.bootstrap(
            (mean(true), mean(predicted)),
            lambda a, b, statistic=statistic: statistic(a, b)[0],
            paired=True,
            vectorized=False,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        found[name] = round(value, 3)
        found[f"{name}_95"] = [round(float(bound), 3) for bound in interval]
    return found


def measure_rms(difference: Floats) -> float:
    return float(np.sqrt(np.mean(difference**2)))


def print_agreement(models: Mapping[str, Scorer], pictures: Sequence[Pixels], opinion: Floats) -> dict[str, dict[str, Any]]:
    """Print how far the models agree with the teacher's mean opinion; returns the figures of each."""
    print(f"agreement with the teacher's mean opinion on {len(pictures)} scenes")
    figures = {}
    for name, scorer in models.items():
        figures[name] = found = measure(opinion, predict_histograms(scorer, pictures))
        ranges = {key: "{:.3f} to {:.3f}".format(*found[f"{key}_95"]) for key in ("srcc", "lcc")}
        print(
            f"  {name:24s} SRCC {found['srcc']:.3f} ({ranges['srcc']})  LCC {found['lcc']:.3f} ({ranges['lcc']})"
            f"  EMD L1 {found['emd_l1']:.4f}"
        )
    return figures


def print_steadiness(models: Mapping[str, Scorer], pictures: Sequence[Pixels], untouched: Mapping[str, Floats]) -> None:
    """Print how far a score moves if the picture is mirrored, or loses a row and a column."""
    print("steadiness: rms difference of a score to that of ...")
    mirrored, shorter = [p[:, ::-1] for p in pictures], [p[1:, 1:] for p in pictures]
    for name, scorer in models.items():
        mirror, cut = (measure_rms(predict_means(scorer, other) - untouched[name]) for other in (mirrored, shorter))
        print(f"  {name:24s} the mirror image {mirror:.3f}  one row and column less {cut:.3f}")


def print_ladders(models: Mapping[str, Scorer], pictures: Sequence[Pixels], untouched: Mapping[str, Floats]) -> None:
    """Print how the scores of the teacher and of those that follow it move when pictures are degraded."""
    print("how scores move: mean change (share of scenes that move as the teacher's do)")
    for ladder, steps in LADDERS.items():
        for label, degrade in steps:
            degraded = [degrade(picture) for picture in pictures]
            change = {name: predict_means(scorer, degraded) - untouched[name] for name, scorer in models.items()}
            cells = [f"teacher {change['teacher'].mean():+.2f}"]
            for name in ("vanilla", "patches"):
                same = np.mean(np.sign(change[name]) == np.sign(change["teacher"]))
                cells.append(f"{name} {change[name].mean():+.2f} ({same:.2f})")
            print(f"  {ladder:9s} {label:12s}", "  ".join(cells), flush=True)


def draw_best_and_worst(pictures: Sequence[Pixels], scores: Floats, teacher: Floats, path: Path) -> None:
    from iqa.evaluation.plots import draw_pictures

    order = np.argsort(-scores)
    chosen = {"best": order[:12], "worst": order[::-1][:12]}
    groups = {
        name: [(pictures[i], f"{scores[i]:.2f} (teacher {teacher[i]:.2f})") for i in group]
        for name, group in chosen.items()
    }
    draw_pictures(groups, path)
    print(f"wrote {printable(path)}", file=sys.stderr)


def note_on_card(path: Path, found: dict[str, Any], name: str) -> None:
    """Write the agreement and where it comes from into a card, beside what stands there."""
    card = read_card(path)
    distilled = {key: text.format(name=name) for key, text in DISTILLED.items()}
    figures = card.figures | {"agreement with the teacher's mean opinion, scenes held out": found}
    write_json(path, replace(card, figures=figures, notes=card.notes | {"distilled": distilled}).to_json())


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="the scenes that were held out")
    parser.add_argument("--teacher", type=Path, default=AESTHETIC_WEIGHTS, help="idealo's weights")
    parser.add_argument("--vanilla", default="ava_vanilla", help="weights of the students (default: those that ship)")
    parser.add_argument("--patches", default="ava_patches")
    parser.add_argument("--figure", type=Path, help="the 12 best and the 12 worst scenes as the vanilla student sees them")
    parser.add_argument("--card", action="store_true", help="write the agreement to the cards of the students")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite)
    paths = list_images(arguments.folder)
    if not paths:
        parser.error(f"{arguments.folder} holds no images")

    def load_teacher(six_crops: bool) -> Scorer:
        return load_scorer(arguments.teacher, head="histogram", cardless=AESTHETIC, six_crops=six_crops)

    teacher = load_quietly(lambda: load_teacher(six_crops=True), HINT)
    students = {
        name: load_scorer(getattr(arguments, name), head="histogram", cardless=keras2_card("histogram", kind, AVA_SCALE))
        for name, kind in (("vanilla", "resize"), ("patches", "patch"))
    }
    models = {"teacher, single opinion": load_teacher(six_crops=False)} | students
    pictures = [read_image(path) for path in paths]
    opinion = predict_histograms(teacher, pictures)
    untouched = {name: predict_means(scorer, pictures) for name, scorer in models.items()} | {"teacher": mean(opinion)}
    figures = print_agreement(models, pictures, opinion)
    if arguments.card:
        for name, scorer in students.items():
            note_on_card(card_of(scorer.weights), figures[name], name)
    print_steadiness(models, pictures, untouched)
    print_ladders({"teacher": teacher} | students, pictures, untouched)
    if arguments.figure:
        draw_best_and_worst(pictures, untouched["vanilla"], untouched["teacher"], arguments.figure)
    return 0


if __name__ == "__main__":
    run(main)
