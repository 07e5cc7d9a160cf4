"""What the training session and its pipeline cost.

    python benchmarks/training.py --photos data/photos

Two questions, each answered by running both sides in turn, in one process, on the same files:
1. a phase of the session (checkpoints, log, Ctrl-C) against bare `model.fit` with the same data and validation;
2. the input pipeline, its batches taken one after the other, against decoding and cutting alone in as many threads; and,
   drained by a network of one layer, against the original's way: a Keras sequence that loads with `load_img`, 8 workers.
"""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np

from AVA.ava_vanilla import cut, cut_to_score
from iqa.command_line import parser_of, positive, quiet_start, run
from iqa.datasets import RatedImage
from iqa.images import list_images, read_image


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(title, sides, images, rounds):
    """Run the sides in turn, `rounds` times, and print medians and ratios to the first of them."""
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds(work))
    print(f"\n{title}: {images} images, median of {rounds} rounds")
    first = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:44s} {images / median:7.1f} images/s   time ratio {median / first:.3f}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--number", type=positive, default=480, help="photographs an epoch (default: 480)")
    parser.add_argument("--rounds", type=positive, default=3)
    arguments = parser.parse_args()
    with quiet_start():
        import keras

        from iqa.losses import LCC, emd_and_moments
        from iqa.models import build_backbone, histogram_head
        from iqa.pipeline import Evaluation, Photographs
        from iqa.session import Session

    rng = np.random.default_rng(0)
    images = [
        RatedImage(path.name, tuple(rng.dirichlet(np.ones(10))), path)
        for path in list_images(arguments.photos)[: arguments.number]
    ]
    train, test = Photographs(images, 16, cut), Evaluation(images[:32], 16, cut_to_score)

    with tempfile.TemporaryDirectory() as folder:
        model = histogram_head(build_backbone("none")[0])
        session = Session(model, train, test, emd_and_moments, [LCC()], folder, {"head": {"kind": "histogram"}})
        session.evaluate()  # the figures before the first phase are no part of the comparison

        def bare():
            model.compile(keras.optimizers.Adam(1e-4), loss=emd_and_moments, metrics=[LCC()])
            # As the session does: otherwise Keras traces the training step twice, and the session would win by that.
            model.optimizer.build(model.trainable_variables)
            keras.Model.fit(model, train, validation_data=test, shuffle=False, verbose=2)

        session.fit(1e-4)  # and neither is the first use of anything
        sides = {"bare model.fit": bare, "the session": lambda: session.fit(1e-4)}
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
    report("input pipeline, one epoch", sides, len(images), arguments.rounds)
    return 0


if __name__ == "__main__":
    run(main)
