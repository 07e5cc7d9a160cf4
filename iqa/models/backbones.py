"""The backbones: networks of `keras.applications`, made flat, from pixels 0-255 to pooled features.

A network is flat: `pixels` (0-255) -> `rescaling` -> `noise` (in training only) -> the layers of the backbone under the
names that `keras.applications` gives them -> `pooling` -> the head. So weight files of Keras 2 fit layer by layer.
"""

import importlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.cards import BACKBONES, Backbone
from iqa.errors import CardError, WeightsError
from iqa.models.settings import standard_settings

#: Pixels in a side of what the networks see in training, and in scoring if their cards say nothing else.
PATCH_SIZE = 224

#: {normalisation: (scale, offset)} of pixels 0-255, RGB: normalised = pixels * scale + offset.
_NORMALISATIONS: dict[str, tuple[Any, Any]] = {
    "imagenet": (
        [1 / (255 * std) for std in (0.229, 0.224, 0.225)],
        [-mean / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
    ),
    "minus_one_to_one": (1 / 127.5, -1.0),
    "imagenet_mean": (1.0, [-123.68, -116.779, -103.939]),
}

#: Layers with which some networks of `keras.applications` normalise; here "rescaling" does it for all.
_NORMALISE = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclass(frozen=True)
class Network:
    """A network of `keras.applications`, as it was trained on ImageNet.

    Attributes:
        build: its name in `keras.applications`, or a function with the same arguments.
        normalisation: of the pixels; see `normalise`.
        smallest: pixels in a side of what it can see.
        symmetric: whether `padding` may be "symmetric": there are weights that were trained so.
        stem: its first convolution, if "symmetric" is for that one too.
        blue_first: whether its first convolution expects BGR.
    """

    build: str | Callable[..., keras.Model]
    normalisation: str
    smallest: int = 32
    symmetric: bool = False
    stem: str = ""
    blue_first: bool = False


#: The network behind each of `iqa.cards.BACKBONES`.
NETWORKS = {
    # Here the first convolution stays padded (0, 1), with which the shipped weights were trained.
    "mobilenet_v2": Network("MobileNetV2", "minus_one_to_one", symmetric=True),
    # idealo's weights were trained with Keras 2.1, which padded (1, 1) before every convolution of stride 2.
    "mobilenet": Network("MobileNet", "minus_one_to_one", symmetric=True, stem="conv1"),
    "mobilenet_v3_large": Network("MobileNetV3Large", "minus_one_to_one"),
    "efficientnet_v2_b0": Network("EfficientNetV2B0", "imagenet"),
    "nasnet_mobile": Network("NASNetMobile", "minus_one_to_one"),
    "inception_resnet_v2": Network("InceptionResNetV2", "minus_one_to_one", smallest=75),
    "vgg16": Network("VGG16", "imagenet_mean", blue_first=True),
    "convnext_tiny": Network("ConvNeXtTiny", "imagenet"),
}

# What the weights of a backbone were trained with. Both ways to pad give feature maps of the same size, so the wrong one
# raises no error: it only shifts every stride-2 convolution by a pixel and spoils the features.
TORCHVISION_CONVENTION = Backbone("mobilenet_v2", "imagenet", "symmetric", 1e-5, backbone_weights="torchvision")


def normalise(pixels: Any, normalisation: str) -> Any:
    """Bring pixels 0-255, (N, H, W, 3), to the range that a backbone expects, in a layer named "rescaling".

    "imagenet" subtracts ImageNet's mean and divides by its deviation; "imagenet_mean" subtracts its mean, of pixels 0-255.
    """
    return keras.layers.Rescaling(*_NORMALISATIONS[normalisation], name="rescaling")(pixels)


def make_flat(standard: keras.Model, facts: Backbone) -> keras.Model:
    """A network of `keras.applications` as this project uses one, with the same weights in layers of its own.

    Args:
        standard: from normalised pixels, or pixels that it normalises itself, to pooled features (N, n).
        facts: which of `NETWORKS` it is; normalisation, padding, epsilon and noise of what is made.

    Returns:
        A flat model: pixels 0-255, RGB, (N, size, size, 3) -> features (N, n), of a layer named "pooling".
    """
    network, names = NETWORKS[facts.backbone], _name_as_alone(standard)
    symmetric = facts.padding == "symmetric"
    pixels = keras.Input(standard.input_shape[1:], name="pixels")
    # The noise on the card is a share of the pixels' range before they are normalised.
    deviation = facts.noise / float(np.mean(1 / (255 * np.asarray(_NORMALISATIONS[facts.normalisation][0]))))
    noisy = keras.layers.GaussianNoise(deviation, name="noise")(normalise(pixels, facts.normalisation))
    pairs = []

    def adapt(layer: Any) -> Any:
        if isinstance(layer, (keras.Sequential, *_NORMALISE)) or not isinstance(layer, keras.layers.Layer):
            return layer  # `call` takes it apart or leaves it out; what is no layer, such as `+`, has no weights
        config = layer.get_config()
        config["name"] = names.get(layer.name, layer.name)
        if isinstance(layer, keras.layers.ZeroPadding2D) and symmetric:
            config["padding"] = ((1, 1), (1, 1))
        if layer.name == network.stem and symmetric:
            config["padding"] = "valid"
        if isinstance(layer, keras.layers.BatchNormalization):
            config["epsilon"] = facts.batch_norm_epsilon
        pairs.append((layer, type(layer).from_config(config)))
        return pairs[-1][1]

    def call(layer: Any, inputs: Any, *others: Any, **options: Any) -> Any:
        inputs = noisy if inputs is pixels else inputs
        if isinstance(layer, _NORMALISE):
            return inputs
        if isinstance(layer, keras.Sequential):
            for inner in layer.layers:
                inputs = adapt(inner)(inputs)
            return inputs
        if layer.name == network.stem and symmetric:
            inputs = keras.layers.ZeroPadding2D(1, name=f"{layer.name}_pad")(inputs)
        return layer(inputs, *others, **options)

    flat = keras.models.clone_model(standard, pixels, adapt, call)
    for theirs, ours in pairs:
        weights = theirs.get_weights()
        if network.blue_first and theirs is pairs[0][0]:
            weights[0] = weights[0][:, :, ::-1]
        ours.set_weights(weights)
    return keras.Model(flat.input, flat.output, name=facts.backbone)


def _name_as_alone(model: keras.Model) -> dict[str, str]:
    """{name: new name} of the layers that Keras numbered, as the only model of a process has them; the last: "pooling"."""
    found = {}
    for layer in model.layers:  # Keras names a layer after its class: "conv2d" is the first of its kind, then "conv2d_1"
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        if match := re.fullmatch(rf"({kind})(?:_(\d+))?", layer.name):
            found[layer.name] = match
    first: dict[str, int] = {}
    for kind, number in (match.groups(default="0") for match in found.values()):
        first[kind] = min(int(number), first.get(kind, int(number)))
    names = {name: f"{match[1]}_{int(match[2] or 0) - first[match[1]]}" for name, match in found.items()}
    return {name: new.removesuffix("_0") for name, new in names.items()} | {model.layers[-1].name: "pooling"}


@standard_settings()
def build_untrained(facts: Backbone, size: int = PATCH_SIZE, weights: str | None = None) -> keras.Model:
    """The backbone that a card describes, for pixels (N, size, size, 3), untrained if there are no `weights` of Keras's.

    Raises a `CardError` if the network cannot see so few pixels, or cannot be padded so.
    """
    network = NETWORKS[facts.backbone]
    if size < network.smallest:
        raise CardError(f"{facts.backbone} sees at least {network.smallest} pixels in a side, got {size}")
    if facts.padding == "symmetric" and not network.symmetric:
        raise CardError(f"backbone.padding of {facts.backbone} must be keras, got symmetric")
    build = getattr(keras.applications, network.build) if isinstance(network.build, str) else network.build
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that weights of ImageNet were trained at another size
        standard = build(input_shape=(size, size, 3), include_top=False, weights=weights, pooling="avg")
    return make_flat(standard, facts)


@standard_settings()
def build_backbone(
    source: str, noise: float = 0.0, size: int = PATCH_SIZE, network: str = BACKBONES[0]
) -> tuple[keras.Model, Backbone]:
    """A backbone with the weights that `--backbone` names.

    Args:
        source: "imagenet" (downloaded by Keras), "none" (random weights), or the path of the `.pth` of torchvision's
            MobileNetV2, which takes torch.
        noise, size, network: see `iqa.cards.Backbone` and `build_untrained`; a key of `NETWORKS`.

    Returns:
        (model, facts): the model of `make_flat`, and what a card says of it.

    Raises:
        CardError: see `build_untrained`.
        WeightsError: if torch is missing, the file is not torch's or of another network, or the download fails.
        OSError: if the file cannot be opened.
    """
    if source in ("imagenet", "none"):
        facts = Backbone(network, NETWORKS[network].normalisation, "keras", 1e-3, noise, source)
        try:
            return build_untrained(facts, size, None if source == "none" else source), facts
        except CardError:
            raise
        except Exception as error:  # Keras raises a bare one if it cannot download
            raise WeightsError(f"{source}: {' '.join(str(error).split())}") from None
    if network != TORCHVISION_CONVENTION.backbone:
        raise WeightsError(f"{source}: a .pth is for {TORCHVISION_CONVENTION.backbone}, but {network} is trained here")
    facts = replace(TORCHVISION_CONVENTION, noise=noise)
    model = build_untrained(facts, size)
    load_tensors(model, read_tensors(source))
    return model, facts


# The weights of a torch network, a `.pth`. Reading one takes torch, which only this needs.


def read_tensors(file: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """The tensors of a `.pth` state dict, {name: array} in its order; nothing in it is executed; see `build_backbone`."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise WeightsError(f"{file}: a .pth is read by torch, which is not installed: pip install torch") from None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except OSError:
        raise
    except Exception as error:  # whatever torch raises for a broken or foreign file
        # Not with torch's own words, which advise to execute what is in the file.
        raise WeightsError(f"{file}: not a state dict of torch, of tensors alone ({type(error).__name__})") from None


def load_tensors(model: keras.Model, tensors: dict[str, NDArray[Any]]) -> None:
    """Copy the tensors of a network of torch, but for its classifier, into a backbone, layer by layer in the order of both.

    Raises a `WeightsError` that names the first layer and the shapes that do not fit.
    """
    names = [name for name in tensors if name.endswith(".weight") and not name.startswith("classifier.")]
    layers = [layer for layer in model.layers if layer.weights]
    if len(names) != len(layers):
        raise WeightsError(f"not the weights of {model.name}: {len(names)} layers with weights instead of {len(layers)}")
    for layer, name in zip(layers, names, strict=True):
        prefix = name.removesuffix("weight")
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [tensors.get(prefix + part, np.empty(0)) for part in parts]
        else:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            kernel = tensors[name]
            values = [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)) if kernel.ndim == 4 else kernel]
        expected, found = [tuple(weight.shape) for weight in layer.weights], [value.shape for value in values]
        if found != expected:
            raise WeightsError(f"{name} has the shape {found} where layer {layer.name} needs {expected}")
        layer.set_weights(values)
