"""Train the quality model: the grade, bad 1 to excellent 5, that some thirty people would give a photograph.

    python data/download.py biq2021 kodak photos unsplash1 coco5k
    python BIQ2021/biq2021.py --run runs/biq2021                # some 30 minutes on two processors
    python BIQ2021/biq2021.py --run runs/biq2021 --test         # how well it agrees with people on the test split

The model is a small layer on what the networks of `ava_vanilla` and `tid2013_regression` see, so that quality costs
nothing where beauty and technical quality are scored anyway. It learns the mean grades of 9,000 photographs of BIQ2021;
1,000 chose the settings below, and the 2,000 of the official test split are not looked at but with --test. It also learns
that a photograph becomes worse with noise, blur and compression, by as much as the technical model says, and that a
caption changes nothing. What both networks see of a picture is kept in --run: to try another setting takes a minute.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import stats
from tqdm import tqdm

from iqa.cards import Scale
from iqa.commands.terminal import add_overwrite, load_quietly, natural, parser_of, run
from iqa.distortions.appearance import gaussian_blur
from iqa.distortions.everyday import KINDS, clean_ladder, shrink
from iqa.environment import processors, without_greetings
from iqa.errors import LabelError
from iqa.evaluation.metrics import estimate_interval, resample_metrics
from iqa.files import check_target, printable, written_whole
from iqa.images.finding import list_images
from iqa.images.reading import Picture, read_image
from iqa.labels.biq2021 import CHOOSING, PARTS, read_grades
from iqa.scoring.layer import FURTHEST, LayerCard, Weights, load_layer, scorers_of, write_layer
from iqa.scoring.many import SEEN, score_all
from iqa.scoring.scorer import load_scorer

HERE = Path(__file__).resolve().parent
DATA, SHIPPED = HERE.parent / "data", HERE.parent / "weights/biq2021_quality.npz"

# --- settings --------------------------------------------------------------------------------------------------------

# The networks that it stands on.
NETWORKS = ("ava_vanilla", "tid2013_regression")
TECHNICAL = 1 + 1280  # place of the technical score in what is seen: after vanilla's mean score and its features

SCALE = Scale(1, 5, "mean of the grades bad 1, poor 2, fair 3, good 4, excellent 5", "BIQ2021")

# Photographs for ladders, {folder below data/: how many}, and how many kinds of ladder each gets. Every second is made
# smaller, so that it is clean; the others are as people have them. Those by which ladders are judged are left out.
LADDERS = {"photographs/unsplash1": 130, "photographs/coco5k": 110, "photos": 130, "kodak": 18}
LEFT_OUT = [HERE.parent / "TID2013_regression" / name for name in ("ladder_photographs.txt", "held_out_kodak.txt")]
SMALLER, KINDS_OF_EACH = (0.45, 0.7), 5
# A step of a ladder is worse than its head by so many grades for each point that the technical model takes off (0-9), and
# by this for each step at least.
POINT, STEP = 0.4, 0.12

# The layer: principal components of what is seen, rectified units, their dropout; several are trained and averaged.
COMPONENTS, UNITS, DROPOUT, MEMBERS = 300, 256, 0.2, 4
EPOCHS, BATCH_SIZE, RATE, DECAY = 40, 256, 2e-3, 0.05
# Ladders and captioned photographs in a step, and the weight of their loss beside that of the grades.
LADDERS_A_STEP, CAPTIONS_A_STEP, WEIGHT = 48, 8, 2.0


# --- data ------------------------------------------------------------------------------------------------------------


def see(paths, scorers, file):
    """What both networks see of pictures, float32 (N, n), in the order of `scorers`; kept in a file."""
    if not file.exists():
        rows = []
        results = score_all(scorers, paths, processors(), features=SEEN)
        for result in tqdm(results, total=len(paths), unit="photograph", desc=file.stem):
            if result.error:
                raise LabelError(f"{result.path}: {result.error}")
            rows.append(np.concatenate([result.features[name] for name in scorers]))
        with written_whole(file) as stream:
            np.save(stream, np.stack(rows).astype(np.float32))
    return np.load(file)


def add_caption(pixels, rng):
    """A line of text over a picture, with or without a bar behind it, uint8 (H, W, 3)."""
    import matplotlib

    picture = Image.fromarray(pixels)
    pen, (width, height) = ImageDraw.Draw(picture), picture.size
    size = max(9, round(height * rng.uniform(0.03, 0.08)))
    name = rng.choice(["DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "DejaVuSerif.ttf"])
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / str(name), size)
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789      "), rng.integers(8, 50))
    left, top = round(width * rng.uniform(0.02, 0.3)), round(height * rng.choice([0.03, 0.5, 0.85]))
    colour = "white" if rng.random() < 0.7 else "black"
    if rng.random() < 0.5:
        pen.rectangle((0, top - size // 2, width, top + 2 * size), fill="black" if colour == "white" else "white")
    pen.text((left, top), "".join(letters), fill=colour, font=font)
    return np.asarray(picture)


_opened = {}


def _open(recipes):
    _opened.update(scorers_of(recipes, 1))


def see_ladders(task):
    """What is seen of a photograph's ladders, (kinds, 5, n), and of it plain and captioned, sharp and blurred, (4, n)."""
    number, path = task
    rng = np.random.default_rng((number, *path.name.encode()))
    pixels = shrink(read_image(path), rng.uniform(*SMALLER) if number % 2 else 1.0, 230)
    kinds = rng.choice([kind for kind in KINDS if kind != "grain"], KINDS_OF_EACH, replace=False)
    ladders = [clean_ladder(pixels, str(kind), rng) for kind in kinds]
    blurred, text = gaussian_blur(pixels, rng.uniform(1.5, 5), rng), int(rng.integers(2**31))
    captioned = [add_caption(image, np.random.default_rng(text)) for image in (pixels, blurred)]

    def seen(image):
        picture = Picture(image)
        return np.concatenate([scorer.judge([picture])[0].seen for scorer in _opened.values()])

    head = seen(pixels)
    steps = np.stack([[head, *map(seen, ladder[1:])] for ladder in ladders])
    return steps, np.stack([head, seen(captioned[0]), seen(blurred), seen(captioned[1])])


