"""A session that is driven by hand, interrupted, killed and resumed, on a tiny network and tiny pictures."""

import csv
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_training import CARD, make_ladders, network, tiny_prompt

from iqa.cards import sha256
from iqa.errors import ImageError, RunError, UsageError
from iqa.training.batches import Ladders
from iqa.training.recorder import Recorder
from iqa.training.run_folder import PATIENCE, Phase, parse_schedule, read_state
from iqa.training.trainer import Trainer

TINY = Path(__file__).with_name("tiny_training.py")


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


def weights_of(session):
    return [weight.copy() for weight in session.model.get_weights()]


def assert_equal_weights(ours, theirs, atol=0.0):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def assert_sound(run, session=None):
    """What must hold of the files of a run; with a session, that they are its state."""
    state, names = read_state(run), {path.name for path in run.iterdir()}
    assert [row["epoch"] for row in state.log] == list(range(1, len(state.log) + 1))
    assert sum(phase.done for phase in state.phases) == len(state.log)
    assert state.begin is None or state.begin in names
    if session:
        assert [row["epoch"] for row in rows_of(run)] == [str(row["epoch"]) for row in state.log]
        assert not any(name.startswith(".") for name in names)
        _, variables = session.folder.read()
        assert_equal_weights(variables, [keras.ops.convert_to_numpy(v) for v in session._variables])
        if state.best:
            card = json.loads((run / "best.json").read_text())
            assert card["sha256"] == sha256(run / "best.weights.h5")
            assert card["training"]["epoch"] == state.best["epoch"]
    return state


def press(patch, owner, method, reached, first=False):
    """Press Ctrl-C as a method ends, or as it begins, of an object for which `reached` is true."""
    called = getattr(owner, method)

    def pressing(self, *arguments, **settings):
        if first and reached(self):
            os.kill(os.getpid(), signal.SIGINT)
        called(self, *arguments, **settings)
        if not first and reached(self):
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(owner, method, pressing)


def after_step(epoch, step):
    """What `press` takes to press as step number `step` of the epoch number `epoch` of the run ends."""
    return Recorder, "on_train_batch_end", lambda r: (r.session.epoch, r.step + 1) == (epoch, step), True


def test_a_schedule_is_read_and_a_bad_one_refused_by_its_part():
    assert parse_schedule("1@1e-3:frozen, 4@0.0001") == [Phase(1e-3, 1, True), Phase(1e-4, 4)]
    assert parse_schedule("3@1e-4:cosine:frozen") == parse_schedule("3@1e-4:frozen:cosine")
    assert parse_schedule("original", "2@1e-3") == parse_schedule("2@1e-3")
    text = "1@0.001:frozen:cosine,until-plateau@1e-05,4@5e-07"
    assert ",".join(str(phase) for phase in parse_schedule(text)) == text
    for bad in ("", "4", "4@", "@1e-3", "4@1e-3:cold", "4@0", "0@1e-3", "4@1.2.3", "1@1e-3,,1@1e-4", "original"):
        with pytest.raises(UsageError, match="EPOCHS@RATE"):
            parse_schedule(bad)


def test_a_phase_until_the_plateau_ends_when_nothing_got_better_also_where_it_is_resumed(ladders, tmp_path, monkeypatch):
    end, lcc = Trainer.end_epoch, iter([0.1, 0.3, 0.2, 0.29, 0.9])
    monkeypatch.setattr(Trainer, "end_epoch", lambda self, logs, time: end(self, logs | {"val_lcc": next(lcc)}, time))
    tiny_session(ladders, tmp_path).run_schedule(parse_schedule("until-plateau@1e-3"))
    resumed = resumed_session(ladders, tmp_path)
    assert resumed.run_schedule(parse_schedule("until-plateau@1e-3"))
    assert len(resumed.state.log) == 2 + PATIENCE and resumed.state.best["epoch"] == 2
    assert (resumed.state.phases[0].status, resumed.state.phases[0].epochs) == ("done", 4)


@pytest.mark.parametrize("backbone_weights", ["imagenet", "none"])
def test_a_frozen_phase_moves_the_head_alone_and_pretrained_normalisation_never_moves(ladders, tmp_path, backbone_weights):
    card = replace(CARD, backbone=replace(CARD.backbone, backbone_weights=backbone_weights))
    prompt = tiny_prompt(ladders, tmp_path, card=card)
    layers = [layer for layer in prompt.session.model.layers if layer.weights]

    def moved(train):
        before = {layer.name: layer.get_weights() for layer in layers}
        train()
        return {layer.name for layer in layers if not all(map(np.array_equal, before[layer.name], layer.get_weights()))} - {
            "noise"
        }

    assert moved(lambda: prompt.pretrain(learning_rate=1e-2)) == {"score"}
    assert moved(lambda: prompt.fit(1e-2)) == {"backbone", "score"} | ({"norm"} if backbone_weights == "none" else set())


