"""Make weights of `tid2013_regression` from public data: one command, some two hours on two processors.

    python data/download.py tid2013 kodak imagenet photos unsplash1 coco5k biq2021
    python TID2013_regression/make_weights.py --out runs/technical      # .weights.h5, .tflite, .json and .faults.npy

A step sees ladders of five pictures, of seven sorts. In the first five they differ in one distortion alone:

    scored   the images of TID2013, re-made by make_images.py: what people said of them
    judged   photographs with the same distortions: what people would have said, by how much the pictures differ
    clean    clean photographs, and what happens to photographs every day: each step is worse than the one before
    web      the same with photographs as they come, which were JPEGs before
    noise    clean photographs and noise, which networks take for detail
    camera   the faults of cameras, each step another photograph: the order must hold whatever a picture shows
    real     five photographs of BIQ2021, from good to bad as people graded them

References 7-24 and photographs are learned from. References 4-6 are measured after each epoch, and stop nothing. To resume
a run that was killed, repeat the command. The weights that ship are older: docs/experiments.md compares them.
"""

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import scipy
from PIL import Image
from tqdm import tqdm

from iqa.cards import TID2013_SCALE, Card, Head, Preprocessing
from iqa.commands.terminal import natural, parser_of, run
from iqa.distortions.appearance import LUMA
from iqa.distortions.everyday import clean_ladder, shrink
from iqa.distortions.table import DISTORTIONS, STRONGEST, UNEVEN, WEAKEST, distort, read_reference
from iqa.environment import processors, without_greetings
from iqa.files import printable, temporary_beside, written_whole
from iqa.images.finding import list_images
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.labels.biq2021 import CHOOSING, read_grades
from iqa.labels.tid2013 import LABELS_NAME, TEST_REFERENCES, VALIDATION_REFERENCES, read_ladders

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"

# --- settings --------------------------------------------------------------------------------------------------------

# Ladders of photographs: {folder below data/: how many}.
JUDGED = {"photos": 900, "photographs/coco5k": 1200, "photographs/unsplash1": 900}
CLEAN = {"photographs/unsplash1": 800, "photographs/coco5k": 200, "photographs/biq2021": 400, "kodak": 720}
NOISY = {"kodak": 500, "photographs/biq2021": 400, "photographs/unsplash1": 300}
WEB = {"photos": 600, "photographs/coco5k": 400, "photographs/biq2021": 200}
CAMERA = {"photographs/unsplash1": 1100, "photographs/biq2021": 400}

# Photographs from which the layer of faults learns; see fit_faults.py.
FAULTS = ("photographs/unsplash1", "photographs/coco5k")

# Noise, blur, JPEG and JPEG2000 are half of the judged ladders. Most of the clean ones are noise, which networks take for
# detail, and JPEG, which takes a picture's own noise away.
COMMON = (1, 8, 10, 11)
EVERYDAY = ("noise", "noise", "JPEG", "JPEG", "JPEG", "blur", "JPEG2000", "grain")
OF_THE_WEB = ("JPEG", "JPEG", "noise", "grain")
OF_CAMERAS = ("defocus", "motion", "sensor")

# Photographs are made smaller, so that they are clean; Kodak's, and BIQ2021's of at least this grade, are as they are.
SMALLER, GRADE, CLEAN_FOLDERS = (0.4, 0.7), 4.1, ("kodak", "photographs/biq2021")
LEFT_OUT = (HERE / "ladder_photographs.txt").read_text().split()  # by which ladders are judged

SIZE, STORED, BLOCK = 224, 256, 16  # of patches, of pictures in ladders, and of the blocks at which patches begin
PARTS = 5  # of BIQ2021's grades: a ladder has a photograph of each, as far apart in rank as any other ladder

# TID2013 published no scores of its references. Its best distorted images reach 6.5, and people prefer the reference.
UNTOUCHED_MOS = 6.5

