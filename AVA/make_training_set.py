"""Make variants of photographs for a teacher to label: crops, light, colour, blur, noise, compression.

    python AVA/make_training_set.py --photos data/photos --out data/distilled
    for split in train choose test; do
        python idealo_comparison/infer.py --six-crops data/distilled/$split --out data/distilled/$split.jsonl
    done
    python AVA/distill.py --images data/distilled/train --labels data/distilled/train.jsonl --out runs/student.weights.h5

The teacher labels what the student will see, so it labels every variant. The script writes `SCENE-N.jpg`, of which N = 0 is
the photograph itself, to three folders by scene: `test` (held_out_scenes.txt: for the figures on the card), `choose`
(choosing_scenes.txt: to choose epochs by) and `train`, all others. Only scenes to train on get variants.
"""

import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from tqdm import tqdm

from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run
from iqa.distortions.codecs import decode, encode_jpeg
from iqa.distortions.noise import additive_gaussian_noise
from iqa.distortions.signal import to_uint8
from iqa.environment import processors
from iqa.errors import ImageError, LabelError
from iqa.files import claim_folder, printable, remove_leftovers, written_whole
from iqa.images.finding import list_images
from iqa.images.reading import read_image

HERE = Path(__file__).resolve().parent
LISTS = {"test": HERE / "held_out_scenes.txt", "choose": HERE / "choosing_scenes.txt"}

# A variant is saved once more as JPEG. At 95 that can hardly be seen, and it is what the teacher labels.
QUALITY = 95

SMALLEST = 230  # pixels in a side of what is cropped, so that a patch of 224 still fits


def crop(image, rng):
    """A part of the picture, 60-95 % of each side: another composition."""
    sides = [max(min(SMALLEST, side), round(side * rng.uniform(0.6, 0.95))) for side in image.size]
    left, top = (int(rng.integers(side - part + 1)) for side, part in zip(image.size, sides, strict=True))
    return image.crop((left, top, left + sides[0], top + sides[1]))


def stretch(image, rng):
    """Another aspect ratio, up to 1.35 times wider or narrower."""
    width = round(image.width * np.exp(rng.uniform(-0.3, 0.3)))
    width = max(SMALLEST, width) if image.width >= SMALLEST else width
    return image.resize((width, image.height), Image.Resampling.BICUBIC)


def expose(image, rng):
    """Brighter or darker by up to 1.2 stops, each of which doubles or halves the linear light."""
    linear = (np.asarray(image) / 255.0) ** 2.2 * 2 ** rng.uniform(-1.2, 1.2)
    return Image.fromarray(to_uint8(255 * np.clip(linear, 0, 1) ** (1 / 2.2)))


def contrast(image, rng):
    """Less or more contrast."""
    return ImageEnhance.Contrast(image).enhance(rng.uniform(0.5, 1.6))


def saturate(image, rng):
    """Paler or stronger colours."""
    return ImageEnhance.Color(image).enhance(rng.uniform(0.3, 1.9))


def white_balance(image, rng):
    """Warmer or colder, greener or more magenta."""
    gains = np.exp(rng.uniform(-0.2, 0.2, 3))
    return Image.fromarray(to_uint8(np.asarray(image) * (gains / gains.mean())))


