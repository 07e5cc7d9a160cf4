"""How fast do other scorers of this kind score the same photographs, and what do they cost?

    python benchmarks/peers.py data/photos
    python benchmarks/peers.py data/photos --idealo data/idealo/weights_mobilenet_aesthetic_0.07.hdf5 \\
        --published image-quality-assessment/src/tests/test_images

Each peer stays in a process of its own; they take turns at photographs and at JPEGs of 12 and 24 megapixels that are tiled
with these. Keras's MobileNets have idealo's weights; others are random, which cost the same. What counts are the ratios.

- idealo: `TestDataGenerator` of its repository, in the Keras of today: `load_img` to 224x224, batches of 64, 8 threads.
- titu1994: `evaluate_mobilenet.py` and `evaluate_nasnet.py` of neural-image-assessment: one picture at a time.
- deepinv, pyiqa: their `NIMA`, one picture at a time, as their documentation calls it.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors, without_greetings
from iqa.scoring.idealo import AESTHETIC

#: clennan in https://github.com/idealo/image-quality-assessment/issues/23.
PUBLISHED = {
    "42039.jpg": 5.228229299085797,
    "42040.jpg": 4.6879015052109025,
    "42041.jpg": 5.28654936273233,
    "42042.jpg": 5.127163522876799,
    "42044.jpg": 5.79500457971551,
}

BINS = np.arange(1, 11)


# --- the peers: (weights of idealo or None) -> function (files) -> mean scores ----------------------------------------


def ours(weights):
    from scoring import load_scorer, ours

    weights = weights or "ava_vanilla"
    score_many, scorer = ours(weights, "auto"), load_scorer(weights, cardless=AESTHETIC)
    return lambda files: score_many(files) @ BINS if len(files) > 1 else [scorer.score(files[0]).mean]


def in_keras(weights, application, predict):
    """A NIMA as idealo and titu1994 build it; `predict` of `scoring`."""
    import keras
    import scoring

    size = (224, 224, 3)
    base = getattr(keras.applications, application)(input_shape=size, include_top=False, pooling="avg", weights=None)
    output = keras.layers.Dense(10, activation="softmax")(keras.layers.Dropout(0.75)(base.output))
    model = keras.Model(base.inputs, output)
    if weights and application == "MobileNet":
        model.load_weights(weights)
    score = getattr(scoring, predict)(model, load_nearest)
    return lambda files: score(files) @ BINS


def load_nearest(file):
    from keras.utils import img_to_array, load_img

    return img_to_array(load_img(file, target_size=(224, 224))) / 127.5 - 1


def read_tensor(file):
    """A picture as torch's metrics take it: float32 (1, 3, H, W), 0-1."""
    import torch

    pixels = np.asarray(Image.open(file).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]


def deepinv(_):
    import torch
    from deepinv.loss.metric import NIMA, perceptual

    torch.set_num_threads(processors())
    with tempfile.TemporaryDirectory() as folder:
        torch.save(perceptual._MobileNetV1().state_dict(), Path(folder) / "weights.pt")
        metric = NIMA(weights_path=Path(folder) / "weights.pt")
    return lambda files: [float(metric(read_tensor(file))) for file in files]


def pyiqa(_):
    import timm
    import torch

    create = timm.create_model
    timm.create_model = lambda *names, **options: create(*names, **options | {"pretrained": False})  # no downloads
    from pyiqa.archs.nima_arch import NIMA

    torch.set_num_threads(processors())
    torch.set_grad_enabled(False)
    model = NIMA("inception_resnet_v2", pretrained=False).eval()
    return lambda files: [float(model(read_tensor(file))) for file in files]


#: {name: (what opens it, whether its scores are those of idealo's weights)}.
PEERS = {
    "ours": (lambda weights: ours(None), False),
    "ours, idealo's weights": (ours, True),
    "idealo": (partial(in_keras, application="MobileNet", predict="in_batches"), True),
    "titu1994, MobileNet": (partial(in_keras, application="MobileNet", predict="one_by_one"), True),
    "titu1994, NASNetMobile": (partial(in_keras, application="NASNetMobile", predict="one_by_one"), False),
    "deepinv": (deepinv, False),
    "pyiqa": (pyiqa, False),
}


