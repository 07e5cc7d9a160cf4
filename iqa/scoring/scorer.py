"""Image -> score, with the weights and the facts on their card, on a chosen runtime.

    scorer = Scorer("tid2013_regression")
    scorer.score("photo.jpg").score                 # a mean opinion score
    for path, scored in scorer.score_all(paths, workers=2): ...

An image that cannot be scored is an answer too, with the reason.
"""

from itertools import chain, islice

import numpy as np

from iqa.cards import card_for, card_of, sha256, weights_file
from iqa.errors import CardError, ImageError
from iqa.images.geometry import Geometry
from iqa.labels.opinions import Prediction
from iqa.scoring.runtimes import open_network


def seen(patches_of, image):
    """`patches_of(image)`, or a `Prediction` with the reason why there is no such thing."""
    try:
        return patches_of(image)
    except ImageError as error:
        return Prediction(reason=str(error))
    except MemoryError:
        return Prediction(reason="it needs more memory than there is")


def scored(network, entries):
    """What a network says of several images at once: a `Prediction` each.

    Args:
        entries: of each image its patches (N, size, size, 3), over which the mean is taken, or a `Prediction`, which is kept.
    """
    patches = [entry for entry in entries if not isinstance(entry, Prediction)]
    outputs = network(np.concatenate(patches)) if patches else ([], [])
    start = 0
    for entry in entries:
        if not isinstance(entry, Prediction):
            rows = slice(start, start + len(entry))
            entry = Prediction(*(np.mean(output[rows], axis=0) for output in outputs))
            start = rows.stop
        yield entry


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
        self.card = card_for(path, cardless)
        if self.card.head.kind != head:
            kind = self.card.head.kind
            raise CardError(f"{card_of(path)}: the weights of a {kind} model, and a {head} model is needed")
        self.sha256 = sha256(path)
        if self.sha256 != (self.card.sha256 or self.sha256):
            raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {self.sha256[:12]}...)")
        self.bins = 10 if head == "histogram" else 1
        self.weights, self.geometry = path, Geometry.of(self.card, crop, mean_opinion)
        self.network = open_network(runtime, path, self.card, self.sha256, threads)
        # With these a worker scores as this one does: on the runtime that "auto" has chosen here, not chosen anew.
        self.recipe = {
            "weights": str(path.resolve()),
            "sha256": self.sha256,
            "card": self.card.to_json(),
            "runtime": self.network.name,
            "crop": crop,
            "mean_opinion": mean_opinion,
        }

    def score(self, image):
        """What the model says of an image (a path, a PIL image, or uint8 RGB (H, W, 3)), as a `Prediction`.

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
            (image, `Prediction`) for each of `images`; without features if it comes from a worker.
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
            entries = ((image, Prediction(reason=error) if error else patches) for image, patches, error in answers)
            yield from self._score_waiting(entries, batch_size)
        else:
            for image, output, error in answers:
                yield image, Prediction(reason=error) if error else Prediction(output)

    def _score_waiting(self, entries, batch_size):
        while waiting := list(islice(entries, batch_size)):
            images, seen_of_them = zip(*waiting)
            yield from zip(images, scored(self.network, seen_of_them))
