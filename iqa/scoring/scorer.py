"""Image -> score, with the weights and the facts on their card, on a chosen runtime.

    scorer = Scorer("tid2013_regression")
    scorer.score("photo.jpg").score                 # a mean opinion score
    for path, scored in scorer.score_all(paths, workers=2): ...

An image that cannot be scored is an answer too, with the reason.
"""

from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from iqa.cards import CardError, card_of, read_card, sha256, weights_file
from iqa.images.reading import CROPS, ImageError, read_image, read_resized, resize, views
from iqa.labels.histograms import mean, std
from iqa.scoring.runtimes import open_network


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


def seen(patches_of, image):
    """`patches_of(image)`, or a `Scored` with the reason why there is no such thing."""
    try:
        return patches_of(image)
    except ImageError as error:
        return Scored(error=str(error))
    except MemoryError:
        return Scored(error="it needs more memory than there is")


def scored(network, entries):
    """What a network says of several images at once: a `Scored` each.

    Args:
        entries: of each image its patches (N, size, size, 3), over which the mean is taken, or a `Scored`, which is kept.
    """
    patches = [entry for entry in entries if not isinstance(entry, Scored)]
    outputs = network(np.concatenate(patches)) if patches else ([], [])
    start = 0
    for entry in entries:
        if not isinstance(entry, Scored):
            rows = slice(start, start + len(entry))
            entry = Scored(*(np.mean(output[rows], axis=0) for output in outputs))
            start = rows.stop
        yield entry


class Geometry:
    """What a network sees of an image.

    Args:
        card: of the weights.
        crop: where a model of patches looks: "centre", "left_top", or "grid" (patches that cover the image). A model of
            whole images has no choice.
        mean_opinion: see a whole image in the views of `iqa.images.reading.views`.
    """

    def __init__(self, card, crop="centre", mean_opinion=False):
        self.size, self.mean_opinion = card["geometry"]["size"], mean_opinion
        self.crop = crop if card["geometry"].get("kind", "patch") == "patch" else None
        self.multiple = card["geometry"].get("multiple", 1)
        self.interpolation = card["geometry"].get("interpolation")

    def __str__(self):
        if self.crop:
            blocks = f" on blocks of {self.multiple}" if self.multiple > 1 else ""
            return f"{self.crop} patch of {self.size}x{self.size}{blocks}"
        views = ", mean opinion" if self.mean_opinion else ""
        return f"whole image, {self.interpolation}, to {self.size}x{self.size}{views}"

    def patches(self, image):
        """The patches that a network sees of an image (see `Scorer.score`), uint8 (N, size, size, 3).

        Raises:
            ImageError: if the image cannot be read or is too small.
        """
        if self.crop:
            return CROPS[self.crop](read_image(image), self.size, self.multiple)
        if self.mean_opinion:
            return np.stack([resize(view, self.size, self.interpolation) for view in views(read_image(image))])
        return read_resized(image, self.size, self.interpolation)[None]


class Scorer:
    """A model with its weights, ready to score.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` with its card beside it.
        crop, mean_opinion: see `Geometry`; the score is the mean over the patches or views. `mean_opinion` steadies a
            model whose opinion jumps.
        head: "regression" or "histogram": the kind of model that the caller can use.
        cardless: the facts of an `.hdf5` or `.h5` file of Keras 2, which has no card; see `keras2_card`.
        runtime: one of `iqa.scoring.runtimes.RUNTIMES`.
        threads: that a compiled runtime may use; None for all processors.

    Raises:
        CardError: if there is no such file, the card is missing or broken, its sha256 is another file's, or the model is
            of another kind.
        WeightsError: if the weights do not fit the network on the card.
        RuntimeUnavailable: if the runtime is not installed here, or does not agree with Keras.
    """

    def __init__(
        self, weights, crop="centre", head="regression", cardless=None, mean_opinion=False, runtime="auto", threads=None
    ):
        path = weights_file(weights)
        has_card = path.name.endswith(".weights.h5") or card_of(path).is_file()
        self.card = cardless if cardless and not has_card else read_card(card_of(path))
        if self.card["head"]["kind"] != head:
            kind = self.card["head"]["kind"]
            raise CardError(f"{card_of(path)}: the weights of a {kind} model, and a {head} model is needed")
        self.sha256 = sha256(path)
        if self.sha256 != self.card.get("sha256", self.sha256):
            raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {self.sha256[:12]}...)")
        self.bins = 10 if head == "histogram" else 1
        self.weights, self.geometry = path, Geometry(self.card, crop, mean_opinion)
        self.network = open_network(runtime, path, self.card, self.sha256, threads)
        # With these a worker scores as this one does: on the runtime that "auto" has chosen here, not chosen anew.
        self.recipe = {
            "weights": str(path.resolve()),
            "sha256": self.sha256,
            "card": self.card,
            "runtime": self.network.name,
            "crop": crop,
            "mean_opinion": mean_opinion,
        }

    def score(self, image):
        """What the model says of an image (a path, a PIL image, or uint8 RGB (H, W, 3)), as a `Scored`.

        Raises:
            ImageError: if the image cannot be read or is too small.
        """
        return next(scored(self.network, [self.geometry.patches(image)]))

    def score_all(self, images, batch_size=1, workers=0):
        """Score many, in their order; an image that cannot be scored does not stop the others.

        Args:
            images: as for `score`; with `workers` paths alone. Taken as they are needed, so they may be any number.
            batch_size: images that go through Keras at once. Compiled runtimes take one patch after the other.
            workers: processes that decode, and score on a compiled runtime, so that an image whose decoding crashes is
                an error like others; 0 for none: all happens here. A single image is not worth a process. Or an
                `iqa.scoring.pool.Workers` of this scorer's `recipe`, already at work.

        Yields:
            (image, `Scored`) for each of `images`; without features if it comes from a worker.
        """
        images = iter(images)
        first = list(islice(images, 2 if workers else 0))
        if len(first) > 1 and isinstance(workers, int):
            from iqa.scoring.pool import Workers

            with Workers(self.recipe, workers) as pool:
                yield from self._score_in_workers(chain(first, images), batch_size, pool)
        elif len(first) > 1:
            yield from self._score_in_workers(chain(first, images), batch_size, workers)
        else:
            entries = ((image, seen(self.geometry.patches, image)) for image in chain(first, images))
            yield from self._score_waiting(entries, batch_size)

    def _score_in_workers(self, images, batch_size, pool):
        answers = pool.map(images)
        if self.network.name == "keras":
            entries = ((image, Scored(error=error) if error else patches) for image, patches, error in answers)
            yield from self._score_waiting(entries, batch_size)
        else:
            for image, output, error in answers:
                yield image, Scored(error=error) if error else Scored(output)

    def _score_waiting(self, entries, batch_size):
        while waiting := list(islice(entries, batch_size)):
            images, seen_of_them = zip(*waiting)
            yield from zip(images, scored(self.network, seen_of_them))