def serve(name, weights):
    """A peer's own process: for each line, a list of files as JSON, a line with their scores."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    with without_greetings():
        score = PEERS[name][0](weights)
    for line in sys.stdin:
        scores = score([Path(file) for file in json.loads(line)])
        print(json.dumps([float(value) for value in scores]), file=out, flush=True)
    return 0


def peak_memory(session):
    """MiB: the peak memories of the living processes of a session, added up (Linux's /proc)."""
    peaks = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if os.getsid(int(folder.name)) == session:
                peaks += re.findall(r"VmHWM:\s+(\d+)", (folder / "status").read_text())
    return sum(map(int, peaks)) / 1024


class Peer:
    """A peer in its process. `first` is the time from its start to its first score, None if it does not run here."""

    def __init__(self, name, python, weights, file):
        command = [python, __file__, "--peer", name] + (["--idealo", str(weights)] if weights else [])
        options = {"env": os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}, "text": True}
        pipe, started = subprocess.PIPE, time.perf_counter()
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True, **options)
        self.first = time.perf_counter() - started if self.ask([file]) else None

    def ask(self, files):
        with contextlib.suppress(BrokenPipeError, ValueError):
            print(json.dumps([str(file) for file in files]), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())


def make_large(files, folder, megapixels):
    """Four JPEGs, each tiled with a photograph."""
    from mixed import make_jpeg

    height, paths = round((megapixels * 1e6 / 1.5) ** 0.5), []
    for file in files[:4]:
        paths.append(Path(folder, f"{megapixels}-{file.name}"))
        paths[-1].write_bytes(make_jpeg(np.asarray(Image.open(file).convert("RGB")), 0, round(1.5 * height), height))
    return paths


def print_costs(peers, sets, rounds):
    from scoring import take_turns

    for peer in peers.values():
        peer.ask(next(iter(sets.values()))[:2])  # to warm up
    asked = {(name, of_set): partial(peers[name].ask, files) for of_set, files in sets.items() for name in peers}
    measured = take_turns(asked, rounds)
    print(f"| | {' | '.join(f'{name}: ms | x ours' for name in sets)} | first score | peak memory |")
    print("|---" * (2 * len(sets) + 3) + "|")
    for name, peer in peers.items():
        cells = ""
        for of_set, files in sets.items():
            took, reference = measured[name, of_set][0], measured["ours", of_set][0]
            cells += f" | {1000 * took / len(files):.1f} | {took / reference:.1f}"
        print(f"| {name}{cells} | {peer.first:.1f} s | {peak_memory(peer.process.pid):.0f} MiB |")


def print_published(peers, folder):
    files = [folder / name for name in PUBLISHED if (folder / name).is_file()]
    scores = {"published": [PUBLISHED[file.name] for file in files]}
    scores |= {name: peer.ask(files) for name, peer in peers.items() if PEERS[name][1]}
    print(f"\n| | {' | '.join(file.name for file in files)} | largest difference |\n" + "|---" * (len(files) + 2) + "|")
    for name, of_peer in scores.items():
        difference = np.abs(np.subtract(of_peer, scores["published"])).max()
        print(f"| {name} | {' | '.join(f'{score:.4f}' for score in of_peer)} | {difference:.4f} |")


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", help="of photographs")
    add("--images", type=positive, default=100, help="number of files to score (default: 100)")
    add("--rounds", type=positive, default=3, help="of which the best counts (default: 3)")
    add("--idealo", type=Path, help="idealo's weights, .hdf5; without them: random ones")
    add("--published", type=Path, help="folder of idealo's test pictures, to compare scores with those it published")
    add("--python", nargs="+", default=[], metavar="PEER=PYTHON", help="the Python that has a peer installed")
    add("--only", nargs="+", choices=PEERS, default=list(PEERS), help="these peers, beside ours")
    add("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return serve(arguments.peer, arguments.idealo)
    if not arguments.folder or (arguments.published and not arguments.idealo):
        parser.error("name a folder of photographs; --published needs --idealo")
    pythons = dict(text.partition("=")[::2] for text in arguments.python)
    if unknown := pythons.keys() - PEERS:
        parser.error(f"--python: there is no peer {min(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        small = sorted(arguments.folder.glob("*.jpg"))[: arguments.images]
        sets = {f"{len(small)} photographs": small}
        sets |= {f"{size} megapixels": make_large(small, folder, size) for size in (12, 24)}
        peers = {}
        for name in dict.fromkeys(["ours", *arguments.only]):
            peer = Peer(name, pythons.get(name, sys.executable), arguments.idealo, small[0])
            if peer.first:
                peers[name] = peer
            else:
                print(f"{name} does not run here")
        print_costs(peers, sets, arguments.rounds)
        if arguments.published:
            print_published(peers, arguments.published)
        for peer in peers.values():
            peer.process.communicate()  # closes its stdin, at which it ends
    return 0


if __name__ == "__main__":
    run(main)
