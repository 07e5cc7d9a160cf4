"""A session that is driven by hand, interrupted, killed and resumed, on a tiny network and tiny pictures."""

import csv
import errno
import functools
import json
import math
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_training import CARD, make_ladders, network, see, tiny_prompt

from iqa.cards import sha256
from iqa.errors import ImageError, RunError, UsageError, WeightsError
from iqa.files import remove_leftovers
from iqa.training import trainer
from iqa.training.batches import Evaluation, Ladders
from iqa.training.recorder import Recorder
from iqa.training.run_folder import RunFolder
from iqa.training.schedule import PATIENCE, Phase, parse_schedule
from iqa.training.trainer import Trainer

TINY = Path(__file__).with_name("tiny_training.py")

# The whole of it takes minutes: IQA_THOROUGH=1 asks for it.
INTERRUPTS, KILLS = (50, 20) if os.environ.get("IQA_THOROUGH") else (8, 2)


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    return make_ladders(tmp_path_factory.mktemp("ladders"))


@pytest.fixture(autouse=True)
def no_events(monkeypatch):
    """TensorBoard's events take longer to write than these networks to train; one test below looks at them."""
    monkeypatch.setattr(Trainer, "writes_events", False)


def tiny_session(*arguments, **settings):
    return tiny_prompt(*arguments, **settings).session


def resumed_session(*arguments, **settings):
    session = tiny_session(*arguments, **settings)
    assert session.resume()
    return session


def rows_of(run):
    with open(run / "log.csv", newline="") as lines:
        return list(csv.DictReader(lines))


def state_of(run):
    return json.loads((run / "phases.json").read_text())


def weights_of(session):
    return [weight.copy() for weight in session.model.get_weights()]


def assert_equal_weights(ours, theirs, atol=0.0):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@functools.cache
def a_network():
    """One to load weights into, again and again: to build one takes longer than most of what is tested here."""
    return network()


def saved_weights(file):
    model = a_network()
    model.load_weights(file)
    return model.get_weights()


def assert_sound(run, killed=False):
    """What must hold of the files of a run as they lie there; a process that was killed may leave a row out and litter."""
    state, names = state_of(run), {path.name for path in run.iterdir()}
    epochs = [int(row["epoch"]) for row in rows_of(run)] if "log.csv" in names else []
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(state["log"]) - len(epochs) in ((0, 1) if killed else (0,))
    assert [row["epoch"] for row in state["log"]] == list(range(1, len(state["log"]) + 1))
    assert sum(phase["done"] for phase in state["phases"]) == len(state["log"])
    named = {state["checkpoint"], state["begin"], (state["best"] or {}).get("checkpoint")} - {None}
    assert named <= names
    for name in named:
        assert all(np.isfinite(weight).all() for weight in saved_weights(run / name))
    if not killed:
        assert not any(name.startswith(".") for name in names)
        if state["best"]:
            card = json.loads((run / "best.json").read_text())
            assert card["sha256"] == sha256(run / "best.weights.h5")
            assert card["training"]["epoch"] == state["best"]["epoch"]
    return state


def when_drawn(patch, epoch, index, act):
    """Call `act` when batch `index` of the epoch `epoch` is drawn."""
    drawn = Ladders.__getitem__

    def drawing(data, number):
        if (data.epoch, number) == (epoch, index):
            act()
        return drawn(data, number)

    patch.setattr(Ladders, "__getitem__", drawing)


def press():
    os.kill(os.getpid(), signal.SIGINT)


def press_after_step(patch, epoch, step):
    """Press Ctrl-C as step number `step` of the epoch number `epoch` of the run ends."""
    ended = Recorder.on_train_batch_end

    def pressing(self, batch, logs=None):
        if (len(self.trainer.state.log) + 1, self.step + 1) == (epoch, step):
            press()
        ended(self, batch, logs)

    patch.setattr(Recorder, "on_train_batch_end", pressing)


def press_in_validation(patch, epoch):
    began = Recorder.on_test_begin

    def pressing(self, logs=None):
        began(self, logs)
        if len(self.trainer.state.log) + 1 == epoch:
            press()

    patch.setattr(Recorder, "on_test_begin", pressing)


def press_after_epoch(patch, epoch):
    end = Trainer.end_epoch

    def pressing(self, *arguments, **settings):
        end(self, *arguments, **settings)
        if len(self.state.log) == epoch:
            press()

    patch.setattr(Trainer, "end_epoch", pressing)


def fail():
    raise RuntimeError("unreadable")


# --- schedules -------------------------------------------------------------------------------------------------------


def test_a_schedule_is_read_and_a_bad_one_refused_by_its_part():
    assert parse_schedule("1@1e-3:frozen, 4@0.0001") == [Phase(1e-3, 1, True), Phase(1e-4, 4)]
    assert [str(phase) for phase in parse_schedule("until-plateau@1e-4")] == ["until-plateau@0.0001"]
    assert parse_schedule("original", "2@1e-3") == parse_schedule("2@1e-3")
    for bad in ("", "4", "4@", "@1e-3", "4@1e-3:cold", "4@0", "0@1e-3", "4@1.2.3", "1@1e-3,,1@1e-4", "original"):
        with pytest.raises(UsageError, match="EPOCHS@RATE"):
            parse_schedule(bad)


def test_the_text_of_a_schedule_is_read_back():
    text = "1@0.001:frozen,until-plateau@1e-05,4@5e-07"
    assert ",".join(str(phase) for phase in parse_schedule(text)) == text


