"""Files that strangers send: what they declare is checked before it is read, and refused in one line."""

import json
import os

import h5py
import numpy as np
import pytest

from iqa.cards import AVA_SCALE, Backbone, Card, Head, Preprocessing, read_card
from iqa.errors import CardError, WeightsError
from iqa.models.weight_files import check_hdf5

# --- HDF5 -----------------------------------------------------------------------------------------------------------


def put_virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("layers/a/vars/0", layout)


BAD_HDF5 = {
    "external": lambda file: file.create_dataset("layers/a", (4,), "u1", external=[("/etc/hostname", 0, 4)]),
    "external link": lambda file: file.update({"layers/a": h5py.ExternalLink("/other.h5", "/layers/a")}),
    "virtual": put_virtual,
    "texts": lambda file: file.update({"layers/a": ["x" * 1000] * 100}),
    "terabytes": lambda file: file.create_dataset("layers/a", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024)),
    "nothing stored": lambda file: file.create_dataset("layers/a", (1000,), "f4"),
    "a circle": lambda file: file.update({"layers/again": file["/"]}),
}


@pytest.mark.parametrize("kind", BAD_HDF5)
def test_an_hdf5_file_with_anything_but_stored_numbers_is_refused(tmp_path, kind):
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["layers/good"] = np.zeros(3, "f4")
        BAD_HDF5[kind](file)
    with pytest.raises(WeightsError) as caught:
        check_hdf5(tmp_path / "bad.h5")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


# --- cards ----------------------------------------------------------------------------------------------------------

CARD = Card(
    Backbone("mobilenet_v2", "imagenet", "keras", 1e-3), Head("histogram"), Preprocessing("patch"), AVA_SCALE
).to_json()


def changed(part, **facts):
    return json.dumps(CARD | {part: CARD[part] | facts})


BAD_CARDS = {
    "size": changed("preprocessing", size=100000),
    "size of true": changed("preprocessing", size=True),
    "multiple": changed("preprocessing", multiple=0),
    "a missing fact": json.dumps(CARD | {"backbone": {}}),
    "noise that is no number": changed("backbone", noise=0).replace('"noise": 0', '"noise": NaN'),
    "dropout": changed("head", dropout=1),
    "levels of numbers": changed("head", levels=[1]),
    "kind": changed("head", kind=["histogram"]),
    "an unknown fact": changed("head", **{"x\n" * 10_000: 1}),
    "scale": changed("scale", highest=0),
    "a meaning of a megabyte": changed("scale", meaning="x" * 900_000),
    "sha256": json.dumps(CARD | {"sha256": "0" * 63}),
    "compiled": json.dumps(CARD | {"compiled": {"../x.tflite": "0" * 64}}),
    "training": json.dumps(CARD | {"training": []}),
    "great depth": "[" * 500_000,
    "a hundred megabytes": None,
    "UTF-16": json.dumps(CARD).encode("utf-16"),
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
