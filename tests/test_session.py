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
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_training import SIZE, centre, make_ladders, network, tiny_session

from iqa.cards import sha256
from iqa.files import remove_leftovers
from iqa.training.batches import Evaluation, Ladders
from iqa.training.run_folder import RunFolder
from iqa.training.session import PATIENCE, Phase, Session, parse_schedule

TINY = Path(__file__).with_name("tiny_training.py")

# The whole of it takes minutes: IQA_THOROUGH=1 asks for it.
INTERRUPTS, KILLS = (50, 20) if os.environ.get("IQA_THOROUGH") else (10, 3)


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    return make_ladders(tmp_path_factory.mktemp("ladders"))


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


def assert_sound(run):
    """What must hold of a run folder whenever it is looked at: nothing half written, no epoch twice or missing."""
    state = RunFolder(run).read()
    assert [int(row["epoch"]) for row in rows_of(run)] == list(range(1, len(state["log"]) + 1))
    assert sum(phase["done"] for phase in state["phases"]) == len(state["log"])
    names = {path.name for path in run.iterdir()}
    assert {state["checkpoint"], "phases.json", "log.csv", "run.json"} <= names | {"run.json"}
    assert not any(name.startswith(".") for name in names)
    model = network()
    model.load_weights(run / state["checkpoint"])
    assert np.isfinite(model.predict_on_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))).all()
    if (run / "best.json").exists():
        assert json.loads((run / "best.json").read_text())["sha256"] == sha256(run / "best.weights.h5")
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


def fail():
    raise RuntimeError("unreadable")


# --- schedules -------------------------------------------------------------------------------------------------------


def test_a_schedule_is_read_and_a_bad_one_refused_by_its_part():
    assert parse_schedule("1@1e-3:frozen, 4@0.0001") == [Phase(1e-3, 1, True), Phase(1e-4, 4)]
    assert [str(phase) for phase in parse_schedule("until-plateau@1e-4")] == ["until-plateau@0.0001"]
    assert parse_schedule("original", "2@1e-3") == parse_schedule("2@1e-3")
    for bad in ("", "4", "4@", "@1e-3", "4@1e-3:cold", "4@0", "1@1e-3,,1@1e-4", "original", "plateau@1e-3"):
        with pytest.raises(ValueError, match="EPOCHS@RATE"):
            parse_schedule(bad)


def test_the_original_schedules_are_those_of_its_readme():
    from iqa.commands.train import ORIGINAL_SCHEDULE

    assert [str(p) for p in parse_schedule("original", ORIGINAL_SCHEDULE)] == [
        "1@0.001:frozen",
        "4@0.0001",
        "12@5e-06",
        "1@5e-07",
    ]


def test_a_phase_until_the_plateau_ends_when_nothing_got_better(ladders, tmp_path, monkeypatch):
    figures = iter([0.1, 0.3, 0.2, 0.29, 0.9])
    done = Session._epoch_done
    monkeypatch.setattr(Session, "_epoch_done", lambda s, logs, t: done(s, logs | {"val_lcc": next(figures)}, t))
    trained = tiny_session(ladders, tmp_path)
    trained.run_schedule(parse_schedule("until-plateau@1e-3"))
    assert len(trained.log) == 2 + PATIENCE
    assert (trained.past[0]["status"], trained.past[0]["epochs"]) == ("done", 4)
    assert state_of(tmp_path)["best"]["epoch"] == 2
    resumed = tiny_session(ladders, tmp_path)
    assert resumed.resume() and resumed.run_schedule(parse_schedule("until-plateau@1e-3"))
    assert len(resumed.log) == 4


# --- what is trained -------------------------------------------------------------------------------------------------