def test_the_original_schedules_are_those_of_its_readme():
    from iqa.commands.train import ORIGINAL_SCHEDULE

    assert [str(p) for p in parse_schedule("original", ORIGINAL_SCHEDULE)] == [
        "1@0.001:frozen",
        "4@0.0001",
        "12@5e-06",
        "1@5e-07",
    ]


@pytest.mark.parametrize(
    "rate, epochs, message",
    [(1e-3, 0, "epochs must be at least 1, got 0"), (0, 1, "the learning rate must be above 0, got 0")],
)
def test_a_phase_of_nothing_is_refused_in_plain_words(ladders, tmp_path, capsys, rate, epochs, message):
    with pytest.raises(UsageError, match=message):
        Phase(rate, epochs)
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(rate, epochs)
    assert message in capsys.readouterr().out
    assert not prompt.session.state.phases


def test_a_phase_until_the_plateau_ends_when_nothing_got_better(ladders, tmp_path, monkeypatch):
    figures, end = iter([0.1, 0.3, 0.2, 0.29, 0.9]), Trainer.end_epoch
    monkeypatch.setattr(Trainer, "end_epoch", lambda t, logs, *rest: end(t, logs | {"val_lcc": next(figures)}, *rest))
    trained = tiny_session(ladders, tmp_path)
    trained.run_schedule(parse_schedule("until-plateau@1e-3"))
    assert len(trained.state.log) == 2 + PATIENCE
    assert (trained.state.phases[0].status, trained.state.phases[0].epochs) == ("done", 4)
    assert state_of(tmp_path)["best"]["epoch"] == 2
    resumed = resumed_session(ladders, tmp_path)
    assert resumed.run_schedule(parse_schedule("until-plateau@1e-3"))
    assert len(resumed.state.log) == 4


# --- what is trained -------------------------------------------------------------------------------------------------


def test_a_frozen_phase_moves_the_head_alone_and_normalisation_never_moves(ladders, tmp_path):
    prompt = tiny_prompt(ladders, tmp_path)
    layers = [layer for layer in prompt.session.model.layers if layer.weights]
    before = {layer.name: layer.get_weights() for layer in layers}
    prompt.pretrain(learning_rate=1e-2)
    after = {layer.name: layer.get_weights() for layer in layers}
    same = {name: all(map(np.array_equal, before[name], after[name])) for name in before}
    assert same == {"backbone": True, "norm": True, "score": False}
    prompt.fit(1e-2)
    assert not np.array_equal(after["backbone"][0], prompt.session.model.get_layer("backbone").get_weights()[0])
    assert all(map(np.array_equal, before["norm"], prompt.session.model.get_layer("norm").get_weights()))


def test_batch_normalisation_of_random_weights_is_trained(ladders, tmp_path):
    from dataclasses import replace

    card = replace(CARD, backbone=replace(CARD.backbone, backbone_weights="none"))
    trained = tiny_session(ladders, tmp_path, card=card)
    before = trained.model.get_layer("norm").get_weights()
    trained.train_phase(Phase(1e-2, 1))
    assert not np.array_equal(before[2], trained.model.get_layer("norm").get_weights()[2])


def test_a_learning_rate_schedule_and_callbacks_are_followed_and_recorded(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    cosine = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=9)
    seen = []
    prompt.fit(cosine, epochs=3, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(1))])
    (phase,) = prompt.session.state.phases
    assert (phase.status, len(seen), phase.callbacks) == ("done", 3, ["LambdaCallback"])
    rates = [row["learning_rate"] for row in prompt.session.state.log]
    assert rates == pytest.approx([float(cosine(step)) for step in (3, 6, 9)], rel=1e-4, abs=1e-9)
    assert state_of(tmp_path)["phases"][0]["decay"]["config"]["decay_steps"] == 9
    prompt.phases()
    assert "CosineDecay" in capsys.readouterr().out

    optimizer = resumed_session(ladders, tmp_path).model.optimizer
    assert int(optimizer.iterations) == 9
    assert optimizer.get_config()["learning_rate"]["class_name"] == "CosineDecay"


def test_a_stopping_callback_ends_a_phase(ladders, tmp_path):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-3, epochs=9, callbacks=keras.callbacks.EarlyStopping("loss", mode="max", patience=1))
    assert prompt.session.state.phases[0].done < 9
    assert prompt.session.state.phases[0].status == "done"


def test_a_broken_image_ends_training_with_its_name(ladders, tmp_path, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    copies = make_ladders(folder)
    trained = tiny_session(copies, tmp_path / "run")
    trained.train_phase(Phase(1e-3, 1))
    copies[4][2].path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"s4_01_3\.png: it is not an image"):
        trained.train_phase(Phase(1e-3, 3))
    copies[4][2].path.write_bytes(copies[4][1].path.read_bytes())
    copies[0][1].path.write_bytes(b"no picture")  # one of those to test on
    with pytest.raises(ImageError, match=r"s0_01_2\.png"):  # in another session: this one has read it ahead
        tiny_session(copies, tmp_path / "other").evaluate()


# --- the prompt ------------------------------------------------------------------------------------------------------


def test_what_is_trained_by_hand_with_keras_is_recorded_like_any_phase(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-2)
    names, state = prompt.commands(), prompt.session.state
    model, train_data, test_data = (names[name] for name in ("model", "train_data", "test_data"))
    prompt.freeze()
    model.compile(keras.optimizers.SGD(3e-3), loss="mse")
    history = model.fit(train_data, validation_data=test_data, epochs=2)
    assert len(history.history["loss"]) == 2
    assert [row["epoch"] for row in state.log] == [1, 2, 3]
    phase = state.phases[1]
    assert (phase.asked, phase.frozen, phase.done, phase.status) == ("by hand", True, 2, "done")
    assert phase.learning_rate == pytest.approx(3e-3)
    prompt.phases()
    prompt.curve()
    shown = capsys.readouterr().out
    assert "done, by hand" in shown
    assert "0.003" in shown

    resumed = resumed_session(ladders, tmp_path)
    assert isinstance(resumed.model.optimizer, keras.optimizers.SGD)
    assert_equal_weights(resumed.model.get_weights(), model.get_weights())


