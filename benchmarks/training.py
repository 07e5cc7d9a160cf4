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
from pathlib import Path

import numpy as np

from iqa.cards import AVA_SCALE, Card, Head, Preprocessing
from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors
from iqa.images.finding import list_images
from iqa.images.geometry import Geometry, random_patch, resize
from iqa.images.reading import read_image
from iqa.labels.ratings import RatedImage

BATCH = 16

# As the AVA vanilla model is trained.
GEOMETRY = Preprocessing("resize", 224, "bilinear")


def cut(pixels, rng):
    return random_patch(resize(pixels, 256, GEOMETRY.interpolation), GEOMETRY.size, rng)


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


def rated(folder, number):
    """Photographs with histograms drawn at random."""
    rng = np.random.default_rng(0)
    return [RatedImage(path.name, tuple(rng.dirichlet(np.ones(10))), path) for path in list_images(folder)[:number]]


def datasets(images):
    """(what to train on, what to test on), as the vanilla experiment sees them."""
    from iqa.training.batches import Evaluation, Photographs

    train = Photographs(images, BATCH, cut)
    return train, Evaluation(images[:32], BATCH, Geometry(GEOMETRY).patches)


def time_phase(phase, images):
    """The seconds of an epoch of MobileNetV2, by bare Keras or by the session."""
    import keras

    from iqa.models.backbones import build_backbone
    from iqa.models.heads import add_head
    from iqa.training.losses import emd_and_moments
    from iqa.training.metrics import LCC
    from iqa.training.schedule import Phase
    from iqa.training.session import Session

    # The same weights on both sides: where they are such that activations vanish, a step takes half as long again.
    keras.utils.set_random_seed(0)
    train, test = datasets(images)
    backbone, facts = build_backbone("none")
    model = add_head(backbone, Head("histogram"))
    if phase == "bare":
        model.compile(keras.optimizers.Adam(1e-4), loss=emd_and_moments, metrics=[LCC()])
        # As the session does: otherwise Keras traces the training step twice, and the session would win by that.
        model.optimizer.build(model.trainable_variables)
        return seconds(lambda: model.fit(train, validation_data=test, shuffle=False, verbose=2))
    card = Card(facts, Head("histogram"), GEOMETRY, AVA_SCALE)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(model, train, test, emd_and_moments, [LCC()], card, folder)
        session.evaluate()  # the figures before the first phase are no part of the comparison
        return seconds(lambda: session.train_phase(Phase(1e-4, 1)))


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


def compare_pipelines(images, rounds):
    """The second question: the input pipeline against decoding alone, and against the original's."""
    import keras

    train, _ = datasets(images)
    pixels = keras.Input((224, 224, 3))
    scale = keras.layers.GlobalAveragePooling2D()(pixels[:, :1, :1])
    drain = keras.Model(pixels, keras.layers.Dense(10)(scale))
    drain.compile("sgd", "mse")
    pool = ThreadPoolExecutor(processors())

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
        "Keras, load_img, 8 workers, drained by fit": lambda: drain.fit(
            original_sequence(images), verbose=0, shuffle=False
        ),
    }
    for work in sides.values():
        work()
    timed = {name: functools.partial(seconds, work) for name, work in sides.items()}
    report("input pipeline, one epoch", timed, len(images), rounds)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--number", type=positive, default=480, help="photographs an epoch (default: 480)")
    parser.add_argument("--rounds", type=positive, default=4)
    parser.add_argument(
        "--phase", choices=["bare", "session"], help="run one side of the first question, print its seconds"
    )
    arguments = parser.parse_args()
    images = rated(arguments.photos, arguments.number)
    if arguments.phase:
        print(time_phase(arguments.phase, images))
        return 0

    def alone(phase):
        options = ("--photos", arguments.photos, "--number", str(arguments.number), "--phase", phase)
        done = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    sides = {"bare model.fit": lambda: alone("bare"), "the session": lambda: alone("session")}
    report("training MobileNetV2, one epoch", sides, len(images), arguments.rounds)
    compare_pipelines(images, arguments.rounds)
    return 0


if __name__ == "__main__":
    run(main)
