"""A score made of what other networks see: `quality` of BIQ2021, or that of one's own ratings.

    layer = load_layer("biq2021_quality")
    layer.score("photo.jpg")        # Grade(mean=3.61, std=0.34, percentile=58.2)

NAME.npz holds the layer and its card, which names the weights that it stands on.
"""

import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import LARGEST_CARD, Scale, card_of, sha256, shipped_weights
from iqa.errors import CardError, ImageError
from iqa.files import finite, read_beginning, written_whole
from iqa.images.reading import Picture
from iqa.scoring.results import Grade
from iqa.scoring.scorer import Judgement, Scorer, load_scorer

_ARRAYS = ("centre", "spread", "kernel", "bias", "top", "deviations", "quantiles")
#: What is further from the centre than so many spreads counts as if it were no further.
FURTHEST = 6.0


@dataclass(frozen=True)
class LayerCard:
    """What is known of a layer.

    Attributes:
        scale: of its score.
        stands_on: {name of weights: their sha256}, in the order in which the layer sees their networks.
        trained_on, figures: data and settings, and what was measured, as JSON.
    """

    scale: Scale
    stands_on: dict[str, str]
    trained_on: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    bins = 1  # a score, as of a `Card` of a regression
    faults: Any = None

    @classmethod
    def from_json(cls, value: Any) -> "LayerCard":
        """The card in a value of JSON; a `CardError` names what is wrong."""
        if not isinstance(value, dict) or value.keys() - {"scale", "stands_on", "trained_on", "figures"}:
            raise CardError("not the card of a layer")
        parts = {name: value.get(name, {}) for name in ("stands_on", "trained_on", "figures")}
        named = parts["stands_on"]
        if not all(isinstance(part, dict) for part in parts.values()) or not named:
            raise CardError("the card of a layer names the weights that it stands on, and its data and figures as objects")
        if not all(isinstance(digits, str) and Path(name).name == name for name, digits in named.items()):
            raise CardError("stands_on must hold names of shipped weights and their sha256")
        return cls(Scale.from_json(value), **parts)

    def to_json(self) -> dict[str, Any]:
        """The card as JSON holds it."""
        of = self.scale
        scale = {"lowest": of.lowest, "highest": of.highest, "meaning": of.meaning, "population": of.population}
        return {"scale": scale, "stands_on": self.stands_on, "trained_on": self.trained_on, "figures": self.figures}