def test_by_hand_keras_takes_what_it_always_takes(ladders, tmp_path):
    prompt = tiny_prompt(ladders, tmp_path)
    names, phases = prompt.commands(), prompt.session.state.phases
    model, train_data, test_data = (names[name] for name in ("model", "train_data", "test_data"))
    model.fit(train_data, None, None, 2)  # epochs by position
    assert phases[0].done == 2
    model.compile("sgd", "mse")
    pixels, labels = train_data[0]
    model.fit(pixels, labels, 5, epochs=3, initial_epoch=1, verbose=0)
    assert (phases[1].done, phases[1].steps) == (2, 4)
    with pytest.raises(TypeError):
        model.fit(train_data, validation_dat=test_data)
    with pytest.raises(ValueError):
        model.fit(train_data, validation_data=(pixels, labels[:3]))
    assert len(phases) == 2 or phases[2].steps  # what trained nothing is no phase
    stopping = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    model.fit(train_data, epochs=9, callbacks=stopping)
    assert phases[-1].status == "done"
    assert_equal_weights(resumed_session(ladders, tmp_path).model.get_weights(), model.get_weights())


def test_the_model_of_a_session_is_saved_and_loaded_as_any_keras_model(ladders, tmp_path):
    model = tiny_session(ladders, tmp_path / "run").model
    model.save(tmp_path / "m.keras")
    assert_equal_weights(keras.models.load_model(tmp_path / "m.keras").get_weights(), model.get_weights())


def test_figures_on_other_data_make_no_best_epoch(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    trained.train_phase(Phase(1e-3, 1))
    best, end = state_of(tmp_path)["best"], Trainer.end_epoch
    other = Evaluation([image for ladder in ladders[2:] for image in ladder], 10, see)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "end_epoch", lambda t, logs, *rest: end(t, logs | {"val_lcc": 2.0}, *rest))
        trained.model.fit(trained.trainer.train_data, validation_data=other)
    assert state_of(tmp_path)["best"] == best


def test_undo_goes_back_to_the_weights_before_the_last_phase_once_and_after_a_resume_too(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-2)
    between = weights_of(prompt.session)
    prompt.fit(1e-2)
    shutil.copytree(tmp_path, tmp_path / "copy")
    copy = tiny_prompt(ladders, tmp_path / "copy")
    copy.session.resume()
    for one in (prompt, copy):
        one.undo()
        assert_equal_weights(one.session.model.get_weights(), between)
        assert [phase.status for phase in one.session.state.phases] == ["done", "undone"]
        one.undo()
        assert "nothing to undo" in capsys.readouterr().out
        assert_equal_weights(one.session.model.get_weights(), between)
    assert_equal_weights(resumed_session(ladders, tmp_path).model.get_weights(), between)


def test_weights_are_saved_with_a_card_and_loaded_by_name_or_path_and_bad_ones_refused(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path / "run")
    prompt.fit(1e-2)
    prompt.save("good")
    good = weights_of(prompt.session)
    assert json.loads((tmp_path / "run/good.json").read_text())["sha256"] == sha256(tmp_path / "run/good.weights.h5")
    for name in ("good", tmp_path / "run/good.weights.h5"):
        prompt.fit(1e-1)
        prompt.load(name)
        assert_equal_weights(prompt.session.model.get_weights(), good)
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    prompt.load(tmp_path / "bad.weights.h5")
    assert "bad.weights.h5: not the weights of this model" in capsys.readouterr().out
    assert_equal_weights(prompt.session.model.get_weights(), good)


@pytest.mark.parametrize("name", ["best", "phases", "run", "phase-01-begin", "best.weights.h5", "phase-1-good"])
def test_weights_are_not_saved_over_the_runs_own_files(ladders, tmp_path, capsys, name):
    prompt = tiny_prompt(ladders, tmp_path)
    before = list(tmp_path.iterdir())
    prompt.save(name)
    if name == "phase-1-good":
        prompt.load("phase-1-good.weights.h5")
        assert "loaded" in capsys.readouterr().out
    else:
        assert "choose another" in capsys.readouterr().out
        assert list(tmp_path.iterdir()) == before


