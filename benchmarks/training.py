"""What the training session and its pipeline cost.

    python benchmarks/training.py --photos data/photos

Two questions, each answered by running both sides in turn on the same files and taking each one's quickest round:
1. a phase of the session (checkpoints, log, Ctrl-C) against bare `model.fit` with the same data and validation, each in a
   process of its own;
2. the input pipeline, its batches taken one after the other, against decoding and cutting alone in as many threads; and,
   drained by a network of one layer, against the original's way: a Keras sequence that loads with `load_img`, 8 workers.
"""

import functools
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np

from AVA.ava_vanilla import GEOMETRY, cut, cut_to_score
from iqa.cards import AVA_SCALE, Card, Head
from iqa.commands.terminal import parser_of, positive, quiet_start, run
from iqa.images.finding import list_images
from iqa.images.reading import read_image
from iqa.labels.ratings import RatedImage


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(title, sides, images, rounds):
    """Run the sides in turn, `rounds` times, and print the quickest of each and ratios to the first of them.

    Not the median: whatever disturbs a round makes it longer, and one thing does so in half of all `fit`s. When one ends,
    the thread that tunes tf.data's iterator is told to stop, may miss it, and is waited for: seconds, for either side.

    Args:
        sides: {name: function that returns the seconds it took}.
    """
    times = {name: [] for name in sides}
    for turn in range(rounds):
        for name, work in list(sides.items())[:: -1 if turn % 2 else 1]:  # none is always the first
            times[name].append(work())
    print(f"\n{title}: {images} images, best of {rounds} rounds")
    first = min(next(iter(times.values())))
    for name, values in times.items():
        print(f"  {name:44s} {images / min(values):7.1f} images/s   time ratio {min(values) / first:.3f}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--number", type=positive, default=480, help="photographs an epoch (default: 480)")
    parser.add_argument("--rounds", type=positive, default=4)
    parser.add_argument(
        "--phase", choices=["bare", "session"], help="run one side of the first question, print its seconds"
    )
    arguments = parser.parse_args()
    with quiet_start():
        import keras

        from iqa.models.backbones import build_backbone
        from iqa.models.heads import add_head
        from iqa.training.batches import Evaluation, Photographs
        from iqa.training.losses import LCC, emd_and_moments
        from iqa.training.session import Session

    rng = np.random.default_rng(0)
    images = [
        RatedImage(path.name, tuple(rng.dirichlet(np.ones(10))), path)
        for path in list_images(arguments.photos)[: arguments.number]
    ]
    train, test = Photographs(images, 16, cut), Evaluation(images[:32], 16, cut_to_score)

    if arguments.phase:
        with tempfile.TemporaryDirectory() as folder:
            # The same weights on both sides: where they are such that activations vanish, a step takes half as long again.
            keras.utils.set_random_seed(0)
            backbone, facts = build_backbone("none")
            model = add_head(backbone, Head("histogram"))
            card = Card(facts, Head("histogram"), GEOMETRY, AVA_SCALE)
            session = Session(model, train, test, emd_and_moments, [LCC()], folder, card)
            session.unfreeze()
            session.evaluate()  # the figures before the first phase are no part of the comparison

            def bare():
                keras.Model.compile(model, keras.optimizers.Adam(1e-4), loss=emd_and_moments, metrics=[LCC()])
                # As the session does: otherwise Keras traces the training step twice, and the session would win by that.
                model.optimizer.build(model.trainable_variables)
                keras.Model.fit(model, train, validation_data=test, shuffle=False, verbose=2)

            took = seconds(bare if arguments.phase == "bare" else lambda: session.fit(1e-4))
        print(took)
        return 0

    def alone(phase):
        options = ("--photos", arguments.photos, "--number", str(arguments.number), "--phase", phase)
        done = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    sides = {"bare model.fit": lambda: alone("bare"), "the session": lambda: alone("session")}
    report("training MobileNetV2, one epoch", sides, len(images), arguments.rounds)

    class Sequence(keras.utils.PyDataset):
        """The original's: one image after the other, resized by nearest neighbour, cropped, mirrored."""

        def __len__(self):
            return -(-len(images) // 16)

        def __getitem__(self, index):
            batch = []
            for image in images[index * 16 : (index + 1) * 16]:
                pixels = np.asarray(keras.utils.load_img(image.path, target_size=(256, 256)))
                top, left = rng.integers(0, 32, 2)
                pixels = pixels[top : top + 224, left : left + 224]
                batch.append(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
            return np.stack(batch), np.array([image.label for image in images[index * 16 : (index + 1) * 16]], np.float32)

    pixels = keras.Input((224, 224, 3))
    scale = keras.layers.GlobalAveragePooling2D()(pixels[:, :1, :1])
    drain = keras.Model(pixels, keras.layers.Dense(10)(scale))
    drain.compile("sgd", "mse")
    pool = ThreadPoolExecutor(cpu_count())

    def decode():
        for _ in pool.map(lambda image: cut(read_image(image.path), np.random.default_rng(0)), images):
            pass

    def take_all():
        for index in range(len(train)):
            train[index]

    sides = {
        "decoding and cutting alone": decode,
        "the pipeline": take_all,
        "the pipeline, drained by fit": lambda: drain.fit(train, verbose=0, shuffle=False),
        "Keras, load_img, 8 workers, drained by fit": lambda: drain.fit(Sequence(workers=8), verbose=0, shuffle=False),
    }
    for work in sides.values():
        work()
    timed = {name: functools.partial(seconds, work) for name, work in sides.items()}
    report("input pipeline, one epoch", timed, len(images), arguments.rounds)
    return 0


if __name__ == "__main__":
    run(main)