def test_a_frozen_phase_moves_the_head_alone_and_normalisation_never_moves(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    before = {layer.name: layer.get_weights() for layer in trained.model.layers if layer.weights}
    trained.pretrain(learning_rate=1e-2)
    after = {layer.name: layer.get_weights() for layer in trained.model.layers if layer.weights}
    same = {name: all(map(np.array_equal, before[name], after[name])) for name in before}
    assert same == {"backbone": True, "norm": True, "score": False}
    trained.fit(1e-2, epochs=1)
    assert not np.array_equal(after["backbone"][0], trained.model.get_layer("backbone").get_weights()[0])
    assert all(map(np.array_equal, before["norm"], trained.model.get_layer("norm").get_weights()))


def test_batch_normalisation_of_random_weights_is_trained(ladders, tmp_path):
    card = {"head": {"kind": "regression"}, "backbone": {"backbone_weights": "none"}}
    trained = tiny_session(ladders, tmp_path, card=card)
    before = trained.model.get_layer("norm").get_weights()
    trained.fit(1e-2, epochs=1)
    assert not np.array_equal(before[2], trained.model.get_layer("norm").get_weights()[2])


# --- the prompt ------------------------------------------------------------------------------------------------------


def test_what_is_trained_by_hand_with_keras_is_recorded_like_any_phase(ladders, tmp_path, capsys):
    trained = tiny_session(ladders, tmp_path)
    trained.fit(1e-2, epochs=1)
    names = trained.commands()
    model, train_data, test_data = (names[name] for name in ("model", "train_data", "test_data"))
    trained.freeze()
    model.compile(keras.optimizers.SGD(3e-3), loss="mse")
    history = model.fit(train_data, validation_data=test_data, epochs=2)
    assert len(history.history["loss"]) == 2
    assert [row["epoch"] for row in trained.log] == [1, 2, 3]
    phase = trained.past[1]
    assert (phase["asked"], phase["frozen"], phase["done"], phase["status"]) == ("by hand", True, 2, "done")
    assert phase["learning_rate"] == pytest.approx(3e-3)
    trained.phases()
    trained.curve()
    shown = capsys.readouterr().out
    assert "done, by hand" in shown
    assert "0.003" in shown

    resumed = tiny_session(ladders, tmp_path)
    assert resumed.resume()
    assert isinstance(resumed.model.optimizer, keras.optimizers.SGD)
    assert_equal_weights(resumed.model.get_weights(), model.get_weights())


def test_by_hand_keras_takes_what_it_always_takes(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    names = trained.commands()
    model, train_data, test_data = (names[name] for name in ("model", "train_data", "test_data"))
    model.fit(train_data, None, None, 2)  # epochs by position
    assert trained.past[0]["done"] == 2
    model.compile("sgd", "mse")
    pixels, labels = train_data[0]
    model.fit(pixels, labels, 5, epochs=3, initial_epoch=1, verbose=0)
    assert (trained.past[1]["done"], trained.past[1]["steps"]) == (2, 4)
    with pytest.raises(TypeError):
        model.fit(train_data, validation_dat=test_data)
    with pytest.raises(ValueError):
        model.fit(train_data, validation_data=(pixels, labels[:3]))
    assert len(trained.past) == 2 or trained.past[2]["steps"]  # what trained nothing is no phase
    stopping = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    model.fit(train_data, epochs=9, callbacks=stopping)
    assert trained.past[-1]["status"] == "done"
    resumed = tiny_session(ladders, tmp_path)
    resumed.resume()
    assert_equal_weights(resumed.model.get_weights(), model.get_weights())


def test_figures_on_other_data_make_no_best_epoch(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    trained.fit(1e-3)
    best = state_of(tmp_path)["best"]
    other = Evaluation([image for ladder in ladders[2:] for image in ladder], 10, centre)
    done = Session._epoch_done
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_epoch_done", lambda s, logs, t: done(s, logs | {"val_lcc": 2.0}, t))
        trained.model.fit(trained.train_data, validation_data=other)
    assert state_of(tmp_path)["best"] == best


def test_undo_goes_back_to_the_weights_before_the_last_phase_once_and_after_a_resume_too(ladders, tmp_path, capsys):
    trained = tiny_session(ladders, tmp_path)
    trained.fit(1e-2, epochs=1)
    between = weights_of(trained)
    trained.fit(1e-2, epochs=1)
    shutil.copytree(tmp_path, tmp_path / "copy")
    resumed = tiny_session(ladders, tmp_path / "copy")
    resumed.resume()
    for session in (trained, resumed):
        session.undo()
        assert_equal_weights(session.model.get_weights(), between)
        assert [phase["status"] for phase in session.past] == ["done", "undone"]
        session.undo()
        assert "nothing to undo" in capsys.readouterr().out
        assert_equal_weights(session.model.get_weights(), between)
    again = tiny_session(ladders, tmp_path)
    again.resume()
    assert_equal_weights(again.model.get_weights(), between)


def test_weights_are_saved_with_a_card_and_loaded_by_name_or_path_and_bad_ones_refused(ladders, tmp_path, capsys):
    trained = tiny_session(ladders, tmp_path / "run")
    trained.fit(1e-2, epochs=1)
    trained.save("good")
    good = weights_of(trained)
    assert json.loads((tmp_path / "run/good.json").read_text())["sha256"] == sha256(tmp_path / "run/good.weights.h5")
    for name in ("good", tmp_path / "run/good.weights.h5"):
        trained.fit(1e-1, epochs=1)
        trained.load(name)
        assert_equal_weights(trained.model.get_weights(), good)
    (tmp_path / "bad.weights.h5").write_bytes(b"no weights")
    trained.load(tmp_path / "bad.weights.h5")
    assert "bad.weights.h5: not the weights of this model" in capsys.readouterr().out
    assert_equal_weights(trained.model.get_weights(), good)


@pytest.mark.parametrize("name", ["best", "phases", "run", "phase-01-begin", "best.weights.h5"])
def test_weights_are_not_saved_over_the_runs_own_files(ladders, tmp_path, capsys, name):
    trained = tiny_session(ladders, tmp_path)
    trained.begin([Phase(1e-3, 1)], resume=False)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    trained.save(name)
    assert "choose another" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    trained.save("phase-1-good")
    trained.fit(1e-3)
    trained.load("phase-1-good.weights.h5")
    assert "loaded" in capsys.readouterr().out


def test_evaluate_and_predict_tell_the_figures_and_the_score(ladders, tmp_path, capsys):
    trained = tiny_session(ladders, tmp_path)
    assert trained.evaluate().keys() == {"loss", "mse", "lcc"}
    score = trained.predict(ladders[0][0].path)
    assert isinstance(score, float)
    assert trained.predict(tmp_path / "missing.png") is None
    assert "missing.png: there is no such file" in capsys.readouterr().out


def test_a_phase_tells_the_figures_before_and_after_it(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    untrained = trained.evaluate()
    trained.fit(1e-2, epochs=2)
    trained.fit(1e-3, epochs=1)
    first, second = trained.past
    assert first["before"] == pytest.approx(untrained)
    assert first["after"] == second["before"] == pytest.approx({n[4:]: v for n, v in trained.log[1].items() if "val_" in n})
    assert first["steps"] == 2 * len(trained.train_data)


def test_the_curve_is_drawn_into_a_file(ladders, tmp_path):
    trained = tiny_session(ladders, tmp_path)
    trained.pretrain()
    trained.fit(1e-3, epochs=2)
    trained.curve(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


# --- the run folder --------------------------------------------------------------------------------------------------


def test_a_run_folder_holds_what_was_done_the_last_epoch_and_the_best_with_its_card(ladders, tmp_path):
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
    assert {path.name for path in tmp_path.iterdir()} == kept | others
    card = json.loads((tmp_path / "best.json").read_text())
    assert card["training"]["val_lcc"] == max(lcc)
    (start,) = json.loads((tmp_path / "run.json").read_text())
    assert (start["command"], start["seed"]) == (sys.argv, 2)
    assert start["keras"] == keras.__version__
    assert_sound(tmp_path)


def test_every_checkpoint_stays_if_asked_for(ladders, tmp_path):
    tiny_session(ladders, tmp_path, keep_epochs=True).run_schedule(parse_schedule("3@1e-3"))
    assert len(list(tmp_path.glob("phase-01-epoch-00?-lcc-*.weights.h5"))) == 3


def test_kept_epochs_stay_when_the_run_is_resumed_without_asking_again(ladders, tmp_path):
    tiny_session(ladders, tmp_path, keep_epochs=True).run_schedule(parse_schedule("3@1e-3"))
    tiny_session(ladders, tmp_path).resume()
    assert len(list(tmp_path.glob("phase-01-epoch-00?-lcc-*.weights.h5"))) == 3


def test_a_kill_between_the_commit_and_the_best_epochs_files_is_made_up_for(ladders, tmp_path, monkeypatch):
    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("iqa.training.session.save_with_card", killed)
        with pytest.raises(RuntimeError, match="killed"):
            tiny_session(ladders, tmp_path).fit(1e-3)
    resumed = tiny_session(ladders, tmp_path)
    resumed.resume()
    assert_sound(tmp_path)
    best = network()
    best.load_weights(tmp_path / "best.weights.h5")
    assert_equal_weights(best.get_weights(), resumed.model.get_weights())


def test_a_run_that_is_there_is_not_overwritten_by_a_new_one(ladders, tmp_path):
    tiny_session(ladders, tmp_path).fit(1e-3, epochs=1)
    before = (tmp_path / "phases.json").read_text()
    with pytest.raises(ValueError, match="holds a run"):
        tiny_session(ladders, tmp_path).fit(1e-3, epochs=1)
    with pytest.raises(ValueError, match="holds a run"):
        tiny_session(ladders, tmp_path).begin([], resume=False)
    assert (tmp_path / "phases.json").read_text() == before


def test_a_folder_without_a_run_cannot_be_resumed_and_another_schedule_is_refused(ladders, tmp_path):
    fresh = tiny_session(ladders, tmp_path)
    assert not fresh.resume()
    fresh.fit(1e-3, epochs=1)
    with pytest.raises(ValueError, match="another schedule"):
        fresh.run_schedule([Phase(1e-4, 1)])
    (tmp_path / "phases.json").write_text("{}")
    with pytest.raises(ValueError, match=r"phases\.json: not the state of a run"):
        tiny_session(ladders, tmp_path).resume()


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".log.csv.ab12cd_3").mkdir()
    (tmp_path / ".log.csv.ab12cd_3/log.csv").write_text("half")
    (tmp_path / ".mine.abcdefgh").mkdir()
    (tmp_path / ".mine.abcdefgh/precious").write_text("x")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine.abcdefgh"]


# --- the same numbers again ------------------------------------------------------------------------------------------


def test_the_same_seed_and_schedule_give_the_same_losses(ladders, tmp_path):
    phases = parse_schedule("1@1e-2:frozen,2@1e-3")
    runs = [tiny_session(ladders, tmp_path / name) for name in ("one", "two")]
    for run in runs:
        run.run_schedule(phases)
    one, two = ([(row["loss"], row["val_loss"]) for row in run.log] for run in runs)
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_a_run_killed_in_an_epoch_and_resumed_ends_with_the_weights_of_an_uninterrupted_one(ladders, tmp_path, monkeypatch):
    phases = parse_schedule("1@1e-2:frozen,3@1e-3")
    whole = tiny_session(ladders, tmp_path / "whole")
    whole.run_schedule(phases)

    broken = tiny_session(ladders, tmp_path / "broken")
    with monkeypatch.context() as patch:
        when_drawn(patch, epoch=2, index=1, act=fail)
        patch.setattr(Session, "_failed", lambda *_: None)  # a process that is killed writes nothing more
        with pytest.raises(Exception, match="unreadable"):  # TensorFlow wraps it
            broken.run_schedule(phases)

    resumed = tiny_session(ladders, tmp_path / "broken")
    assert resumed.resume()
    assert len(resumed.log) == 2
    resumed.run_schedule(phases)
    assert [row["loss"] for row in resumed.log] == pytest.approx([row["loss"] for row in whole.log], abs=1e-6)
    assert_equal_weights(resumed.model.get_weights(), whole.model.get_weights(), atol=1e-6)


def test_an_error_in_the_middle_keeps_what_was_trained(ladders, tmp_path, monkeypatch):
    trained = tiny_session(ladders, tmp_path)
    trained.fit(1e-3)
    with monkeypatch.context() as patch:
        when_drawn(patch, epoch=2, index=2, act=fail)
        with pytest.raises(Exception, match="unreadable"):
            trained.fit(1e-3, epochs=5)
    assert trained.past[1]["done"] == 1
    assert_sound(tmp_path)
    resumed = tiny_session(ladders, tmp_path)
    resumed.resume()
    assert_equal_weights(resumed.model.get_weights(), trained.model.get_weights())


def test_a_run_interrupted_at_the_end_of_an_epoch_and_resumed_is_the_uninterrupted_one(ladders, tmp_path, monkeypatch):
    phases = parse_schedule("3@1e-3,1@1e-4")
    whole = tiny_session(ladders, tmp_path / "whole")
    whole.run_schedule(phases)

    stopped = tiny_session(ladders, tmp_path / "stopped")
    with monkeypatch.context() as patch:
        done = Session._epoch_done

        def pressing(self, logs, seconds):
            done(self, logs, seconds)
            if len(self.log) == 2:
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Session, "_epoch_done", pressing)
        assert not stopped.run_schedule(phases)
    assert len(stopped.log) == 2
    resumed = tiny_session(ladders, tmp_path / "stopped")
    resumed.begin(phases, resume=True)
    assert [row["loss"] for row in resumed.log] == pytest.approx([row["loss"] for row in whole.log], abs=1e-6)
    assert_equal_weights(resumed.model.get_weights(), whole.model.get_weights(), atol=1e-6)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_after_the_step_with_a_checkpoint_and_training_goes_on_from_there(
    ladders, tmp_path, monkeypatch, capsys
):
    trained = tiny_session(ladders, tmp_path)
    trained.fit(1e-3, epochs=1)
    with monkeypatch.context() as patch:
        when_drawn(patch, epoch=1, index=2, act=press)
        trained.fit(1e-3, epochs=1)
    shown = capsys.readouterr().out
    step = trained.past[1]["steps"]
    assert 0 < step <= 3
    assert f"stopped in epoch 2 after step {step} of 3; checkpoint {tmp_path}" in shown
    assert (trained.past[1]["status"], trained.past[1]["done"], len(trained.log)) == ("interrupted", 0, 1)
    assert_sound(tmp_path)
    resumed = tiny_session(ladders, tmp_path)
    resumed.resume()
    assert_equal_weights(resumed.model.get_weights(), trained.model.get_weights())
    trained.fit(1e-4, epochs=1)
    assert (trained.past[2]["status"], len(trained.log)) == ("done", 2)


def test_ctrl_c_in_a_schedule_leaves_it_and_resuming_finishes_it(ladders, tmp_path, monkeypatch):
    phases = parse_schedule("2@1e-3,1@1e-4")
    with monkeypatch.context() as patch:
        when_drawn(patch, epoch=1, index=2, act=press)
        with pytest.raises(KeyboardInterrupt):
            tiny_session(ladders, tmp_path).begin(phases, resume=False)
    resumed = tiny_session(ladders, tmp_path)
    resumed.begin(phases, resume=True)
    assert [(p["done"], p["status"]) for p in resumed.past] == [(2, "done"), (1, "done")]
    assert [row["epoch"] for row in resumed.log] == [1, 2, 3]


def press_ctrl_c(chance, done):
    """Press it within 1.2 s unless all is done, one time in three twice."""
    time.sleep(chance.uniform(0, 1.2))
    if not done.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 0.05))
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_at_random_moments_loses_nothing_and_leaves_no_thread(ladders, tmp_path, capsys):
    chance = random.Random(1)
    trained = tiny_session(ladders * 4, tmp_path)
    trained.fit(1e-3, epochs=1)
    commands = (
        lambda: trained.fit(1e-3, epochs=3),
        lambda: trained.pretrain(epochs=2),
        lambda: trained.model.fit(trained.train_data, validation_data=trained.test_data, epochs=2),
        trained.evaluate,
        lambda: trained.save("name"),
        trained.undo,
    )
    threads = threading.active_count()
    presses = 0
    while presses < INTERRUPTS:
        weights, epochs, done = weights_of(trained), len(trained.log), threading.Event()
        # Within one command, or the press would be one at a prompt that a test does not have.
        with trained.interrupt:
            finger = threading.Thread(target=press_ctrl_c, args=(chance, done))
            finger.start()
            chance.choice(commands)()
            done.set()
            finger.join()
            presses += trained.interrupt.asked
        state = assert_sound(tmp_path)
        assert len(state["log"]) >= epochs
        assert all(np.isfinite(weight).all() for weight in weights)
    assert threading.active_count() <= threads + 2  # TensorFlow's own come and go
    capsys.readouterr()
    trained.fit(1e-4, epochs=1)
    assert trained.past[-1]["status"] == "done"


def run_tiny(*arguments, **settings):
    return subprocess.Popen([sys.executable, TINY, *map(str, arguments)], stdout=-1, stderr=-1, text=True, **settings)


def test_a_killed_run_loses_at_most_one_epoch(tmp_path):
    chance, schedule, epochs = random.Random(2), "400@1e-3", 0
    for kill in range(KILLS):
        process = run_tiny(tmp_path, tmp_path / "run", schedule, *(["resume"] if kill else []))
        while "Epoch" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        time.sleep(chance.uniform(1, 8))
        process.kill()
        process.communicate()
        if (tmp_path / "run/phases.json").exists():
            seen = len(assert_sound(tmp_path / "run")["log"])
            assert seen >= epochs
            epochs = seen
    assert epochs > 0


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
    assert "Traceback" not in terminal.wait("holds a run: go on with it (--resume)")
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 2


# --- NaN -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_loss_that_is_not_finite_stops_the_phase_and_restores_the_last_good_weights(
    ladders, tmp_path, monkeypatch, capsys, epoch
):
    trained = tiny_session(ladders, tmp_path)
    good = {}
    with monkeypatch.context() as patch:
        drawn, done = Ladders.__getitem__, Session._epoch_done

        def spoiled(self, index):
            pixels, labels = drawn(self, index)
            return pixels, labels * (np.inf if self.epoch == epoch and index == 2 else 1)

        def remembering(self, logs, seconds):
            done(self, logs, seconds)
            good["weights"] = weights_of(self)

        patch.setattr(Ladders, "__getitem__", spoiled)
        patch.setattr(Session, "_epoch_done", remembering)
        good["weights"] = weights_of(trained)
        trained.fit(1e-3, epochs=3)
    assert f"the loss is nan in epoch {epoch + 1}" in capsys.readouterr().out
    assert (trained.past[0]["status"], trained.past[0]["done"]) == ("not finite", epoch)
    assert_equal_weights(trained.model.get_weights(), good["weights"])
    with pytest.raises(ValueError, match="loss of phase 1 was not finite"):
        trained.run_schedule([Phase(1e-3, 3), Phase(1e-4, 1)])
    trained.fit(1e-4, epochs=1)
    assert trained.past[1]["status"] == "done"
    assert_sound(tmp_path)


