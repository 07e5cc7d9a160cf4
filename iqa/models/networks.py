"""The networks: backbones, the heads on them, and the weight files they read.

A model is flat: `pixels` (uint8 or float, 0-255) -> `rescaling` -> `noise` (active in training only) -> the layers
of the backbone under the names that `keras.applications` gives them -> `pooling` -> the head. Normalisation is
inside, so an exported model cannot be fed wrongly normalised pixels; flat, so that weight files of the same network
saved by Keras 2 still fit layer by layer.
"""

import dataclasses
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import keras
import numpy as np

from iqa.cards import Backbone, card_of, read_card
from iqa.errors import CardError, WeightsError

PATCH_SIZE = 224

#: Channel mean and deviation of ImageNet (pixels scaled to 0-1), with which torchvision's networks were trained.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What a backbone's weights were trained with. Both conventions of padding give feature maps of the same size, so
# a wrong one raises no error: it only shifts every stride-2 convolution by a pixel and spoils the features.
KERAS_CONVENTION = {"normalisation": "minus_one_to_one", "padding": "keras", "batch_norm_epsilon": 1e-3}
TORCHVISION_CONVENTION = {"normalisation": "imagenet", "padding": "symmetric", "batch_norm_epsilon": 1e-5}


def normalisation_layer(normalisation):
    """The `Rescaling` that takes pixels 0-255 to what a backbone expects.

    Args:
        normalisation: "imagenet" (subtract ImageNet's mean, divide by its deviation) or "minus_one_to_one".

    Raises:
        ValueError: for any other name.
    """
    if normalisation == "imagenet":
        scale = [1 / (255 * std) for std in IMAGENET_STD]
        offset = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD)]
    elif normalisation == "minus_one_to_one":
        scale, offset = 1 / 127.5, -1.0
    else:
        raise ValueError(f"unknown normalisation {normalisation!r}")
    return keras.layers.Rescaling(scale, offset, name="rescaling")


def noisy(normalised, normalisation, noise):
    """Gaussian noise on normalised pixels, in training only; `noise` is its deviation as a share of the pixels' range."""
    deviation = float(np.mean(IMAGENET_STD)) if normalisation == "imagenet" else 0.5
    return keras.layers.GaussianNoise(noise / deviation, name="noise")(normalised)


def mobilenet_v2(normalisation="minus_one_to_one", padding="keras", batch_norm_epsilon=1e-3, noise=0.0):
    """MobileNetV2 (Sandler et al. 2018) from pixels to pooled features, with untrained weights.

    Args:
        normalisation: see `normalisation_layer`.
        padding: before a stride-2 convolution, "keras" pads (0, 1), "symmetric" pads (1, 1) as torchvision does.
        batch_norm_epsilon: 1e-3 in Keras, 1e-5 in torchvision.
        noise: standard deviation of the Gaussian noise added in training, as a share of the range of the pixels.

    Returns:
        A flat `keras.Model`: (N, 224, 224, 3) pixels 0-255 -> (N, 1280) features.
    """
    if padding not in ("keras", "symmetric"):
        raise ValueError(f"unknown padding {padding!r}")
    pixels = keras.Input((PATCH_SIZE, PATCH_SIZE, 3), name="pixels")
    normalised = noisy(normalisation_layer(normalisation)(pixels), normalisation, noise)
    standard = keras.applications.MobileNetV2(input_tensor=normalised, include_top=False, weights=None)

    def adapted(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.ZeroPadding2D) and padding == "symmetric":
            config["padding"] = ((1, 1), (1, 1))
        if isinstance(layer, keras.layers.BatchNormalization):
            config["epsilon"] = batch_norm_epsilon
        return type(layer).from_config(config)

    backbone = keras.models.clone_model(standard, clone_function=adapted)
    features = keras.layers.GlobalAveragePooling2D(name="pooling")(backbone.output)
    return keras.Model(backbone.input, features, name="mobilenet_v2")


