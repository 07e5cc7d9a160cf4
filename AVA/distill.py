"""Make the weights of `ava_vanilla` or `ava_patches` from public data: one command, some two hours on two processors.

    python data/download.py imagenet photos ava idealo biq2021 ava2k unsplash1 coco5k poem
    python AVA/distill.py vanilla --out runs/vanilla          # runs/vanilla/ava_vanilla.weights.h5, .tflite and .json
    python AVA/distill.py patches --out runs/patches

AVA's own photographs (32 GB) are not needed. idealo's model, which learned from them, scores some 28,000 others by the
mean of six crops, and the network learns its histograms and its features. Where people's votes or grades are known, it
learns these: 1,290 photographs of AVA, and the quality of BIQ2021's (a second head, which is left out of the file: what the
network knows of quality then serves `BIQ2021/biq2021.py`). Each photograph is seen beside its mirror image, and both should
score alike; in the end the last layer is fitted again, to what both share. The weights that ship are older and agree
better with people: docs/experiments.md compares them.

The blocks below `CUT` stay as ImageNet left them. What they say of each view is computed once and kept, so that an
epoch takes a fraction of the time. To resume a run that was killed, repeat the command.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from iqa.cards import AVA_SCALE, Card, Head, Preprocessing
from iqa.commands.terminal import load_quietly, natural, parser_of, positive, run
from iqa.distortions.appearance import to_uint8
from iqa.environment import processors, without_greetings
from iqa.files import printable, temporary_beside, written_whole
from iqa.images.finding import list_images
from iqa.images.geometry import MARGIN, random_patch, read_resized
from iqa.images.reading import read_image
from iqa.labels.biq2021 import CHOOSING, read_grades
from iqa.labels.histograms import normal_histogram
from iqa.labels.ratings import read_ratings
from iqa.scoring import idealo
from iqa.scoring.many import score_all
from iqa.scoring.scorer import load_scorer

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"

# --- settings --------------------------------------------------------------------------------------------------------

# Folders below data/. bcg, flickrland, natscene, corel1k and sysuscene hold series of like scenes, and help little.
PHOTOGRAPHS = (
    *("photos", "photographs/biq2021", "photographs/ava2k", "photographs/unsplash1", "photographs/coco5k"),
    "photographs/poem",
)
# Votes on some of ava2k, and grades on BIQ2021's.
VOTES, GRADES = DATA / "ava_labels_train.json", DATA / "biq2021/train.csv"
# Never learned from: idealo's test split of AVA, and of BIQ2021 the test split and what chooses settings.
AVA_TEST, BIQ2021_TEST = DATA / "ava_labels_test.json", DATA / "biq2021/test.csv"

NETWORK, NOISE, DROPOUT = "mobilenet_v2", 0.003, 0.0  # with dropout, mirror images would differ by chance
CUT = "block_6_project_BN"

# 225 and not 224: with an odd side every convolution of stride 2 sees a mirror image as it sees the picture.
SIZE = {"vanilla": 225, "patches": 224}
VIEWS = 2  # of each photograph, each with its mirror image
BATCH_SIZE = 64
EPOCHS, RATE, WARM_UP = 8, 5e-4, 300
AVA_TIMES = 3  # how often a photograph of AVA comes in an epoch

# Weights in the loss, beside earth mover's distance and moments: the teacher's features, the grades, and between mirror
# images the root mean square difference of scores and the share of the variance of the features.
FEATURES, QUALITY, STEADY, ALIKE = 5.0, 1.0, 20.0, 3.0

# In the end the last layer is fitted again by least squares. The squared difference of mirror images counts so much in it.
SETTLED = 100.0

# Frames of one colour, and the votes that they deserve; the teacher finds them mediocre.
BLANKS, BLANK = 300, normal_histogram(2.5, 1.4, np.arange(1.0, 11))


# --- what is learned -------------------------------------------------------------------------------------------------


def blank_frame(seed):
    """A frame of one colour, uint8 (256, 256, 3): greys, black and white among them, every fourth with a little noise."""
    rng = np.random.default_rng(seed)
    greys = (0, 128, 255, int(rng.integers(256)))
    colour = np.repeat(rng.choice(greys), 3) if seed % 4 < 2 else rng.integers(0, 256, 3)
    speckle = rng.normal(0, rng.uniform(0.3, 2), (256, 256, 3)) if seed % 4 == 3 else 0
    return to_uint8(np.broadcast_to(colour, (256, 256, 3)) + speckle)


def list_photographs():
    """All photographs to learn from."""
    left_out = {image.name for image in read_ratings(AVA_TEST)}
    left_out |= {image.name for image in (*read_grades(BIQ2021_TEST), *read_grades(GRADES)[::CHOOSING])}
    found = [path for folder in PHOTOGRAPHS for path in list_images(DATA / folder)]
    return [path for path in found if not {path.name, path.stem} & left_out]


def ask_teacher(paths, file, weights):
    """(paths, histograms (N, 10), features (N, 1024)) that idealo's model gives for photographs; kept in a file."""
    if not file.exists():
        teacher = load_quietly(lambda: load_scorer(weights, "histogram", idealo.AESTHETIC, six_crops=True), idealo.HINT)
        said = score_all({"teacher": teacher}, paths, workers=processors(), features="teacher")
        good = []
        for result in tqdm(said, total=len(paths), unit="photograph", desc="teacher", file=sys.stderr):
            if result.error:
                print(printable(f"left out: {result.path}: {result.error}"), file=sys.stderr)
            else:
                good.append((str(result.path), result.scores["teacher"].histogram, result.features["teacher"]))
        names, histograms, features = zip(*good, strict=True)
        with written_whole(file) as stream:
            np.savez(stream, paths=np.array(names), histograms=np.stack(histograms), features=np.stack(features))
    with np.load(file) as known:
        return [Path(path) for path in known["paths"]], known["histograms"], known["features"].astype(np.float32)