def see_all_ladders(scorers, file):
    """(float32 (N, 5, n), (M, 4, n)) of all photographs, as `see_ladders`; kept in a file."""
    if not file.exists():
        left_out, rng, tasks = " ".join(file.read_text() for file in LEFT_OUT).split(), np.random.default_rng(0), []
        for folder, count in LADDERS.items():
            found = [path for path in list_images(DATA / folder) if path.name not in left_out]
            tasks += [found[place] for place in rng.permutation(len(found))[:count]]
        recipes = {name: scorer.recipe for name, scorer in scorers.items()}
        with ProcessPoolExecutor(processors(), initializer=_open, initargs=(recipes,)) as pool:
            seen = list(tqdm(pool.map(see_ladders, enumerate(tasks)), total=len(tasks), unit="photograph", desc="ladders"))
        with written_whole(file) as stream:
            np.savez(stream, ladders=np.concatenate([a for a, _ in seen]), captions=np.stack([b for _, b in seen]))
    with np.load(file) as found:
        return found["ladders"], found["captions"]


# --- training --------------------------------------------------------------------------------------------------------


def worse_by(ladders):
    """How many grades each step lies below the head of its ladder, float32 (N, 4)."""
    technical = ladders[:, :, TECHNICAL]
    lost = technical[:, :1] - technical[:, 1:]
    return np.maximum(POINT * lost, STEP * np.arange(1, 5)).astype(np.float32)