def mobilenet(normalisation="minus_one_to_one", padding="symmetric", batch_norm_epsilon=1e-3, noise=0.0):
    """MobileNet (Howard et al. 2017) from pixels to pooled features; see `mobilenet_v2` for arguments and result.

    `keras.applications.MobileNet` cannot be had with the padding of Keras 2.1, (1, 1) before every 3x3 convolution, which
    idealo's weights were trained with: it pads (0, 1) before those of stride 2.
    """
    if padding not in ("keras", "symmetric"):
        raise ValueError(f"unknown padding {padding!r}")
    pixels = keras.Input((PATCH_SIZE, PATCH_SIZE, 3), name="pixels")
    x = noisy(normalisation_layer(normalisation)(pixels), normalisation, noise)

    def padded(x, stride, name):
        before = 0 if stride == 2 and padding == "keras" else 1
        return keras.layers.ZeroPadding2D(((before, 1), (before, 1)), name=name)(x)

    def normalised(x, name):
        x = keras.layers.BatchNormalization(epsilon=batch_norm_epsilon, name=f"{name}_bn")(x)
        return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)

    x = padded(x, 2, "conv1_pad")
    x = normalised(keras.layers.Conv2D(32, 3, strides=2, use_bias=False, name="conv1")(x), "conv1")
    filters = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for number, (width, stride) in enumerate(zip(filters, (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)), start=1):
        x = padded(x, stride, f"conv_pad_{number}")
        name = f"conv_dw_{number}"
        x = normalised(keras.layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=name)(x), name)
        name = f"conv_pw_{number}"
        x = normalised(keras.layers.Conv2D(width, 1, use_bias=False, name=name)(x), name)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pooling")(x), name="mobilenet")


def build_backbone(backbone, noise=0.0):
    """A MobileNetV2 with the weights that `--backbone` names.

    Args:
        backbone: "imagenet" (downloaded by Keras), "none" (random weights), or the path of torchvision's `.pth`.
        noise: see `mobilenet_v2`.

    Returns:
        (model, description): the model of `mobilenet_v2`, and the facts from which `build_from_card` rebuilds it.

    Raises:
        WeightsError: if the file does not hold torchvision's MobileNetV2, or the download fails.
    """
    from_file = backbone not in ("imagenet", "none")
    convention = TORCHVISION_CONVENTION if from_file else KERAS_CONVENTION
    model = mobilenet_v2(noise=noise, **convention)
    if backbone == "imagenet":
        try:
            trained = keras.applications.MobileNetV2(input_shape=(PATCH_SIZE, PATCH_SIZE, 3), include_top=False)
        except Exception as error:  # Keras raises a bare one where it cannot download
            raise WeightsError(f"imagenet: {' '.join(str(error).split())}") from None
        for layer in trained.layers:
            if layer.weights:
                model.get_layer(layer.name).set_weights(layer.get_weights())
    elif from_file:
        load_torchvision(model, read_torch_tensors(backbone))
    source = "torchvision" if from_file else backbone
    return model, Backbone("mobilenet_v2", noise=noise, backbone_weights=source, **convention)


#: MobileNetV2's last activation at each resolution but the coarsest, 112, 56, 28 and 14 pixels in a side.
LEVELS = ("block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu")


def regression_head(backbone, dropout=0.75, levels=()):
    """Dropout, Dense(1000, tanh) "features", Dense(1, linear) "score" on a backbone, as the original had it.

    Args:
        backbone: a model of pooled features.
        dropout: share of the pooled features that a training step leaves out.
        levels: names of layers whose pooled activations the head sees beside the backbone's output, standardised (see
            `widened`): noise, blur and blocks are plainer there than in features made to tell cats from dogs.

    Returns:
        A flat `keras.Model`: (N, 224, 224, 3) pixels -> (N, 1) mean opinion scores.
    """
    x = backbone.output
    if levels:
        x = keras.layers.BatchNormalization(epsilon=1e-4, name=STANDARDISED)(pooled_levels(backbone, levels).output)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.Dense(1000, activation="tanh", name="features")(x)
    score = keras.layers.Dense(1, activation="linear", dtype="float32", name="score")(x)
    return keras.Model(backbone.input, score, name="regression")


