"""Image -> score, with the weights and the facts on their card.

    scorer = Scorer("tid2013_regression")
    scorer.score("photo.jpg").score                 # a mean opinion score

Keras is imported when the first model is loaded, so that asking for `--help` does not wait for it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from iqa.images import CROPS, ImageError, read_image, resize, views
from iqa.scores import mean, std

STEP = 32  # patches that go through the network at once, at most


class CardError(ValueError):
    """Weights that must not be used: no card, an unreadable one, or another file than the card describes."""


def shipped_weights(name):
    """The path of shipped weights, in an installed wheel (`iqa/weights`) or in a checkout (`weights` beside `iqa`)."""
    here = Path(__file__).resolve().parent
    folder = here / "weights" if (here / "weights").is_dir() else here.parent / "weights"
    return folder / f"{name}.weights.h5"


def card_of(weights):
    """The path of the card beside a weight file: NAME.weights.h5 -> NAME.json."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(".h5").removesuffix(".weights") + ".json")


def sha256(path):
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Score(NamedTuple):
    """An opinion-score distribution: mean (1-10), standard deviation, and the shares of the votes 1-10, float32 (10,)."""

    mean: float
    std: float
    histogram: np.ndarray


@dataclass(frozen=True)
class Scored:
    """What a model says of an image, or the reason why it says nothing.

    Attributes:
        output: float32 (1,), a score, or (10,), a histogram of votes.
        features: float32 (n,), what the head saw: the pooled features, or the dense layer of that name.
        error: one line.
    """

    output: np.ndarray | None = None
    features: np.ndarray | None = None
    error: str | None = None

    @property
    def score(self):
        """The (mean) score, a float."""
        return float(self.output[0]) if len(self.output) == 1 else self.distribution.mean

    @property
    def distribution(self):
        """The `Score` of a histogram."""
        histogram = self.output.astype(np.float64)
        return Score(float(mean(histogram)), float(std(histogram)), self.output)


def keras2_card(head, geometry, backbone="mobilenet_v2", normalisation="imagenet", padding="keras"):
    """The facts of weights that come without a card, as the projects of Keras 2's time saved them.

    Args:
        head: "histogram" or "regression".
        geometry: "resize" (nearest neighbour, to 224x224) or "patch".
    """
    return {
        "backbone": {
            "backbone": backbone,
            "normalisation": normalisation,
            "padding": padding,
            "batch_norm_epsilon": 1e-3,
            "noise": 0.0,
        },
        "head": {"kind": head, "dropout": 0.75},
        "geometry": {"kind": geometry, "size": 224, "interpolation": "nearest"},
    }


class Scorer:
    """A model with its weights, ready to score.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` with its card beside it.
        crop: where a model of patches looks: "centre", "left_top", or "grid" (the mean over patches that cover the
            image). A model of whole images has no choice.
        head: "regression" or "histogram": the kind of model that the caller can use.
        mean_opinion: score a whole image as the mean over `iqa.images.views`, which steadies a model whose opinion jumps.
        cardless: the facts of an `.hdf5` or `.h5` file of Keras 2, which has no card; see `keras2_card`.

    Raises:
        CardError: if there is no such file, the card is missing or broken, its sha256 is another file's, or the model is
            of another kind.
        WeightsError: if the weights do not fit the network on the card.
    """

    def __init__(self, weights, crop="centre", head="regression", cardless=None, mean_opinion=False):
        is_file = Path(weights).suffix in (".h5", ".hdf5")
        path = Path(weights) if is_file else shipped_weights(weights)
        if not path.is_file():
            raise CardError(f"{path}: there is no such file")
        has_card = path.name.endswith(".weights.h5") or card_of(path).is_file()
        self.card = cardless if cardless and not has_card else read_card(card_of(path))
        if self.card["head"]["kind"] != head:
            kind = self.card["head"]["kind"]
            raise CardError(f"{card_of(path)}: the weights of a {kind} model, and a {head} model is needed")
        self.sha256 = sha256(path)
        if self.sha256 != self.card.get("sha256", self.sha256):
            raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {self.sha256[:12]}...)")

        import keras

        from iqa.models import build_from_card, load_weights

        try:
            model = build_from_card(self.card)
        except (KeyError, TypeError, ValueError) as error:
            raise CardError(f"{card_of(path)}: not a card ({type(error).__name__}: {error})") from None
        load_weights(model, path)
        self.weights, self.size = path, self.card["geometry"]["size"]
        self.mean_opinion = mean_opinion
        self.crop = crop if self.card["geometry"].get("kind", "patch") == "patch" else None
        # What the last dense layer sees: after dropout, which does nothing here.
        self._model = keras.Model(model.input, [model.output, model.layers[-1].input])

    @property
    def geometry(self):
        """What the network sees of an image, in words."""
        if self.crop:
            return f"{self.crop} patch of {self.size}x{self.size}"
        views = ", mean opinion" if self.mean_opinion else ""
        return f"whole image, {self.card['geometry']['interpolation']}, to {self.size}x{self.size}{views}"

    def score(self, image):
        """What the model says of an image (a path, a PIL image, or uint8 RGB (H, W, 3)), as a `Scored`.

        Raises:
            ImageError: if the image cannot be read or is too small.
        """
        ((_, scored),) = self._score_batch([(None, self.patches(image))])
        return scored

    def patches(self, image):
        """What the network sees of an image, uint8 (N, size, size, 3)."""
        pixels = read_image(image)
        if self.crop:
            return CROPS[self.crop](pixels, self.size)
        seen = views(pixels) if self.mean_opinion else [pixels]
        return np.stack([resize(view, self.size, self.card["geometry"]["interpolation"]) for view in seen])

    def score_all(self, images, batch_size=1):
        """Score many, in their order; an image that cannot be scored does not stop the others.

        Yields:
            (image, `Scored`) for each of `images`.
        """
        waiting = []
        for image in images:
            try:
                waiting.append((image, self.patches(image)))
            except ImageError as error:
                waiting.append((image, Scored(error=str(error))))
            if len(waiting) >= batch_size:
                yield from self._score_batch(waiting)
                waiting = []
        yield from self._score_batch(waiting)

    def _score_batch(self, waiting):
        patches = [entry for _, entry in waiting if not isinstance(entry, Scored)]
        outputs = self._outputs(np.concatenate(patches)) if patches else ([], [])
        start = 0
        for image, entry in waiting:
            if not isinstance(entry, Scored):
                rows = slice(start, start + len(entry))
                entry = Scored(*(np.mean(np.asarray(output)[rows], axis=0) for output in outputs))
                start = rows.stop
            yield image, entry

    def _outputs(self, patches):
        # In steps: the activations of a patch take 15 MB, and the grid of a large photograph has hundreds of patches.
        # `predict_on_batch` runs the same compiled function as `predict`, without building a data set around each call.
        steps = [self._model.predict_on_batch(patches[i : i + STEP]) for i in range(0, len(patches), STEP)]
        return [np.concatenate([np.asarray(output) for output in outputs]) for outputs in zip(*steps)]


def read_card(path):
    """The card at a path.

    Raises:
        CardError: if it is missing, no JSON, or lacks what a model is built from.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        card["geometry"]["size"], card["sha256"], card["head"]["kind"], card["backbone"]["backbone"]
    except FileNotFoundError:
        raise CardError(f"{path}: there is no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CardError(f"{path}: not a card ({type(error).__name__}: {error})") from None
    return card
