"""Training on several machines: here two processes of this one, which reach each other on the loopback interface."""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_training import make_ladders, see

from iqa.commands import run_options
from iqa.errors import UsageError
from iqa.training import batches, devices
from iqa.training.batches import Evaluation
from iqa.training.devices import own_part

HERE = Path(__file__).parent

#: Trains as its arguments say (folder, run, strategy) and prints the losses of each epoch.
TRAIN = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from iqa.training.devices import prepare
folder, run, strategy = sys.argv[1:]
prepare(5, strategy if strategy != "alone" else None)
from iqa.training.schedule import parse_schedule
from tiny_training import make_ladders, network, tiny_prompt
prompt = tiny_prompt(make_ladders(folder), run, network(dropout=0, noise=0))
prompt.session.begin(parse_schedule("1@1e-2:frozen,2@1e-2"), False)
print("losses", *[row[name] for row in prompt.session.state.log for name in ("loss", "val_loss")])
"""


def start(arguments, **environment):
    settings = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"} | environment
    command = [sys.executable, "-c", TRAIN, *map(str, arguments)]
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses_of(process):
    try:
        out, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    lines = [line.split()[1:] for line in out.splitlines() if line.startswith("losses")]
    assert process.returncode == 0 and lines, out[-3000:]
    return np.array(lines[0], float)


def test_two_machines_have_the_losses_of_one_at_the_same_batch(tmp_path):
    pytest.importorskip("jax")
    make_ladders(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    both = [
        start([tmp_path, tmp_path / f"run-{number}", "machines"], **cluster, KERAS_DISTRIBUTION_PROCESS_ID=str(number))
        for number in range(2)
    ]
    first, second = [losses_of(process) for process in both]
    alone = losses_of(start([tmp_path, tmp_path / "alone", "alone"]))
    assert len(alone) == 6 and alone[-1] < alone[0]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=1e-4)


def test_each_machine_has_its_part_of_a_batch_and_together_they_have_all(monkeypatch):
    batch = np.arange(12).reshape(6, 2), np.arange(6)
    parts = []
    for number in range(3):
        monkeypatch.setattr(devices, "place_among_machines", lambda number=number: (number, 3, 3))
        parts.append(own_part(batch))
    for whole, pieces in zip(batch, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_batch_that_cannot_be_split_equally_is_refused_before_training(monkeypatch, tmp_path):
    images = make_ladders(tmp_path, scenes=1)[0]
    monkeypatch.setattr(batches, "place_among_machines", lambda: (0, 2, 4))
    Evaluation(images[:4], 4, see).check_division()
    with pytest.raises(UsageError, match="a batch of 1 pictures cannot be split equally among 4 devices"):
        Evaluation(images, 4, see).check_division()


def test_machines_need_jax_and_each_others_names(monkeypatch):
    monkeypatch.setattr(devices.keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(UsageError, match="needs KERAS_BACKEND=jax"):
        devices.open_strategy("machines")
    monkeypatch.setattr(devices.keras.backend, "backend", lambda: "jax")
    monkeypatch.delenv(devices.MACHINE, raising=False)
    with pytest.raises(UsageError, match="KERAS_DISTRIBUTION_PROCESS_ID on each machine"):
        devices.open_strategy("machines")


@pytest.mark.parametrize("machine, expected", [("", "runs/x"), ("0", "runs/x"), ("1", "runs/x/machine-1")])
def test_each_machine_but_the_first_has_a_run_folder_of_its_own(monkeypatch, machine, expected):
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", machine)
    monkeypatch.setattr(sys, "argv", ["train"])
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=Path("runs/x"), resume=False, images=Path(), weights=None)
    assert run_options.parse_options(parser).run == Path(expected)
