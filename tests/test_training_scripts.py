"""The train scripts at the command line, on a few pictures and a network that trains in a second."""

import importlib.util
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from AVA import ava_vanilla, infer_vanilla
from iqa.cards import AVA_SCALE, card_of, read_card
from iqa.commands.train import scale_of
from iqa.models import backbones
from iqa.training.run_folder import parse_schedule
from iqa.training.trainer import Trainer
from TID2013_regression import infer_regression, tid2013_regression


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    """A network of one convolution in the place of MobileNetV2, and no TensorBoard."""

    def build(input_shape, **_):
        pixels = keras.Input(input_shape)
        x = keras.layers.Conv2D(8, 8, strides=8, activation="relu", name="conv")(pixels)
        return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))

    monkeypatch.setitem(backbones.NETWORKS, "mobilenet_v2", backbones.Network(build, "minus_one_to_one"))
    monkeypatch.setattr(Trainer, "writes_events", False)
    monkeypatch.setattr("iqa.models.compiled.compile_weights", lambda weights: weights.with_name("best.tflite"))


@pytest.fixture
def own(tmp_path, photograph):
    """Eight pictures of four scenes with scores of 0-100, and columns that look like votes."""
    folder = tmp_path / "own"
    folder.mkdir()
    parts = ("training", "training", "validation", "training", "test", "training", "test", "training")
    rows = ["image_name,scene,set,MOS,1,2,3"]
    for number, part in enumerate(parts):
        Image.fromarray(np.roll(photograph, 16 * number, axis=1) // (1 + number % 3)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,scene {number // 2},{part},{90 - 10 * number},5,6,7")
    (folder / "scores.csv").write_text("\n".join([*rows, ""]))
    votes = "".join(f"{number}.png,{4 + number / 4}\n" for number in range(8))
    (folder / "votes.csv").write_text("image_id,score\n" + votes)
    return folder


@pytest.fixture
def tid(tmp_path, photograph):
    """Three ladders to learn from, of which one has a broken image, and one to choose the checkpoint by."""
    folder = tmp_path / "tid"
    folder.mkdir()
    names = [f"i{scene:02d}_01_{level}.png" for scene in (4, 7, 8, 9) for level in range(1, 6)]
    for number, name in enumerate(names):
        Image.fromarray(np.roll(photograph, 16 * number, axis=1) // (1 + number % 5)).save(folder / name)
    (folder / "i08_01_3.png").write_bytes(b"no picture")
    (folder / "mos_with_names.txt").write_text("".join(f"{6 - n % 5} {name}\n" for n, name in enumerate(names)))
    return folder


def train_scores(command, own, run, *options):
    given = ("--images", own, "--train-labels", own / "scores.csv", "--scale", 0, 100, "--backbone", "none")
    return command(tid2013_regression, *given, "--batch-size", 4, "--run", run, *options)


def test_the_regression_is_trained_without_the_ladder_of_a_broken_image_and_resumed_without_its_options(
    command, tid, tmp_path, monkeypatch
):
    monkeypatch.setattr(tid2013_regression, "REPEATS", 1)
    run = tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    prompt, out, err = command(
        tid2013_regression, "--images", "tid", "--backbone", "none", "--batch-size", 5, "--seed", 3,
        "--ladders", "tid", "--run", run, "--schedule", "1@1e-3:frozen"
    )  # fmt: skip
    assert len(prompt.session.state.log) == 1, err
    assert "2 ladders of TID2013, 3 of photographs, 5 images to validate on" in out
    assert err.count("i08_01_3: it is not an image") == 2  # once among TID2013, once among the others
    assert "left out, incomplete: i08_01_1" in err
    card = read_card(card_of(run / "best.weights.h5"))
    assert (card.trained_on["seed"], card.trained_on["loss"], card.head.kind) == (3, "ladder_loss", "regression")

    monkeypatch.chdir("/")
    resumed, _, err = command(tid2013_regression, "--run", run, "--resume", "--schedule", "1@1e-3:frozen,1@1e-4:frozen")
    assert len(resumed.session.state.log) == 2, err
    assert [start["seed"] for start in json.loads((run / "run.json").read_text())] == [3, 3]
    code, _, err = command(tid2013_regression, "--run", run, "--resume", "--batch-size", 10)
    assert code == 2
    assert "the run was begun with other settings:" in err and "batch size 5, now 10" in err


def test_the_regression_is_trained_on_any_scores_with_groups_whole_and_scores_with_its_card(command, own, tmp_path):
    run = tmp_path / "run"
    split = ("--test-share", 0.25, "--group-by", "scene", "--patches", 2, "--schedule", "1@1e-3:frozen:cosine")
    prompt, out, err = train_scores(command, own, run, *split)
    assert "6 images to train on, 2 to test on" in out, err
    session = prompt.session
    assert len({image.group for image in session.test_data.images}) == 1
    pixels, labels = session.train_data[0]
    assert pixels.shape == (4, 224, 224, 3)  # two patches of two pictures
    assert labels[0] == labels[1] and 0 <= labels.min() <= labels.max() <= 9
    assert {"lcc", "srcc", "val_lcc", "val_srcc"} <= session.state.log[0].keys()
    card = read_card(card_of(run / "best.weights.h5"))
    assert card.scale.name == "scores.csv, 0-9" and "0-100 mapped linearly to 0-9" in card.scale.meaning
    assert (card.trained_on["images"], card.trained_on["labels"]) == (6, "scores.csv")
    model = infer_regression.load(run / "best.weights.h5", runtime="keras")
    assert np.isfinite(infer_regression.infer(own / "0.png", model))


def test_avas_own_votes_bring_its_population():
    assert scale_of(Path("a.json"), [1, 10], AVA_SCALE) == scale_of(Path("AVA.txt"), (1, 10), AVA_SCALE) == AVA_SCALE


VANILLA = ["--test-share", 0.25, "--backbone", "none", "--batch-size", 3]
TURN = """    from scipy.ndimage import rotate

    pixels = rotate(pixels, rng.uniform(-2, 2), reshape=False, order=1, mode="reflect")
"""
EDITS = {
    "plain EMD": ("loss = losses.emd_and_moments", "loss = losses.emd"),
    "another dropout": ("dropout=0.75", "dropout=0.5"),
    "rotation by two degrees": ("    return random_patch(", f"{TURN}    return random_patch("),
    "a hidden layer": ("hidden=0", "hidden=256"),
}


def edited(folder, name):
    """The module of a copy of the vanilla script in which one place was changed."""
    old, new = EDITS[name]
    source = Path(ava_vanilla.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1
    file = folder / "ava_edited.py"
    file.write_text(source.replace(old, new), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("ava_edited", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ava_edited"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", EDITS)
def test_another_experiment_is_an_edit_of_one_place_of_the_script(command, own, tmp_path, name):
    script, run = edited(tmp_path, name), tmp_path / "run"
    options = ["--images", own, "--train-labels", own / "votes.csv", *VANILLA, "--run", run]
    prompt, out, err = command(script, *options, "--schedule", "1@1e-3:frozen")
    assert "6 images to train on, 2 to test on" in out and "best.tflite" in out, err
    card, session = read_card(card_of(run / "best.weights.h5")), prompt.session
    assert card.trained_on["script"].startswith("ava_edited.py ")
    assert (card.scale.population, card.scale.name) == (None, "votes.csv, 1-10")
    layers = {layer.name: layer for layer in session.model.layers}
    if name == "plain EMD":
        assert card.trained_on["loss"] == "emd"
    elif name == "another dropout":
        assert (card.head.dropout, layers["dropout"].rate) == (0.5, 0.5)
    elif name == "a hidden layer":
        assert (card.head.hidden, layers["hidden"].units) == (256, 256)
    else:
        stripes = np.tile(np.arange(300, dtype=np.uint8)[:, None, None], (1, 300, 3))
        crops = [module.augment(stripes, np.random.default_rng(0), card.preprocessing) for module in (script, ava_vanilla)]
        assert np.ptp(crops[0][100]) > np.ptp(crops[1][100]) == 0
    model = infer_vanilla.load(run / "best.weights.h5", runtime="keras")
    assert 1 < infer_vanilla.infer(own / "0.png", model).mean < 10
    code, _, err = command(ava_vanilla, "--run", run, "--resume")
    assert code == 2
    last = err.splitlines()[-1]
    assert "begun with other settings: script ava_edited.py" in last and "now ava_vanilla.py" in last
    if name == "a hidden layer":
        weights = ("--weights", run / "best.weights.h5", "--run", tmp_path / "other")
        code, _, err = command(ava_vanilla, *options[:6], *weights)
        assert (code, err.count("head.hidden is 256, but a head with 0 is trained here")) == (2, 1)


def test_a_training_that_begins_with_weights_keeps_their_preprocessing(command, own, tmp_path, monkeypatch):
    options = ["--images", own, "--train-labels", own / "votes.csv", "--test-share", 0.25]
    small = ava_vanilla.PREPROCESSING.__class__("resize", 64, "nearest")
    with monkeypatch.context() as patch:
        patch.setattr(ava_vanilla, "PREPROCESSING", small)
        first = ("--backbone", "none", "--run", tmp_path / "first", "--schedule", "1@1e-3")
        command(ava_vanilla, *options, *first)
    best = tmp_path / "first/best.weights.h5"
    second = ("--weights", best, "--run", tmp_path / "second")
    again, _, err = command(ava_vanilla, *options, *second)
    card = again.session.card
    assert (card.preprocessing.size, card.preprocessing.interpolation) == (64, "nearest"), err
    again.session.load(tmp_path / "first/best")
    assert again.session.train_data[0][0].shape == (6, 64, 64, 3)


def test_every_picture_is_tested_once_and_folds_that_are_finished_are_not_trained_again(command, own, tmp_path):
    run = tmp_path / "run"
    code, out, err = train_scores(command, own, run, "--folds", 2, "--group-by", "scene", "--schedule", "1@1e-2:cosine")
    assert code == 0, err
    found = json.loads((run / "folds.json").read_text())["folds"]
    assert [(fold["fold"], fold["tested on"]) for fold in found] == [(1, 4), (2, 4)]
    *_, heading, _, _, means, spread = out.splitlines()
    assert "fold 2 of 2: 4 images to train on, 4 to test on" in out
    assert heading.split() == ["fold", "images", "mse", "lcc", "srcc"]
    mse = [fold["after"]["mse"] for fold in found]
    before = np.mean([fold["before"]["mse"] for fold in found])
    assert means.split()[:4] == ["mean", f"{before:.3f}", ">", f"{np.mean(mse):.3f}"]
    assert spread.split()[3] == f"{np.std(mse, ddof=1):.3f}"
    code, _, err = train_scores(command, own, run, "--folds", 2, "--schedule", "1@1e-2:cosine")
    assert (code, err.count("holds a run: resume it (--resume)")) == (2, 1)
    (run / "fold-2/checkpoint.npz").unlink()
    code, out, err = command(tid2013_regression, "--run", run, "--resume")
    assert (code, out.count("phase 1: learning rate")) == (0, 1), err
    again = json.loads((run / "folds.json").read_text())["folds"]
    assert again[0] == found[0]
    assert again[1]["after"]["mse"] == pytest.approx(mse[1], rel=1e-4)


@pytest.mark.parametrize(
    "script, options, reason",
    [
        (ava_vanilla, ["--weights", "ava_vanilla", "--backbone", "none"], "--backbone and --weights do not go together"),
        (ava_vanilla, ["--folds", 2, "--test-share", 0.2], "--test-share and --folds do not go together: choose one"),
        (ava_vanilla, ["--weights", "no_such_model", "--test-share", 0.2], "there is no such file"),
        (tid2013_regression, [], "a .csv of scores needs --test-share, --split-by, --test-labels or --folds"),
        (tid2013_regression, ["--test-share", 1], "must be above 0 and below 1, got 1.0"),
        (tid2013_regression, ["--folds", 1], "--folds must be at least 2, got 1"),
        (tid2013_regression, ["--test-share", 0.2, "--ladders", "x"], "do not go with a .csv of scores"),
        (tid2013_regression, ["--test-share", 0.2, "--scale", 0, 50], "line 2: a score of 90 is not within 0-50"),
        (tid2013_regression, ["--test-share", 0.2, "--test-split", "dev"], "--test-split names rows of --split-by"),
        (tid2013_regression, ["--folds", 5, "--group-by", "scene", "--schedule", "1@1e-3"], "need at least as many groups"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(command, own, tmp_path, script, options, reason):
    labels = "votes.csv" if script is ava_vanilla else "scores.csv"
    scale = [] if script is ava_vanilla or "--scale" in options else ["--scale", 0, 100]
    given = ["--images", own, "--train-labels", own / labels, *scale, "--run", tmp_path / "run"]
    code, _, err = command(script, *given, *options)
    assert code == 2
    assert reason in err.splitlines()[-1]


def test_the_original_schedules_are_those_of_its_readme():
    phases = parse_schedule("original", ava_vanilla.ORIGINAL_SCHEDULE)
    assert list(map(str, phases)) == ["1@0.001:frozen", "4@0.0001", "12@5e-06", "1@5e-07"]
