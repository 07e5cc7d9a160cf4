"""Bend small files of every kind that is read here, and count what goes wrong: a crash, a bug, too long, too much memory.

    python benchmarks/fuzz.py --inputs 1000000                  # some 20 minutes on one processor; repeat it to go on
    python benchmarks/fuzz.py --inputs 10000 --readers png mat --out quick.json
    python benchmarks/fuzz.py --readers png --only 4711         # one input again, with its traceback

The inputs depend on the seed alone, so what is found can be made again by its number. Every reader works in a process of
its own with a bound on memory (RLIMIT_AS) and time. If an input ends the process, another one goes on behind it. A reader
may answer, or raise the error that it promises; anything else is a finding. Counts are kept in --out, the first inputs of
each kind of finding in a folder beside it.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, positive, run
from iqa.errors import CardError, ImageError, IqaError, LabelError, PredictionsError, RunError, WeightsError
from iqa.files import read_json, write_json

#: Seconds of a processor, seconds on the clock, and bytes that an input may take.
SECONDS, PATIENCE, MEMORY = 5, 60, 1 << 30

#: Inputs of each reader out of a hundred.
SHARES = {
    **{"csv": 11, "json": 11, "ava.txt": 8, "mos.txt": 8, "list": 8, "card": 10, "run": 6, "pth": 8, "mat": 4, "hdf5": 1},
    **{"keras2": 1, "journal": 1, "jpeg": 3, "png": 4, "gif": 2, "webp": 2, "tiff": 2, "bmp": 3, "ppm": 3, "jpeg2000": 2},
    "avif": 2,
}


@dataclass(frozen=True)
class Reader:
    """Something that reads files.

    Attributes:
        name: of the file.
        samples: files that it reads, to be bent.
        read: takes a path.
        promised: the errors that it may raise.
        pack: what makes a file of a bent sample, where a checksum or compression would hide what was bent.
    """

    name: str
    samples: list[bytes]
    read: Callable[[Path], object]
    promised: tuple[type[Exception], ...]
    pack: Callable[[bytes, random.Random], bytes] = field(default=lambda content, rng: content)


# --- readers --------------------------------------------------------------------------------------------------------


def make_reader(name: str) -> Reader:
    """A reader of `SHARES`; only what it needs is imported."""
    if name in ("csv", "json", "ava.txt", "mos.txt", "list"):
        return _of_texts(name)
    makers = {"card": _of_cards, "run": _of_runs, "pth": _of_pth, "mat": _of_mat, "journal": _of_journals}
    makers |= {"hdf5": _of_hdf5, "keras2": _of_keras2}
    return makers[name]() if name in makers else _of_pictures(name)


def _of_pictures(name: str) -> Reader:
    from iqa.images.reading import can_be_reduced, read_image, read_rgb

    rng = np.random.default_rng(0)
    pixels = np.add.outer(np.arange(20), np.arange(24))[..., None] * [3, 5, 7] + rng.integers(0, 20, (20, 24, 3))
    colour = Image.fromarray(pixels.astype(np.uint8))
    clear = colour.convert("RGBA")
    clear.putalpha(Image.fromarray((pixels[..., 0] * 2).astype(np.uint8)))
    deep = Image.fromarray((pixels[..., 0] * 300).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, list[tuple[Image.Image, dict]]] = {
        "jpeg": [(colour, {"exif": exif}), (colour, {"progressive": True}), (colour.convert("CMYK"), {})],
        "png": [(colour, {"exif": exif}), (clear, {}), (deep, {}), (colour.quantize(9), {"transparency": 1})],
        "gif": [(colour, {}), (colour, {"save_all": True, "append_images": [clear.convert("RGB")]})],
        "webp": [(colour, {"exif": exif}), (clear, {"lossless": True})],
        "tiff": [(colour, {}), (deep, {}), (colour, {"compression": "tiff_lzw"}), (colour, {"compression": "jpeg"})],
        "bmp": [(colour, {}), (colour.quantize(9), {})],
        "ppm": [(colour, {}), (colour.convert("L"), {}), (colour.convert("1"), {})],
        "jpeg2000": [(colour, {}), (deep, {})],
        "avif": [(colour, {"exif": exif}), (clear, {})],
    }
    samples = []
    for image, options in kinds[name]:
        stream = io.BytesIO()
        image.save(stream, name, **options)
        samples.append(stream.getvalue())

    def read(path: Path) -> None:
        reduced = [read_rgb(path, smallest=8)] if can_be_reduced(path, smallest=8) else []
        for pixels in (read_image(path), *map(np.asarray, reduced)):
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3

    pack = _with_right_sums if name == "png" else Reader.pack
    return Reader("bent." + name, samples, read, (ImageError,), pack)


def _with_right_sums(content: bytes, rng: random.Random) -> bytes:
    """A PNG with the checksums that its chunks should have, in three of four cases."""
    if rng.random() < 0.25:
        return content
    parts, at = [content[:8]], 8
    while at + 12 <= len(content):
        end = at + 8 + min(int.from_bytes(content[at : at + 4], "big"), len(content))
        parts += [content[at:end], struct.pack(">I", zlib.crc32(content[at + 4 : end]))]
        at = end + 4
    return b"".join(parts)


def _of_texts(name: str) -> Reader:
    from iqa.images.finding import read_list
    from iqa.labels.ratings import read_ratings
    from iqa.labels.tid2013 import read_mos

    votes = [1, 2, 5, 9, 20, 17, 8, 3, 1, 1]
    dotted = ",".join(map(str, votes))
    histograms = [{"image_id": f"{number}", "label": votes} for number in range(3)]
    texts = {
        "csv": [
            f"image_id,{','.join(map(str, range(1, 11)))},scene\n12,{dotted},a\n13,{dotted},b\n",
            "name,mean\na.jpg,4.5\nb/c.jpg,7.25\n",
            "Bild;MOS\nä.jpg;4,5\nb.jpg;7,25\n",
            f'"a,b.jpg",{dotted}\n"c""d.jpg",{dotted}\n',
        ],
        "json": [json.dumps(histograms), json.dumps([{"image_id": "1", "mean": 5.5, "scene": None}])],
        "ava.txt": ["".join(f"{n} {953619 + n} {' '.join(map(str, votes))} 1 22 1396\n" for n in range(1, 4))],
        "mos.txt": ["".join(f"{5.51 + level / 9:.5f} I01_0{level}_{level}.bmp\n" for level in range(1, 5))],
        "list": ["a.jpg\nb/c.jpg\n\n[x]*.png\n/tmp/none.jpg\n", "a.jpg\0b.jpg\0", "\ufeffa.jpg\r\nb.jpg\r\n"],
    }
    samples = [text.encode() for text in texts[name]]
    samples += [text.encode("utf-16") for text in texts[name][:1]]
    if name == "list":
        # What it names is not looked for: it may be the root folder.
        return Reader("bent.list", samples, lambda path: [*read_list(path, null=True), *read_list(path)], (ImageError,))
    if name == "mos.txt":
        return Reader("bent.txt", samples, read_mos, (LabelError,))
    suffix = {"csv": "bent.csv", "json": "bent.json", "ava.txt": "bent.txt"}[name]
    return Reader(suffix, samples, read_ratings, (LabelError,))


def _of_cards() -> Reader:
    from iqa.cards import Card, card_of, read_card, shipped_weights

    shipped = card_of(shipped_weights("tid2013_regression")).read_bytes()
    small = {name: json.loads(shipped)[name] for name in ("backbone", "head", "preprocessing", "scale", "sha256")}

    def read(path: Path) -> None:
        card = read_card(path)
        assert Card.from_json(card.to_json()) == card

    return Reader("bent.json", [json.dumps(small).encode()] * 9 + [shipped], read, (CardError,))


def _of_runs() -> Reader:
    from iqa.training.run_folder import read_state
    from iqa.training.run_state import OpenEpoch, PhaseRecord, RunState

    phase = PhaseRecord("2@0.001", 1e-3, True, 2, done=1, steps=9, before={"loss": 1.0}, after={"loss": 0.5})
    name = "phase-01-epoch-001-lcc-0.5000.weights.h5"
    row = {"epoch": 1, "phase": 1, "learning_rate": 1e-3, "loss": 0.5, "val_lcc": None}
    best = {"epoch": 1, "checkpoint": name, "val_lcc": 0.5}
    state = RunState([phase], [row], name, "phase-01-begin.weights.h5", best, {"loss": 0.5}, 1, OpenEpoch(3, 1.5, [[1.0]]))
    state.settings, state.options, state.generators = {"seed": 0}, {"images": {"path": "/x"}}, [[1, 2]]

    def read(path: Path) -> None:
        found = read_state(path.parent)
        found.on_plateau("val_lcc")
        found.follows(["2@0.001"])
        found.to_json()

    return Reader("phases.json", [json.dumps(state.to_json()).encode()], read, (RunError,))


def _save_hdf5(fill: Callable) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def _of_hdf5() -> Reader:
    from iqa.models.hdf5 import list_datasets, open_hdf5

    numbers = np.arange(12, dtype="f4").reshape(3, 4)

    def fill(file) -> None:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = numbers, numbers[0]

    def fill_packed(file) -> None:
        file.create_dataset(
            "layers/a/vars/0", data=numbers, chunks=(2, 2), compression="gzip", shuffle=True, fletcher32=True
        )
        file.create_dataset("layers/b/vars/0", data=numbers, chunks=(2, 2))

    def read(path: Path) -> None:
        with open_hdf5(path) as file:
            for _, dataset in list_datasets(file):
                np.asarray(dataset)

    return Reader("bent.h5", [_save_hdf5(fill), _save_hdf5(fill_packed)], read, (WeightsError, OSError))


def _of_keras2() -> Reader:
    from iqa.models.hdf5 import list_keras2_layers, open_hdf5

    def fill(file, kind: str = "S") -> None:
        def put(group, name: str, texts: list[str]) -> None:
            group.attrs[name] = np.array(texts, "S") if kind == "S" else texts

        root = file.create_group("model_weights")
        put(root, "layer_names", ["dense_1", "dense_2"])
        for name in ("dense_1", "dense_2"):
            put(root.create_group(name), "weight_names", [f"{name}/kernel:0", f"{name}/bias:0"])
            root[name][f"{name}/kernel:0"], root[name][f"{name}/bias:0"] = np.ones((3, 2), "f4"), np.ones(2, "f4")

    def read(path: Path) -> None:
        with open_hdf5(path) as file:
            for arrays in list_keras2_layers(file).values():
                for dataset in arrays:
                    np.asarray(dataset)

    # Names of any length are read by a process of their own, which takes its time.
    samples = [_save_hdf5(fill)] * 99 + [_save_hdf5(lambda file: fill(file, "any length"))]
    return Reader("bent.hdf5", samples, read, (WeightsError, OSError))


def _of_pth() -> Reader:
    from iqa.models.torch_files import read_torch_tensors

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tq\x01Q"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\nq\x02(" + storage + b"K\0K\x02K\x02\x86q\x03K\x02K\x01\x86\x89ccollections\n"
    )
    state = b"\x80\x02ccollections\nOrderedDict\n)Rq\x00(X\x01\0\0\0w" + tensor + b"OrderedDict\n)RtR"
    whole = state + b"u}X\x09\0\0\0_metadataK\x01sb."
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s."
    legacy = head + whole + b"\x80\x02]X\x01\0\0\x000a." + struct.pack("<q", 4) + bytes(range(16))

    def pack(content: bytes, rng: random.Random) -> bytes:
        if content.startswith(head[:8]):
            return content
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("a/data.pkl", content)
            file.writestr("a/data/0", bytes(range(16)))
        packed = stream.getvalue()
        return bend(packed, [packed], rng) if rng.random() < 0.3 else packed

    return Reader("bent.pth", [whole, whole, legacy], read_torch_tensors, (WeightsError,), pack)


def _of_mat() -> Reader:
    import scipy.io

    from iqa.evaluation.predictions import Predictions, read_predictions, write_predictions

    samples = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mat"
        for labels in (np.linspace(1, 8, 3), np.full((3, 10), 0.1)):
            write_predictions(path, Predictions(labels, labels, ["1.png", "b.png", "ä.png"], [("c", "x")], {"model": "m"}))
            stream = io.BytesIO()
            found = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
            scipy.io.savemat(stream, found)
            samples += [path.read_bytes(), stream.getvalue()]

    def pack(content: bytes, rng: random.Random) -> bytes:
        """The variables of a file packed again in a third of the cases."""
        if rng.random() < 2 / 3:
            return content
        parts, at = [content[:128]], 128
        while at + 8 <= len(content):
            kind, size = struct.unpack_from("<2I", content, at)
            part = content[at : at + 8 + size]
            packed = zlib.compress(part)
            parts.append(struct.pack("<2I", 15, len(packed)) + packed if kind == 14 else part)
            at += 8 + size
        return b"".join(parts)

    return Reader("bent.mat", samples, lambda path: read_predictions(path, None), (PredictionsError,), pack)


def _of_journals() -> Reader:
    from iqa.labels.opinions import Prediction
    from iqa.scoring.journal import Entry, Journal

    head = {"weights": "x"}
    entries = [Entry(f"{number}.jpg", Path(f"{number}.jpg")) for number in range(4)]
    samples = []
    for scored in (2, 4):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.journal"
            with Journal(path, head) as journal:
                list(journal.enter(entries))
                for position, _ in list(journal.waiting())[:scored]:
                    journal.record(position, Prediction(np.ones(1, np.float32)))
            samples.append(path.read_bytes())

    def read(path: Path) -> None:
        # In a folder of its own: a journal leaves files beside it.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            bent = Path(folder) / path.name
            shutil.copy(path, bent)
            with Journal(bent, head) as journal:
                list(journal.enter(entries))
                for position, _ in list(journal.waiting()):
                    journal.record(position, Prediction(np.ones(1, np.float32)))
                assert len(list(journal.entries())) == len(entries)
                journal.count()

    return Reader("bent.journal", samples, read, (IqaError,))


# --- bending --------------------------------------------------------------------------------------------------------

_NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)

_WORDS = (
    *(
        b"NaN",
        b"-1",
        b"1e999",
        b"1e308",
        b"9" * 400,
        b"0x1f",
        b"null",
        b"true",
        b'""',
        b"[]",
        b"{}",
        b'"',
        b",",
        b";",
        b"\n",
    ),
    *(b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"../", b"/", b"%s", b"[" * 2000, b"{" * 90),
    *(b"(" * 2000, b"\x85" * 5000, b"x" * 70000, b"-inf", b"1_0", "١".encode(), b"\x1b[31m", b"storage", b"PK\x05\x06"),
)


def bend(content: bytes, samples: Sequence[bytes], rng: random.Random) -> bytes:
    """Change one to eight things: bits, bytes, numbers, words, lengths, order; or join two files."""
    bent = bytearray(content)
    for _ in range(1 + int(rng.expovariate(0.6)) % 8):
        if not bent:
            return bytes(bent)
        # Headers are where the parsing is: half of the changes fall into the first 200 bytes.
        at = rng.randrange(min(len(bent), 200) if rng.random() < 0.5 else len(bent))
        kind = rng.randrange(10)
        if kind <= 1:
            bent[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            bent[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 3:
            size, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
            number = rng.choice(_NUMBERS) % (1 << 8 * size)
            bent[at : at + size] = number.to_bytes(size, order)
        elif kind == 4:
            del bent[at : at + rng.choice((1, 2, 4, 30))]
        elif kind == 5:
            bent[at:at] = bent[at : at + rng.choice((1, 4, 30, 300))] * rng.choice((1, 1, 3, 50))
        elif kind == 6:
            bent[at:at] = rng.choice(_WORDS)
        elif kind == 7:
            other = rng.choice(samples)
            start = rng.randrange(len(other)) if other else 0
            bent[at:at] = other[start : start + rng.choice((4, 30, 300))]
        elif kind == 8:
            bent[at : at + 4] = rng.randbytes(4)
        elif rng.random() < 0.3:
            del bent[at:]
    return bytes(bent)


def make_input(reader: Reader, name: str, seed: int, number: int) -> bytes:
    """The input of that number."""
    rng = random.Random(f"{seed} {name} {number}")
    return reader.pack(bend(rng.choice(reader.samples), reader.samples, rng), rng)


# --- a process that reads -------------------------------------------------------------------------------------------


def try_input(reader: Reader, path: Path) -> str | None:
    """What went wrong with the file at `path`, in a line; None if nothing did."""
    try:
        reader.read(path)
    except MemoryError:
        return "memory: MemoryError"
    except reader.promised as error:
        text = str(error)
        return None if "\n" not in text and len(text) < 3000 else f"error: {type(error).__name__} of more than one line"
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return f"error: {type(error).__name__} in {Path(at.filename).name}, line {at.lineno}"
    return None


def read_many(name: str, place: str, seed: int, first: int, last: int) -> None:
    """Read inputs; the parent finds the number of the last one in the file `place`, and what went wrong in stdout."""
    warnings.simplefilter("ignore")
    reader = make_reader(name)
    for sample in reader.samples:  # so that what is imported late does not count as memory
        try_sample(reader, sample)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, resource.RLIM_INFINITY))
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        path = Path(folder) / reader.name
        with open(place, "r+b", buffering=0) as noted:
            for number in range(first, last):
                os.pwrite(noted.fileno(), struct.pack("<q", number), 0)
                path.write_bytes(make_input(reader, name, seed, number))
                signal.setitimer(signal.ITIMER_PROF, SECONDS)  # both end the process, wherever it is
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)
                found = try_input(reader, path)
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
                grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - floor) * 1024
                if grown > MEMORY:
                    print(f"FOUND {number} memory: {grown >> 20} MB", flush=True)
                    os._exit(3)
                if found:
                    print(f"FOUND {number} {found}", flush=True)


def try_sample(reader: Reader, sample: bytes) -> None:
    """Read a file that was not bent, which must go well or be refused."""
    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        path = Path(folder) / reader.name
        path.write_bytes(reader.pack(sample, random.Random(1)))
        found = try_input(reader, path)
        if found:
            raise SystemExit(f"{reader.name}: {found}")


def _fast_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# --- the parent -----------------------------------------------------------------------------------------------------


def fuzz_reader(name: str, seed: int, done: dict, inputs: int, save: Callable[[], None], kept: Path) -> None:
    """Let processes read the inputs of a reader that are left, and count what they find in `done`."""
    with tempfile.NamedTemporaryFile(dir=_fast_folder()) as place:
        while done["inputs"] < inputs:
            first, last = done["inputs"], min(inputs, done["inputs"] + 25_000)
            place.seek(0)
            place.write(struct.pack("<q", first - 1))
            place.flush()
            begun = (time.monotonic(), _processor_seconds())
            child = subprocess.run(
                [sys.executable, __file__, "--child", name, place.name, str(seed), str(first), str(last)],
                capture_output=True,
            )
            done["seconds"] += time.monotonic() - begun[0]
            done["processor"] += _processor_seconds() - begun[1]
            found = [line.split(maxsplit=2)[1:] for line in child.stdout.decode().splitlines() if line.startswith("FOUND")]
            (at,) = struct.unpack("<q", Path(place.name).read_bytes()[:8])
            if child.returncode not in (0, 3):
                if at < first:
                    raise SystemExit(f"{name}: {child.stderr.decode()[-2000:]}")
                ended = signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit {child.returncode}"
                late = {"SIGPROF": f"time: more than {SECONDS} s", "SIGALRM": f"time: more than {PATIENCE} s on the clock"}
                found.append([str(at), late.get(ended, f"crash: {ended}")])
            for number, text in found:
                numbers = done["found"].setdefault(text.split(" in ")[0] if text.startswith("memory") else text, [])
                numbers.append(int(number))
                if len(numbers) <= 3:
                    kept.mkdir(parents=True, exist_ok=True)
                    (kept / f"{name}-{number}").write_bytes(make_input(make_reader(name), name, seed, int(number)))
            done["inputs"] = last if child.returncode == 0 else at + 1
            save()


def _processor_seconds() -> float:
    """What the processes that have ended took of a processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_table(results: dict) -> None:
    """A row a reader."""
    print(
        f"{'reader':10} {'inputs':>9} {'seconds':>8} {'processor':>9} {'crash':>6} {'time':>6} {'memory':>6} {'error':>6}"
    )
    rows = [(name, done) for name, done in results.items() if done["inputs"]]
    total = dict.fromkeys(("inputs", "seconds", "processor", "crash", "time", "memory", "error"), 0)
    for name, done in rows:
        counts = {key: done[key] for key in ("inputs", "seconds", "processor")}
        for kind in ("crash", "time", "memory", "error"):
            counts[kind] = sum(len(numbers) for text, numbers in done["found"].items() if text.startswith(kind))
        total = {key: total[key] + counts[key] for key in total}
        print_row(name, counts)
    print_row("all", total)
    for name, done in rows:
        for text, numbers in done["found"].items():
            print(f"{name}: {text}: {len(numbers)}, such as {', '.join(map(str, numbers[:3]))}")


