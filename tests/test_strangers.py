"""Files that strangers send: what they declare is checked before it is read, and refused in one line."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from iqa.models.hdf5 import list_keras2_layers, open_hdf5
from iqa.models.torch_files import read_torch_tensors

from iqa.cards import AVA_SCALE, Backbone, Card, Head, Preprocessing, read_card
from iqa.errors import CardError, WeightsError
from iqa.files import write_json
from iqa.scoring import network_cache

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


def put_reference(file):
    file.create_dataset("layers/a", data=file.ref, dtype=h5py.ref_dtype)


def put_texts(file):
    file["layers/a"] = ["x" * 1000] * 100


def put_pairs(file):
    file["layers/a"] = np.zeros(3, [("x", "f4"), ("y", "f4")])


def put_named_type(file):
    file["layers/a"] = np.dtype("f4")


def put_terabytes(file):
    file.create_dataset("layers/a", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


def put_nothing_stored(file):
    file.create_dataset("layers/a", (1000,), "f4")


def put_some_chunks_missing(file):
    file.create_dataset("layers/a", (1000,), "f4", chunks=(100,))[:50] = 1


def put_deflate_bomb(file):
    dataset = file.create_dataset("layers/a", (100,), "u1", chunks=(100,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 26), 9)[:1000])


def put_lzf(file):
    file.create_dataset("layers/a", data=np.zeros(100), compression="lzf")


def put_unknown_filter(file):
    facts = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    facts.set_chunk((100,))
    facts.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((100,))
    h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, space, facts)


def put_nothing_shaped(file):
    file["layers/a"] = h5py.Empty("f4")


def put_a_circle(file):
    file["layers/again"] = file["/"]


def put_two_circles(file):
    for name in "abc":
        file[f"layers/{name}"] = file["/"]


def put_many_groups(file):
    for number in range(300):
        file.create_group(f"g{number}")
    for number in range(1, 300):
        file["g0"][f"g{number}"] = file[f"g{number}"]
        file[f"g{number}/g0"] = file["g0"]


def put_a_deep_group(file):
    file.create_group("/".join("a" * 500))


def put_a_long_dtype(file):
    file["layers/a"] = np.zeros(3, "f4")
    file["layers/a"].attrs["dtype"] = ["bfloat16"] * 1000


BAD_HDF5 = {name[4:]: put for name, put in sorted(globals().items()) if name.startswith("put_")}


@pytest.mark.parametrize("kind", BAD_HDF5)
def test_an_hdf5_file_with_anything_but_stored_numbers_is_refused(tmp_path, kind):
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["layers/good"] = np.zeros(3, "f4")
        BAD_HDF5[kind](file)
    with pytest.raises(WeightsError) as caught, open_hdf5(tmp_path / "bad.h5"):
        pass
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (7, 3)}, {"compression": "gzip"}, {"compression": 9, "shuffle": True, "fletcher32": True}],
    ids=str,
)
@pytest.mark.parametrize("compressible", [True, False])
def test_numbers_that_are_stored_in_full_are_read_however_they_are_packed(tmp_path, options, compressible):
    numbers = np.zeros((30, 20), "f4") if compressible else np.random.default_rng(0).normal(size=(30, 20)).astype("f4")
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file.create_dataset("layers/a/vars/0", data=numbers, **options)
        file.create_dataset("layers/b/vars/0", data=np.zeros((0, 3), "f4"))
        file["layers/c/vars/0"] = np.int64(7)
    with open_hdf5(tmp_path / "good.h5") as file:
        np.testing.assert_array_equal(file["layers/a/vars/0"], numbers)


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


def test_a_name_of_four_gigabytes_is_refused(tmp_path):
    save_layer_names(tmp_path / "old.hdf5", ["b" * 77, "a"], ["w"])
    content = (tmp_path / "old.hdf5").read_bytes()
    length = struct.pack("<I", 77)  # of the text, before its address
    at = next(at for at in range(len(content)) if content[at : at + 4] == length and content[at + 8 : at + 12] == bytes(4))
    (tmp_path / "old.hdf5").write_bytes(content[:at] + b"\xff\xff\xff\xf0" + content[at + 4 :])
    with open_hdf5(tmp_path / "old.hdf5") as file, pytest.raises(WeightsError, match="names of its layers cannot be read"):
        list_keras2_layers(file)


# --- .pth -----------------------------------------------------------------------------------------------------------

STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89}tR"
NAMED = b"X\x01\x00\x00\x00w"


def deep(levels):
    return b"K\x01" + b"\x85" * levels


def doubled(levels):
    """A tuple of which each level holds the one below twice: 2 ** levels in all."""
    return b"K\x01" + b"q\x00h\x00\x86" * levels


def pth(pickled, *members, packed=False):
    content = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(content, "w", method) as file:
        file.writestr("a/data.pkl", pickled)
        for number, member in enumerate(members or [bytes(16)]):
            file.writestr(f"a/data/{number}", member)
    return content.getvalue()


def test_the_pth_that_the_bad_ones_are_made_from_is_read(tmp_path):
    (tmp_path / "a.pth").write_bytes(pth(b"\x80\x02}" + NAMED + TENSOR + b"s."))
    assert read_torch_tensors(tmp_path / "a.pth")["w"].tolist() == [0, 0, 0, 0]


BAD_PTH = {
    "keys of nested tuples": b"}" + deep(100_000) + TENSOR + b"s.",
    "keys that take for ever": b"}" + doubled(60) + TENSOR + b"s.",
    "values of nested tuples": b"}" + NAMED + deep(100_000) + b"s.",
    "a size of nested tuples": b"}" + NAMED + TENSOR.replace(b"K\x04\x85K\x01\x85", deep(50_000) + b"K\x01\x85") + b"s.",
    "strides that take for ever": b"}" + NAMED + TENSOR.replace(b"K\x01\x85", doubled(60)) + b"s.",
    "a state for our own function": (
        b"ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__K\x07\x85sb}" + NAMED + TENSOR + b"s."
    ),
    "an attribute of an attribute": b"ccollections\nOrderedDict.update.__globals__\n.",
    "a call of what a call returned": b"}" + NAMED + b"ccollections\nOrderedDict\n)R)Rs.",
    "a class": b"(iposix\nsystem\n.",
    "a new object": b"ccollections\nOrderedDict\n)\x81.",
    "an extension": b"\x82\x01.",
    "a tensor in a list": b"]" + TENSOR + b"a.",
    "a million instructions": b"K\x010" * 500_000 + b"}" + NAMED + TENSOR + b"s.",
    "no end": b"}" + NAMED + TENSOR + b"s",
    "nothing to take from the stack": b"\x85\x85s.",
    "no mark": b"}" + NAMED + TENSOR + b"u.",
    "a tensor larger than its storage": b"}" + NAMED + TENSOR.replace(b"K\x04\x85", b"K\x05\x85") + b"s.",
    "a shape whose product overflows": b"}"
    + NAMED
    + TENSOR.replace(b"K\x04\x85", b"\x8a\x05\0\0\0\0\x01\x8a\x05\0\0\0\0\x01\x86"),
    "a negative offset": b"}" + NAMED + TENSOR.replace(b"QK\x00", b"QJ\xff\xff\xff\xff") + b"s.",
    "a storage of terabytes": b"}" + NAMED + TENSOR.replace(b"K\x04tQ", b"\x8a\x06\0\0\0\0\0\x01tQ") + b"s.",
}


@pytest.mark.parametrize("kind", BAD_PTH)
def test_a_pickle_of_anything_but_tensors_is_refused_at_once(tmp_path, kind):
    for content in (pth(b"\x80\x02" + BAD_PTH[kind]), legacy(b"\x80\x02" + BAD_PTH[kind])):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(WeightsError, match=r"bad\.pth: ") as caught:
            read_torch_tensors(tmp_path / "bad.pth")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def legacy(pickled):
    """The form of torch before 1.6."""
    start = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return start + pickled + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)


def test_a_state_is_laid_aside_as_torch_saves_one(tmp_path):
    pickled = b"\x80\x02ccollections\nOrderedDict\n)R" + NAMED + TENSOR + b"s}X\x09\x00\x00\x00_metadataK\x01sb."
    for content in (pth(pickled), legacy(pickled)):
        (tmp_path / "a.pth").write_bytes(content)
        assert list(read_torch_tensors(tmp_path / "a.pth")) == ["w"]


@pytest.mark.parametrize(
    "content",
    {
        "packed": pth(b"\x80\x02}" + NAMED + TENSOR + b"s.", bytes(1 << 24), packed=True),
        "a packed pickle": pth(b"\x80\x02" + b"N" * (1 << 24), packed=True),
        "a longer member": pth(b"\x80\x02}" + NAMED + TENSOR + b"s.", bytes(17)),
        "a shorter member": pth(b"\x80\x02}" + NAMED + TENSOR + b"s.", bytes(15)),
        "many members": pth(b"\x80\x02}" + NAMED + TENSOR + b"s.", *[bytes(16)] * 6000),
        "cut off": pth(b"\x80\x02}" + NAMED + TENSOR + b"s.")[:-30],
        "a short end": legacy(b"\x80\x02}" + NAMED + TENSOR + b"s.")[:-1],
        "another size": legacy(b"\x80\x02}" + NAMED + TENSOR + b"s.")[:-24] + struct.pack("<q", 1 << 40) + bytes(16),
    }.items(),
    ids=lambda item: item[0],
)
def test_an_archive_whose_members_are_not_what_it_declares_is_refused(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content[1])
    with pytest.raises(WeightsError, match=r"bad\.pth: "):
        read_torch_tensors(tmp_path / "bad.pth")


def test_a_file_larger_than_any_network_here_is_refused_unread(tmp_path):
    with open(tmp_path / "bad.pth", "wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(WeightsError, match="larger than 64 MB"):
        read_torch_tensors(tmp_path / "bad.pth")


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


# --- the cache of compiled networks -----------------------------------------------------------------------------------


@pytest.fixture
def compile_once(tmp_path, monkeypatch):
    """compile_once(card) -> the bytes of the first file that `find_compiled` offers; `.count`: how often it compiled."""
    monkeypatch.setenv("IQA_CACHE", str(tmp_path / "cache"))

    def write(place, format, weights, card):
        find.count += 1
        place.file.parent.mkdir(parents=True, exist_ok=True)
        place.file.write_bytes(b"compiled " * 1000)
        probe = network_cache.Probe(np.zeros((1, 2, 2, 3), np.uint8), np.ones((1, 10), np.float32))
        np.savez(place.probe, patches=probe.patches, outputs=probe.outputs)
        write_json(place.record, place.describe())
        return probe

    def find(card):
        offered = network_cache.find_compiled("litert", ".tflite", tmp_path / "w.weights.h5", card, "0" * 64)
        return next(offered).file.read_bytes()

    find.count = 0
    monkeypatch.setattr(network_cache, "_write", write)
    return find


def test_a_compiled_file_that_differs_by_one_bit_anywhere_is_compiled_anew_with_a_warning(compile_once, tmp_path):
    card = Card.from_json(CARD)
    whole = compile_once(card)
    assert (compile_once(card), compile_once.count) == (whole, 1)
    for number, name in enumerate(("network.tflite", "probe.tflite.npz", "network.tflite.json"), start=2):
        (file,) = tmp_path.glob(f"cache/*/{name}")
        good = file.read_bytes()
        middle = len(good) // 2
        file.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        with pytest.warns(UserWarning, match=r"is not the file that was compiled from w\.weights\.h5: compiled anew"):
            assert (compile_once(card), compile_once.count) == (whole, number)
        assert (compile_once(card), compile_once.count) == (whole, number)


def test_the_compiled_files_of_another_model_are_not_used(compile_once, tmp_path):
    mine = Card.from_json(CARD)
    other = Card.from_json(CARD | {"backbone": CARD["backbone"] | {"padding": "symmetric"}})
    compile_once(mine)
    (folder,) = tmp_path.glob("cache/*")
    compile_once(other)
    (others,) = set(tmp_path.glob("cache/*")) - {folder}
    for file in folder.iterdir():
        shutil.copy(file, others)
    with pytest.warns(UserWarning, match="compiled anew"):
        compile_once(other)
    assert compile_once.count == 3


def test_a_file_without_a_record_was_left_by_a_kill_and_is_compiled_anew(compile_once, tmp_path):
    card = Card.from_json(CARD)
    compile_once(card)
    (record,) = tmp_path.glob("cache/*/network.tflite.json")
    record.unlink()
    compile_once(card)
    assert compile_once.count == 2
