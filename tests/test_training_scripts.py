"""The train scripts at the command line, on a few pictures and a network of random weights."""

import json

import numpy as np
import pytest
from PIL import Image

from AVA import ava_vanilla
from iqa.cards import card_of, read_card
from iqa.scoring.scorer import load_scorer
from TID2013_regression import tid2013_regression


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


def test_the_regression_is_trained_without_the_ladder_of_a_broken_image_and_resumed_without_its_options(
    command, tid, tmp_path
):
    run = tmp_path / "run"
    prompt, out, err = command(
        tid2013_regression, "--images", tid, "--backbone", "none", "--batch-size", 5, "--seed", 3, "--repeats", 1,
        "--across", tid, "--run", run, "--schedule", "1@1e-3:frozen"
    )  # fmt: skip
    assert len(prompt.session.state.log) == 1, err
    assert "2 ladders of TID2013, 0 of photographs, 3 for their order" in out
    assert err.count("i08_01_3: it is not an image") == 2  # once among TID2013, once among the others
    assert "left out, incomplete: i08_01_1" in err
    card = read_card(card_of(run / "best.weights.h5"))
    assert (card.trained_on["images"], card.trained_on["seed"], card.head.kind) == (10, 3, "regression")

    resumed, _, err = command(tid2013_regression, "--run", run, "--resume", "--schedule", "1@1e-3:frozen,1@1e-4:frozen")
    assert len(resumed.session.state.log) == 2, err
    assert [start["seed"] for start in json.loads((run / "run.json").read_text())] == [3, 3]

    code, _, err = command(tid2013_regression, "--run", run, "--resume", "--batch-size", 10, "--ranking", 1)
    assert code == 2
    assert "the run was begun with other settings: ranking 2.0, now 1.0; batch size 5, now 10" in err


def test_another_network_is_trained_at_another_size_and_scored_from_its_card(command, photograph, tmp_path):
    pictures, rows = tmp_path / "pictures", []
    pictures.mkdir()
    for number in range(8):
        Image.fromarray(np.roll(photograph, 30 * number, axis=0)).save(pictures / f"{number}.png")
        rows.append(f"{number}.png,{4 + number / 4}\n")
    (tmp_path / "labels.csv").write_text("image_id,score\n" + "".join(rows))
    run = tmp_path / "run"
    options = ["--images", pictures, "--train-labels", tmp_path / "labels.csv", "--test-share", 0.25, "--batch-size", 3]
    network = ["--network", "mobilenet_v3_large", "--backbone", "none", "--size", 64]
    prompt, out, err = command(ava_vanilla, *options, *network, "--run", run, "--schedule", "1@1e-3:frozen,1@1e-4")
    assert [row["phase"] for row in prompt.session.state.log] == [1, 2], err
    assert "6 images to train on, 2 to test on" in out
    card = read_card(card_of(run / "best.weights.h5"))
    assert (card.backbone.backbone, card.preprocessing.size) == ("mobilenet_v3_large", 64)
    scorer = load_scorer(run / "best.weights.h5", head="histogram", runtime="keras")
    assert 1 < scorer.score(photograph).score < 10

    code, _, err = command(ava_vanilla, "--run", run, "--resume", "--network", "mobilenet", "--size", 96)
    assert code == 2
    assert "network mobilenet_v3_large, now mobilenet; size 64, now 96" in err


@pytest.mark.parametrize(
    "script, options, reason",
    [
        (ava_vanilla, ["--weights", "ava_vanilla", "--network", "vgg16"], "--network and --weights do not go together"),
        (ava_vanilla, ["--network", "vgg19"], "invalid choice: 'vgg19'"),
        (tid2013_regression, ["--order", "x", "--ranking", 0], "--order and --ranking 0 do not go together"),
        (tid2013_regression, ["--across", "x", "--ranking", 0], "--across and --ranking 0 do not go together"),
        (tid2013_regression, ["--ranking", -1], "--ranking must be at least 0, got -1"),
        (ava_vanilla, ["--dropout", 1], "must be at least 0 and below 1, got 1"),
        (ava_vanilla, ["--steady", 0], "must be above 0, got 0"),
        (ava_vanilla, ["--weights", "ava_vanilla", "--backbone", "none"], "--backbone and --weights do not go together"),
        (ava_vanilla, ["--schedule", "4"], "schedule: expected EPOCHS@RATE"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_in_plain_words(command, tmp_path, script, options, reason):
    code, _, err = command(script, "--images", tmp_path, "--run", tmp_path / "run", *options)
    assert code == 2
    assert reason in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["missing.weights.h5", "missing.hdf5", "no_such_model"])
def test_weights_that_are_missing_are_named(command, tmp_path, name):
    (tmp_path / "labels.csv").write_text("a.jpg,5\n")
    (tmp_path / "test.csv").write_text("b.jpg,5\n")
    labels = ["--train-labels", tmp_path / "labels.csv", "--test-labels", tmp_path / "test.csv"]
    code, _, err = command(ava_vanilla, "--images", tmp_path, "--run", tmp_path / "run", "--weights", name, *labels)
    assert code == 2
    assert name in err and "there is no such file" in err