@dataclass(frozen=True)
class Weights:
    """What a layer computes with.

    Attributes:
        centre, spread: float32 (n,), by which what is seen, the `Judgement.seen` of its networks, is standardised.
        kernel, bias, top: float32 (n, h), (h,) and (h,): the score is `units @ top`, where the first unit is linear and the
            others are rectified; of a linear layer h is 1.
        deviations: float32 (2, k), rising scores, and how far people's grades lie from each of them.
        quantiles: float32 (101,), of the scores of the pictures that percentiles compare with; (0,) for none.
    """

    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    top: NDArray[np.float32]
    deviations: NDArray[np.float32]
    quantiles: NDArray[np.float32]

    def score(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """The scores for what is seen of pictures, (N, n) -> (N,)."""
        standard = np.clip((seen - self.centre) / self.spread, -FURTHEST, FURTHEST)
        units = standard.astype(float) @ self.kernel + self.bias
        units[:, 1:] = np.maximum(units[:, 1:], 0)
        scores: NDArray[np.float64] = units @ self.top
        return scores


class Layer(Scorer):
    """A layer on the networks of other scorers, ready to score; `load_layer` makes it."""

    def __init__(self, file: Path, sha256: str, card: LayerCard, weights: Weights, parts: Sequence[Scorer]) -> None:
        self.weights, self.sha256, self.card, self.parts = file, sha256, card, parts  # type: ignore[assignment]
        self.layer, self._workers = weights, dict[int, Any]()
        recipes = [part.recipe for part in parts]
        runtime = self.network.name
        self.key = (sha256, self.sees, runtime)
        self.recipe = {"weights": str(file.resolve()), "sha256": sha256, "runtime": runtime, "parts": recipes}

    @classmethod
    def of(cls, recipe: Mapping[str, Any], threads: int | None = None) -> "Layer":
        return scorers_of({"it": recipe}, threads)["it"]  # type: ignore[return-value]

    @property
    def name(self) -> str:
        return self.weights.stem

    @property
    def kind(self) -> str:
        return "layer"

    @property
    def sees(self) -> str:
        return " and ".join(dict.fromkeys(part.sees for part in self.parts))

    @property
    def needs_whole(self) -> bool:
        return any(part.needs_whole for part in self.parts)

    @property
    def network(self) -> Any:
        return self.parts[0].network

    def _judge(self, pictures: Sequence[Picture]) -> list[Judgement | ImageError]:
        judged: dict[str, list[Judgement | ImageError]] = {}
        for part in sorted(self.parts, key=lambda part: not part.needs_whole):  # see `score_pictures`
            judged[part.sha256] = part.judge(pictures)
        return [self._answer(answers) for answers in zip(*(judged[part.sha256] for part in self.parts), strict=True)]

    def _answer(self, answers: Sequence[Judgement | ImageError]) -> Judgement | ImageError:
        good = [answer for answer in answers if isinstance(answer, Judgement)]
        if len(good) < len(answers):
            return ImageError("; ".join(dict.fromkeys(str(answer) for answer in answers if isinstance(answer, ImageError))))
        seen = np.concatenate([answer.seen for answer in good])
        held = np.clip(self.layer.score(seen[None]), self.card.scale.lowest, self.card.scale.highest)
        notes = list(dict.fromkeys(note for answer in good for note in answer.notes))
        return Judgement(held.astype(np.float32), seen, None, None, notes)

    def score_of(self, output: NDArray[np.float32]) -> Grade:  # type: ignore[override]
        mean, layer = float(output[0]), self.layer
        percentile = float(np.interp(mean, layer.quantiles, np.arange(101))) if len(layer.quantiles) else None
        return Grade(mean, float(np.interp(mean, *layer.deviations)), percentile)


def write_layer(file: Path, card: LayerCard, weights: Weights) -> None:
    """Write a layer, whole or not at all."""
    text = json.dumps(finite(card.to_json()), allow_nan=False).encode()
    content = {name: getattr(weights, name) for name in _ARRAYS} | {"card": np.frombuffer(text, np.uint8)}
    if np.array_equal(half := weights.kernel.astype(np.float16), weights.kernel):  # as a large kernel is fitted
        content["kernel"] = half
    with written_whole(file, durable=True) as stream:
        np.savez(stream, **content)


def read_layer(file: Path) -> tuple[LayerCard, Weights]:
    """The card and the weights in a file of `write_layer`; a `CardError` names the file if it is none."""
    try:
        with np.load(io.BytesIO(read_beginning(file)), allow_pickle=False) as arrays:
            text = arrays["card"].tobytes()[:LARGEST_CARD]
            found = {name: np.asarray(arrays[name], np.float32) for name in _ARRAYS}
        card = LayerCard.from_json(json.loads(text))
        weights = Weights(**found)
        n, h = weights.kernel.shape
        shapes = {
            "centre": (n,),
            "spread": (n,),
            "bias": (h,),
            "top": (h,),
            "deviations": (2, weights.deviations.shape[-1]),
        }
        well = all(found[name].shape == shape for name, shape in shapes.items()) and weights.quantiles.shape in (
            (0,),
            (101,),
        )
        if not well or not all(np.isfinite(array).all() for array in found.values()):
            raise CardError("its arrays are not those of a layer")
    except FileNotFoundError:
        raise CardError(f"{file}: there is no such file") from None
    except Exception as error:  # NumPy raises many kinds over a damaged file
        reason = error if isinstance(error, CardError) else "not a layer that was written here"
        raise CardError(f"{file}: {reason}") from None
    return card, weights


def _file_of(name: str) -> Path:
    return card_of(shipped_weights(name)).with_suffix(".npz")


def load_layer(name: str | PathLike[str], *, runtime: str = "auto") -> Layer:
    """The `Layer` of a shipped name ("biq2021_quality") or of an .npz file, loaded once; again if the file changes.

    Raises:
        CardError: if there is no such file, it is damaged, or it was fitted on other weights than those that ship.
        RuntimeUnavailable: see `iqa.scoring.runtimes.open_network`.
    """
    file = Path(name) if Path(name).suffix == ".npz" else _file_of(str(name))
    return _load(file.absolute(), runtime, file.stat().st_mtime_ns if file.is_file() else 0)


@functools.cache
def _load(file: Path, runtime: str, changed: int) -> Layer:
    card, weights = read_layer(file)
    parts = [(load_layer if _file_of(part).is_file() else load_scorer)(part, runtime=runtime) for part in card.stands_on]
    for part, digits in zip(parts, card.stands_on.values(), strict=True):
        if part.sha256 != digits:
            raise CardError(f"{file}: it was fitted on other weights than the {part.name} that is here; fit it again")
    return Layer(file, sha256(file), card, weights, parts)


def scorers_of(recipes: Mapping[str, Mapping[str, Any]], threads: int | None = None) -> dict[str, Scorer]:
    """The scorers of {name: `Scorer.recipe`} in another process; networks that layers stand on are opened once."""
    known: dict[str, Scorer] = {}

    def scorer(recipe: Mapping[str, Any]) -> Scorer:
        key = json.dumps(recipe, sort_keys=True)
        if key not in known and "parts" in recipe:
            file = Path(recipe["weights"])
            known[key] = Layer(file, recipe["sha256"], *read_layer(file), [*map(scorer, recipe["parts"])])
        elif key not in known:
            known[key] = Scorer.of(recipe, threads)
        return known[key]

    return {name: scorer(recipe) for name, recipe in recipes.items()}
