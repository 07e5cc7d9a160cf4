"""The backbones: from pixels 0-255 to pooled features.

A network is flat: `pixels` (uint8 or float, 0-255) -> `rescaling` -> `noise` (active in training only) -> the layers
of the backbone under the names that `keras.applications` gives them -> `pooling` -> the head (`iqa.models.heads`).
Normalisation is inside, so nobody can feed an exported network wrongly normalised pixels. Flat, so that weight files
of the same network saved by Keras 2 still fit layer by layer.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from iqa.cards import Backbone
from iqa.errors import WeightsError
from iqa.models.settings import standard_settings
from iqa.models.torch_files import read_torch_tensors
from iqa.models.torchvision import load_torchvision

#: Pixels in a side of what the networks see in training, and in scoring if their cards say nothing else.
PATCH_SIZE = 224

#: Channel mean and deviation of ImageNet (pixels scaled to 0-1), with which torchvision's networks were trained.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What the weights of a backbone were trained with. Both ways to pad give feature maps of the same size, so the wrong one
# raises no error: it only shifts every stride-2 convolution by a pixel and spoils the features.
KERAS_CONVENTION = Backbone("mobilenet_v2", "minus_one_to_one", "keras", batch_norm_epsilon=1e-3)
TORCHVISION_CONVENTION = Backbone("mobilenet_v2", "imagenet", "symmetric", batch_norm_epsilon=1e-5)


def normalise(pixels: Any, normalisation: str) -> Any:
    """Bring pixels 0-255 to the range that a backbone expects, in a layer named "rescaling".

    Args:
        pixels: a Keras tensor or an array (N, H, W, 3).
        normalisation: "imagenet" (subtract ImageNet's mean, divide by its deviation) or "minus_one_to_one".
    """
    scale: float | list[float] = 1 / 127.5
    offset: float | list[float] = -1.0
    if normalisation == "imagenet":
        scale = [1 / (255 * std) for std in IMAGENET_STD]
        offset = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    return keras.layers.Rescaling(scale, offset, name="rescaling")(pixels)


def add_noise(normalised: Any, normalisation: str, noise: float) -> Any:
    """Gaussian noise on normalised pixels, in training only; `noise` is its deviation as a share of the pixels' range."""
    deviation = float(np.mean(IMAGENET_STD)) if normalisation == "imagenet" else 0.5
    return keras.layers.GaussianNoise(noise / deviation, name="noise")(normalised)


def _start(facts: Backbone, size: int) -> tuple[Any, Any]:
    """(the input, the same pixels normalised and noisy): what every backbone begins with."""
    pixels = keras.Input((size, size, 3), name="pixels")
    return pixels, add_noise(normalise(pixels, facts.normalisation), facts.normalisation, facts.noise)


def mobilenet_v2(facts: Backbone = KERAS_CONVENTION, size: int = PATCH_SIZE) -> keras.Model:
    """MobileNetV2 (Sandler et al. 2018) from pixels to pooled features, with untrained weights.

    Args:
        facts: normalisation, padding, epsilon and noise.
        size: pixels in a side of the input; the weights do not depend on it.

    Returns:
        A flat `keras.Model`: (N, size, size, 3) pixels 0-255 -> (N, 1280) features.
    """
    _, noisy = _start(facts, size)
    standard = keras.applications.MobileNetV2(input_tensor=noisy, include_top=False, weights=None)

    def adapt(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.ZeroPadding2D) and facts.padding == "symmetric":
            config["padding"] = ((1, 1), (1, 1))
        if isinstance(layer, keras.layers.BatchNormalization):
            config["epsilon"] = facts.batch_norm_epsilon
        return type(layer).from_config(config)

    backbone = keras.models.clone_model(standard, clone_function=adapt)
    features = keras.layers.GlobalAveragePooling2D(name="pooling")(backbone.output)
    return keras.Model(backbone.input, features, name="mobilenet_v2")


# The filters and the stride of MobileNet's 13 blocks.
_MOBILENET_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


def mobilenet(facts: Backbone, size: int = PATCH_SIZE) -> keras.Model:
    """MobileNet (Howard et al. 2017) from pixels to pooled features (N, 1024); see `mobilenet_v2`.

    idealo's weights were trained with the padding of Keras 2.1, (1, 1) before every 3x3 convolution.
    `keras.applications.MobileNet` has no option for it: it pads (0, 1) before those of stride 2.
    """
    pixels, x = _start(facts, size)

    def pad(x: Any, stride: int, name: str) -> Any:
        before = 0 if stride == 2 and facts.padding == "keras" else 1
        return keras.layers.ZeroPadding2D(((before, 1), (before, 1)), name=name)(x)

    def activate(x: Any, name: str) -> Any:
        x = keras.layers.BatchNormalization(epsilon=facts.batch_norm_epsilon, name=f"{name}_bn")(x)
        return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)

    x = pad(x, 2, "conv1_pad")
    x = activate(keras.layers.Conv2D(32, 3, strides=2, use_bias=False, name="conv1")(x), "conv1")
    for number, (filters, stride) in enumerate(_MOBILENET_BLOCKS, start=1):
        x = pad(x, stride, f"conv_pad_{number}")
        name = f"conv_dw_{number}"
        x = activate(keras.layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=name)(x), name)
        name = f"conv_pw_{number}"
        x = activate(keras.layers.Conv2D(filters, 1, use_bias=False, name=name)(x), name)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pooling")(x), name="mobilenet")


#: What builds each of `iqa.cards.BACKBONES`.
BUILDERS: dict[str, Callable[[Backbone, int], keras.Model]] = {"mobilenet_v2": mobilenet_v2, "mobilenet": mobilenet}


@standard_settings()
def build_untrained(facts: Backbone, size: int = PATCH_SIZE) -> keras.Model:
    """The backbone that a card describes, with untrained weights; see `mobilenet_v2`."""
    return BUILDERS[facts.backbone](facts, size)


@standard_settings()
def build_backbone(source: str, noise: float = 0.0, size: int = PATCH_SIZE) -> tuple[keras.Model, Backbone]:
    """A MobileNetV2 with the weights that `--backbone` names.

    Args:
        source: "imagenet" (downloaded by Keras), "none" (random weights), or the path of torchvision's `.pth`.
        noise: deviation of the Gaussian noise added in training, as a share of the range of the pixels.
        size: see `mobilenet_v2`.

    Returns:
        (model, facts): the model of `mobilenet_v2`, and what a card says of it.

    Raises:
        WeightsError: if the file does not hold torchvision's MobileNetV2, or the download fails.
        OSError: if the file cannot be opened.
    """
    from_file = source not in ("imagenet", "none")
    facts = replace(
        TORCHVISION_CONVENTION if from_file else KERAS_CONVENTION,
        noise=noise,
        backbone_weights="torchvision" if from_file else source,
    )
    model = mobilenet_v2(facts, size)
    if from_file:
        load_torchvision(model, read_torch_tensors(source))
    elif source == "imagenet":
        _load_imagenet(model)
    return model, facts


def _load_imagenet(model: keras.Model) -> None:
    try:
        trained = keras.applications.MobileNetV2(input_shape=(PATCH_SIZE, PATCH_SIZE, 3), include_top=False)
    except Exception as error:  # Keras raises a bare one if it cannot download
        raise WeightsError(f"imagenet: {' '.join(str(error).split())}") from None
    for layer in trained.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