NETWORK, NOISE = "mobilenet_v2", 0.0  # noise in training would teach that a little of it does not matter
DROPOUT = 0.1
# Three phases: the size of patches, how often `STEPS` steps, the highest learning rate, ladders of each sort in a step, and
# the weight of their order beside the error and the correlation of scores. Small patches cost a third, and weak noise and
# JPEG show in them as well: most of the steps see these. The second is for noise, the third for the JPEGs of the web.
PHASES = (
    (128, 36, 3e-4, {"scored": 3, "judged": 3, "clean": 4, "web": 1, "camera": 2, "real": 1}, 8.0),
    (SIZE, 10, 1e-4, {"scored": 3, "judged": 2, "clean": 3, "noise": 3, "camera": 2, "real": 1}, 8.0),
    (SIZE, 4, 1e-4, {"scored": 4, "judged": 1, "clean": 3, "web": 4, "camera": 1, "real": 1}, 8.0),
)
STEPS, WARM_UP, AVERAGE = 220, 150, 0.996  # the average of the weights is over the last 250 steps
STANDARDISE = 60  # batches by which the head's inputs are standardised

# --- what people would say -------------------------------------------------------------------------------------------


def differences(original, image):
    """How far an image differs from its original and how busy and colourful that is, float64 (8,), logarithms.

    Error and 1 - SSIM (Wang et al. 2004) of the luma, similarity of gradients (GMSD, Xue et al. 2014), the error where it
    is not masked, the error of the chroma, and activity and chroma of the original.
    """
    smooth = scipy.ndimage.gaussian_filter
    planes = [picture.astype(np.float32) for picture in (original, image)]
    (luma, changed), chroma = [plane @ LUMA for plane in planes], [plane - (plane @ LUMA)[..., None] for plane in planes]
    means = [smooth(plane, 1.5) for plane in (luma, changed)]
    variances = [np.maximum(smooth(p * p, 1.5) - m * m, 0) for p, m in zip((luma, changed), means, strict=True)]
    covariance = smooth(luma * changed, 1.5) - means[0] * means[1]
    ssim = (2 * means[0] * means[1] + 6.5) / (means[0] ** 2 + means[1] ** 2 + 6.5)
    ssim *= (2 * covariance + 58.5) / (sum(variances) + 58.5)
    steep = [scipy.ndimage.gaussian_gradient_magnitude(plane, 0.8) for plane in (luma, changed)]
    similar = (2 * steep[0] * steep[1] + 30) / (steep[0] ** 2 + steep[1] ** 2 + 30)
    visible = 1 / (variances[0] + 50)
    found = [np.mean((changed - luma) ** 2), 1 - ssim.mean(), similar.std(), 1 - similar.mean()]
    found += [np.sum(smooth((changed - luma) ** 2, 1) * visible) / visible.sum(), np.mean((chroma[1] - chroma[0]) ** 2)]
    found += [np.exp(np.log1p(np.sqrt(variances[0])).mean()), np.mean(chroma[0] ** 2)]
    return np.log(np.maximum(found, 0) + np.array([0.3, 1e-3, 1e-3, 1e-3, 0.1, 0.3, 0, 1]))


class Judge:
    """What people would say of distorted photographs: for each distortion a ridge regression on `differences`."""

    RIDGE = 30.0

    def __init__(self, ladders, found):
        """`ladders`: of TID2013, each five images from weak to strong; `found`: their differences, (N, 5, 8)."""
        self.models = {}
        for number in DISTORTIONS:
            rows = [place for place, ladder in enumerate(ladders) if ladder[0].distortion == number]
            mos, seen = np.array([[image.mos for image in ladders[row]] for row in rows]), found[rows]
            usual, typical = seen.mean(axis=0), mos.mean(axis=0)
            rest = seen - usual
            limits, scale = (rest.min(axis=(0, 1)), rest.max(axis=(0, 1))), rest.std(axis=(0, 1)) + 0.05
            inputs = self._inputs(rest / scale, np.arange(1.0, 6)).reshape(-1, 16)
            matrix = inputs.T @ inputs + self.RIDGE * np.eye(16)
            self.models[number] = usual, typical, limits, scale, np.linalg.solve(matrix, inputs.T @ (mos - typical).ravel())

    @staticmethod
    def _inputs(rest, levels):
        return np.concatenate([rest, rest * (levels[:, None] - 3) / 2], axis=-1)

    def scores(self, number, levels, found):
        """Scores of one photograph at rising levels, float64 (n,), from its differences (n, 8)."""
        usual, typical, limits, scale, weights = self.models[number]
        at = np.maximum(levels, 1)
        rest = found - np.stack([np.interp(at, range(1, 6), column) for column in usual.T], axis=1)
        correction = self._inputs(np.clip(rest, *limits) / scale, at) @ weights
        correction *= np.minimum(levels, 1)  # below level 1 it grows from nothing
        return np.clip(np.interp(levels, range(6), [UNTOUCHED_MOS, *typical]) + correction, 0, 9)


