"""What the training session and its pipeline cost.

    python benchmarks/training.py --photos data/photos                             # drained by fit: ours and the original's
    python benchmarks/training.py --photos data/photos --ava-sized                 # the same of 640x480 pixels
    python benchmarks/training.py --photos data/photos --accelerator-ms 0.2 0.5 1  # as a GPU of such speeds would see it
    python benchmarks/training.py --photos data/photos --session                   # the session against bare model.fit

A network of one layer drains the pipeline: what is measured is how fast `fit` gets its batches. The original's way is a
Keras sequence that loads with `load_img`, with 8 workers. All sides run in turn, in processes of their own, on the same
files; each side's first epoch, which starts its workers, is not counted, and its quickest round is what counts. With
--accelerator-ms every step sleeps so long for each of its pictures: where images/s stay below what that allows, the
pipeline is the limit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.cards import AVA_SCALE, Card, Head, Preprocessing
from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors, without_greetings
from iqa.images.finding import list_images
from iqa.images.geometry import Geometry, random_patch
from iqa.labels.ratings import RatedImage

#: As the AVA vanilla model is trained.
GEOMETRY, BATCH = Preprocessing("resize", 224, "bilinear"), 16

#: Counted epochs of a side.
EPOCHS = 2


def cut(pixels, rng):
    return random_patch(pixels, GEOMETRY.size, rng)


def rated(folder, number):
    """Photographs with histograms drawn at random; the same ones again where there are fewer than asked for."""
    rng, found = np.random.default_rng(0), list_images(folder)
    paths = [found[place % len(found)] for place in range(number)]
    return [RatedImage(path.name, tuple(rng.dirichlet(np.ones(10))), path) for path in paths]


def resize_like_ava(folder, number, target):
    """Copies of photographs as JPEGs of 640x480 pixels."""

    def copy(path):
        Image.open(path).convert("RGB").resize((640, 480), Image.Resampling.LANCZOS).save(
            target / f"{path.stem}.jpg", quality=90
        )

    with ThreadPoolExecutor(processors()) as threads:
        list(threads.map(copy, list_images(folder)[:number]))


# --- sides -----------------------------------------------------------------------------------------------------------


def ours(images, workers, cache=None):
    """Our batches; see `Photographs`."""
    from iqa.training.batches import Photographs
    from iqa.training.cache import Resized

    return Photographs(images, BATCH, cut, read=Resized(256), workers=workers, cache=cache)


def original_sequence(images):
    """The original's pipeline: one image after the other, resized by nearest neighbour, cropped, mirrored."""
    import keras

    rng = np.random.default_rng(0)

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(images) // BATCH)

        def __getitem__(self, index):
            batch = []
            for image in images[index * BATCH : (index + 1) * BATCH]:
                pixels = np.asarray(keras.utils.load_img(image.path, target_size=(256, 256)))
                top, left = rng.integers(0, 32, 2)
                pixels = pixels[top : top + 224, left : left + 224]
                batch.append(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
            labels = [image.label for image in images[index * BATCH : (index + 1) * BATCH]]
            return np.stack(batch), np.array(labels, np.float32)

    return Sequence(workers=8)


def drain(data, milliseconds):
    """Seconds of an epoch of a network of one layer that takes so long a picture besides."""
    import keras

    pixels = keras.Input((224, 224, 3), dtype="uint8")
    model = keras.Model(pixels, keras.layers.Dense(10)(keras.ops.cast(pixels[:, 0, 0], "float32")))
    model.compile("sgd", "mse")

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            time.sleep(BATCH * milliseconds / 1000)

        def on_train_end(self, logs=None):
            self.seconds = (time.perf_counter() - self.began) / EPOCHS

    clock = Clock()
    model.fit(data, epochs=1 + EPOCHS, verbose=0, shuffle=False, callbacks=[clock])
    return clock.seconds


def workers_memory():
    """MB that each of this process's workers has to itself."""
    import psutil

    return [
        round(child.memory_full_info().uss / 1e6) for child in psutil.Process().children() if "fork" in str(child.cmdline())
    ]


def fit_network(through_session, images):
    """Seconds of an epoch of MobileNetV2 by the session, or by bare Keras with the same data and validation."""
    import keras

    from iqa.models.backbones import build_backbone
    from iqa.models.networks import add_head
    from iqa.training.batches import Evaluation
    from iqa.training.losses import LCC, emd_and_moments
    from iqa.training.run_folder import Phase
    from iqa.training.session import Session

    # The same weights on both sides: where they are such that activations vanish, a step takes half as long again.
    keras.utils.set_random_seed(0)
    train, test = ours(images, 0), Evaluation(images[:32], BATCH, Geometry(GEOMETRY).patches)
    backbone, facts = build_backbone("none")
    model = add_head(backbone, Head("histogram"))
    if not through_session:
        model.compile(keras.optimizers.Adam(1e-4), loss=emd_and_moments, metrics=[LCC()])
        # As the session does: otherwise Keras traces the training step twice, and the session would win by that.
        model.optimizer.build(model.trainable_variables)
        began = time.perf_counter()
        model.fit(train, validation_data=test, shuffle=False, verbose=2)
        return time.perf_counter() - began
    card = Card(facts, Head("histogram"), GEOMETRY, AVA_SCALE)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(model, train, test, emd_and_moments, [LCC()], card, folder)
        session.evaluate()  # the figures before the first phase are no part of the comparison
        began = time.perf_counter()
        session.train_phase(Phase(1e-4, 1))
        return time.perf_counter() - began


SIDES = {
    "the original's way": original_sequence,
    "ours, threads": lambda images: ours(images, 0),
    "ours, 1 process": lambda images: ours(images, 1),
    "ours, 2 processes": lambda images: ours(images, 2),
    f"ours, {processors()} processes": lambda images: ours(images, processors()),
}
CACHED = "ours, from the cache"


def measure(name, images, milliseconds, cache):
    """In a process of its own: (seconds of an epoch, MB of each worker)."""
    with without_greetings():
        import keras  # noqa: F401
    if name in ("bare model.fit", "the session"):
        return fit_network(name == "the session", images), []
    data = ours(images, processors(), cache) if name == CACHED else SIDES[name](images)
    seconds, memory = drain(data, milliseconds), workers_memory()
    if hasattr(data, "close"):
        data.close()
    return seconds, memory


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--ava-sized", action="store_true", help="resize copies of them to 640x480 pixels first")
    parser.add_argument("--number", type=positive, default=960, help="photographs an epoch (default: 960)")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument(
        "--accelerator-ms", type=float, nargs="+", default=[0.0], metavar="MS", help="milliseconds a step takes a picture"
    )
    parser.add_argument("--session", action="store_true", help="compare the session with bare model.fit instead")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    images = partial(rated, number=arguments.number)
    if arguments.side:
        print(json.dumps(measure(arguments.side, images(arguments.photos), arguments.accelerator_ms[0], arguments.cache)))
        return 0
    names = ["bare model.fit", "the session"] if arguments.session else [*SIDES, CACHED]
    with tempfile.TemporaryDirectory() as work:
        photos, cache = arguments.photos, Path(work, "cache")
        if arguments.ava_sized:
            photos = Path(work)
            resize_like_ava(arguments.photos, arguments.number, photos)

        def alone(name, milliseconds):
            options = ("--photos", photos, "--number", str(arguments.number), "--side", name, "--cache", cache)
            command = [sys.executable, __file__, *options, "--accelerator-ms", str(milliseconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            return json.loads(done.stdout.splitlines()[-1])

        for milliseconds in arguments.accelerator_ms:
            limit = f", at most {1000 / milliseconds:.0f} images/s" if milliseconds else ""
            print(
                f"\n{arguments.number} images, {milliseconds:g} ms a picture{limit}; best of {arguments.rounds}", flush=True
            )
            times, memory = {name: [] for name in names}, {}
            for turn in range(arguments.rounds):
                for name in names[:: -1 if turn % 2 else 1]:  # none is always the first
                    seconds, memory[name] = alone(name, milliseconds)
                    times[name].append(seconds)
            first = min(times[names[0]])
            for name, values in times.items():
                best = min(values)
                held = f"   workers {memory[name]} MB" if memory[name] else ""
                print(f"  {name:22s} {arguments.number / best:8.1f} images/s   {first / best:6.2f} x{held}", flush=True)
    return 0


if __name__ == "__main__":
    run(main)