def fit(seen, grades, ladders, captions, seed):
    """The layer's `Weights` without deviations and quantiles, from what is seen (N, n) of graded photographs (N,)."""
    import keras
    import tensorflow as tf

    centre, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    drops = worse_by(ladders)

    def standard(found):
        return np.clip((found - centre) / spread, -FURTHEST, FURTHEST)

    _, scales, axes = np.linalg.svd(standard(seen)[::3], full_matrices=False)
    onto = (axes[:COMPONENTS].T / (scales[COMPONENTS // 4] / np.sqrt(len(seen) / 3))).astype(np.float32)
    seen, ladders, captions = (standard(found) @ onto for found in (seen, ladders, captions))
    kernels, biases, tops = [], [], []
    for member in range(MEMBERS):
        keras.utils.set_random_seed(seed + member)
        small, rng = keras.initializers.RandomNormal(stddev=0.01), np.random.default_rng(seed + member)
        entry = keras.Input((COMPONENTS,))
        dropped = keras.layers.Dropout(DROPOUT)(entry)
        units = keras.layers.Dropout(DROPOUT)(keras.layers.Dense(UNITS, "relu", name="units")(dropped))
        linear = keras.layers.Dense(1, kernel_initializer="zeros", name="linear")(dropped)
        score = linear + keras.layers.Dense(1, use_bias=False, kernel_initializer=small, name="top")(units)
        model = keras.Model(entry, score)
        model.get_layer("linear").bias.assign([float(grades.mean())])
        steps = EPOCHS * (len(seen) // BATCH_SIZE)
        optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(RATE, steps), weight_decay=DECAY)

        @tf.function
        def step(pixels, known, steps, lost, pairs, model=model, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(pixels, training=True)[:, 0] - known) ** 2)
                of = tf.reshape(model(tf.reshape(steps, (-1, COMPONENTS))), (-1, 5))
                # As far below the head as the technical model says, and each step below the one before it.
                apart = tf.reduce_mean((of[:, 1:] - of[:, :1] + lost) ** 2)
                order = tf.reduce_mean(0.1 * tf.math.softplus((of[:, 1:] - of[:, :-1]) / 0.1))
                text = tf.reshape(model(tf.reshape(pairs, (-1, COMPONENTS))), (-1, 2, 2))
                moved = 2 * tf.reduce_mean((text[:, :, 1] - text[:, :, 0]) ** 2)
                loss += WEIGHT * (apart + 2 * order + moved)
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True)
            )
            return loss

        for _ in range(EPOCHS):
            order = rng.permutation(len(seen))
            for first in range(0, len(seen) - BATCH_SIZE + 1, BATCH_SIZE):
                rows = order[first : first + BATCH_SIZE]
                some, texts = (
                    rng.integers(len(ladders), size=LADDERS_A_STEP),
                    rng.integers(len(captions), size=CAPTIONS_A_STEP),
                )
                step(seen[rows], grades[rows].astype(np.float32), ladders[some], drops[some], captions[texts])
        (kernel, bias), (line, constant), (top,) = (
            model.get_layer(name).get_weights() for name in ("units", "linear", "top")
        )
        kernels.append((line, kernel))
        biases.append((constant, bias))
        tops.append(top[:, 0] / MEMBERS)
    kernel = np.concatenate([np.mean([line for line, _ in kernels], axis=0), *(of for _, of in kernels)], axis=1)
    bias = np.concatenate([np.mean([constant for constant, _ in biases], axis=0), *(of for _, of in biases)])
    nothing = np.zeros((2, 1), np.float32), np.zeros(0, np.float32)
    return Weights(
        centre,
        spread,
        (onto @ kernel).astype(np.float16),
        bias,
        np.concatenate([[1.0], *tops]).astype(np.float32),
        *nothing,
    )


def finish(weights, seen, grades):
    """The weights with what is learned from photographs that it did not see: deviations of people's grades, quantiles."""
    scores = np.clip(weights.score(seen), SCALE.lowest, SCALE.highest)
    fifths = np.array_split(np.argsort(scores), 5)
    deviations = [(scores[fifth].mean(), np.sqrt(np.mean((scores[fifth] - grades[fifth]) ** 2))) for fifth in fifths]
    fields = {"deviations": np.array(deviations, np.float32).T, "quantiles": np.percentile(scores, np.arange(101))}
    return replace(weights, **{name: value.astype(np.float32) for name, value in fields.items()})