def test_evaluate_and_predict_tell_the_figures_and_the_score(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    assert prompt.evaluate().keys() == {"loss", "mse", "lcc", "srcc"}
    assert isinstance(prompt.predict(ladders[0][0].path), float)
    assert prompt.predict(tmp_path / "missing.png") is None
    assert "missing.png: there is no such file" in capsys.readouterr().out


def test_a_phase_tells_the_figures_before_and_after_it(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    untrained = trained.evaluate()
    trained.train_phase(Phase(1e-2, 2))
    trained.train_phase(Phase(1e-3, 1))
    first, second = trained.state.phases
    last = {name[4:]: value for name, value in trained.state.log[1].items() if name.startswith("val_")}
    assert first.before == pytest.approx(untrained)
    assert first.after == second.before == pytest.approx(last)
    assert first.steps == 2 * len(trained.trainer.train_data)


def test_the_curve_is_drawn_into_a_file(ladders, tmp_path):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-3, epochs=2)
    prompt.curve(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


# --- the run folder --------------------------------------------------------------------------------------------------


def test_a_run_folder_holds_what_was_done_the_last_epoch_and_the_best_with_its_card(ladders, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "writes_events", True)
    trained = tiny_session(ladders, tmp_path)
    trained.begin(parse_schedule("1@1e-2:frozen,2@1e-3"), resume=False)
    rows = rows_of(tmp_path)
    assert [(row["epoch"], row["phase"], row["learning_rate"]) for row in rows] == [
        ("1", "1", "0.01"),
        ("2", "2", "0.001"),
        ("3", "2", "0.001"),
    ]
    lcc = [float(row["val_lcc"]) for row in rows]
    best = int(np.argmax(lcc))
    kept = {f"phase-{1 + (n > 0):02d}-epoch-{n + 1:03d}-lcc-{lcc[n]:.4f}.weights.h5" for n in (best, 2)}
    others = {"log.csv", "phases.json", "run.json", "phase-02-begin.weights.h5", "best.weights.h5", "best.json", "events"}
    others |= {"session.lock"}
    assert {path.name for path in tmp_path.iterdir()} == kept | others
    card = json.loads((tmp_path / "best.json").read_text())
    assert card["training"]["val_lcc"] == max(lcc)
    (start,) = json.loads((tmp_path / "run.json").read_text())
    assert (start["command"], start["seed"]) == (sys.argv, 2)
    assert start["keras"] == keras.__version__
    assert_sound(tmp_path)


def test_every_checkpoint_stays_if_asked_for_and_when_the_run_is_resumed_without_asking_again(ladders, tmp_path):
    tiny_session(ladders, tmp_path, keep_epochs=True).run_schedule(parse_schedule("3@1e-3"))
    assert len(list(tmp_path.glob("phase-01-epoch-00?-lcc-*.weights.h5"))) == 3
    resumed_session(ladders, tmp_path)
    assert len(list(tmp_path.glob("phase-01-epoch-00?-lcc-*.weights.h5"))) == 3


def test_a_kill_between_the_commit_and_the_best_epochs_files_is_made_up_for(ladders, tmp_path, monkeypatch):
    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("iqa.training.trainer.save_with_card", killed)
        with pytest.raises(RuntimeError, match="killed"):
            tiny_session(ladders, tmp_path).train_phase(Phase(1e-3, 1))
    resumed = resumed_session(ladders, tmp_path)
    assert_sound(tmp_path)
    assert_equal_weights(saved_weights(tmp_path / "best.weights.h5"), resumed.model.get_weights())


def test_a_run_that_is_there_is_not_overwritten_by_a_new_one(ladders, tmp_path, capsys):
    tiny_session(ladders, tmp_path).train_phase(Phase(1e-3, 1))
    before = (tmp_path / "phases.json").read_text()
    with pytest.raises(RunError, match="holds a run"):
        tiny_session(ladders, tmp_path).train_phase(Phase(1e-3, 1))
    with pytest.raises(RunError, match="holds a run"):
        tiny_session(ladders, tmp_path).begin([], resume=False)
    tiny_prompt(ladders, tmp_path).fit(1e-3)
    assert "holds a run: resume it" in capsys.readouterr().out
    assert (tmp_path / "phases.json").read_text() == before


def test_a_folder_without_a_run_cannot_be_resumed_and_another_schedule_is_refused(ladders, tmp_path):
    fresh = tiny_session(ladders, tmp_path)
    assert not fresh.resume()
    fresh.train_phase(Phase(1e-3, 1))
    with pytest.raises(RunError, match="another schedule"):
        fresh.run_schedule([Phase(1e-4, 1)])


@pytest.mark.parametrize("spoilt", ["{}", "[", "[]", "null", '{"phases": 1, "log": [], "checkpoint": ""}', "\x00"])
def test_a_spoilt_state_is_refused_by_the_name_of_its_file(ladders, tmp_path, spoilt):
    (tmp_path / "phases.json").write_text(spoilt)
    with pytest.raises(RunError, match=r"phases\.json: not "):
        tiny_session(ladders, tmp_path).resume()


@pytest.mark.parametrize("spoilt", ["{}", "[", "null"])
def test_a_spoilt_list_of_starts_is_refused_by_the_name_of_its_file(ladders, tmp_path, spoilt):
    (tmp_path / "run.json").write_text(spoilt)
    with pytest.raises(RunError, match=r"run\.json: not "):
        tiny_session(ladders, tmp_path).begin([], resume=False)


def test_a_state_of_another_network_is_refused_by_the_name_of_its_file(ladders, tmp_path):
    tiny_session(ladders, tmp_path).train_phase(Phase(1e-3, 1))
    file = tmp_path / "phases.json"
    state = json.loads(file.read_text())
    opened = {"step": 10**6, "seconds": 1.0, "metrics": []}
    for change in ({"trainable": [True]}, {"generators": [[1, 2, 3]]}, {"generators": [["x"]] * 9}, {"open_epoch": opened}):
        file.write_text(json.dumps(state | change))
        with pytest.raises(RunError, match=r"phases\.json: .* of another network"):
            tiny_session(ladders, tmp_path).resume()
    (tmp_path / state["checkpoint"]).write_bytes(b"no weights")
    file.write_text(json.dumps(state))
    with pytest.raises(WeightsError, match=r"phase-01-epoch-001.*: not the weights of this model"):
        tiny_session(ladders, tmp_path).resume()


def test_only_optimizers_are_built_from_what_a_run_says_of_its_optimizer():
    from iqa.training.network_state import optimizer_from

    decay = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.5)
    built = optimizer_from(keras.optimizers.serialize(keras.optimizers.Adam(decay)))
    assert built.get_config()["learning_rate"]["config"] == decay.get_config()
    adam = keras.optimizers.serialize(keras.optimizers.Adam(1e-3))
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}
    within = adam | {"config": adam["config"] | {"learning_rate": dense}}
    listed = adam | {"config": adam["config"] | {"learning_rate": [dense]}}
    for config in (
        None,
        {},
        dense,
        within,
        listed,
        {"module": "os", "class_name": "system", "config": {}},
        adam | {"config": 1},
    ):
        with pytest.raises(ValueError, match="not an optimizer"):
            optimizer_from(config)