# --- ladders ---------------------------------------------------------------------------------------------------------


def differences_of(ladder, references):
    """`differences` of the five images of one ladder of TID2013, (5, 8)."""
    original = read_reference(references, int(ladder[0].reference[1:]))
    return np.stack([differences(original, read_image(image.path)) for image in ladder])


def judged_ladder(task, judge):
    """(uint8 (5, 256, 256, 3), scores (5,)) of a photograph and four strengths of one distortion."""
    path, number, _ = task
    rng = np.random.default_rng((1, number, *path.name.encode()))
    kind = int(rng.choice(COMMON if number % 2 else [kind for kind in DISTORTIONS if kind not in COMMON]))
    original = random_patch(shrink(read_image(path), rng.uniform(*SMALLER), STORED), STORED, rng, BLOCK)
    edges = np.linspace(WEAKEST, STRONGEST, 5)
    levels = (
        np.sort(rng.choice(np.arange(1.0, 6), 4, replace=False)) if kind in UNEVEN else rng.uniform(edges[:-1], edges[1:])
    )
    seed = int(rng.integers(2**32))
    steps = [distort(original, kind, level, seed) for level in levels]
    scores = judge.scores(kind, levels, np.stack([differences(original, step) for step in steps]))
    return np.stack([original, *steps]), np.array([UNTOUCHED_MOS, *scores], np.float32)


def ordered_ladder(task, kinds):
    """(uint8 (5, 256, 256, 3), NaN (5,)) of a clean photograph and four strengths of one of `KINDS`."""
    path, number, own_size = task
    rng = np.random.default_rng((2, number, *path.name.encode()))
    picture = read_image(path)
    picture = shrink(picture, 1.0 if own_size else rng.uniform(*SMALLER), STORED)
    steps = clean_ladder(random_patch(picture, STORED, rng, BLOCK), kinds[number % len(kinds)], rng)
    return np.stack(steps), np.full(5, np.nan, np.float32)


def real_ladder(paths):
    """(uint8 (5, 256, 256, 3), NaN (5,)) of five photographs, from good to bad."""
    rng = np.random.default_rng((3, *paths[0].name.encode()))
    return np.stack([random_patch(read_image(path), STORED, rng, BLOCK) for path in paths]), np.full(5, np.nan, np.float32)


def real_tasks():
    """[(path of the best, ..., path of the worst), ...]: each photograph of BIQ2021 that may be learned from, once."""
    grades = read_grades(DATA / "biq2021/train.csv", DATA / "photographs/biq2021")
    left_out = {image.name for image in grades[::CHOOSING]}
    images = [image.path for image in sorted(grades, key=lambda image: -image.label) if image.name not in left_out]
    images = [path for path in images if path and is_large_enough(path)]
    length = len(images) // PARTS
    return [tuple(images[part * length + rank] for part in range(PARTS)) for rank in range(length)]


def is_large_enough(path):
    with Image.open(path) as picture:
        return min(picture.size) >= STORED