def measure(scores, grades, names):
    """{figure: value} of scores of photographs and people's grades, also for the three parts of BIQ2021."""
    drawn = resample_metrics(grades, scores, 1000)
    figures = {
        "n": len(grades),
        "srcc": float(stats.spearmanr(scores, grades)[0]),
        "srcc_95": estimate_interval(drawn["srcc"]),
    }
    figures |= {"lcc": float(np.corrcoef(scores, grades)[0, 1]), "rmse": float(np.sqrt(np.mean((scores - grades) ** 2)))}
    for beginning, part in PARTS.items():
        of = np.array([name.lower().startswith(beginning) for name in names])
        figures[f"srcc, {part}"] = float(stats.spearmanr(scores[of], grades[of])[0])
    figures = {name: np.round(value, 4).tolist() for name, value in figures.items()}
    print(", ".join(f"{name} {value}" for name, value in figures.items()))
    return figures


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--run", required=True, type=Path, metavar="FOLDER", help="where what the networks see is kept")
    parser.add_argument("--images", type=Path, default=DATA / "photographs/biq2021", help="folder of BIQ2021's photographs")
    parser.add_argument(
        "--labels", type=Path, default=DATA / "biq2021", help="folder of its tables, train.csv and test.csv"
    )
    parser.add_argument("--out", type=Path, default=SHIPPED, help="layer to write (default: the shipped one)")
    parser.add_argument(
        "--test", action="store_true", help="train nothing; measure --out on the test split, and note it on its card"
    )
    parser.add_argument("--seed", type=natural, default=0)
    add_overwrite(parser)
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    read = partial(read_grades, images=arguments.images)
    images = read(arguments.labels / ("test.csv" if arguments.test else "train.csv"))
    if missing := [image.name for image in images if not image.path]:
        raise LabelError(f"{arguments.images} lacks {len(missing)} of {len(images)} photographs, such as {missing[0]}")
    scorers = load_quietly(lambda: {name: load_scorer(name) for name in NETWORKS})
    seen = see([image.path for image in images], scorers, arguments.run / f"{'test' if arguments.test else 'train'}.npy")
    names, grades = [image.name for image in images], np.array([image.label for image in images])
    if arguments.test:
        layer = load_layer(arguments.out)
        figures = {"2,000 photographs of BIQ2021's test split": measure(layer.layer.score(seen), grades, names)}
        write_layer(arguments.out, replace(layer.card, figures=layer.card.figures | figures), layer.layer)
        return 0
    check_target(arguments.out, arguments.overwrite or arguments.out == SHIPPED)
    ladders, captions = see_all_ladders(scorers, arguments.run / "ladders.npz")
    chosen = np.arange(len(images)) % CHOOSING == 0
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        import keras  # noqa: F401
    weights = finish(fit(seen[~chosen], grades[~chosen], ladders, captions, arguments.seed), seen[chosen], grades[chosen])
    figures = measure(
        weights.score(seen[chosen]), grades[chosen], [name for name, is_it in zip(names, chosen, strict=True) if is_it]
    )
    settings = {
        "photographs": int((~chosen).sum()),
        "ladders": len(ladders),
        "captions": len(captions),
        "seed": arguments.seed,
    }
    settings |= {
        "components": COMPONENTS,
        "units": UNITS,
        "members": MEMBERS,
        "epochs": EPOCHS,
        "weight of ladders": WEIGHT,
    }
    stands_on = {name: scorer.sha256 for name, scorer in scorers.items()}
    card = LayerCard(SCALE, stands_on, settings, {"1,000 photographs of BIQ2021 that chose the settings": figures})
    write_layer(arguments.out, card, weights)
    print(printable(f"wrote {arguments.out}"))
    return 0


if __name__ == "__main__":
    run(main)