def test_a_run_is_resumed_only_with_what_it_was_begun_with(ladders, tmp_path):
    begun = {"batch size": 16, "seed": 0, "training set": "6 images ab"}
    tiny_session(ladders, tmp_path, settings=begun).train_phase(Phase(1e-3, 1))
    resumed_session(ladders, tmp_path, settings=dict(begun))
    with pytest.raises(RunError, match=r"batch size 16, now 32; training set 6 images ab, now 5 images cd$"):
        tiny_session(ladders, tmp_path, settings=begun | {"batch size": 32, "training set": "5 images cd"}).resume()


def test_a_resumed_run_takes_up_the_options_that_it_was_begun_with(ladders, tmp_path, monkeypatch, capsys):
    from iqa.commands.run_options import options_of, parse_options, train_parser

    def options(*words):
        parser = train_parser("A script.", "runs/x", batch_size=16)
        parser.add_argument("--ladders", type=Path, nargs="+", default=[])
        monkeypatch.setattr("sys.argv", ["script.py", *map(str, words)])
        return parse_options(parser)

    monkeypatch.chdir(tmp_path)
    begun = options(
        "--images", "pictures", "--batch-size", 8, "--ladders", "a", "b", "--run", "run", "--schedule", "1@1e-3"
    )
    session = tiny_session(ladders, tmp_path / "run", options=options_of(begun))
    session.train_phase(Phase(1e-3, 1))
    monkeypatch.chdir("/")
    resumed = options("--run", tmp_path / "run", "--resume", "--seed", 3)
    assert (resumed.images, resumed.batch_size, resumed.seed) == (tmp_path / "pictures", 8, 3)
    assert resumed.ladders == [tmp_path / "a", tmp_path / "b"]
    assert resumed.resume and resumed.schedule is None
    assert options("--run", tmp_path / "run", "--resume", "--batch-size", 4).batch_size == 4
    for words, reason in (
        (["--run", tmp_path / "new", "--resume"], "--images is missing"),
        (
            ["--images", "x", "--weights", "ava_vanilla", "--backbone", "none"],
            "--backbone and --weights do not go together",
        ),
    ):
        with pytest.raises(SystemExit):
            options(*words)
        assert reason in capsys.readouterr().err


def test_a_run_that_is_resumed_without_a_schedule_goes_on_with_its_own(ladders, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        press_after_epoch(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            tiny_session(ladders, tmp_path).begin(parse_schedule("2@1e-3,1@1e-4"), resume=False)
    resumed = tiny_session(ladders, tmp_path)
    resumed.begin([], resume=True)
    assert [(phase.asked, phase.done, phase.status) for phase in resumed.state.phases] == [
        ("2@0.001", 2, "done"),
        ("1@0.0001", 1, "done"),
    ]
    again = tiny_session(ladders, tmp_path)
    again.begin([], resume=True)
    assert len(again.state.log) == 3


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".log.csv.ab12cd_3").mkdir()
    (tmp_path / ".log.csv.ab12cd_3/log.csv").write_text("half")
    (tmp_path / ".mine.abcdefgh").mkdir()
    (tmp_path / ".mine.abcdefgh/precious").write_text("x")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine.abcdefgh"]


# --- the same numbers again ------------------------------------------------------------------------------------------


def without_time(log):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in log]


