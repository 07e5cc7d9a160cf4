"""Files that strangers send: what they declare is checked before it is read, and refused in one line."""

import dataclasses
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest

from iqa.cards import AVA_SCALE, Backbone, Card, Head, Preprocessing, read_card
from iqa.commands.run_options import parse_options, train_parser
from iqa.errors import CardError, PredictionsError, RunError, WeightsError
from iqa.evaluation.predictions import read_predictions
from iqa.models.weight_files import list_keras2_layers, open_hdf5
from iqa.training import folder_lock
from iqa.training.run_folder import RunFolder, read_state
from iqa.training.run_state import PhaseRecord, RunState

# --- HDF5 -----------------------------------------------------------------------------------------------------------


def put_external(file):
    file.create_dataset("layers/a/vars/0", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def put_external_link(file):
    file["layers/a"] = h5py.ExternalLink("/other.h5", "/layers/a")


def put_soft_link(file):
    file["layers/a"] = h5py.SoftLink("/layers/b")


def put_virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("layers/a/vars/0", layout)


def put_texts(file):
    file["layers/a"] = ["x" * 1000] * 100


def put_pairs(file):
    file["layers/a"] = np.zeros(3, [("x", "f4"), ("y", "f4")])


def put_terabytes(file):
    file.create_dataset("layers/a", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


def put_nothing_stored(file):
    file.create_dataset("layers/a", (1000,), "f4")


def put_nothing_shaped(file):
    file["layers/a"] = h5py.Empty("f4")


def put_a_circle(file):
    file["layers/again"] = file["/"]


BAD_HDF5 = {name[4:]: put for name, put in sorted(globals().items()) if name.startswith("put_")}


@pytest.mark.parametrize("kind", BAD_HDF5)
def test_an_hdf5_file_with_anything_but_stored_numbers_is_refused(tmp_path, kind):
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["layers/good"] = np.zeros(3, "f4")
        BAD_HDF5[kind](file)
    with pytest.raises(WeightsError) as caught, open_hdf5(tmp_path / "bad.h5"):
        pass
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def save_layer_names(path, names, weight_names):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
        for name in ("a", "b"):
            group = file.create_group(name)
            group.attrs["weight_names"], group["w"] = weight_names, np.full(2, ord(name), "f4")


@pytest.mark.parametrize("kind", [np.bytes_, str])
def test_layers_are_listed_from_names_of_fixed_length_and_of_any(tmp_path, kind):
    names, weights = (np.array(texts, "S") if kind is np.bytes_ else texts for texts in (["b", "a"], ["w"]))
    save_layer_names(tmp_path / "old.hdf5", names, weights)
    with open_hdf5(tmp_path / "old.hdf5") as file:
        layers = list_keras2_layers(file)
        assert [(name, array[0]) for name, (array,) in layers.items()] == [("b", ord("b")), ("a", ord("a"))]


# --- .mat -----------------------------------------------------------------------------------------------------------


def element(kind, content):
    return struct.pack("<2I", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, shape, *parts, name="", size=None):
    head = element(6, struct.pack("<2I", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    content = head + element(1, name.encode()) + b"".join(parts)
    return struct.pack("<2I", 14, len(content) if size is None else size) + content


def numbers(name, shape, count):
    return matrix(6, shape, element(9, bytes(8 * count)), name=name)


def text(content="a.png", shape=None):
    return matrix(4, shape or (1, len(content)), element(16, content.encode()))


def packed(*parts):
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(part) for part in parts) + packer.flush()
    return struct.pack("<2I", 15, len(content)) + content


def mat(*variables, version=0x0100, fill=True):
    filled = (numbers("labels", (1, 2), 2), numbers("predictions", (2, 1, 1), 2)) if fill else ()
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", version) + b"IM" + b"".join([*filled, *variables])


def nested(levels):
    inner = text()
    for _ in range(levels):
        inner = matrix(1, (1, 1), inner)
    return inner[:8] + inner[8:].replace(element(1, b""), element(1, b"skipped"), 1)


def fields(length, names, *values):
    inner = (struct.pack("<HHi", 5, 4, length), element(1, names), *values)
    return matrix(2, (1, 1), *inner, name="provenance")


def test_the_mat_that_the_bad_ones_are_made_from_is_read(tmp_path):
    names = matrix(1, (2, 1), text("a.png"), text("bär.png", (1, 7)), name="filenames")
    fact = fields(8, b"model\0\0\0", text("m"))
    unread = [numbers("other", (9, 9), 1), packed(matrix(3, (1, 1), name="object"))]
    for content in (mat(names, fact, *unread), mat(packed(names), packed(fact), *unread)):
        (tmp_path / "a.mat").write_bytes(content)
        found = read_predictions(tmp_path / "a.mat")
        assert (found.filenames, found.provenance) == (["a.png", "bär.png"], {"model": "m"})
        assert found.predictions.tolist() == [0, 0]


def bomb():
    """1 GB of labels in a megabyte."""
    whole = numbers("labels", (1, 1 << 27), 0)[:-8] + struct.pack("<2I", 9, 1 << 30)
    return packed(struct.pack("<2I", 14, len(whole) - 8 + (1 << 30)) + whole[8:], *[bytes(1 << 20)] * 1024)


BAD_MAT = {
    "a bomb": mat(bomb(), fill=False),
    "a shape of terabytes": mat(matrix(1, (1 << 30, 1 << 10), name="filenames")),
    "a cell of two billion": mat(matrix(1, (1, (1 << 31) - 1), text(), name="filenames")),
    "a negative shape": mat(matrix(1, (-1, -1), text(), name="filenames")),
    "a text of nothing in a large shape": mat(
        matrix(1, (1, 1), matrix(4, (1, 1 << 30), element(16, b"")), name="filenames")
    ),
    "an empty text of a large shape": mat(matrix(4, (1 << 15, 1 << 15), element(16, b""), name="filenames")),
    "a thousand shapes": mat(matrix(6, (1,) * 1000, element(9, bytes(8)), name="labels"), fill=False),
    "numbers of another count": mat(numbers("skipped", (3, 3), 8)),
    "an unknown type of number": mat(matrix(6, (1, 1), element(8, bytes(8)), name="skipped")),
    "cells in cells": mat(nested(2)),
    "ten thousand cells in cells": mat(nested(5000)),
    "a function": mat(matrix(16, (1, 1), text(), name="skipped")),
    "an object": mat(matrix(3, (1, 1), text(), name="provenance")),
    "a sparse matrix": mat(matrix(5, (1, 1), element(5, bytes(4)), name="labels"), fill=False),
    "an opaque thing": mat(matrix(17, (1, 1), text(), name="skipped")),
    "structs without end": mat(matrix(2, (1 << 20, 1 << 20), name="provenance")),
    "fields of no length": mat(fields(0, b"model", text())),
    "a million fields": mat(fields(1, b"x" * 1_000_000)),
    "more inside than outside": mat(matrix(1, (2, 1), text(), text(), name="filenames", size=100)),
    "less inside than outside": mat(matrix(1, (1, 1), text(), text(), name="filenames")),
    "the same twice": mat(numbers("labels", (1, 2), 2)),
    "no stream": mat(struct.pack("<2I", 15, 8) + b"no zlib!"),
    "half a stream": mat(packed(numbers("labels", (1, 2), 2))[:-9], fill=False),
    "a file of version 4": struct.pack("<5i", 0, 1, 1 << 30, 0, 7) + b"labels\0" + bytes(200),
    "a file of version 7.3": mat(version=0x0200),
    "a million variables": mat(matrix(6, (0, 0), element(9, b""), name="x") * 20_000),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", BAD_MAT)
def test_a_mat_that_is_not_what_it_declares_is_refused(tmp_path, kind):
    (tmp_path / "bad.mat").write_bytes(BAD_MAT[kind])
    tracemalloc.start()
    try:
        with pytest.raises(PredictionsError, match=r"bad\.mat: ") as caught:
            read_predictions(tmp_path / "bad.mat")
        assert tracemalloc.get_traced_memory()[1] < 600e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_matlab_and_octave_write_is_read(tmp_path):
    # Complex numbers, an empty cell of eight bytes, numbers in an empty cell, the other byte order.
    empty = struct.pack("<2I", 14, 0)
    nothing = matrix(6, (0, 0), element(9, b""))
    (tmp_path / "a.mat").write_bytes(mat(matrix(1, (2, 1), empty, nothing, name="filenames")))
    assert read_predictions(tmp_path / "a.mat").filenames == ["", ""]
    (tmp_path / "big.mat").write_bytes(
        b"MATLAB 5.0".ljust(124)
        + b"\1\0MI"
        + b"".join(big_endian(name, shape) for name, shape in (("labels", (1, 2)), ("predictions", (2, 1))))
    )
    assert read_predictions(tmp_path / "big.mat").predictions.tolist() == [1, 2]


def big_endian(name, shape):
    parts = [
        (6, struct.pack(">2I", 6, 0)),
        (5, struct.pack(">2i", *shape)),
        (1, name.encode()),
        (9, struct.pack(">2d", 1, 2)),
    ]
    content = b"".join(struct.pack(">2I", kind, len(part)) + part + bytes(-len(part) % 8) for kind, part in parts)
    return struct.pack(">2I", 14, len(content)) + content


# --- cards ----------------------------------------------------------------------------------------------------------

CARD = Card(
    Backbone("mobilenet_v2", "imagenet", "keras", 1e-3), Head("histogram"), Preprocessing("patch"), AVA_SCALE
).to_json()


def changed(part, **facts):
    return json.dumps(CARD | {part: CARD[part] | facts})


BAD_CARDS = {
    "size": changed("preprocessing", size=100000),
    "size in text": changed("preprocessing", size="224"),
    "size of true": changed("preprocessing", size=True),
    "size of a fraction": changed("preprocessing", size=224.5),
    "multiple": changed("preprocessing", multiple=0),
    "a negative multiple": changed("preprocessing", multiple=-8),
    "epsilon": changed("backbone", batch_norm_epsilon=0),
    "epsilon without bound": changed("backbone", batch_norm_epsilon=1).replace(": 1,", ": 1e999,"),
    "noise of 5000 digits": changed("backbone", noise=0).replace('"noise": 0', '"noise": ' + "1" * 5000),
    "noise that is no number": changed("backbone", noise=0).replace('"noise": 0', '"noise": NaN'),
    "dropout": changed("head", dropout=1),
    "levels": changed("head", levels=["a"] * 1000),
    "levels of numbers": changed("head", levels=[1]),
    "kind": changed("head", kind=["histogram"]),
    "a kind of a megabyte": changed("head", kind="x" * 900_000),
    "an unknown fact": changed("head", **{"x\n" * 10_000: 1}),
    "scale": changed("scale", highest=0),
    "scale of lists": changed("scale", lowest=[1]),
    "half a letter": changed("scale", meaning="\ud800"),
    "a meaning of a megabyte": changed("scale", meaning="x" * 900_000),
    "sha256": json.dumps(CARD | {"sha256": "0" * 63}),
    "compiled": json.dumps(CARD | {"compiled": {"../x.tflite": "0" * 64}}),
    "compiled without a hash": json.dumps(CARD | {"compiled": {"x.tflite": None}}),
    "training": json.dumps(CARD | {"training": []}),
    "the same name twice": json.dumps(CARD)[:-1] + ', "head": {"kind": "regression"}}',
    "depth": json.dumps(CARD)[:-1] + ', "notes": ' + "[" * 100 + "]" * 100 + "}",
    "great depth": "[" * 500_000,
    "a hundred megabytes": None,
    "UTF-16": json.dumps(CARD).encode("utf-16"),
    "zeros": bytes(1000),
    "a number": "7",
    "nothing": "",
}


@pytest.mark.parametrize("kind", BAD_CARDS)
def test_an_absurd_card_is_refused_in_one_short_line(tmp_path, kind):
    path, content = tmp_path / "bad.json", BAD_CARDS[kind]
    if content is None:
        with open(path, "wb") as file:
            file.truncate(100_000_000)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CardError, match=r"bad\.json: ") as caught:
        read_card(path)
    reason = str(caught.value).removeprefix(str(path))
    assert reason.isprintable() and len(reason) < 200


def test_a_card_that_is_no_ordinary_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("pipe.json", "folder.json"):
        with pytest.raises(CardError, match=rf"{name}: not a card \(not an ordinary file\)"):
            read_card(tmp_path / name)


# --- run folders ----------------------------------------------------------------------------------------------------

NAME = "phase-01-epoch-001-lcc-0.5000.weights.h5"
PHASE = dataclasses.asdict(PhaseRecord("1@0.001", 1e-3, False, 1, done=1, steps=3, after={"loss": None}, status="done"))
ROW = {"epoch": 1, "phase": 1, "learning_rate": 0.001, "loss": None, "lcc": 0.5}
STATE = RunState(
    [PhaseRecord(**PHASE)], [ROW], NAME, "phase-01-begin.weights.h5", {"epoch": 1, "checkpoint": NAME, "val_lcc": 0.5}
).to_json()


def test_the_state_that_the_bad_ones_are_made_from_is_read():
    state = RunState.from_json(STATE)
    assert state.phases[0].after == {"loss": None} and np.isnan(state.log[0]["loss"])
    assert RunState.from_json({"phases": [], "log": [], "checkpoint": None}) == RunState()


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "/etc/passwd"},
        {"checkpoint": "phase-01-epoch-001/../../x.weights.h5"},
        {"checkpoint": ["x"]},
        {"begin": "../phase-01-begin.weights.h5"},
        {"best": {"epoch": 1, "checkpoint": "../" + NAME}},
        {"best": {"epoch": 1, "checkpoint": NAME, "val_lcc": "x"}},
        {"best": []},
        {"best": {"epoch": 2, "checkpoint": NAME}},
        {"phases": []},
        {"phases": {}},
        {"phases": [7]},
        {"phases": [PHASE | {"epochs": -1}]},
        {"phases": [PHASE | {"learning_rate": "x" * 1000}]},
        {"phases": [PHASE | {"callbacks": "abc"}]},
        {"phases": [PHASE | {"status": None}]},
        {"phases": [PHASE | {"after": {"loss": "x"}}]},
        {"phases": [PHASE | {"unknown": 1}]},
        {"phases": [{"asked": "1@1"}]},
        {"log": [{"phase": 2}]},
        {"log": [[]]},
        {"log": [{"loss": 1.0}]},
        {"log": [ROW | {"loss": "low"}]},
        {"figures": 1},
        {"drawn": 0.5},
        {"drawn": True},
        {"open_epoch": {"step": -1, "seconds": 0, "metrics": []}},
        {"open_epoch": {"step": 1}},
        {"open_epoch": {"step": 1, "seconds": 0, "metrics": {}}},
        {"schedule": "1@1"},
        {"settings": []},
        {"options": None},
        {"optimizer": []},
        {"trainable": [1]},
        {"generators": {}},
    ],
    ids=str,
)
def test_a_state_with_anything_else_is_refused_in_one_line(tmp_path, change):
    (tmp_path / "phases.json").write_text(json.dumps(STATE | change))
    with pytest.raises(RunError, match=r"phases\.json: not the state of a run: ") as caught:
        read_state(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("options", [{"images": {"path": 1}}, {"images": [[1]]}, {"ladders": [{}]}], ids=str)
def test_options_that_no_command_line_gives_are_refused(tmp_path, monkeypatch, options):
    (tmp_path / "phases.json").write_text(json.dumps(STATE | {"options": options}))
    parser = train_parser("A script.", str(tmp_path), batch_size=16)
    parser.add_argument("--ladders", nargs="*")
    monkeypatch.setattr("sys.argv", ["script.py", "--resume"])
    with pytest.raises(RunError, match=r"phases\.json: its options are not those of a run"):
        parse_options(parser)


def test_a_number_among_the_options_is_checked_as_if_it_were_typed(tmp_path, monkeypatch, capsys):
    parser = train_parser("A script.", str(tmp_path), batch_size=16)
    monkeypatch.setattr("sys.argv", ["script.py", "--resume", "--images", "x"])
    (tmp_path / "phases.json").write_text(json.dumps(STATE | {"options": {"batch_size": 8}}))
    assert parse_options(parser).batch_size == 8
    (tmp_path / "phases.json").write_text(json.dumps(STATE | {"options": {"batch_size": -8}}))
    with pytest.raises(SystemExit):
        parse_options(parser)
    assert "--batch-size" in capsys.readouterr().err


HOLDER = """
import sys
from pathlib import Path
from iqa.training.folder_lock import lock_folder
lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_session_on_a_run_folder_is_told_of_the_first_until_that_is_gone(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        folder = RunFolder(tmp_path)
        for attempt in (folder.lock, lambda: folder.commit(RunState()), lambda: folder.note_start(1), folder.read):
            with pytest.raises(RunError, match=rf"another session \(process {holder.pid} on .*\) is open on it"):
                attempt()
        assert {path.name for path in tmp_path.iterdir()} == {"session.lock"}
    finally:
        holder.kill()
        holder.communicate()
    folder.commit(RunState())  # the lock of a killed process is no lock
    RunFolder(tmp_path).commit(RunState())  # and this process may open its own folder twice


def test_a_folder_that_cannot_be_locked_is_used_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "lock_file", lambda descriptor: False)
    with pytest.warns(UserWarning, match="has no locks, so open no second session"):
        RunFolder(tmp_path).commit(RunState())