def targets_of(paths, histograms, features):
    """float32 (N, 10 + 1024 + 1): votes, the teacher's features (standardised), and people's grade of 1-5 or NaN."""
    votes = {image.name: image.label for image in read_ratings(VOTES)}
    grades = {image.name: image.label for image in read_grades(GRADES)}
    known = np.array([votes.get(path.stem, histogram) for path, histogram in zip(paths, histograms, strict=True)])
    standard = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-3)
    quality = np.array([grades.get(path.name, np.nan) for path in paths])
    voted, graded = sum(path.stem in votes for path in paths), int(np.isfinite(quality).sum())
    print(f"{len(paths)} photographs, {voted} with people's votes, {graded} with their grades")
    frames = np.tile([*BLANK, *np.zeros(features.shape[1]), np.nan], (BLANKS, 1))
    return np.concatenate([np.column_stack([known, standard, quality]), frames]).astype(np.float32)


def views_of(picture, number, size):
    """`VIEWS` views of a photograph and their mirror images, uint8 (2 * VIEWS, size, size, 3)."""
    rng = np.random.default_rng((number, 1))
    views = [random_patch(picture, size, rng) for _ in range(VIEWS)]
    return np.stack([side for view in views for side in (view, view[:, ::-1])])


def read(path, kind, size):
    """What views are cut from: the whole photograph at `MARGIN` times the size, or its pixels as they are."""
    if isinstance(path, int):
        return blank_frame(path)
    if kind == "vanilla":
        return read_resized(path, round(MARGIN * size))
    picture = read_image(path)
    missing = [(0, max(0, size - length)) for length in picture.shape[:2]]
    return np.pad(picture, (*missing, (0, 0)), mode="symmetric")


def keep_activations(model, paths, file, kind, size):
    """What the layer `CUT` says of all views, float16 (N, 2 * VIEWS, h, w, c), as a file mapped into memory."""
    import keras

    below = keras.Model(model.input, model.get_layer(CUT).output)
    shape = (len(paths), 2 * VIEWS, *below.output_shape[1:])
    if not file.exists():
        with temporary_beside(file) as name, ThreadPoolExecutor(processors()) as pool:
            kept = np.lib.format.open_memmap(name, "w+", np.float16, shape)
            pictures = pool.map(lambda entry: views_of(read(entry[1], kind, size), entry[0], size), enumerate(paths))
            for number, views in enumerate(
                tqdm(pictures, total=len(paths), unit="photograph", desc="views", file=sys.stderr)
            ):
                kept[number] = below.predict_on_batch(views)
            kept.flush()
    return np.load(file, mmap_mode="r")