POOLING, STANDARDISED = "pooling_", "standardised"  # names of layers, or what they begin with


def levels_of(model):
    """The `levels` of a model's head."""
    return [layer.name.removeprefix(POOLING) for layer in model.layers if layer.name.startswith(POOLING)]


def pooled_levels(model, levels=LEVELS):
    """A model of what a `regression_head` with these levels sees, before it is standardised: pixels -> (N, n).

    Args:
        model: a backbone, or a model with any head on one.
        levels: see `regression_head`.
    """
    pooled = [
        keras.layers.GlobalAveragePooling2D(name=f"{POOLING}{level}")(model.get_layer(level).output) for level in levels
    ]
    last = model.get_layer("pooling").output
    return keras.Model(model.input, keras.layers.Concatenate(name="pooled_levels")([*pooled, last]))


def widened(model, mean, variance, levels=LEVELS):
    """The same network with a head that sees several levels, which count for nothing until it is trained.

    What the head sees is standardised: channels of the first levels vary by a hundredth of what those of the last do, and
    would count for as little. It is a batch normalisation whose statistics are set once, since those of a batch of a few
    scenes would be poor.

    Args:
        model: of `regression_head` without levels; what it predicts is unchanged, to rounding.
        mean, variance: float arrays (n,), of what `pooled_levels` says of the pictures to learn from.
        levels: see `regression_head`.

    Returns:
        A model of `regression_head`; its backbone's layers are the model's own.
    """
    backbone = keras.Model(model.input, model.get_layer("pooling").output)
    wide = regression_head(backbone, model.get_layer("dropout").rate, levels)
    standardised = wide.get_layer(STANDARDISED)
    gamma, beta, _, _ = standardised.get_weights()
    standardised.set_weights([gamma, beta, mean, variance])
    kernel, bias = model.get_layer("features").get_weights()
    wider, last = np.zeros((len(mean), kernel.shape[1]), np.float32), slice(-len(kernel), None)
    wider[last] = kernel * np.sqrt(variance[last] + standardised.epsilon)[:, None]
    wide.get_layer("features").set_weights([wider, bias + mean[last] @ kernel])
    wide.get_layer("score").set_weights(model.get_layer("score").get_weights())
    return wide


def histogram_head(backbone, dropout=0.75):
    """Dropout, Dense(10, softmax) "histogram" on a backbone, as in NIMA (Talebi, Milanfar 2018).

    Returns:
        A flat `keras.Model`: (N, 224, 224, 3) pixels -> (N, 10) shares of the votes 1-10.
    """
    x = keras.layers.Dropout(dropout, name="dropout")(backbone.output)
    histogram = keras.layers.Dense(10, activation="softmax", dtype="float32", name="histogram")(x)
    return keras.Model(backbone.input, histogram, name="histogram")


def network_to_train(head, backbone, noise, dropout, weights=None):
    """A network with the weights that a training begins with.

    Args:
        head: `regression_head` or `histogram_head`.
        backbone, noise: see `build_backbone`.
        dropout: before the head.
        weights: a file of all the network's weights. If it has a card the backbone is built as that says, whatever
            `backbone`: normalised or padded otherwise its weights would be worth little, and nothing would fail.

    Returns:
        (model, facts): a flat `keras.Model`, and what a card says of its backbone.

    Raises:
        CardError, WeightsError: if the weights are not this network's.
    """
    if weights and card_of(weights).is_file():
        card = read_card(card_of(weights))
        facts = dataclasses.replace(card.backbone, noise=noise)
        model = head(_backbone_of(facts), dropout, **_levels(card.head))
    else:
        built, facts = build_backbone(backbone, noise)
        model = head(built, dropout)
    if weights:
        load_weights(model, weights)
    return model, facts


