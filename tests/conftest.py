"""Fixtures: a photograph that is always there, and the data that only some machines have."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqa.commands.terminal import run
from iqa.images.finding import sample_photograph
from iqa.images.reading import read_image


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Networks that are written for the runtimes go to a folder of these tests, empty at their start."""
    os.environ["IQA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return Path(os.environ["IQA_CACHE"])


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
    """Weights of an untrained regression model that tells pictures apart, and their card.

    Batch normalisation takes its statistics from patches of the photograph: with those that it is born with, the features
    of random weights vanish, every picture scores 0, and no test of what is scored could fail.
    """
    import keras

    from iqa.cards import TID2013_SCALE, Card, Head, Sight
    from iqa.models.backbones import build_backbone
    from iqa.models.heads import add_head
    from iqa.models.weight_files import save_with_card

    keras.utils.set_random_seed(0)
    backbone, facts = build_backbone("none", noise=0.003)
    model = add_head(backbone, Head("regression", 0.25))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    patches = [np.roll(photograph, shift, axis=(0, 1))[:224, :224] for shift in range(0, 256, 32)]
    model([np.stack(patches).astype(np.float32)], training=True)
    path = tmp_path_factory.mktemp("weights") / "untrained.weights.h5"
    card = Card(facts, Head("regression", 0.25), Sight("patch"), TID2013_SCALE)
    save_with_card(model, path, card)
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """command(module, *arguments) -> (exit code, stdout, stderr) of a script's `main`."""

    def call(module, *arguments):
        monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            code = run(module.main)  # what is no exit code, a training session, is given back
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call