# --- training --------------------------------------------------------------------------------------------------------


def loss_of(y_true, y_pred):
    """The loss on pairs of a view and the mirror image of it or of another one; columns as in `targets_of`."""
    from keras import ops

    from iqa.training.losses import emd_and_moments, histogram_mean, known_mse

    known = y_true.shape[1]
    votes, features, quality, pooled = ops.split(y_pred, [10, known - 1, known], axis=1)
    scores = ops.reshape(ops.concatenate([histogram_mean(votes)[:, None], quality], axis=1), (-1, 2, 2))
    apart = ops.sqrt(ops.mean((scores[:, 0] - scores[:, 1]) ** 2) + 1e-12)
    # Of the variance of the features, the share that is between mirror images: scores could be steady by being alike.
    sides = ops.reshape(pooled, (-1, 2, pooled.shape[1]))
    share = ops.mean((sides[:, 0] - sides[:, 1]) ** 2) / (ops.mean(ops.var(pooled, axis=0)) + 1e-6)
    learned = emd_and_moments(y_true[:, :10], votes) + FEATURES * ops.mean((y_true[:, 10:-1] - features) ** 2)
    return learned + QUALITY * known_mse(y_true[:, -1:], quality) + STEADY * apart + ALIKE * share


def train(model, kept, targets, times, out, epochs, seed):
    """Train the blocks above `CUT` and two more heads; `model` has the averaged weights afterwards."""
    import keras

    class Views(keras.utils.PyDataset):
        """Batches of pairs in another order each epoch."""

        epoch = 0

        def __len__(self):
            return -(-times.sum() * 2 // BATCH_SIZE)

        def __getitem__(self, index):
            rng = np.random.default_rng((seed, self.epoch))
            order = rng.permutation(np.repeat(np.arange(len(targets)), times))
            view = rng.integers(VIEWS, size=(len(order), 2))
            rows = slice(index * BATCH_SIZE // 2, (index + 1) * BATCH_SIZE // 2)
            seen = np.concatenate([kept[n, [2 * v, 2 * w + 1]] for n, (v, w) in zip(order[rows], view[rows], strict=True)])
            return seen.astype(np.float32), np.repeat(targets[order[rows]], 2, axis=0)

    pooled = model.get_layer("pooling").output
    more = [
        keras.layers.Dense(width, name=name)(pooled) for name, width in (("teacher", targets.shape[1] - 11), ("quality", 1))
    ]
    whole = keras.Model(model.get_layer(CUT).output, keras.layers.Concatenate()([model.output, *more, pooled]))
    whole.get_layer("quality").bias.assign([3.0])
    for layer in whole.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    data = Views()
    steps = epochs * len(data)
    rate = keras.optimizers.schedules.CosineDecay(
        RATE / 20, steps - WARM_UP, alpha=0.02, warmup_target=RATE, warmup_steps=WARM_UP
    )
    average = max(0.0, min(0.999, 1 - 10 / steps))  # over the last tenth of a short run
    whole.compile(keras.optimizers.Adam(rate, use_ema=True, ema_momentum=average), loss_of)
    resume = keras.callbacks.BackupAndRestore(out / "backup", save_freq="epoch")
    begin = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(data, "epoch", epoch))
    log = keras.callbacks.CSVLogger(out / "log.csv", append=True)
    whole.fit(
        data, epochs=epochs, shuffle=False, verbose=2, callbacks=[resume, begin, log, keras.callbacks.TerminateOnNaN()]
    )


def fit_last_layer(features, targets, times):
    """Weights (d, 10) and biases (10,) of a layer that says of features (N, 2, d) what histograms (N, 10) are, steadily.

    A ridge regression of log shares on the features of a view and its mirror image. `SETTLED` makes features that differ
    between the two costly: the layer leans on what is the same in both, which agrees better with people as well.
    """
    logits = np.log(np.maximum(targets, 1e-3))
    logits -= logits.mean(axis=1, keepdims=True)
    means = [np.average(values, axis=0, weights=times) for values in (features.mean(axis=1), logits)]
    seen = (features - means[0]).astype(np.float64) * np.sqrt(times)[:, None, None]
    wanted, apart = (logits - means[1]) * np.sqrt(times)[:, None], seen[:, 0] - seen[:, 1]
    both = seen.reshape(-1, seen.shape[2])
    matrix = both.T @ both
    costs = SETTLED * apart.T @ apart + 0.01 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    kernel = np.linalg.solve(matrix + costs, seen.sum(axis=1).T @ wanted)
    return kernel, means[1] - means[0] @ kernel


def settle_last_layer(model, kept, targets, times):
    """Give the model the weights of `fit_last_layer`, from the first view of each photograph."""
    import keras

    above = keras.Model(model.get_layer(CUT).output, model.get_layer("pooling").output)
    rows = (kept[first : first + BATCH_SIZE, :2].astype(np.float32) for first in range(0, len(kept), BATCH_SIZE))
    features = np.concatenate([above.predict_on_batch(views.reshape(-1, *views.shape[2:])) for views in rows])
    model.layers[-1].set_weights(fit_last_layer(features.reshape(len(kept), 2, -1), targets[:, :10], times))


def main():
    parser = parser_of(__doc__)
    parser.add_argument("kind", choices=SIZE, help="which weights to make")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument(
        "--backbone", default=DATA / "imagenet/mobilenet_v2-b0353104.pth", help="ImageNet weights to begin with"
    )
    parser.add_argument("--teacher", type=Path, default=idealo.AESTHETIC_WEIGHTS, help="idealo's weights")
    parser.add_argument(
        "--epochs", type=positive, default=EPOCHS, help="times that each photograph is seen (default: %(default)s)"
    )
    parser.add_argument("--seed", type=natural, default=0)
    arguments = parser.parse_args()
    kind, out, size = arguments.kind, arguments.out, SIZE[arguments.kind]
    out.mkdir(parents=True, exist_ok=True)
    paths, histograms, features = ask_teacher(list_photographs(), out / "teacher.npz", arguments.teacher)
    targets = targets_of(paths, histograms, features)
    times = np.array([AVA_TIMES if path.parent.name == "ava2k" else 1 for path in paths] + [1] * BLANKS)
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        import keras

        from iqa.models.backbones import build_backbone
        from iqa.models.compiled import compile_weights
        from iqa.models.networks import add_head
        from iqa.models.settings import settle
        from iqa.models.weight_files import save_with_card

        settle()
        keras.utils.set_random_seed(arguments.seed)
        below, backbone = build_backbone(str(arguments.backbone), NOISE, size, NETWORK)
        model = add_head(below, Head("histogram", DROPOUT))
    kept = keep_activations(model, [*paths, *range(BLANKS)], out / "views.npy", kind, size)
    train(model, kept, targets, times, out, arguments.epochs, arguments.seed)
    settle_last_layer(model, kept, targets, times)
    seen = f"whole image to {MARGIN:g} times the size, random crop" if kind == "vanilla" else "random patch"
    preprocessing = Preprocessing(*(("resize", size, "bilinear") if kind == "vanilla" else ("patch", size)), training=seen)
    learned = {
        "photographs": len(paths),
        "blank frames": BLANKS,
        "left out": [AVA_TEST.name, f"biq2021/{BIQ2021_TEST.name}", f"each {CHOOSING}th of biq2021/{GRADES.name}"],
    }
    settings = {"cut": CUT, "epochs": arguments.epochs, "rate": RATE, "batch size": BATCH_SIZE, "seed": arguments.seed}
    settings |= {"weights in the loss": {"features": FEATURES, "quality": QUALITY, "steady": STEADY, "alike": ALIKE}}
    settings["weight of mirror images in the last layer"] = SETTLED
    card = Card(backbone, Head("histogram", DROPOUT), preprocessing, AVA_SCALE, trained_on=learned, training=settings)
    file = out / f"ava_{kind}.weights.h5"
    save_with_card(model, file, card)
    print(printable(f"wrote {file} and {compile_weights(file).name}"))
    return 0


if __name__ == "__main__":
    run(main)