def tasks_of(counts, seed, at_own_size=CLEAN_FOLDERS):
    """[(path, number, whether it keeps its size), ...] of photographs, as many of each folder as `counts` says."""
    rng, tasks = np.random.default_rng(seed), []
    grades = read_grades(DATA / "biq2021/train.csv")
    good = {image.name for image in grades if image.label >= GRADE} - {image.name for image in grades[::CHOOSING]}
    held_out = {f"kodim{int(reference[1:]):02d}.png" for reference in TEST_REFERENCES + VALIDATION_REFERENCES}
    for folder, count in counts.items():
        found = [path for path in list_images(DATA / folder) if path.name not in {*LEFT_OUT, *held_out}]
        if folder == "photographs/biq2021":
            found = [path for path in found if path.name in good]
        found = [path for path in found if is_large_enough(path)]
        places = np.concatenate([rng.permutation(len(found)) for _ in range(-(-count // len(found)))])[:count]
        tasks += [(found[place], folder in at_own_size) for place in places]
    return [(path, number, own_size) for number, (path, own_size) in enumerate(tasks)]


def keep(make, tasks, file):
    """The ladders that `make` gives for tasks, a file mapped into memory (N, 5, h, w, 3), and their scores (N, 5)."""
    scores = file.with_suffix(".scores.npy")
    if not scores.exists():
        with ProcessPoolExecutor(processors()) as pool, temporary_beside(file) as name:
            found, rows, kept = pool.map(make, tasks, chunksize=4), [], None
            for number, (pictures, known) in enumerate(tqdm(found, total=len(tasks), unit="ladder", desc=file.stem)):
                if kept is None:
                    kept = np.lib.format.open_memmap(name, "w+", np.uint8, (len(tasks), *pictures.shape))
                kept[number] = pictures
                rows.append(known)
            kept.flush()
        with written_whole(scores) as stream:
            np.save(stream, np.stack(rows))
    return np.load(file, mmap_mode="r"), np.load(scores)


def read_scored(ladder):
    """The images of a ladder of TID2013 and their scores."""
    pictures = [read_image(image.path)[:384, :512] for image in ladder]
    return np.stack(pictures), np.array([image.mos for image in ladder], np.float32)


def script(name, *options):
    """Run another script of this folder."""
    subprocess.run([sys.executable, HERE / name, *options], check=True)


def make_ladders(out):
    """{sort: (pictures (N, 5, h, w, 3), scores (N, 5))}, and the images of the references 4-6."""
    images, tables = out / "tid2013", DATA / "tid2013"
    if not (images / LABELS_NAME).exists():
        options = ["--references", DATA / "kodak", "--mos", tables / LABELS_NAME, "--metrics", tables / "metrics.csv"]
        script("make_images.py", *options, "--out", images, *(["--overwrite"] if images.exists() else []))
    every = read_ladders(images)
    known = [ladder for ladder in every if ladder[0].reference not in TEST_REFERENCES + VALIDATION_REFERENCES]
    testing = [image for ladder in every if ladder[0].reference in VALIDATION_REFERENCES for image in ladder]
    found = out / "differences.npy"
    if not found.exists():
        with ProcessPoolExecutor(processors()) as pool:
            of = pool.map(partial(differences_of, references=DATA / "kodak"), known)
            rows = list(tqdm(of, total=len(known), unit="ladder", desc="differences"))
        with written_whole(found) as stream:
            np.save(stream, np.stack(rows))
    judge = Judge(known, np.load(found))
    ladders = {
        "scored": keep(read_scored, known, out / "scored.npy"),
        "judged": keep(partial(judged_ladder, judge=judge), tasks_of(JUDGED, 1), out / "judged.npy"),
        "clean": keep(partial(ordered_ladder, kinds=EVERYDAY), tasks_of(CLEAN, 2), out / "clean.npy"),
        "noise": keep(partial(ordered_ladder, kinds=("noise",)), tasks_of(NOISY, 5), out / "noise.npy"),
        "web": keep(partial(ordered_ladder, kinds=OF_THE_WEB), tasks_of(WEB, 4, at_own_size=WEB), out / "web.npy"),
        "camera": keep(partial(ordered_ladder, kinds=OF_CAMERAS), tasks_of(CAMERA, 3), out / "camera.npy"),
        "real": keep(real_ladder, real_tasks(), out / "real.npy"),
    }
    return ladders, testing


# --- training --------------------------------------------------------------------------------------------------------


def batches_of(ladders, a_step, size, seed):
    """A data set of batches of whole ladders, so many of each sort: uint8 (5 n, size, size, 3), scores or NaN (5 n, 1)."""
    import keras

    class Ladders(keras.utils.PyDataset):
        """Each epoch has an order and patches of its own."""

        epoch = 0

        def __len__(self):
            return STEPS

        def __getitem__(self, index):
            rng = np.random.default_rng((*seed, self.epoch, index))
            pixels, scores = [], []
            for place, (sort, count) in enumerate(a_step.items()):
                kept, known = ladders[sort]
                first = (self.epoch * STEPS + index) * count
                cycle, begin = divmod(first, len(kept))  # all ladders in an order, then in another
                orders = [np.random.default_rng((*seed, place, cycle + more)).permutation(len(kept)) for more in (0, 1)]
                rows = np.concatenate(orders)[begin : begin + count]
                for row in rows:
                    ladder = [kept[row, step] for step in range(5)]
                    if sort == "camera":  # every step is another photograph, of the same kind
                        alike = np.arange(row % len(OF_CAMERAS), len(kept), len(OF_CAMERAS))
                        ladder = [kept[other, step] for step, other in enumerate(rng.choice(alike, 5, replace=False))]
                    chance = int(rng.integers(2**32))
                    pixels += [random_patch(step, size, np.random.default_rng(chance), BLOCK) for step in ladder]
                    scores.append(known[row])
            return np.stack(pixels), np.concatenate(scores)[:, None]

    return Ladders()


def standardise(model, data):
    """Let the head's inputs have mean 0 and deviation 1, over some batches."""
    import keras

    from iqa.models.networks import STANDARDISED

    layer = model.get_layer(STANDARDISED)
    seen = keras.Model(model.input, layer.input)
    found = np.concatenate([seen.predict_on_batch(data[index][0]) for index in range(STANDARDISE)])
    layer.moving_mean.assign(found.mean(axis=0))
    layer.moving_variance.assign(found.var(axis=0))


def train(model, data, testing, out, epochs, highest, ranking):
    """Train all layers in one phase; `model` has the averaged weights afterwards."""
    import keras

    from iqa.training.losses import LCC, LadderLoss

    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    rate = keras.optimizers.schedules.CosineDecay(
        highest / 20, epochs * len(data) - WARM_UP, alpha=0.02, warmup_target=highest, warmup_steps=WARM_UP
    )
    adam = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=AVERAGE)
    model.compile(adam, LadderLoss(weight=ranking), metrics=[LCC()])
    begin = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(data, "epoch", epoch))
    kept = keras.callbacks.BackupAndRestore(out / "backup", save_freq="epoch")  # which is deleted at the end
    log = keras.callbacks.CSVLogger(out / "log.csv", append=True)
    said = {"verbose": 2, "callbacks": [kept, begin, log, keras.callbacks.TerminateOnNaN()]}
    model.fit(data, epochs=epochs, shuffle=False, validation_data=testing, validation_batch_size=60, **said)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument(
        "--backbone", default=DATA / "imagenet/mobilenet_v2-b0353104.pth", help="ImageNet weights to begin with"
    )
    parser.add_argument("--seed", type=natural, default=0)
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    ladders, testing = make_ladders(out)
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        import keras

        from iqa.models.backbones import build_backbone
        from iqa.models.compiled import compile_weights
        from iqa.models.networks import LEVELS, add_head
        from iqa.models.settings import settle
        from iqa.models.weight_files import save_with_card, without_optimizer

        settle()
        keras.utils.set_random_seed(arguments.seed)
    head, known = Head("regression", DROPOUT, levels=LEVELS), np.array([[image.mos] for image in testing], np.float32)
    for number, (size, epochs, rate, a_step, ranking) in enumerate(PHASES, start=1):
        with without_greetings():
            below, backbone = build_backbone(str(arguments.backbone), NOISE, size, NETWORK)
            model = add_head(below, head)
        data, done = batches_of(ladders, a_step, size, (arguments.seed, number)), out / f"phase-{number}.weights.h5"
        if done.exists():
            model.load_weights(done)
            continue
        if number > 1:
            model.load_weights(out / f"phase-{number - 1}.weights.h5")
        else:
            model.layers[-1].bias.assign([4.5])
            standardise(model, data)
        rng = np.random.default_rng(0)
        seen = np.stack([random_patch(read_image(image.path), size, rng, BLOCK) for image in testing])
        train(model, data, (seen, known), out, epochs, rate, ranking)
        with temporary_beside(done) as file:
            without_optimizer(model).save_weights(file)
    preprocessing = Preprocessing("patch", SIZE, multiple=BLOCK, pooling="detail", training="random patch, mirrored or not")
    learned = {f"ladders, {sort}": len(kept) for sort, (kept, _) in ladders.items()}
    settings = {"steps": STEPS, "phases (size, times, rate, ladders a step, ranking)": PHASES}
    card = Card(
        backbone, head, preprocessing, TID2013_SCALE, trained_on=learned, training=settings | {"seed": arguments.seed}
    )
    file = out / "tid2013_regression.weights.h5"
    save_with_card(model, file, card)
    print(printable(f"wrote {file} and {compile_weights(file).name}"))
    photographs = ("--photos", *(DATA / folder for folder in FAULTS), "--clean", DATA / "photographs/biq2021")
    script("fit_faults.py", "--references", DATA / "kodak", *photographs, "--weights", file, "--overwrite")
    return 0


if __name__ == "__main__":
    run(main)
