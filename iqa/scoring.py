"""Image -> score, with the weights and the facts on their card.

    scorer = Scorer("tid2013_regression")
    scorer.score("photo.jpg")                       # a mean opinion score

Keras is imported when the first model is loaded, so that asking for `--help` does not wait for it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iqa.images import CROPS, ImageError, read_image


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


@dataclass(frozen=True)
class Scored:
    """A score (in the model's scale), the features behind it (float32, (n,)), or the reason why there is neither."""

    score: float | None = None
    features: np.ndarray | None = None
    error: str | None = None


class Scorer:
    """A model with its weights, ready to score.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` with its card beside it.
        crop: where the model looks: "centre", "left_top", or "grid" (the mean over patches that cover the image).

    Raises:
        CardError: if there is no such file, the card is missing or broken, or its sha256 is another file's.
        WeightsError: if the weights do not fit the network on the card.
    """

    def __init__(self, weights, crop="centre"):
        path = Path(weights) if str(weights).endswith(".h5") else shipped_weights(weights)
        card_path = card_of(path)
        for needed in (path, card_path):
            if not needed.is_file():
                raise CardError(f"{needed}: there is no such file")
        try:
            self.card = json.loads(card_path.read_text(encoding="utf-8"))
            self.size, expected, head = self.card["geometry"]["size"], self.card["sha256"], self.card["head"]
        except (ValueError, KeyError, TypeError) as error:
            raise CardError(f"{card_path}: not a card ({type(error).__name__}: {error})") from None
        if head["kind"] != "regression":
            raise CardError(f"{card_path}: the weights of a {head['kind']} model, and a regression model is needed")
        self.sha256 = sha256(path)
        if self.sha256 != expected:
            raise CardError(f"{path}: not the weights that {card_path.name} describes (sha256 {self.sha256[:12]}...)")

        import keras

        from iqa.models import build_from_card, load_weights

        model = build_from_card(self.card)
        load_weights(model, path)
        self.weights, self.crop = path, crop
        self._model = keras.Model(model.input, [model.output, model.get_layer("features").output])

    def score(self, image):
        """The score of an image (a path, a PIL image, or uint8 RGB (H, W, 3)); see `read_image` for the errors."""
        return self.score_with_features(image).score

    def features(self, image):
        """The features behind the score, float32 (n,), the mean over the patches."""
        return self.score_with_features(image).features

    def score_with_features(self, image):
        """Both, as a `Scored`."""
        ((_, scored),) = self._score_batch([(None, self.patches(image))])
        return scored

    def patches(self, image):
        """What the network sees of an image, uint8 (N, size, size, 3)."""
        return CROPS[self.crop](read_image(image), self.size)

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
        scores, features = self._outputs(np.concatenate(patches)) if patches else ([], [])
        start = 0
        for image, entry in waiting:
            if not isinstance(entry, Scored):
                stop = start + len(entry)
                entry = Scored(float(np.mean(scores[start:stop])), np.mean(features[start:stop], axis=0))
                start = stop
            yield image, entry

    def _outputs(self, patches):
        # `predict_on_batch` runs the same compiled function as `predict`, without building a data set around each call.
        scores, features = self._model.predict_on_batch(patches)
        return np.asarray(scores)[:, 0], np.asarray(features)