def assert_same_run(one, other):
    for ours, theirs in zip(without_time(one.state.log), without_time(other.state.log), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert [phase.steps for phase in one.state.phases] == [phase.steps for phase in other.state.phases]
    assert one.state.best["epoch"] == other.state.best["epoch"]
    assert_equal_weights(one.model.get_weights(), other.model.get_weights(), atol=1e-6)


PHASES = "1@1e-2:frozen,2@1e-3,1@1e-4"


@pytest.fixture(scope="module")
def whole_run(ladders, tmp_path_factory):
    """A run that nobody interrupted."""
    trained = tiny_session(ladders * 3, tmp_path_factory.mktemp("whole"))
    trained.run_schedule(parse_schedule(PHASES))
    return trained


def test_the_same_seed_and_schedule_give_the_same_losses(ladders, tmp_path, whole_run):
    again = tiny_session(ladders * 3, tmp_path)
    again.run_schedule(parse_schedule(PHASES))
    assert_same_run(again, whole_run)


@pytest.mark.parametrize(
    "stop, where, finish",
    [
        (lambda patch: press_after_step(patch, 1, 4), "in epoch 1 after step 4 of 9", "resumed"),
        (lambda patch: press_after_step(patch, 3, 1), "in epoch 3 after step 1 of 9", "resumed"),
        (lambda patch: press_after_step(patch, 3, 6), "in epoch 3 after step 6 of 9", "at the prompt"),
        (lambda patch: press_after_step(patch, 3, 9), "in epoch 3 after step 9 of 9", "resumed"),
        (lambda patch: press_in_validation(patch, 3), "in the validation of epoch 3", "resumed"),
        (lambda patch: press_in_validation(patch, 2), "in the validation of epoch 2", "at the prompt"),
        (lambda patch: press_after_epoch(patch, 2), "before the first step of epoch 3", "resumed"),
    ],
    ids=["frozen phase", "first step", "prompt", "last step", "validation", "validation, prompt", "between epochs"],
)
def test_a_run_stopped_by_ctrl_c_goes_on_from_its_step_to_the_end_of_an_uninterrupted_one(
    ladders, tmp_path, monkeypatch, capsys, whole_run, stop, where, finish
):
    phases, prompt = parse_schedule(PHASES), tiny_prompt(ladders * 3, tmp_path)
    stopped = prompt.session
    with monkeypatch.context() as patch:
        stop(patch)
        assert not stopped.run_schedule(phases)
    assert f"stopped {where}; checkpoint {tmp_path}" in capsys.readouterr().out
    assert_sound(tmp_path)
    assert_equal_weights(saved_weights(tmp_path / state_of(tmp_path)["checkpoint"]), stopped.model.get_weights())
    if finish == "resumed":
        stopped = tiny_session(ladders * 3, tmp_path)
        stopped.begin(phases, resume=True)
    else:
        prompt.finish()
    assert_same_run(stopped, whole_run)
    assert_sound(tmp_path)


def test_an_epoch_may_be_stopped_again_and_again(ladders, tmp_path, monkeypatch, whole_run):
    phases = parse_schedule(PHASES)
    for step in (2, 5, 6):
        session = tiny_session(ladders * 3, tmp_path)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            press_after_step(patch, 2, step)
            session.begin(phases, resume=step > 2)
        assert state_of(tmp_path)["phases"][1]["steps"] == step
    session = tiny_session(ladders * 3, tmp_path)
    session.begin(phases, resume=True)
    assert_same_run(session, whole_run)


def test_a_run_killed_in_an_epoch_and_resumed_is_the_uninterrupted_one(ladders, tmp_path, monkeypatch, whole_run):
    phases, broken = parse_schedule(PHASES), tiny_session(ladders * 3, tmp_path)
    with monkeypatch.context() as patch:
        when_drawn(patch, epoch=2, index=5, act=lambda: (patch.setattr(Trainer, "commit", nothing), fail()))
        with pytest.raises(Exception, match="unreadable"):  # TensorFlow wraps it
            broken.run_schedule(phases)
    resumed = resumed_session(ladders * 3, tmp_path)
    assert len(resumed.state.log) == 2
    resumed.run_schedule(phases)
    assert_same_run(resumed, whole_run)


def nothing(*_):
    """What a process writes after it was killed."""


def test_an_error_in_the_middle_keeps_what_was_trained_and_the_run_goes_on_from_there(
    ladders, tmp_path, monkeypatch, whole_run
):
    phases, trained = parse_schedule(PHASES), tiny_session(ladders * 3, tmp_path)
    with monkeypatch.context() as patch:
        when_drawn(patch, epoch=2, index=8, act=fail)
        with pytest.raises(Exception, match="unreadable"):
            trained.run_schedule(phases)
    assert_sound(tmp_path)
    resumed = resumed_session(ladders * 3, tmp_path)
    assert_equal_weights(resumed.model.get_weights(), trained.model.get_weights())
    resumed.run_schedule(phases)
    assert_same_run(resumed, whole_run)


@pytest.mark.parametrize(
    "owner, writes, epoch",
    [(RunFolder, "write_weights", 2), (RunFolder, "commit", 2), (trainer, "save_with_card", 1)],
    ids=["checkpoint", "state", "best"],
)
def test_an_epoch_whose_files_cannot_be_written_ends_once_and_the_run_goes_on(
    ladders, tmp_path, monkeypatch, whole_run, owner, writes, epoch
):
    phases, trained, failures = parse_schedule(PHASES), tiny_session(ladders * 3, tmp_path), []
    write = getattr(owner, writes)

    def full_once(*arguments, **settings):
        if len(trained.state.log) == epoch and not failures:
            failures.append(OSError(errno.ENOSPC, "No space left on device"))
            raise failures[0]
        return write(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(owner, writes, full_once)
        with pytest.raises(OSError, match="No space left"):
            trained.run_schedule(phases)
    assert len(assert_sound(tmp_path)["log"]) == epoch
    resumed = resumed_session(ladders * 3, tmp_path)
    resumed.run_schedule(phases)
    assert_same_run(resumed, whole_run)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_after_ctrl_c_training_goes_on_with_another_phase(ladders, tmp_path, monkeypatch):
    prompt = tiny_prompt(ladders, tmp_path)
    state = prompt.session.state
    with monkeypatch.context() as patch:
        press_after_step(patch, 1, 2)
        prompt.fit(1e-3)
    assert (state.phases[0].status, state.phases[0].done, state.phases[0].steps) == ("interrupted", 0, 2)
    prompt.fit(1e-4)
    assert (state.phases[1].status, [row["phase"] for row in state.log]) == ("done", [2])
    assert_sound(tmp_path)


def test_what_cannot_be_finished_says_so(ladders, tmp_path, monkeypatch, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.finish()
    assert "there is nothing to finish" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        press_after_step(patch, 1, 2)
        prompt.fit(1e-3, callbacks=[keras.callbacks.TerminateOnNaN()])
    prompt.finish()
    assert "phase 1 cannot be finished without TerminateOnNaN: start another phase" in capsys.readouterr().out


def press_ctrl_c(chance, done):
    """Press it within half a second unless all is done, one time in three twice."""
    if done.wait(chance.uniform(0, 0.5)):
        return
    press()
    if chance.random() < 0.3 and not done.wait(chance.uniform(0, 0.05)):
        press()


def test_ctrl_c_at_random_moments_loses_nothing_and_leaves_no_thread(ladders, tmp_path, capsys):
    chance = random.Random(1)
    prompt = tiny_prompt(ladders * 4, tmp_path)
    prompt.fit(1e-3)
    session, data = prompt.session, prompt.session.trainer
    commands = (
        lambda: prompt.fit(1e-3, epochs=30),
        lambda: prompt.pretrain(epochs=20),
        lambda: session.model.fit(data.train_data, validation_data=data.test_data, epochs=20),
        prompt.finish,
        prompt.evaluate,
        lambda: prompt.save("name"),
        prompt.undo,
    )
    threads = threading.active_count()
    presses = 0
    while presses < INTERRUPTS:
        epochs, done = len(session.state.log), threading.Event()
        # Within one command, or the press would be one at a prompt that a test does not have.
        with session.interrupt:
            finger = threading.Thread(target=press_ctrl_c, args=(chance, done))
            finger.start()
            chance.choice(commands)()
            done.set()
            finger.join()
            presses += session.interrupt.asked
        state = assert_sound(tmp_path)
        assert len(state["log"]) >= epochs
        assert_equal_weights(saved_weights(tmp_path / state["checkpoint"]), session.model.get_weights())
    assert threading.active_count() <= threads + 2  # TensorFlow's own come and go
    capsys.readouterr()
    prompt.fit(1e-4)
    assert session.state.phases[-1].status == "done"


def run_tiny(*arguments, **settings):
    return subprocess.Popen([sys.executable, TINY, *map(str, arguments)], stdout=-1, stderr=-1, text=True, **settings)


def test_a_killed_run_loses_at_most_one_epoch(tmp_path):
    chance, epochs = random.Random(2), 0
    for kill in range(KILLS):
        process = run_tiny(tmp_path, tmp_path / "run", "400@1e-3", *(["resume"] if kill else []))
        begun = 0
        while begun < epochs + 3:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            if line.startswith("Epoch"):
                begun = int(line.split()[1].split("/")[0])
        time.sleep(chance.uniform(0, 0.3))  # anywhere in an epoch, or in the writing of its files
        process.kill()
        process.communicate()
        state = assert_sound(tmp_path / "run", killed=True)
        epochs = len(state["log"])
        assert epochs >= begun - 1


# --- a terminal ------------------------------------------------------------------------------------------------------


class Terminal:
    """A program at a pseudo-terminal: what is typed to it, and what it shows."""

    def __init__(self, *command):
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.execve(command[0], [str(part) for part in command], os.environ | {"TERM": "dumb", "PYTHONUNBUFFERED": "1"})
        self.shown = ""

    def type(self, text):
        os.write(self.screen, text.encode())

    def wait(self, *texts, seconds=120):
        """Read until all of `texts` were shown, one after the other; returns what was read."""
        began, at, start = time.monotonic(), 0, len(self.shown)
        self.shown = self.shown[start:]
        for text in texts:
            while text not in self.shown[at:]:
                assert time.monotonic() - began < seconds, f"no {text!r} in: {self.shown}"
                if select.select([self.screen], [], [], 1)[0]:
                    try:
                        self.shown += os.read(self.screen, 65536).decode(errors="replace")
                    except OSError:  # the program has ended
                        raise AssertionError(f"ended without {text!r}: {self.shown}") from None
            at = self.shown.index(text, at) + len(text)
        return self.shown

    def settle(self):
        """Read until nothing was shown for a second: a Ctrl-C that comes late takes what is typed with it."""
        while select.select([self.screen], [], [], 1)[0]:
            self.shown += os.read(self.screen, 65536).decode(errors="replace")

    def command(self, text, *shown):
        self.type(text + "\n")
        return self.wait(*shown, ">>> ")

    def exit(self):
        self.type("exit()\n")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_session_at_a_terminal(tmp_path):
    run = tmp_path / "run"
    terminal = Terminal(sys.executable, "-i", TINY, tmp_path, run)
    everything = terminal.wait("a tiny network", f"run: {run} (new", "pretrain(epochs=1", ">>> ")
    everything += terminal.command("pretrain()", "phase 1", "backbone frozen")
    everything += terminal.command("fit(1e-3, epochs=2)", "phase 2", "Epoch 3/3")
    terminal.type("fit(1e-3, epochs=10000)\n")
    everything += terminal.wait("Epoch 5/10003", "/20")
    pressed = time.monotonic()
    terminal.type("\x03")
    time.sleep(0.05)
    terminal.type("\x03")
    everything += terminal.wait("stopped in ", "checkpoint", ">>> ")
    assert time.monotonic() - pressed < 5  # a step and 2 s, and what a busy machine adds
    terminal.settle()
    everything += terminal.command("fit(1e-4)", "phase 4: learning rate 0.0001")
    everything += terminal.command("phases()", "interrupted")
    everything += terminal.command("predict('nothing.jpg')", "nothing.jpg: there is no such file")
    everything += terminal.command("undo()", "phase 4 is undone")
    everything += terminal.command("save('mine')", "saved")
    terminal.type("\x03")
    everything += terminal.wait("KeyboardInterrupt", ">>> ")
    assert "Traceback" not in everything
    assert terminal.exit() == 0
    assert (run / "mine.weights.h5").exists()
    epochs = len(assert_sound(run)["log"])

    terminal = Terminal(sys.executable, "-i", TINY, tmp_path, run, "", "resume")
    terminal.wait(f"run: {run} ({epochs} epochs in 4 phases so far", ">>> ")
    terminal.command("phases()", "undone")
    assert "Traceback" not in terminal.command("fit(1e-5)", "phase 5")
    assert terminal.exit() == 0
    assert len(assert_sound(run)["log"]) == epochs + 1

    terminal = Terminal(sys.executable, "-i", TINY, tmp_path, run)
    assert "Traceback" not in terminal.wait("holds a run: resume it (--resume)")
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 2


# --- NaN -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_loss_that_is_not_finite_stops_the_phase_and_restores_the_last_good_weights(
    ladders, tmp_path, monkeypatch, capsys, epoch
):
    trained = tiny_session(ladders, tmp_path)
    good = {"weights": weights_of(trained)}
    with monkeypatch.context() as patch:
        drawn, end = Ladders.__getitem__, Trainer.end_epoch

        def spoiled(self, index):
            pixels, labels = drawn(self, index)
            return pixels, labels * (np.inf if self.epoch == epoch and index == 2 else 1)

        def remembering(self, *arguments):
            end(self, *arguments)
            good["weights"] = weights_of(self)

        patch.setattr(Ladders, "__getitem__", spoiled)
        patch.setattr(Trainer, "end_epoch", remembering)
        trained.train_phase(Phase(1e-3, 3))
    assert f"the loss is nan in epoch {epoch + 1}" in capsys.readouterr().out
    assert (trained.state.phases[0].status, trained.state.phases[0].done) == ("not finite", epoch)
    assert_equal_weights(trained.model.get_weights(), good["weights"])
    with pytest.raises(RunError, match="loss of phase 1 was not finite"):
        trained.run_schedule([Phase(1e-3, 3), Phase(1e-4, 1)])
    trained.train_phase(Phase(1e-4, 1))
    assert trained.state.phases[1].status == "done"
    assert_sound(tmp_path)


def test_weights_spoiled_by_the_last_step_of_an_epoch_are_not_kept(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-3)
    good = weights_of(prompt.session)

    class Spoiling(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.get_layer("score").bias.assign([np.nan])

    prompt.fit(1e-3, callbacks=[Spoiling()])
    assert "back to the weights of" in capsys.readouterr().out
    assert prompt.session.state.phases[1].status == "not finite"
    assert_equal_weights(prompt.session.model.get_weights(), good)
    prompt.curve()


def test_figures_that_are_no_numbers_are_null_in_the_files_and_read_back(ladders, tmp_path, monkeypatch):
    end = Trainer.end_epoch
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "end_epoch", lambda t, logs, *rest: end(t, logs | {"val_lcc": math.nan}, *rest))
        tiny_session(ladders, tmp_path).train_phase(Phase(1e-3, 1))
    assert "NaN" not in (tmp_path / "phases.json").read_text()
    prompt = tiny_prompt(ladders, tmp_path)
    assert prompt.session.resume()
    assert math.isnan(prompt.session.state.log[0]["val_lcc"])
    prompt.phases()
    prompt.curve()


# --- several devices, 16 bits ----------------------------------------------------------------------------------------


def test_two_devices_have_the_loss_of_one_at_the_same_global_batch(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(TINY.parent)!r})
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from iqa.training.devices import open_strategy
from tiny_training import make_ladders, network, tiny_prompt
losses, ranks = [], []
for name in (None, "mirrored"):
    strategy = open_strategy(name)
    with strategy.scope():
        model = network(dropout=0, noise=0)  # chance would differ
    prompt = tiny_prompt(make_ladders({str(tmp_path)!r}), {str(tmp_path)!r} + "/" + str(name), model)
    prompt.pretrain(learning_rate=1e-2)
    prompt.fit(1e-2, epochs=3)
    prompt.undo()
    prompt.fit(1e-3, epochs=1)
    trainer = prompt.session.trainer
    trainer.model.compile("sgd", "mse")
    trainer.model.fit(trainer.train_data, validation_data=trainer.test_data)
    rows = prompt.session.state.log
    losses.append([(row["loss"], row["val_loss"], row.get("val_lcc", 0), row.get("mse", 0)) for row in rows])
    ranks.append([(row["srcc"], row["val_srcc"]) for row in rows if "val_srcc" in row])
    print(strategy.num_replicas_in_sync, losses[-1], ranks[-1])
assert strategy.num_replicas_in_sync == 2
assert abs(tf.constant(losses[0]) - tf.constant(losses[1])).numpy().max() < 1e-4
assert abs(tf.constant(ranks[0]) - tf.constant(ranks[1])).numpy().max() < 1e-2 and len(ranks[0]) == 6
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def test_the_scale_of_the_loss_in_float16_is_resumed(ladders, tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        trained = tiny_session(ladders, tmp_path)
        trained.train_phase(Phase(1e-3, 2))
        resumed = resumed_session(ladders, tmp_path)
    finally:
        keras.mixed_precision.set_global_policy(before)
    ours, theirs = ([v.numpy() for v in session.model.optimizer.variables] for session in (trained, resumed))
    assert_equal_weights(ours, theirs)
    assert int(trained.model.optimizer.step_counter) > 0


def test_sixteen_bits_train_and_leave_weights_of_thirty_two(ladders, tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        trained = tiny_session(ladders, tmp_path)
        trained.train_phase(Phase(1e-2, 1))
        trained.save("half")
        assert trained.model.get_layer("backbone").compute_dtype == "bfloat16"
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert_equal_weights(saved_weights(tmp_path / "half.weights.h5"), trained.model.get_weights())
    assert np.isfinite(trained.state.log[0]["loss"])