def test_a_learning_rate_schedule_and_callbacks_are_followed_and_recorded(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    cosine = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=9)
    seen = []
    prompt.fit(cosine, epochs=3, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(1))])
    (phase,) = prompt.session.state.phases
    assert (phase.status, len(seen), phase.callbacks) == ("done", 3, ["LambdaCallback"])
    rates = [row["learning_rate"] for row in prompt.session.state.log]
    assert rates == pytest.approx([float(cosine(step)) for step in (3, 6, 9)], rel=1e-4, abs=1e-9)
    prompt.phases()
    assert "CosineDecay" in capsys.readouterr().out
    optimizer = resumed_session(ladders, tmp_path).model.optimizer
    assert int(optimizer.iterations) == 9
    assert optimizer.get_config()["learning_rate"]["class_name"] == "CosineDecay"


def test_a_broken_image_ends_training_with_its_name_and_the_epochs_before_stay(tmp_path):
    (tmp_path / "pictures").mkdir()
    copies = make_ladders(tmp_path / "pictures")
    trained = tiny_session(copies, tmp_path / "run")
    trained.train_phase(Phase(1e-3, 1))
    copies[4][2].path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"s4_01_3\.png: it is not an image"):
        trained.train_phase(Phase(1e-3, 3))
    assert_sound(tmp_path / "run", trained)
    copies[4][2].path.write_bytes(copies[4][1].path.read_bytes())
    copies[0][1].path.write_bytes(b"no picture")  # one of those to test on
    with pytest.raises(ImageError, match=r"s0_01_2\.png"):  # in another session: this one has read it ahead
        tiny_session(copies, tmp_path / "other").evaluate()


def test_what_is_trained_by_hand_with_keras_is_recorded_like_any_phase(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-2)
    names, session = prompt.commands(), prompt.session
    model, train_data, test_data = (names[name] for name in ("model", "train_data", "test_data"))
    prompt.freeze()
    model.compile(keras.optimizers.SGD(3e-3), loss="mse")
    history = model.fit(train_data, validation_data=test_data, epochs=2)
    assert len(history.history["loss"]) == 2
    assert [row["epoch"] for row in session.state.log] == [1, 2, 3]
    phase = session.state.phases[1]
    assert (phase.asked, phase.frozen, phase.done, phase.status) == ("by hand", True, 2, "done")
    assert (phase.learning_rate, phase.loss) == (pytest.approx(3e-3), "mse")
    resumed = resumed_session(ladders, tmp_path)
    assert isinstance(resumed.model.optimizer, keras.optimizers.SGD)
    assert_equal_weights(resumed.model.get_weights(), model.get_weights())

    capsys.readouterr()
    prompt.fit(1e-3)
    assert "compiled again with the loss of the script, ladder_loss" in capsys.readouterr().out
    assert session.state.phases[2].before["loss"] != pytest.approx(phase.after["loss"])
    prompt.phases()
    prompt.curve()
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("done, by hand", "0.003", "mse", "ladder_loss"))


def test_by_hand_keras_takes_what_it_always_takes(ladders, tmp_path):
    session = tiny_session(ladders, tmp_path)
    model, train_data, test_data = session.model, session.train_data, session.test_data
    model.fit(train_data, None, None, 2)  # epochs by position
    assert session.state.phases[0].done == 2
    model.compile("sgd", "mse")
    pixels, labels = np.zeros((10, 8, 8, 3), np.uint8), np.ones((10, 1), np.float32)
    model.fit(pixels, labels, 5, epochs=3, initial_epoch=1, verbose=0)
    assert (session.state.phases[1].done, session.state.phases[1].steps) == (2, 4)
    with pytest.raises(TypeError):
        model.fit(train_data, validation_dat=test_data)
    with pytest.raises(ValueError):
        model.fit(pixels, labels[:3])
    assert len(session.state.phases) == 2  # what trained nothing is no phase
    assert session.state.best is None or session.state.best["epoch"] <= 2  # figures on other data make no best epoch
    stopping = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    model.fit(train_data, epochs=9, callbacks=stopping)
    assert session.state.phases[-1].status == "done"
    assert_equal_weights(resumed_session(ladders, tmp_path).model.get_weights(), model.get_weights())


