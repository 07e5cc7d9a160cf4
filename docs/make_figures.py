"""Draw the photographs of the README, and the figures of reading-the-numbers.md with the numbers that it quotes.

    pip install -r requirements-docs.txt
    python docs/make_figures.py

`photographs.jpg` shows sample photographs of matplotlib and scikit-image with their scores by the shipped weights.
`one-picture.svg` simulates a model whose SRCC is 0.6, and people who vote as they did on AVA; it and `ordinary.svg` are
made from the quantiles of AVA's test set that ship (`iqa/labels/ava_quantiles.json`).
"""

import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy import special, stats

from iqa.commands.terminal import parser_of
from iqa.evaluation.plots import draw_predictions, save_figure, start_figure
from iqa.images.finding import sample_photograph
from iqa.labels.histograms import quantiles
from iqa.scoring.many import score_many
from iqa.scoring.results import Result

HERE = Path(__file__).parent
SRCC = 0.6
PICTURES = 25_000
#: Those of scikit-image; the first one is matplotlib's, and the last two are made worse.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")
HIGHEST = {"quality": 5, "beauty": 10, "technical": 9}


def draw_photographs(out: Path) -> None:
    """Draw six photographs in a row, and below each its scores and its main fault, if it has one."""
    library = find_spec("skimage")
    if library is None or library.origin is None:
        raise SystemExit("scikit-image is not installed: pip install -r requirements-docs.txt")
    data = Path(library.origin).parent / "data"
    with tempfile.TemporaryDirectory() as folder:
        blurred, compressed = Path(folder, "blurred.png"), Path(folder, "compressed.jpg")
        Image.open(data / "coffee.png").filter(ImageFilter.GaussianBlur(3)).save(blurred)
        Image.open(data / "rocket.jpg").save(compressed, quality=8)
        paths = [sample_photograph(), *(data / name for name in PHOTOGRAPHS), blurred, compressed]
        _draw_row(score_many(paths, workers=1), out)


def _draw_row(results: Iterable[Result], out: Path) -> None:
    figure = start_figure(12, 3.25)
    for axis, result in zip(figure.subplots(1, 6), results, strict=True):
        with Image.open(result.path) as image:
            axis.imshow(ImageOps.fit(image.convert("RGB"), (400, 400)))
        scores = [f"{name} {result.mean(name):.1f} of {HIGHEST[name]}" for name in HIGHEST if name in result.scores]
        fault = f"fault: {result.fault.kind}" if result.fault else "no fault found"
        axis.set_title("\n".join([*scores, fault]), loc="left", y=-0.06, verticalalignment="top", fontsize=13)
        axis.set_axis_off()
        print(f"{out.name}: {result.path.name}: {', '.join([*scores, fault])}")
    save_figure(figure, out)


def simulate_scores(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(people's means, a model's means) of `PICTURES` pictures, both spread as on AVA, with the SRCC asked for.

    Two normal variables of correlation 2 sin(pi SRCC / 6) have it (Pearson 1907); each is then given its own distribution,
    which leaves the ranks as they are.
    """
    rng = np.random.default_rng(seed)
    correlation = 2 * np.sin(np.pi * SRCC / 6)
    pair = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], PICTURES).T
    people, model = (100 * special.ndtr(side) for side in pair)
    places = np.arange(101)
    return np.interp(people, places, quantiles("rated")), np.interp(model, places, quantiles("predicted"))


def main() -> None:
    parser_of(__doc__).parse_args()
    draw_photographs(HERE / "photographs.jpg")
    people, model = simulate_scores()
    print(f"one-picture.svg: {draw_predictions(people, model, HERE / 'one-picture.svg', 'AVA, 1-10')}")
    print(f"SRCC {stats.spearmanr(people, model)[0]:.3f}, LCC {stats.pearsonr(people, model)[0]:.3f}")
    first, second = np.random.default_rng(1).permutation(PICTURES).reshape(2, -1)
    same = np.sign(people[first] - people[second]) == np.sign(model[first] - model[second])
    apart = np.abs(model[first] - model[second])
    print(f"of two pictures the model prefers the one that people prefer: {same.mean():.2f}")
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1), (1, 9)):
        chosen = (apart >= low) & (apart < high)
        print(f"  of two that it scores {low}-{high} apart: {same[chosen].mean():.2f} ({chosen.mean():.2f} of the pairs)")
    for score in (4.8, 5.2, 5.6, 6.0):
        near = people[np.abs(model - score) < 0.05]
        low, high = np.quantile(near, [0.05, 0.95])
        print(f"pictures that the model scores {score}: people gave nine in ten of them {low:.1f} to {high:.1f}")
    best = [side >= np.quantile(side, 0.9) for side in (people, model)]
    print(
        f"of the model's best tenth, in people's best tenth: {best[0][best[1]].mean():.2f}; "
        f"in their better half: {(people > np.median(people))[best[1]].mean():.2f}"
    )
    figure = start_figure(6, 3.3)
    axis = figure.subplots()
    for of, name, line in (("rated", "people", "-"), ("predicted", "idealo's model", "--")):
        axis.plot(quantiles(of), np.arange(101), line, color="black", label=name)
    axis.set(xlabel="mean score (AVA, 1-10)", ylabel="% that score lower", ylim=(0, 100))
    axis.grid(color="0.9")
    axis.legend()
    save_figure(figure, HERE / "ordinary.svg")
    print("ordinary.svg: The percentage of pictures whose mean score is lower, for people and idealo's model.")
    for score in (4.5, 5.0, 5.2, 5.5, 6.0):
        shares = [np.interp(score, quantiles(of), np.arange(101)) for of in ("rated", "predicted")]
        print(f"a mean of {score}: {shares[0]:.0f} % of AVA rated lower by people, {shares[1]:.0f} % by the model")


if __name__ == "__main__":
    main()
