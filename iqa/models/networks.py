"""Whole networks, a backbone and its head: to train, and to score.

    network = network_of(card, "weights/ava_vanilla.weights.h5")
    histograms, features = network.predict_on_batch(patches)

Patches are uint8 (N, size, size, 3), RGB; `iqa.images.geometry.Geometry` cuts them as the card says.
"""

from dataclasses import replace
from os import PathLike

import keras

from iqa.cards import Backbone, Card, Head, card_for, card_of, weights_file
from iqa.errors import CardError
from iqa.models.backbones import PATCH_SIZE, build_backbone, build_untrained
from iqa.models.heads import add_head
from iqa.models.settings import SettledModel, standard_settings
from iqa.models.weight_files import load_weights


def build_from_card(card: Card) -> keras.Model:
    """The network that a card describes, with untrained weights.

    Returns:
        A flat `keras.Model`: (N, size, size, 3) pixels 0-255, of the size in the card's geometry, -> (N, 10) or (N, 1).

    Raises:
        CardError: if the card asks for levels that its backbone does not have.
    """
    return add_head(build_untrained(card.backbone, card.geometry.size), card.head)


def network_to_train(
    head: str,
    source: str,
    noise: float,
    dropout: float,
    weights: str | PathLike[str] | None = None,
    cardless: Card | None = None,
    size: int = PATCH_SIZE,
) -> tuple[keras.Model, Backbone]:
    """A network with the weights that a training begins with.

    Args:
        head: "histogram" or "regression".
        source: where the backbone's weights come from if `weights` says nothing; see `build_backbone`.
        noise: deviation of the Gaussian noise added in training, as a share of the range of the pixels.
        dropout: share of the features that a training step leaves out.
        weights: a file with all weights of the network, or the name of shipped ones. The backbone and the levels of the
            head are then those of its card, and `source` is ignored: with another normalisation or padding nothing would
            fail, but the weights would be worth little.
        cardless: the card of an `.hdf5` or `.h5` file of Keras 2 that has none, the one that scoring uses for it.
        size: pixels in a side of what the network sees.

    Returns:
        (model, facts): a flat `keras.Model`, and what a card says of its backbone.

    Raises:
        CardError: if there is no such file, its card is missing or broken, or it is a network with another head.
        WeightsError: if the weights do not fit the network, or the backbone's cannot be read or downloaded.
    """
    if weights is None:
        backbone, facts = build_backbone(source, noise, size)
        return add_head(backbone, Head(head, dropout)), facts
    path = weights_file(weights)
    card = card_for(path, cardless)
    if card.head.kind != head:
        raise CardError(f"{path}: the weights of a {card.head.kind} network, but a {head} network is trained here")
    facts = replace(card.backbone, noise=noise)
    model = _build(facts, replace(card.head, dropout=dropout), size, path)
    load_weights(model, path)
    return model, facts


@standard_settings()
def network_of(card: Card, weights: str | PathLike[str]) -> keras.Model:
    """The network of a card with its weights, to score with.

    Returns:
        A `keras.Model`: (N, size, size, 3) pixels 0-255 -> [output, features]. The features are what the last dense layer
        sees: the pooled features (N, 1280 or 1024), or for a regression the 1000 of the dense layer of that name.

    Raises:
        CardError: if no network can be built from the card.
        WeightsError: if the weights do not fit the network.
    """
    model = _build(card.backbone, card.head, card.geometry.size, weights)
    load_weights(model, weights)
    return SettledModel(model.input, [model.output, model.layers[-1].input])


def _build(backbone: Backbone, head: Head, size: int, weights: str | PathLike[str]) -> keras.Model:
    try:
        return add_head(build_untrained(backbone, size), head)
    except CardError as error:
        raise CardError(f"{card_of(weights)}: {error}") from None