def blur(image, rng):
    """Out of focus."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3.0) * max(image.size) / 500))


def noise(image, rng):
    """The noise of a high sensitivity."""
    return Image.fromarray(additive_gaussian_noise(np.asarray(image), rng.uniform(4, 30), rng))


def compress(image, rng):
    """Saved as a JPEG of low quality."""
    return Image.fromarray(decode(encode_jpeg(np.asarray(image), quality=int(rng.integers(10, 60)))))


LIGHT = (expose, contrast, saturate, white_balance)
DAMAGE = (blur, noise, compress)


def vary(image, rng):
    """One variant: most are cropped or stretched, most have other light and colour, one in three is damaged."""
    steps = [step for step, chance in ((crop, 0.7), (stretch, 0.3)) if rng.random() < chance]
    steps += list(rng.choice(np.array(LIGHT), size=rng.integers(0, 3), replace=False))
    steps += [lambda colour, _: colour.convert("L").convert("RGB")] if rng.random() < 0.1 else []
    steps += [rng.choice(np.array(DAMAGE))] if rng.random() < 0.35 else []
    for step in steps:
        image = step(image, rng)
    return image


def make_variants(task, longest, seed):
    """Write a photograph and its variants; returns how many, or the reason why the photograph cannot be used."""
    path, folder, variants = task
    try:
        image = Image.fromarray(read_image(path))
    except ImageError as error:
        return f"{path}: {error}"
    shutil.copyfile(path, folder / f"{path.stem}-0{path.suffix.lower()}")
    image.thumbnail((longest, longest))
    for number in range(1, variants + 1):
        rng = np.random.default_rng((seed, *path.name.encode(), number))
        with written_whole(folder / f"{path.stem}-{number}.jpg") as file:
            vary(image, rng).save(file, "jpeg", quality=QUALITY)
    return 1 + variants


def blank_frame(seed):
    """A frame of one colour, uint8 (256, 256, 3): greys, black and white among them, every fourth with a little noise."""
    rng = np.random.default_rng(seed)
    greys = (0, 128, 255, int(rng.integers(256)))
    colour = np.repeat(rng.choice(greys), 3) if seed % 4 < 2 else rng.integers(0, 256, 3)
    speckle = rng.normal(0, rng.uniform(0.3, 2), (256, 256, 3)) if seed % 4 == 3 else 0
    return to_uint8(np.broadcast_to(colour, (256, 256, 3)) + speckle)


def assign_splits(folder):
    """{photograph: its split}, that of the list which names it, or "train".

    Raises:
        LabelError: if a list names one that is missing: a held-out scene that is misspelt would be trained on.
    """
    photos = list_images(folder)
    lists = {split: set(file.read_text(encoding="utf-8").splitlines()) - {""} for split, file in LISTS.items()}
    missing = set().union(*lists.values()) - {path.name for path in photos}
    if missing:
        raise LabelError(f"{folder} holds no {', '.join(sorted(missing)[:5])}, which must be kept apart")
    return {path: next((split for split, names in lists.items() if path.name in names), "train") for path in photos}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs, one of each scene")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--variants", type=natural, default=7, help="of each photograph to train on (default: 7)")
    parser.add_argument("--blanks", type=natural, default=0, help="frames of one colour to train on (default: 0)")
    parser.add_argument("--longest", type=positive, default=800, help="longer side of a variant at most (default: 800)")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--workers", type=positive, default=processors(), help="processes (default: one per processor)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    splits = assign_splits(arguments.photos)
    claim_folder(arguments.out, "make_training_set.py", arguments.overwrite)
    for split in {*splits.values(), "train"}:
        (arguments.out / split).mkdir(parents=True, exist_ok=True)
        remove_leftovers(arguments.out / split)  # half-written images of a run that was killed, under their final names
    for seed in range(arguments.blanks):  # no photographs, so that a network learns not to praise them
        with written_whole(arguments.out / "train" / f"blank-{seed:03d}.png") as file:
            Image.fromarray(blank_frame(seed)).save(file, "png")
    tasks = [(path, arguments.out / split, arguments.variants if split == "train" else 0) for path, split in splits.items()]
    make = partial(make_variants, longest=arguments.longest, seed=arguments.seed)
    with ProcessPoolExecutor(arguments.workers) as pool:
        results = list(tqdm(pool.map(make, tasks), total=len(tasks), unit="photo", file=sys.stderr))
    refused = [result for result in results if isinstance(result, str)]
    for reason in refused:
        print(printable(f"left out: {reason}"), file=sys.stderr)
    made = sum(result for result in results if not isinstance(result, str))
    used = len(splits) - len(refused)
    print(f"{made} images of {used} photographs in {printable(arguments.out)}, {len(refused)} left out")
    return 1 if refused else 0


if __name__ == "__main__":
    run(main)