def print_row(name: str, counts: dict) -> None:
    print(f"{name:10} {counts['inputs']:9} {counts['seconds']:8.0f} {counts['processor']:9.0f}", end="")
    print("".join(f" {counts[kind]:6}" for kind in ("crash", "time", "memory", "error")), flush=True)


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        read_many(*sys.argv[2:4], *map(int, sys.argv[4:]))
        return 0
    parser = parser_of(__doc__)
    parser.add_argument("--inputs", type=positive, default=1_000_000, help="of all readers together")
    parser.add_argument("--each", type=positive, help="of each reader, instead")
    parser.add_argument("--readers", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="read this input alone, and show its traceback")
    arguments = parser.parse_args()
    if arguments.only is not None:
        return show_one(arguments)
    results = read_json(arguments.out, 1 << 28) if arguments.out.exists() else {}
    for name in arguments.readers:
        done = results.setdefault(name, {"inputs": 0, "seconds": 0.0, "processor": 0.0, "found": {}})
        inputs = arguments.each or -(-arguments.inputs * SHARES[name] // 100)
        fuzz_reader(
            name, arguments.seed, done, inputs, lambda: write_json(arguments.out, results), arguments.out.with_suffix("")
        )
    print_table(results)
    return 1 if any(done["found"] for done in results.values()) else 0


def show_one(arguments: argparse.Namespace) -> int:
    """Read one input again without a net."""
    for name in arguments.readers:
        reader = make_reader(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / reader.name
            path.write_bytes(make_input(reader, name, arguments.seed, arguments.only))
            reader.read(path)
    print("nothing went wrong")
    return 0


if __name__ == "__main__":
    run(main)
