"""How well the students agree with their teacher on scenes that they never saw, and how steady both are.

    python AVA/compare_with_teacher.py data/distilled/test --figure best_and_worst.png --card

The students are the weights that ship, the teacher is idealo's model (see `idealo_comparison/infer.py`); what counts as its
opinion is the mean over six views of a picture. Printed are the agreement with 95 % intervals (percentile bootstrap over
scenes), what a mirror image and a cut row and column do to a score, and how far scores move when a picture is degraded.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from AVA import infer_patches, infer_vanilla
from idealo_comparison import infer as idealo
from iqa.cards import card_of
from iqa.commands.terminal import load_quietly, parser_of, run
from iqa.distortions.appearance import change_exposure
from iqa.distortions.table import DISTORTIONS
from iqa.evaluation.metrics import distribution_agreement
from iqa.files import written_whole
from iqa.images.finding import list_images
from iqa.images.reading import read_image

RESAMPLES = 2000

#: What a card must say of weights that learnt from another model's opinions.
DISTILLED = {
    "teacher": "idealo's MobileNet, Apache-2.0; its published LCC on AVA is 0.626",
    "AVA": "never seen, neither its photographs nor its votes",
    "to fine-tune with AVA": "python AVA/ava_{name}.py --images data/ava --weights weights/ava_{name}.weights.h5"
    ' --schedule "2@1e-4,4@5e-6"',
}

#: {name: [(label, function of pixels)]}: how pictures are degraded, from weak to strong.
LADDERS = {
    "blur": [(f"sigma {s}", lambda p, s=s: DISTORTIONS[8].apply(p, s, None)) for s in (1, 2, 4)],
    "JPEG": [(f"quality {q}", lambda p, q=q: DISTORTIONS[10].apply(p, q, None)) for q in (50, 20, 10)],
    "darker": [(f"{s} stops", lambda p, s=s: change_exposure(p, s)) for s in (-0.5, -1, -1.5)],
    "brighter": [(f"+{s} stops", lambda p, s=s: change_exposure(p, s)) for s in (0.5, 1, 1.5)],
}


def histograms(scorer, images):
    """float (N, 10), in the order of the images."""
    return np.array([scored.output for _, scored in scorer.score_all(images, batch_size=8)], float)


def means(scorer, images):
    return histograms(scorer, images) @ np.arange(1, 11)


def agreement(true, predicted):
    """SRCC and LCC of the means with 95 % intervals, and EMD L1, of histograms (N, 10); {name: value}."""
    result = distribution_agreement(true, predicted)
    scores = (true @ np.arange(1, 11), predicted @ np.arange(1, 11))
    found = {"n": len(true), "emd_l1": round(float(result.emd_l1), 4)}
    for name, statistic in (("srcc", stats.spearmanr), ("lcc", stats.pearsonr)):
        interval = stats.bootstrap(
            scores,
            lambda a, b, statistic=statistic: statistic(a, b)[0],
            paired=True,
            vectorized=False,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        found[name] = round(float(statistic(*scores)[0]), 3)
        found[f"{name}_95"] = [round(float(bound), 3) for bound in interval]
    return found


def rms(difference):
    return float(np.sqrt(np.mean(difference**2)))


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="the scenes that were held out")
    parser.add_argument("--teacher", type=Path, default=idealo.WEIGHTS, help="idealo's weights")
    parser.add_argument("--vanilla", default=infer_vanilla.WEIGHTS, help="weights of the students (default: that ship)")
    parser.add_argument("--patches", default=infer_patches.WEIGHTS)
    parser.add_argument("--figure", type=Path, help="the 12 best and the 12 worst scenes as the vanilla student sees them")
    parser.add_argument("--card", action="store_true", help="write the agreement to the cards of the students")
    arguments = parser.parse_args()
    paths = list_images(arguments.folder)
    if not paths:
        parser.error(f"{arguments.folder} holds no images")
    teacher = load_quietly(lambda: idealo.load(arguments.teacher, mean_opinion=True), idealo.HINT)
    models = {
        "teacher, single opinion": idealo.load(arguments.teacher),
        "vanilla": infer_vanilla.load(arguments.vanilla),
        "patches": infer_patches.load(arguments.patches),
    }
    pictures = [read_image(path) for path in paths]
    opinion = histograms(teacher, pictures)
    untouched = {"teacher": opinion @ np.arange(1, 11)}

    print(f"agreement with the teacher's mean opinion on {len(paths)} scenes")
    for name, scorer in models.items():
        predicted = histograms(scorer, pictures)
        untouched[name] = predicted @ np.arange(1, 11)
        found = agreement(opinion, predicted)
        ranges = {key: "{:.3f} to {:.3f}".format(*found[f"{key}_95"]) for key in ("srcc", "lcc")}
        print(
            f"  {name:24s} SRCC {found['srcc']:.3f} ({ranges['srcc']})  LCC {found['lcc']:.3f} ({ranges['lcc']})"
            f"  EMD L1 {found['emd_l1']:.4f}"
        )
        if arguments.card and name in ("vanilla", "patches"):
            note_on_card(card_of(scorer.weights), found, name)

    print("steadiness: rms difference of a score to that of ...")
    mirrored, shorter = [p[:, ::-1] for p in pictures], [p[1:, 1:] for p in pictures]
    for name, scorer in models.items():
        mirror, cut = (rms(means(scorer, other) - untouched[name]) for other in (mirrored, shorter))
        print(f"  {name:24s} the mirror image {mirror:.3f}  one row and column less {cut:.3f}")

    print("how scores move: mean change (share of scenes that move as the teacher's do)")
    followers = {"teacher": teacher, "vanilla": models["vanilla"], "patches": models["patches"]}
    for ladder, steps in LADDERS.items():
        for label, degrade in steps:
            degraded = [degrade(picture) for picture in pictures]
            change = {name: means(scorer, degraded) - untouched[name] for name, scorer in followers.items()}
            cells = [f"teacher {change['teacher'].mean():+.2f}"]
            for name in ("vanilla", "patches"):
                same = np.mean(np.sign(change[name]) == np.sign(change["teacher"]))
                cells.append(f"{name} {change[name].mean():+.2f} ({same:.2f})")
            print(f"  {ladder:9s} {label:12s}", "  ".join(cells), flush=True)

    if arguments.figure:
        from iqa.evaluation.plots import ranked_pictures

        scores = untouched["vanilla"]
        order = np.argsort(-scores)
        chosen = {"best": order[:12], "worst": order[::-1][:12]}
        ranked_pictures(
            {
                name: [(pictures[i], f"{scores[i]:.2f} (teacher {untouched['teacher'][i]:.2f})") for i in group]
                for name, group in chosen.items()
            },
            arguments.figure,
        )
        print(f"wrote {arguments.figure}", file=sys.stderr)
    return 0


def note_on_card(path, found, name):
    """Write the agreement and where it comes from into a card, beside what stands there."""
    card = json.loads(path.read_text(encoding="utf-8"))
    card["distilled"] = {key: text.format(name=name) for key, text in DISTILLED.items()}
    card["figures"] = card.get("figures", {}) | {"agreement with the teacher's mean opinion, scenes held out": found}
    with written_whole(path) as file:
        file.write(json.dumps(card, indent=1).encode())


if __name__ == "__main__":
    run(main)
