"""The heads: what stands on a backbone's pooled features and gives the histogram or the score."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.cards import Head
from iqa.errors import CardError
from iqa.models.settings import standard_settings

#: MobileNetV2's last activation at each resolution but the coarsest: a half to a sixteenth of the input's.
LEVELS = ("block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu")

#: The layer that standardises what a head of several levels sees.
STANDARDISED = "standardised"

_POOLING = "pooling_"  # the names of the layers that pool the levels begin with it


@standard_settings()
def add_head(backbone: keras.Model, head: Head) -> keras.Model:
    """Put a head on a backbone.

    "histogram": dropout, Dense(10, softmax) "histogram", as in NIMA (Talebi, Milanfar 2018). "regression": dropout,
    Dense(1000, tanh) "features", Dense(1, linear) "score", as in the original project. With `head.levels` a regression head
    also sees the pooled activations of those layers, standardised (see `widen_head`): noise, blur and blocks are plainer
    there than in features that were made to tell cats from dogs.

    Args:
        backbone: a model of pooled features, see `iqa.models.backbones`.
        head: kind, dropout and levels.

    Returns:
        A flat `keras.Model`: (N, size, size, 3) pixels -> (N, 10) shares of the votes 1-10, or (N, 1) scores.

    Raises:
        CardError: if the backbone has no such levels, or a histogram head should see some.
    """
    if head.kind == "histogram":
        if head.levels:
            raise CardError("head.levels: only a regression head sees several levels")
        x = keras.layers.Dropout(head.dropout, name="dropout")(backbone.output)
        x = keras.layers.Dense(head.hidden, activation="relu", name="hidden")(x) if head.hidden else x
        x = keras.layers.Dense(10, activation="softmax", dtype="float32", name="histogram")(x)
        return keras.Model(backbone.input, x, name="histogram")
    x = backbone.output
    if head.levels:
        x = keras.layers.BatchNormalization(epsilon=1e-4, name=STANDARDISED)(pool_levels(backbone, head.levels).output)
    x = keras.layers.Dropout(head.dropout, name="dropout")(x)
    x = keras.layers.Dense(1000, activation="tanh", name="features")(x)
    x = keras.layers.Dense(head.hidden, activation="relu", name="hidden")(x) if head.hidden else x
    x = keras.layers.Dense(1, activation="linear", dtype="float32", name="score")(x)
    return keras.Model(backbone.input, x, name="regression")


def add_faults(model: keras.Model, weights: NDArray[Any]) -> Any:
    """The logits of the kinds of faults, beside the score of a regression whose head sees several levels.

    Args:
        model: a network of `add_head`.
        weights: float32 (n + 1, kinds), for what the head sees, standardised: the kernel, and the bias as its last row.
    """
    layer = keras.layers.Dense(weights.shape[1], dtype="float32", name="faults")
    logits = layer(model.get_layer(STANDARDISED).output)
    layer.set_weights([weights[:-1], weights[-1]])
    return logits


def levels_of(model: keras.Model) -> tuple[str, ...]:
    """The levels that a model's head sees beside the last features."""
    return tuple(layer.name.removeprefix(_POOLING) for layer in model.layers if layer.name.startswith(_POOLING))


@standard_settings()
def pool_levels(model: keras.Model, levels: Sequence[str] = LEVELS) -> keras.Model:
    """A model of what a head of these levels sees, before it is standardised: (N, size, size, 3) pixels -> (N, n).

    Args:
        model: a backbone, or a model with any head on one.
        levels: names of layers of the backbone, each once.

    Raises:
        CardError: if a name is not that of a layer of feature maps, or is repeated.
    """
    maps = {layer.name: layer.output for layer in model.layers if len(getattr(layer.output, "shape", ())) == 4}
    for position, level in enumerate(levels):
        if level not in maps:
            raise CardError(f"head.levels: the backbone has no feature maps named {level!r}")
        if level in levels[:position]:
            raise CardError(f"head.levels: {level!r} is named twice")
    pooled = [keras.layers.GlobalAveragePooling2D(name=f"{_POOLING}{level}")(maps[level]) for level in levels]
    last = model.get_layer("pooling").output
    return keras.Model(model.input, keras.layers.Concatenate(name="pooled_levels")([*pooled, last]))


@standard_settings()
def widen_head(
    model: keras.Model, mean: NDArray[Any], variance: NDArray[Any], levels: Sequence[str] = LEVELS
) -> keras.Model:
    """The same network with a head that sees several levels, which count for nothing until it is trained.

    What the head sees is standardised: channels of the first levels vary by a hundredth of what those of the last do, and
    would count for as little. The layer is a batch normalisation whose statistics are set once, since those of a batch of
    a few scenes would be poor.

    Args:
        model: with a regression head without levels; what it predicts stays the same, to rounding.
        mean, variance: float arrays (n,), of what `pool_levels` gives for the pictures to learn from.
        levels: see `pool_levels`.

    Returns:
        A model with a regression head of these levels; its backbone's layers are those of `model`.
    """
    backbone = keras.Model(model.input, model.get_layer("pooling").output)
    wide = add_head(backbone, Head("regression", model.get_layer("dropout").rate, tuple(levels)))
    standardised = wide.get_layer(STANDARDISED)
    gamma, beta, _, _ = standardised.get_weights()
    standardised.set_weights([gamma, beta, mean, variance])
    kernel, bias = model.get_layer("features").get_weights()
    wider, last = np.zeros((len(mean), kernel.shape[1]), np.float32), slice(-len(kernel), None)
    wider[last] = kernel * np.sqrt(variance[last] + standardised.epsilon)[:, None]
    wide.get_layer("features").set_weights([wider, bias + mean[last] @ kernel])
    wide.get_layer("score").set_weights(model.get_layer("score").get_weights())
    return wide