def test_undo_goes_back_to_the_weights_before_the_last_phase_once_and_after_a_resume_too(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path / "run")
    prompt.fit(1e-2)
    between = weights_of(prompt.session)
    prompt.fit(1e-2)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    copy = tiny_prompt(ladders, tmp_path / "copy")
    copy.session.resume()
    for one in (prompt, copy):
        one.undo()
        assert_equal_weights(one.session.model.get_weights(), between)
        assert [phase.status for phase in one.session.state.phases] == ["done", "undone"]
        one.undo()
        assert "nothing to undo" in capsys.readouterr().out
        assert_equal_weights(one.session.model.get_weights(), between)
    assert_equal_weights(resumed_session(ladders, tmp_path / "run").model.get_weights(), between)
    prompt.fit(1e-2)
    prompt.curve()
    *_, heading, first, second, third, last = capsys.readouterr().out.rstrip().splitlines()
    assert "val_lcc" in heading and "val_srcc" in heading and max(map(len, (heading, first, second, third))) <= 100
    assert ([row.split()[0] for row in (first, second, third)], last) == (["1", "2x", "3"], "x: undone")
    prompt.curve(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").read_text().count("<!-- undone -->") == 3


def test_weights_are_saved_with_a_card_and_loaded_by_name_or_path_and_bad_ones_refused(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path / "run")
    prompt.fit(1e-2)
    prompt.save("good")
    good = weights_of(prompt.session)
    assert json.loads((tmp_path / "run/good.json").read_text())["sha256"] == sha256(tmp_path / "run/good.weights.h5")
    prompt.fit(1e-1)
    for name in ("good", tmp_path / "run/good.weights.h5"):
        prompt.session.model.set_weights([0 * weight for weight in good])
        prompt.load(name)
        assert_equal_weights(prompt.session.model.get_weights(), good)
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    prompt.load(tmp_path / "bad.weights.h5")
    assert "bad.weights.h5: not the weights of this model" in capsys.readouterr().out
    assert_equal_weights(prompt.session.model.get_weights(), good)
    before = list((tmp_path / "run").iterdir())
    for name in ("best", "phases", "run.weights.h5"):
        prompt.save(name)
        assert "choose another" in capsys.readouterr().out
    assert list((tmp_path / "run").iterdir()) == before


def test_a_phase_tells_the_figures_before_and_after_it_and_predict_the_score(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    untrained = prompt.evaluate()
    assert untrained.keys() == {"loss", "mse", "lcc", "srcc"}
    prompt.fit(1e-2, 2)
    prompt.fit(1e-3)
    first, second = prompt.session.state.phases
    last = {name[4:]: value for name, value in prompt.session.state.log[1].items() if name.startswith("val_")}
    assert first.before == pytest.approx(untrained)
    assert first.after == second.before == pytest.approx(last)
    assert first.steps == 2 * len(prompt.session.train_data)
    assert isinstance(prompt.predict(ladders[0][0].path), float)
    assert prompt.predict(tmp_path / "missing.png") is None
    assert "missing.png: there is no such file" in capsys.readouterr().out


def test_a_run_folder_holds_what_was_done_the_last_state_and_the_best_with_its_card(ladders, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "writes_events", True)
    trained = tiny_session(ladders, tmp_path)
    trained.begin(parse_schedule("1@1e-2:frozen,2@1e-3"), seed=2)
    rows = rows_of(tmp_path)
    assert [(row["epoch"], row["phase"], row["learning_rate"]) for row in rows] == [
        ("1", "1", "0.01"),
        ("2", "2", "0.001"),
        ("3", "2", "0.001"),
    ]
    assert {path.name for path in tmp_path.iterdir()} - {"session.lock"} == {
        *("log.csv", "phases.json", "run.json", "checkpoint.npz", "phase-02-begin.npz"),
        *("best.weights.h5", "best.json", "events"),
    }
    card = json.loads((tmp_path / "best.json").read_text())
    assert card["training"]["val_lcc"] == max(float(row["val_lcc"]) for row in rows)
    (start,) = json.loads((tmp_path / "run.json").read_text())
    assert (start["command"], start["seed"], start["keras"]) == (sys.argv, 2, keras.__version__)
    assert_sound(tmp_path, trained)


def test_a_run_that_is_there_is_not_overwritten_and_another_schedule_or_setting_refused(ladders, tmp_path, capsys):
    begun = {"batch size": 16, "seed": 0, "training set": "6 images ab"}
    fresh = tiny_session(ladders, tmp_path, settings=begun)
    assert not fresh.resume()
    fresh.train_phase(Phase(1e-3, 1))
    with pytest.raises(RunError, match="another schedule"):
        fresh.run_schedule([Phase(1e-4, 1)])
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(RunError, match="holds a run"):
        tiny_session(ladders, tmp_path).begin([])
    tiny_prompt(ladders, tmp_path).fit(1e-3)
    assert "holds a run: resume it" in capsys.readouterr().out
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    resumed_session(ladders, tmp_path, settings=dict(begun))
    with pytest.raises(RunError, match=r"batch size 16, now 32; training set 6 images ab, now 5 images cd$"):
        tiny_session(ladders, tmp_path, settings=begun | {"batch size": 32, "training set": "5 images cd"}).resume()


def test_a_spoilt_file_of_a_run_is_refused_by_its_name(ladders, tmp_path):
    other = tiny_session(ladders, tmp_path / "other")
    other.train_phase(Phase(1e-3, 1))
    other.state.trainable = []
    session, file = tiny_session(ladders, tmp_path / "run"), tmp_path / "run/checkpoint.npz"
    good = (tmp_path / "other/checkpoint.npz").read_bytes()
    for spoilt in (b"", b"{}", good[: len(good) // 2]):
        file.write_bytes(spoilt)
        with pytest.raises(RunError, match=r"checkpoint\.npz: not the state of a run"):
            session.resume()
    state, variables = other.folder.read()
    for change, kept in (({"trainable": [True]}, variables), ({}, variables[:3]), ({}, variables[::-1])):
        session.folder.commit(replace(state, **change), kept)
        with pytest.raises(RunError, match=r"checkpoint\.npz: the state of another network"):
            session.resume()


def test_another_process_cannot_open_a_session_on_the_same_folder(ladders, tmp_path):
    tiny_session(ladders, tmp_path).folder.lock()
    code = f"from iqa.training.run_folder import RunFolder; RunFolder({str(tmp_path)!r}).lock()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another session is open on it" in done.stderr


def assert_same_run(one, other):
    for ours, theirs in zip(one.state.log, other.state.log, strict=True):
        assert ours | {"seconds": 0} == pytest.approx(theirs | {"seconds": 0}, rel=1e-5, abs=1e-5)
    assert [phase.steps for phase in one.state.phases] == [phase.steps for phase in other.state.phases]
    assert one.state.best["epoch"] == other.state.best["epoch"]
    assert_equal_weights(one.model.get_weights(), other.model.get_weights(), atol=1e-6)


PHASES = "1@1e-2:frozen,2@1e-3:cosine"


@pytest.fixture(scope="module")
def whole_run(ladders, tmp_path_factory):
    """A run that nobody interrupted."""
    trained = tiny_session(ladders * 3, tmp_path_factory.mktemp("whole"))
    trained.run_schedule(parse_schedule(PHASES))
    return trained


@pytest.mark.parametrize(
    "stop, where, finish",
    [
        (after_step(1, 4), "in epoch 1 after step 4 of 9", "resumed"),
        (after_step(3, 6), "in epoch 3 after step 6 of 9", "at the prompt"),
        ((Recorder, "on_test_begin", lambda r: r.session.epoch == 3), "in the validation of epoch 3", "resumed"),
        ((Trainer, "end_epoch", lambda t: len(t.state.log) == 2), "before the first step of epoch 3", "resumed"),
    ],
    ids=["frozen phase", "prompt", "validation", "between epochs"],
)
def test_a_run_stopped_by_ctrl_c_continues_from_its_step_to_the_end_of_an_uninterrupted_one(
    ladders, tmp_path, monkeypatch, capsys, whole_run, stop, where, finish
):
    phases, prompt = parse_schedule(PHASES), tiny_prompt(ladders * 3, tmp_path)
    stopped = prompt.session
    with monkeypatch.context() as patch:
        press(patch, *stop)
        assert not stopped.run_schedule(phases)
    assert f"stopped {where}; checkpoint {tmp_path}" in capsys.readouterr().out
    assert_sound(tmp_path, stopped)
    if finish == "resumed":
        stopped = tiny_session(ladders * 3, tmp_path)
        if "step 4" in where:  # an epoch may be stopped again
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                press(patch, *after_step(1, 6))
                stopped.begin(phases, resume=True)
            stopped = tiny_session(ladders * 3, tmp_path)
        stopped.begin([] if "validation" in where else phases, resume=True)  # without a schedule, its own goes on
    else:
        prompt.finish()
    assert_same_run(stopped, whole_run)
    assert stopped.run_schedule(phases) and len(stopped.state.log) == 3  # there is nothing left
    assert_sound(tmp_path, stopped)
    assert [row["learning_rate"] for row in stopped.state.log] == pytest.approx([1e-2, 5e-4, 0], abs=1e-8)


def test_after_ctrl_c_training_continues_with_another_phase_and_what_cannot_be_finished_says_so(
    ladders, tmp_path, monkeypatch, capsys
):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.finish()
    assert "there is nothing to finish" in capsys.readouterr().out
    for callbacks in (None, [keras.callbacks.TerminateOnNaN()]):
        with monkeypatch.context() as patch:
            press(patch, *after_step(1, 2))
            prompt.fit(1e-3, callbacks=callbacks)
    phase = prompt.session.state.phases[0]
    assert (phase.status, phase.done, phase.steps) == ("interrupted", 0, 2)
    prompt.finish()
    assert "phase 2 cannot be finished without TerminateOnNaN: start another phase" in capsys.readouterr().out
    prompt.fit(1e-4)
    state = prompt.session.state
    assert (state.phases[2].status, [row["phase"] for row in state.log]) == ("done", [3])
    assert_sound(tmp_path, prompt.session)


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


def test_a_session_at_a_terminal_and_one_that_is_killed(tmp_path, capsys):
    run = tmp_path / "run"
    terminal = Terminal(sys.executable, "-i", TINY, tmp_path, run)
    everything = terminal.wait("a tiny network", f"run: {run} (new", "pretrain(epochs=1", ">>> ")
    everything += terminal.command("pretrain()", "phase 1", "backbone frozen")
    terminal.type("fit(1e-3, epochs=10000)\n")
    everything += terminal.wait("Epoch 4/10001", "/20")
    pressed = time.monotonic()
    terminal.type("\x03")
    time.sleep(0.05)
    terminal.type("\x03")
    everything += terminal.wait("stopped in ", "checkpoint", ">>> ")
    assert time.monotonic() - pressed < 5  # a step and 2 s, and what a busy machine adds
    terminal.settle()
    everything += terminal.command("phases()", "interrupted")
    everything += terminal.command("predict('nothing.jpg')", "nothing.jpg: there is no such file")
    everything += terminal.command("undo()", "phase 2 is undone")
    terminal.settle()  # a Ctrl-C between the prompt and its wait for a key would wait too
    terminal.type("\x03")
    everything += terminal.wait("KeyboardInterrupt", ">>> ")
    assert "Traceback" not in everything
    terminal.type("fit(1e-3, epochs=10000)\n")
    begun = len(read_state(run).log) + 3
    terminal.wait(f"Epoch {begun}/")
    time.sleep(random.Random(2).uniform(0, 0.3))  # anywhere in an epoch, or in the writing of its files
    os.kill(terminal.pid, signal.SIGKILL)
    os.waitpid(terminal.pid, 0)
    assert len(assert_sound(run).log) >= begun - 1
    resumed = resumed_session(make_ladders(tmp_path, scenes=40), run)
    assert_sound(run, resumed)


def test_a_loss_that_is_not_finite_stops_the_phase_and_restores_the_last_good_weights(
    ladders, tmp_path, monkeypatch, capsys
):
    trained, epoch = tiny_session(ladders, tmp_path), 1
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
    assert f"the loss is nan in epoch {epoch + 1} after step 3: back to the weights before" in capsys.readouterr().out
    assert (trained.state.phases[0].status, trained.state.phases[0].done) == ("not finite", epoch)
    assert_equal_weights(trained.model.get_weights(), good["weights"])
    with pytest.raises(RunError, match="loss of phase 1 was not finite"):
        trained.run_schedule([Phase(1e-3, 3), Phase(1e-4, 1)])
    trained.train_phase(Phase(1e-4, 1))
    assert trained.state.phases[1].status == "done"
    assert_sound(tmp_path, trained)


def test_sixteen_bits_are_resumed_and_leave_weights_of_thirty_two(ladders, tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")  # whose optimizer scales the loss, too
    try:
        trained = tiny_session(ladders, tmp_path)
        trained.train_phase(Phase(1e-3, 2))
        trained.save("half")
        resumed = resumed_session(ladders, tmp_path)
        assert trained.model.get_layer("backbone").compute_dtype == "float16"
    finally:
        keras.mixed_precision.set_global_policy(before)
    ours, theirs = ([keras.ops.convert_to_numpy(v) for v in session._variables] for session in (trained, resumed))
    assert_equal_weights(ours, theirs)
    plain = network()
    plain.load_weights(tmp_path / "half.weights.h5")
    assert_equal_weights(plain.get_weights(), trained.model.get_weights())
    assert np.isfinite(trained.state.log[0]["loss"])
