"""How fast do other scorers of this kind score the same photographs, and what do they cost?

    python benchmarks/peers.py data/photos
    python benchmarks/peers.py data/photos --idealo data/idealo/weights_mobilenet_aesthetic_0.07.hdf5 \\
        --published image-quality-assessment/src/tests/test_images
    python benchmarks/peers.py data/photos --python pyiqa=venv/bin/python deepinv=venv/bin/python

Each peer runs in a process of its own, which stays; they take turns at the photographs of the folder and at JPEGs of 12 and
24 megapixels, which are tiled with these photographs. A peer that is not installed is named as such; --python says which
Python has it. Its weights are idealo's where they fit, else random ones, which cost the same. With --published, the scores
of idealo's five test pictures are compared with those that idealo published. What counts are the ratios.

- idealo: `TestDataGenerator` of its repository, in the Keras of today: `load_img` to 224x224, batches of 64, 8 threads.
- titu1994: `evaluate_mobilenet.py` and `evaluate_nasnet.py` of neural-image-assessment: one picture at a time.
- deepinv, pyiqa: their `NIMA`, one picture at a time, as their documentation calls it.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors

#: clennan in https://github.com/idealo/image-quality-assessment/issues/23.
PUBLISHED = {
    "42039.jpg": 5.228229299085797,
    "42040.jpg": 4.6879015052109025,
    "42041.jpg": 5.28654936273233,
    "42042.jpg": 5.127163522876799,
    "42044.jpg": 5.79500457971551,
}

LARGE = {"12 megapixels": (4000, 3000), "24 megapixels": (6000, 4000)}

BINS = np.arange(1, 11)


# --- the peers: (weights of idealo or None) -> function (files) -> mean scores ----------------------------------------


def ours(weights):
    from iqa.scoring.idealo import AESTHETIC
    from iqa.scoring.pool import Workers
    from iqa.scoring.scorer import Scorer

    scorer = Scorer(weights or "ava_vanilla", head="histogram", cardless=AESTHETIC if weights else None)
    pool = []

    def score(files):
        if len(files) > 1 and not pool:
            pool.append(Workers(scorer.recipe, processors()))
        workers = pool[0] if pool else 0
        return [prediction.output @ BINS for _, prediction in scorer.score_all(files, workers=workers)]

    return score


def nima_of_keras(application, weights):
    """(a NIMA as idealo and titu1994 build it, the normalisation of its pixels)."""
    import keras

    base = getattr(keras.applications, application)(
        input_shape=(224, 224, 3), include_top=False, pooling="avg", weights=None
    )
    output = keras.layers.Dense(10, activation="softmax")(keras.layers.Dropout(0.75)(base.output))
    model = keras.Model(base.inputs, output)
    if weights:
        model.load_weights(weights)
    return model, lambda pixels: pixels / 127.5 - 1


def load_nearest(file):
    import keras

    return keras.utils.img_to_array(keras.utils.load_img(file, target_size=(224, 224)))


def idealo(weights):
    import keras

    model, normalise = nima_of_keras("MobileNet", weights)

    class TestData(keras.utils.PyDataset):
        def __init__(self, files):
            super().__init__(workers=8)
            self.files = files

        def __len__(self):
            return -(-len(self.files) // 64)

        def __getitem__(self, index):
            return (normalise(np.stack([load_nearest(file) for file in self.files[index * 64 : (index + 1) * 64]])),)

    return lambda files: model.predict(TestData(files), verbose=0) @ BINS


def titu1994(application):
    def open_peer(weights):
        model, normalise = nima_of_keras(application, weights if application == "MobileNet" else None)
        return lambda files: [
            model.predict(normalise(load_nearest(file))[None], batch_size=1, verbose=0)[0] @ BINS for file in files
        ]

    return open_peer


def read_tensor(file):
    """A picture as torch's metrics take it: float32 (1, 3, H, W), 0-1."""
    import torch

    pixels = np.asarray(Image.open(file).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]


def deepinv(weights):
    import torch
    from deepinv.loss.metric import NIMA, perceptual

    torch.set_num_threads(processors())
    state = perceptual._MobileNetV1().state_dict()
    if weights:
        tensors = iter(np.load(Path(weights).with_suffix(".npz")).values())
        state = {k: v if k.endswith("num_batches_tracked") else torch.from_numpy(next(tensors)) for k, v in state.items()}
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pt")
        metric = NIMA(weights_path=Path(folder) / "weights.pt")
    return lambda files: [float(metric(read_tensor(file))) for file in files]


