"""Batches, and a session that is killed and resumed, on a tiny network and tiny pictures."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from iqa.datasets import LabelledImage, RatedImage
from iqa.images import centre_patch, random_patch, read_image
from iqa.losses import LCC, LadderLoss
from iqa.pipeline import Evaluation, Ladders, Photographs, usable
from iqa.scoring import sha256
from iqa.session import Phase, Session, parse_schedule

SIZE = 8


def centre(pixels):
    return centre_patch(pixels, SIZE)


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("ladders"), np.random.default_rng(0)
    groups = []
    for scene in range(6):
        base = rng.integers(0, 100, (12, 14, 3))
        group = []
        for level in range(1, 6):
            path = folder / f"s{scene}_01_{level}.png"
            Image.fromarray((base + 30 * level).astype(np.uint8)).save(path)
            group.append(LabelledImage(f"s{scene}", 1, level, 7.0 - level, path))
        groups.append(group)
    return groups


def test_a_batch_holds_whole_ladders_cut_alike_with_their_labels(ladders):
    pixels, mos = Ladders(ladders, batch_size=12, patch_size=SIZE, seed=1)[0]
    assert (pixels.shape, pixels.dtype) == ((10, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(mos[:, 0], [6, 5, 4, 3, 2] * 2)
    steps = np.diff(pixels.reshape(2, 5, -1).astype(int), axis=1)
    assert (steps == 30).all()


def test_an_epoch_shows_every_ladder_once_and_the_next_in_another_order(ladders):
    marked = [[replace(image, mos=image.mos + number / 100) for image in ladder] for number, ladder in enumerate(ladders)]
    data = Ladders(marked, batch_size=10, patch_size=SIZE, seed=1)

    def seen():
        return np.concatenate([data[index][1] for index in range(len(data))])[::5, 0].tolist()

    first = seen()
    data.on_epoch_end()
    assert sorted(first) == sorted(seen()) == pytest.approx([6 + number / 100 for number in range(6)])
    assert first != seen()


def test_batches_depend_on_seed_and_epoch_alone(ladders):
    one, two = (Ladders(ladders, 10, SIZE, seed=3) for _ in range(2))
    two[2]
    np.testing.assert_array_equal(one[1][0], two[1][0])
    one.epoch = two.epoch = 4
    np.testing.assert_array_equal(one[0][0], two[0][0])
    assert not np.array_equal(one[0][0], Ladders(ladders, 10, SIZE, seed=4)[0][0])


def test_evaluation_sees_all_centres_in_order(ladders):
    images = [image for ladder in ladders for image in ladder][:7]
    data = Evaluation(images, 3, centre)
    pixels = np.concatenate([data[i][0] for i in range(len(data))])
    assert len(pixels) == 7
    np.testing.assert_array_equal(pixels[6], read_image(images[6].path)[2:10, 3:11])


def test_photographs_are_all_seen_once_an_epoch_with_their_labels(ladders):
    images = [image for ladder in ladders for image in ladder]
    data = Photographs(images, 7, lambda pixels, rng: random_patch(pixels, SIZE, rng), seed=1)
    batches = [data[index] for index in range(len(data))]
    assert [len(pixels) for pixels, _ in batches] == [7, 7, 7, 7, 2]
    labels = np.concatenate([labels for _, labels in batches])
    assert (labels.shape, labels.dtype) == ((30, 1), np.float32)
    assert sorted(labels[:, 0]) == sorted(image.mos for image in images)
    data.epoch = 1
    assert not np.array_equal(data[0][1], batches[0][1])


def test_unusable_images_are_named_once_and_remembered(ladders, tmp_path, monkeypatch):
    (tmp_path / "bad.png").write_bytes(b"x")
    votes = (0.1,) * 10
    good = RatedImage("good", votes, ladders[0][0].path)
    images = [good, RatedImage("bad", votes, tmp_path / "bad.png"), RatedImage("missing", votes)]
    memory = tmp_path / "memory.json"
    for _ in range(2):
        kept, refused = usable(images, memory=memory)
        assert kept == [good]
        assert [name for name, _ in refused] == ["bad", "missing"]
        monkeypatch.setattr("iqa.pipeline.read_image", None)  # the second time nothing is decoded
    assert "13 needed" in usable([good], smallest=13, memory=memory)[1][0][1]


def network():
    keras.utils.set_random_seed(5)
    pixels = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.GaussianNoise(0.01)(x)
    x = keras.layers.Conv2D(4, 3, name="backbone")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(pixels, keras.layers.Dense(1, name="score")(x))


def session(ladders, run):
    validation = [image for ladder in ladders[:2] for image in ladder]
    return Session(
        network(),
        Ladders(ladders, 10, SIZE, seed=2, workers=1),
        Evaluation(validation, 10, centre, workers=1),
        LadderLoss(),
        ["mse", LCC()],
        run=run,
        card={"head": {"kind": "regression"}},
    )


def test_a_schedule_is_read_and_a_bad_one_refused_by_its_part():
    assert parse_schedule("1@1e-3:frozen, 4@0.0001") == [Phase(1e-3, 1, True), Phase(1e-4, 4)]
    for bad in ("", "4", "4@", "@1e-3", "4@1e-3:cold", "4@0", "1@1e-3,,1@1e-4"):
        with pytest.raises(ValueError, match="EPOCHS@RATE"):
            parse_schedule(bad)


def test_a_frozen_phase_moves_the_head_alone_and_normalisation_never_moves(ladders, tmp_path):
    trained = session(ladders, tmp_path)
    before = {layer.name: layer.get_weights() for layer in trained.model.layers if layer.weights}
    trained.fit(1e-2, epochs=1, frozen=True)
    after = {layer.name: layer.get_weights() for layer in trained.model.layers if layer.weights}
    same = {name: all(map(np.array_equal, before[name], after[name])) for name in before}
    assert same == {"backbone": True, "norm": True, "score": False}
    trained.fit(1e-2, epochs=1)
    assert not np.array_equal(after["backbone"][0], trained.model.get_layer("backbone").get_weights()[0])
    assert all(map(np.array_equal, before["norm"], trained.model.get_layer("norm").get_weights()))


def test_batch_normalisation_of_random_weights_is_trained(ladders, tmp_path):
    trained = session(ladders, tmp_path)
    trained.card = {"head": {"kind": "regression"}, "backbone": {"backbone_weights": "none"}}
    before = trained.model.get_layer("norm").get_weights()
    trained.fit(1e-2, epochs=1)
    assert not np.array_equal(before[2], trained.model.get_layer("norm").get_weights()[2])


def test_a_run_folder_holds_a_row_an_epoch_the_last_epoch_and_the_best_with_its_card(ladders, tmp_path):
    trained = session(ladders, tmp_path)
    trained.run_schedule(parse_schedule("1@1e-2:frozen,2@1e-3"))
    with open(tmp_path / "log.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["epoch"], row["phase"], row["learning_rate"]) for row in rows] == [
        ("1", "1", "0.01"),
        ("2", "2", "0.001"),
        ("3", "2", "0.001"),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {
        "log.csv",
        "session.json",
        "epoch-003.weights.h5",
        "best.weights.h5",
        "best.json",
    }
    card = json.loads((tmp_path / "best.json").read_text())
    assert card["sha256"] == sha256(tmp_path / "best.weights.h5")
    assert card["training"]["val_lcc"] == max(float(row["val_lcc"]) for row in rows)


def test_a_killed_run_that_is_resumed_ends_with_the_weights_of_an_uninterrupted_one(ladders, tmp_path, monkeypatch):
    phases = parse_schedule("1@1e-2:frozen,3@1e-3")
    whole = session(ladders, tmp_path / "whole")
    whole.run_schedule(phases)

    broken = session(ladders, tmp_path / "broken")
    getitem = Ladders.__getitem__

    def killing(self, index):
        if self.epoch == 2 and index == 1:
            raise RuntimeError("killed")
        return getitem(self, index)

    monkeypatch.setattr(Ladders, "__getitem__", killing)
    with pytest.raises(Exception, match="killed"):  # TensorFlow wraps it
        broken.run_schedule(phases)
    monkeypatch.undo()

    resumed = session(ladders, tmp_path / "broken")
    assert resumed.resume()
    assert len(resumed.log) == 2
    resumed.run_schedule(phases)
    assert [row["loss"] for row in resumed.log] == pytest.approx([row["loss"] for row in whole.log], abs=1e-6)
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights()):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_folder_without_a_run_cannot_be_resumed_and_another_schedule_is_refused(ladders, tmp_path):
    fresh = session(ladders, tmp_path)
    assert not fresh.resume()
    fresh.fit(1e-3, epochs=1)
    with pytest.raises(ValueError, match="another schedule"):
        fresh.run_schedule([Phase(1e-4, 1)])


def test_a_run_that_is_there_is_not_overwritten_by_a_new_one(ladders, tmp_path):
    session(ladders, tmp_path).fit(1e-3, epochs=1)
    before = (tmp_path / "session.json").read_text()
    with pytest.raises(ValueError, match="holds a run"):
        session(ladders, tmp_path).fit(1e-3, epochs=1)
    assert (tmp_path / "session.json").read_text() == before


def test_an_epoch_whose_loss_is_not_finite_is_not_kept_and_ends_the_schedule(ladders, tmp_path, monkeypatch):
    trained = session(ladders, tmp_path)
    keep = Session._keep

    def spoiled(self, logs, seconds):
        keep(self, logs | ({"loss": float("nan")} if len(self.log) == 1 else {}), seconds)

    monkeypatch.setattr(Session, "_keep", spoiled)
    with pytest.raises(ValueError, match="loss of epoch 2 is nan"):
        trained.run_schedule(parse_schedule("2@1e-3,2@1e-4"))
    state = json.loads((tmp_path / "session.json").read_text())
    assert [row["epoch"] for row in state["log"]] == [1]
    assert len(state["phases"]) == 1
    assert (tmp_path / "epoch-001.weights.h5").exists()


def test_a_kill_before_the_epoch_is_noted_leaves_the_best_to_be_written_again(ladders, tmp_path, monkeypatch):
    trained = session(ladders, tmp_path)

    def killed(*_):
        raise RuntimeError("killed")

    monkeypatch.setattr("iqa.session.save_with_card", killed)
    with pytest.raises(RuntimeError, match="killed"):
        trained.fit(1e-3, epochs=1)
    monkeypatch.undo()
    assert not (tmp_path / "session.json").exists()
    session(ladders, tmp_path).fit(1e-3, epochs=1)
    assert (tmp_path / "best.weights.h5").exists()
