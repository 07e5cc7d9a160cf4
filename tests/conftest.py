"""Fixtures: a photograph that is always there, networks to score with, and the data that only some machines have."""

import gc
import importlib.util
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stand_in import enliven, free_memory

from iqa.cards import AVA_SCALE, TID2013_SCALE, Backbone, Card, Head, Preprocessing, card_of, compiled_beside, sha256
from iqa.commands.terminal import run
from iqa.files import write_json
from iqa.images.finding import sample_photograph
from iqa.images.reading import read_image

# A shell that runs the tests in the background may have told them to ignore Ctrl-C or the end of the terminal, and their
# children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# TensorFlow's own allocator for oneDNN keeps for good the weights of every network that was ever built.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")


class WithoutJax:
    """TensorFlow would load JAX, where it is there, for a converter that nobody uses: 110 MB in each worker."""

    def find_spec(self, name, *_):
        if name == "jax":
            raise ModuleNotFoundError(name=name)


sys.meta_path.insert(0, WithoutJax())


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # what was imported stays: later collections look at what tests have made alone


@pytest.fixture(scope="module", autouse=True)
def no_file_leaves_its_networks():
    yield
    free_memory()


@pytest.fixture
def csv_file(tmp_path):
    """csv_file(text, name="own.csv") -> the path of the file written."""

    def write(text, name="own.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


@pytest.fixture(scope="session")
def photograph():
    """A 256x256 patch of matplotlib's sample photograph, uint8 RGB, with flat and textured parts."""
    return np.ascontiguousarray(read_image(sample_photograph())[60:316, 130:386])


@pytest.fixture(scope="session")
def shared():
    """The folder of data sets named by IQA_SHARED; tests that need it are skipped without it."""
    folder = os.environ.get("IQA_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("IQA_SHARED names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def make_dng():
    """make_dng(pixels, preview=None, orientation=1) -> the bytes of a DNG, as the benchmark of mixed folders makes them."""
    pytest.importorskip("rawpy")
    pytest.importorskip("imagecodecs")
    script = Path(__file__).resolve().parent.parent / "benchmarks/mixed.py"
    spec = importlib.util.spec_from_file_location("mixed", script)
    mixed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mixed)
    return mixed.make_dng


@pytest.fixture
def save(tmp_path):
    """save(name, array or PIL image, **options) -> the path of the file written."""

    def write(name, image, **options):
        path = tmp_path / name
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return write


@pytest.fixture(scope="session")
def weights(photograph, tmp_path_factory):
    """Weights of an untrained regression model whose scores differ from picture to picture, and their card."""
    import keras

    from iqa.models.backbones import build_backbone
    from iqa.models.networks import add_head
    from iqa.models.weight_files import save_with_card

    keras.utils.set_random_seed(0)
    backbone, facts = build_backbone("none", noise=0.003)
    patches = [np.roll(photograph, shift, axis=(0, 1))[:224, :224] for shift in range(0, 256, 32)]
    model = enliven(add_head(backbone, Head("regression", 0.25)), np.stack(patches))
    path = tmp_path_factory.mktemp("weights") / "untrained.weights.h5"
    card = Card(facts, Head("regression", 0.25), Preprocessing("patch"), TID2013_SCALE)
    save_with_card(model, path, card)
    return path


@pytest.fixture(scope="session")
def save_as_keras2_does():
    """save(model, path): the weights of a model as the HDF5 files of Keras 2 hold them, under the names of the layers."""
    import h5py

    def save(model, path):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [layer.name for layer in model.layers]
            for layer in model.layers:
                group = file.create_group(layer.name)
                names = [f"{layer.name}/{number}" for number in range(len(layer.weights))]
                group.attrs["weight_names"] = names
                for name, weight in zip(names, layer.get_weights(), strict=True):
                    group[name] = weight

    return save


@pytest.fixture(scope="session")
def tiny_networks(tmp_path_factory):
    """Networks of two layers with their compiled files, for tests that do not depend on the layers.

    `network_of` builds them for weight files whose names begin with "tiny". Their cards are those of ordinary networks.
    """
    import keras

    from iqa.models import networks
    from iqa.models.compiled import compile_weights

    network_of = networks.network_of

    def build(card):
        pixels = keras.Input((card.preprocessing.size, card.preprocessing.size, 3))
        x = keras.layers.Rescaling(1 / 127.5, 0 if card.backbone.padding == "symmetric" else -1)(pixels)
        x = keras.layers.Flatten()(keras.layers.AveragePooling2D(32)(x))
        features = keras.layers.Dense(1000, activation="tanh", name="features")(x)
        activation = "softmax" if card.bins > 1 else None
        return keras.Model(pixels, [keras.layers.Dense(card.bins, activation=activation)(features), features])

    def network_or_tiny_one_of(card, weights):
        if not Path(weights).name.startswith("tiny"):
            return network_of(card, weights)
        model = build(card)
        with open(weights, "rb") as file:
            stored = np.load(file)
            model.set_weights([stored[name] for name in stored.files])
        return model

    def write(name, head, preprocessing, scale):
        keras.utils.set_random_seed(0)
        card = Card(Backbone("mobilenet_v2", "imagenet", "keras", 1e-3), Head(head), preprocessing, scale)
        path = tmp_path_factory.mktemp("tiny") / name
        with open(path, "wb") as file:
            np.savez(file, *build(card).get_weights())
        write_json(card_of(path), card.to_json() | {"sha256": sha256(path)})
        compile_weights(path)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "network_of", network_or_tiny_one_of)
        yield {
            "regression": write("tiny.weights.h5", "regression", Preprocessing("patch"), TID2013_SCALE),
            "histogram": write(
                "tiny.weights.h5", "histogram", Preprocessing("resize", interpolation="bilinear"), AVA_SCALE
            ),
        }


@pytest.fixture(scope="session")
def tiny(tiny_networks):
    """Weights of a tiny regression model of patches; see `tiny_networks`."""
    return tiny_networks["regression"]


@pytest.fixture(scope="session")
def tiny_histogram(tiny_networks):
    """Weights of a tiny histogram model of whole pictures; see `tiny_networks`."""
    return tiny_networks["histogram"]


@pytest.fixture
def pictures(tmp_path, photograph):
    """Four pictures in nested folders, one of an odd name, and a text."""
    folder = tmp_path / "pictures"
    for number, name in enumerate(("b.png", "a/z.png", "a/c/y.PNG", "é\n&<.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(photograph, 20 * number, axis=1)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def copy_of(tmp_path):
    """copy_of(weights, **changes of its card's parts) -> the path of a copy; copy_of(w, preprocessing={"kind": "x"}) ..."""

    def copy(weights, **changes):
        copied = tmp_path / weights.name
        for file in (weights, compiled_beside(weights)):
            if file.is_file():
                shutil.copy(file, tmp_path)
        card = json.loads(card_of(weights).read_text())
        for part, facts in changes.items():
            card[part] = {name: fact for name, fact in (card.get(part, {}) | facts).items() if fact is not None}
        card_of(copied).write_text(json.dumps(card))
        return copied

    return copy


@pytest.fixture
def command(monkeypatch, capsys):
    """command(module, *arguments) -> (exit code, stdout, stderr) of a script's `main`."""

    def call(module, *arguments):
        monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            code = run(module.main)  # a training session is no exit code and is returned as it is
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call