def pyiqa(weights):
    import timm
    import torch

    create = timm.create_model
    timm.create_model = lambda *names, **options: create(*names, **options | {"pretrained": False})  # no downloads
    from pyiqa.archs.nima_arch import NIMA

    torch.set_num_threads(processors())
    model = NIMA("inception_resnet_v2", pretrained=False).eval()

    def score(files):
        with torch.no_grad():
            return [float(model(read_tensor(file))) for file in files]

    return score


#: {name: (what opens it, the packages that it needs, whether its scores are those of idealo's weights)}.
PEERS = {
    "ours": (lambda weights: ours(None), ["image-quality-assessment"], False),
    "ours, idealo's weights": (ours, ["image-quality-assessment", "keras", "tensorflow"], True),
    "idealo": (idealo, ["keras", "tensorflow", "pillow"], True),
    "titu1994, MobileNet": (titu1994("MobileNet"), ["keras", "tensorflow", "pillow"], True),
    "titu1994, NASNetMobile": (titu1994("NASNetMobile"), ["keras", "tensorflow", "pillow"], False),
    "deepinv": (deepinv, ["deepinv"], True),
    "pyiqa": (pyiqa, ["pyiqa"], False),
}


def serve(name, weights):
    """A peer's own process: for each line, a list of files as JSON, a line with their scores and the seconds."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    open_peer, packages, _ = PEERS[name]
    score = None
    for line in sys.stdin:
        files = json.loads(line)
        if not files:
            answer = installed_size(packages)
        else:
            score = score or open_peer(weights)
            started = time.perf_counter()
            scores = [float(value) for value in score([Path(file) for file in files])]
            answer = {"seconds": time.perf_counter() - started, "scores": scores}
        print(json.dumps(answer), file=out, flush=True)
    return 0


def installed_size(packages):
    """Megabytes of packages and of all that they need, as far as it is installed here."""
    open_names, known, size = list(packages), set(), 0
    while open_names:
        name = re.sub(r"[-_.]+", "-", open_names.pop()).lower()
        if name in known:
            continue
        known.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in found.files or []:
            path = Path(found.locate_file(file))
            size += path.stat().st_size if path.is_file() else 0
        needed = [text for text in found.requires or [] if "extra ==" not in text]
        open_names += [re.match(r"[\w.-]+", text)[0] for text in needed]
    return size / 1e6


# --- what is measured -------------------------------------------------------------------------------------------------


class Peer:
    """A peer in its process. `first` is the time from its start to its first score, None if it does not run here."""

    def __init__(self, name, python, weights, file, log):
        command = [python, __file__, "--peer", name] + (["--idealo", str(weights)] if weights else [])
        root = str(Path(__file__).resolve().parent.parent)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        self.log, pipe, started = log, subprocess.PIPE, time.perf_counter()
        with open(log, "w") as errors:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment)
        answer = self.ask([file])
        self.first = time.perf_counter() - started if answer else None

    def ask(self, files):
        try:
            print(json.dumps([str(file) for file in files]), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            return None

    def reason(self):
        self.process.wait()
        return (self.log.read_text(errors="replace").strip().splitlines() or ["it ended"])[-1]

    def peak(self):
        """MiB: the peak memory of its process and of its workers, added up (Linux's /proc)."""
        of_all = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            except (OSError, ValueError):
                continue
            of_all[int(status["Pid"])] = int(status["PPid"]), int(status.get("VmHWM", "0").split()[0])
        family = {self.process.pid}
        while more := {pid for pid, (parent, _) in of_all.items() if parent in family} - family:
            family |= more
        return sum(of_all[pid][1] for pid in family if pid in of_all) / 1024

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def make_large(files, folder):
    """{name: four JPEGs}, each tiled with a photograph."""
    sets = {}
    for name, (width, height) in LARGE.items():
        sets[name] = []
        for number, file in enumerate(files[:4]):
            pixels = np.asarray(Image.open(file).convert("RGB"))
            times = -(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1
            path = Path(folder) / f"{width}-{number}.jpg"
            Image.fromarray(np.tile(pixels, times)[:height, :width]).save(path, quality=92)
            sets[name].append(path)
    return sets


def convert(weights, folder):
    """idealo's weights beside a file of the same tensors as torch has them; the path of the first."""
    from iqa.models.weight_files import list_keras2_layers, open_hdf5

    link, tensors = Path(folder) / "idealo.hdf5", []
    link.symlink_to(weights.resolve())
    with open_hdf5(weights) as file:
        for name, arrays in list_keras2_layers(file).items():
            axes = {4: (2, 3, 0, 1) if "dw" in name else (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
            tensors += [np.asarray(array).transpose(axes[array.ndim]) for array in arrays]
    np.savez(link.with_suffix(".npz"), *[np.ascontiguousarray(tensor) for tensor in tensors])
    return link


def measure(peers, sets, rounds):
    """{peer: {set: least seconds}}; the peers take turns, another one first in each round."""
    seconds = {name: {} for name in peers}
    for number in range(rounds + 1):
        names = list(peers)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            for of_set, files in sets.items():
                print(f"round {number}: {name}, {of_set}", file=sys.stderr)
                took = peers[name].ask(files if number else files[:2])["seconds"]  # round 0 warms up
                if number:
                    seconds[name][of_set] = min(took, seconds[name].get(of_set, took))
    return seconds


def print_costs(peers, missing, sets, seconds):
    reference = seconds["ours"]
    print("| | " + " | ".join(f"{name}: ms | x ours" for name in sets) + " | first score | peak memory | installed |")
    print("|---" * (2 * len(sets) + 4) + "|")
    for name, peer in peers.items():
        cells = []
        for of_set, files in sets.items():
            took = seconds[name][of_set]
            cells += [f"{1000 * took / len(files):.1f}", f"{took / reference[of_set]:.1f}"]
        cells += [f"{peer.first:.1f} s", f"{peer.peak():.0f} MiB", f"{peer.ask([]):.0f} MB"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, reason in missing.items():
        print(f"| {name} | not installed here ({reason[:80]}) |")


def print_published(peers, folder):
    files = [folder / name for name in PUBLISHED]
    print("\n| | " + " | ".join(PUBLISHED) + " | largest difference |")
    print("|---" * (len(PUBLISHED) + 2) + "|")
    print("| published | " + " | ".join(f"{score:.4f}" for score in PUBLISHED.values()) + " | |")
    for name, peer in peers.items():
        if PEERS[name][2]:
            scores = peer.ask(files)["scores"]
            difference = np.abs(np.array(scores) - list(PUBLISHED.values())).max()
            print(f"| {name} | " + " | ".join(f"{score:.4f}" for score in scores) + f" | {difference:.4f} |")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of photographs")
    parser.add_argument("--images", type=positive, default=100, help="files to score (default: 100)")
    parser.add_argument("--rounds", type=positive, default=3, help="of which the best counts (default: 3)")
    parser.add_argument("--idealo", type=Path, help="idealo's weights, .hdf5; without them: random ones")
    parser.add_argument("--published", type=Path, help="folder of idealo's test pictures, to compare their scores")
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PYTHON", help="the Python that has a peer")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="these peers, beside ours")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return serve(arguments.peer, arguments.idealo)
    if not arguments.folder or (arguments.published and not arguments.idealo):
        parser.error("name a folder of photographs; --published needs --idealo")
    pythons = dict(text.partition("=")[::2] for text in arguments.python)
    for name, python in pythons.items():
        if name not in PEERS or not shutil.which(python):
            parser.error(f"--python {name}={python}: there is no such peer, or no such Python")
    with tempfile.TemporaryDirectory() as folder:
        weights = convert(arguments.idealo, folder) if arguments.idealo else None
        small = sorted(arguments.folder.glob("*.jpg"))[: arguments.images]
        sets = {f"{len(small)} photographs": small} | make_large(small, folder)
        peers, missing = {}, {}
        for name in dict.fromkeys(["ours", *arguments.only]):
            peer = Peer(name, pythons.get(name, sys.executable), weights, small[0], Path(folder) / f"{name}.log")
            if peer.first:
                peers[name] = peer
            else:
                missing[name] = peer.reason()
        print_costs(peers, missing, sets, measure(peers, sets, arguments.rounds))
        if arguments.published:
            print_published(peers, arguments.published)
        for peer in peers.values():
            peer.close()
    return 0


if __name__ == "__main__":
    run(main)