def build_from_card(card):
    """The network that a card describes, with untrained weights; see weights/README.md for the keys.

    Raises:
        ValueError: if the card names a backbone, head, padding or normalisation that is not known here.
    """
    heads = {"regression": regression_head, "histogram": histogram_head}
    return heads[card.head.kind](_backbone_of(card.backbone), card.head.dropout, **_levels(card.head))


def _levels(head):
    """The argument `levels` that a card's head asks for; none for heads of the pooled output alone."""
    return {"levels": head.levels} if head.levels else {}


def _backbone_of(facts):
    backbones = {"mobilenet_v2": mobilenet_v2, "mobilenet": mobilenet}
    return backbones[facts.backbone](facts.normalisation, facts.padding, facts.batch_norm_epsilon, facts.noise)


def network_of(card, weights):
    """The network of a card with its weights, made to score: pixels -> [output, features].

    The features are what the last dense layer sees: the pooled features, or the dense layer of that name. (Dropout stands
    between, which does nothing here.)

    Raises:
        CardError: if the card lacks what a network is built from.
        WeightsError: if the weights do not fit the network.
    """
    try:
        model = build_from_card(card)
    except (KeyError, TypeError, ValueError) as error:
        raise CardError(f"{card_of(weights)}: not a card ({type(error).__name__}: {error})") from None
    load_weights(model, weights)
    return keras.Model(model.input, [model.output, model.layers[-1].input])


# --- torchvision's weights -------------------------------------------------------------------------------------------

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class _TensorUnpickler(pickle.Unpickler):
    """Admits tensors, ordered dicts and plain values; whatever else a pickle names, it is refused."""

    def __init__(self, file, read_storage):
        super().__init__(file)
        self.read_storage = read_storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise WeightsError(f"it holds {module}.{name}, and only tensors are read")

    def persistent_load(self, identifier):
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise WeightsError("it refers to something that is no tensor")
        _, dtype, key, _, _ = identifier
        return self.read_storage(dtype, key)


def _rebuild_tensor(storage, offset, shape, stride, *_):
    size = int(np.prod(shape, dtype=np.int64))
    contiguous = tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))
    if (tuple(stride) != contiguous and size > 1) or offset < 0 or offset + size > storage.size:
        raise WeightsError("a tensor in it does not fit its storage")
    return storage[offset : offset + size].reshape(shape)


def read_torch_tensors(file):
    """Read the tensors of a `.pth` state dict without torch; nothing in the file is executed.

    Both forms of `torch.save` are read: the zip archive of torch >= 1.6 and the older stream of pickles.

    Returns:
        A dict {name: NumPy array}.

    Raises:
        WeightsError: if the file is no such state dict, or holds anything but tensors.
        OSError: if it cannot be opened.
    """
    try:
        with open(file, "rb") as stream:
            tensors = _read_zip(stream) if zipfile.is_zipfile(stream) else _read_legacy(stream)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise WeightsError(f"{file}: not a state dict of torch ({type(error).__name__}: {error})") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise WeightsError(f"{file}: not a state dict of tensors")
    return dict(tensors)


def _read_zip(stream):
    with zipfile.ZipFile(stream) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")

        def read_storage(dtype, key):
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)

        with archive.open(pickled) as file:
            return _TensorUnpickler(file, read_storage).load()


def _read_legacy(stream):
    # Three pickles (magic number, protocol, system), the state dict, the keys of the storages, then for each the number
    # of its elements (int64) and its bytes. The tensors come before their data: they are views of arrays filled later.
    stream.seek(0)
    storages = {}

    def read_storage(dtype, key):
        raise WeightsError("unknown storage")

    plain = [_TensorUnpickler(stream, read_storage).load() for _ in range(3)]
    if plain[0] != 0x1950A86A20F9469CFC6C:
        raise WeightsError("it is no file of torch.save")

    class Unpickler(_TensorUnpickler):
        def persistent_load(self, identifier):
            if not isinstance(identifier, tuple) or identifier[0] != "storage" or identifier[5] is not None:
                raise WeightsError("it refers to something that is no tensor")
            _, dtype, key, _, size, _ = identifier
            return storages.setdefault(key, np.zeros(size, dtype))

    tensors = Unpickler(stream, read_storage).load()
    for key in _TensorUnpickler(stream, read_storage).load():
        (size,) = np.frombuffer(stream.read(8), "<i8")
        if key not in storages or size != storages[key].size:
            raise WeightsError("a storage in it has another size than its tensor")
        storages[key][:] = np.frombuffer(stream.read(storages[key].nbytes), storages[key].dtype)
    return tensors