def test_weights_spoiled_by_the_last_step_of_an_epoch_are_not_kept(ladders, tmp_path, capsys):
    trained = tiny_session(ladders, tmp_path)
    trained.fit(1e-3)
    good = weights_of(trained)

    class Spoiling(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.get_layer("score").bias.assign([np.nan])

    trained.model.fit(trained.train_data, callbacks=[Spoiling()])
    assert "back to the weights of" in capsys.readouterr().out
    assert trained.past[1]["status"] == "not finite"
    assert_equal_weights(trained.model.get_weights(), good)
    trained.curve()


# --- several devices, 16 bits ----------------------------------------------------------------------------------------


def test_two_devices_have_the_loss_of_one_at_the_same_global_batch(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(TINY.parent)!r})
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from iqa.training.devices import open_strategy
from tiny_training import make_ladders, network, tiny_session
losses = []
for name in (None, "mirrored"):
    strategy = open_strategy(name)
    with strategy.scope():
        model = network(dropout=0, noise=0)  # chance would differ
    session = tiny_session(make_ladders({str(tmp_path)!r}), {str(tmp_path)!r} + "/" + str(name), model)
    session.pretrain(learning_rate=1e-2)
    session.fit(1e-2, epochs=3)
    session.undo()
    session.fit(1e-3, epochs=1)
    session.model.compile("sgd", "mse")
    session.model.fit(session.train_data, validation_data=session.test_data)
    losses.append([(row["loss"], row["val_loss"], row.get("val_lcc", 0)) for row in session.log])
    print(strategy.num_replicas_in_sync, losses[-1])
assert strategy.num_replicas_in_sync == 2
assert abs(tf.constant(losses[0]) - tf.constant(losses[1])).numpy().max() < 1e-4
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def test_the_scale_of_the_loss_in_float16_is_resumed(ladders, tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        trained = tiny_session(ladders, tmp_path)
        trained.fit(1e-3, epochs=2)
        resumed = tiny_session(ladders, tmp_path)
        resumed.resume()
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
        trained.fit(1e-2, epochs=1)
        trained.save("half")
        assert trained.model.get_layer("backbone").compute_dtype == "bfloat16"
    finally:
        keras.mixed_precision.set_global_policy(before)
    full = network()
    full.load_weights(tmp_path / "half.weights.h5")
    assert_equal_weights(full.get_weights(), trained.model.get_weights())
    assert np.isfinite(trained.log[0]["loss"])