def load_torchvision(model, tensors):
    """Copy torchvision's MobileNetV2 into the model of `mobilenet_v2`, layer by layer in the order of both networks.

    Args:
        model: with "symmetric" padding and an epsilon of 1e-5, or the features are not torchvision's.
        tensors: from `read_torch_tensors`; the classifier in it is left out.

    Raises:
        WeightsError: naming the first layer and the shapes that do not fit.
    """
    features = [name for name in tensors if name.startswith("features.") and name.endswith(".weight")]
    layers = [layer for layer in model.layers if layer.weights]
    if len(features) != len(layers):
        raise WeightsError(f"not torchvision's MobileNetV2: {len(features)} layers with weights instead of {len(layers)}")
    for layer, name in zip(layers, features):
        prefix = name.removesuffix("weight")
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [tensors.get(prefix + part, np.empty(0)) for part in parts]
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            values = [_transposed(tensors[name], (2, 3, 0, 1))]
        else:
            values = [_transposed(tensors[name], (2, 3, 1, 0))]
        expected = [tuple(weight.shape) for weight in layer.weights]
        found = [value.shape for value in values]
        if found != expected:
            raise WeightsError(f"{name} has the shape {found} where layer {layer.name} needs {expected}")
        layer.set_weights(values)


def _transposed(value, axes):
    return value.transpose(axes) if value.ndim == len(axes) else value


def load_weights(model, file):
    """Load weights, all of them or nothing: `.weights.h5` of Keras 3, `.hdf5` or `.h5` of Keras 2.

    Raises:
        WeightsError: if the file is missing, broken, or of another model.
    """
    before = model.get_weights()
    try:
        if str(file).endswith(".weights.h5"):
            model.load_weights(file)
        else:
            load_keras2(model, file)
    except Exception as error:  # h5py and Keras raise whatever a foreign file makes them stumble over
        model.set_weights(before)
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{file}: not the weights of this model ({reason})") from None


def load_keras2(model, file):
    """Load a whole Keras 2 model or its weights (HDF5, Keras 2.1 to 2.15); nothing in the file is executed.

    Layers are matched by name; those that the user named, or Keras numbered (`dense_1`), in their order.

    Raises:
        WeightsError: naming the layer and shapes that do not fit, or the tensors for which there is no layer.
        OSError: if it is no HDF5 file.
    """
    with h5py.File(Path(file), "r") as opened:
        root = opened.get("model_weights", opened)
        if "layer_names" not in root.attrs:
            raise WeightsError("no weights of Keras 2")
        stored = {}
        for name in root.attrs["layer_names"]:
            name = name.decode() if isinstance(name, bytes) else name
            tensors = [np.asarray(root[name][weight]) for weight in root[name].attrs["weight_names"]]
            if tensors:
                stored[name] = tensors
    layers = [layer for layer in model.layers if layer.weights]
    if len(stored) != len(layers):
        raise WeightsError(f"{len(stored)} layers with weights in the file, {len(layers)} in the model")
    named = {layer.name for layer in layers}
    unnamed = iter([name for name in stored if name not in named])
    for layer in layers:
        source = layer.name if layer.name in stored else next(unnamed)
        expected, found = ([tuple(w.shape) for w in weights] for weights in (layer.weights, stored[source]))
        if expected != found:
            raise WeightsError(f"layer {source} of the file has {found} where layer {layer.name} needs {expected}")
        layer.set_weights(stored[source])
