"""Distort photographs step by step, so that training has more scenes than TID2013's.

    python TID2013_regression/make_ladders.py --photos data/photos --mos data/tid2013/mos_with_names.txt \\
        --exclude TID2013_regression/ladder_photographs.txt --out data/ladders
    python TID2013_regression/make_ladders.py --photos data/photos --clean --out data/clean

A ladder is one patch at five steps: untouched, then one distortion at four strengths, drawn at random. Its labels are what
TID2013 gave that distortion on average (over its training scenes, references 7 to 25), interpolated between the levels.
Half of the photographs are downscaled first, so that more ladders start clean.

With --clean there are no scores, only the order of the steps. All photographs are downscaled, so that the first step is
clean, and get common faults: noise, JPEG, blur, JPEG2000, grain under JPEG, defocus, motion and sensor noise.

The script writes `PHOTO-N_DD_S.png` (ladder N of the photograph, distortion, step 1-5) and a `mos_with_names.txt` in
TID2013's form, so that training reads them like TID2013 itself (--ladders, or --order for clean ones).
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run, share
from iqa.distortions.everyday import KINDS, clean_ladder, shrink
from iqa.distortions.table import DISTORTIONS, STRONGEST, UNEVEN, WEAKEST, distort
from iqa.environment import processors
from iqa.errors import ImageError, LabelError
from iqa.files import claim_folder, printable, remove_leftovers, written_whole
from iqa.images.finding import list_photographs
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.labels.tid2013 import (
    LABELS_NAME,
    TEST_REFERENCES,
    VALIDATION_REFERENCES,
    read_mos,
    split_by_reference,
)

SIZE = 256  # a little more than the network sees, so that training can still crop

# Pixels in a unit of JPEG with halved chroma. Saving a photograph again codes the blocks of its first coding again, which
# changes it less, and in other ways, than coding across them.
BLOCK = 16

# Photographs are made smaller to this with --clean, and otherwise by up to this.
CLEAN_SCALE, SMALLEST_SCALE = 0.55, 0.5

# The everyday distortions come in every second ladder: noise, blur, JPEG, JPEG2000.
COMMON = (1, 8, 10, 11)

# TID2013 published no scores of its references. Its best distorted images reach 6.5, and people prefer the reference.
UNTOUCHED_MOS = 6.5


def typical_mos(images):
    """{distortion: mean scores at levels 1-5 over the scenes given}: what is known without seeing the scene.

    Raises:
        LabelError: if no image has one of the levels of a distortion.
    """
    scores = {}
    for image in (image for image in images if 1 <= image.level <= 5):
        scores.setdefault(image.distortion, [[] for _ in range(5)])[image.level - 1].append(image.mos)
    for distortion, levels in scores.items():
        if not all(levels):
            missing = levels.index([]) + 1
            raise LabelError(f"no image of distortion {distortion} at level {missing}, so its typical score is unknown")
    return {distortion: np.array(list(map(np.mean, levels))) for distortion, levels in sorted(scores.items())}


def random_levels(distortion, rng):
    """Four rising levels, float64 (4,): one from each quarter of the range; whole ones where no others make sense."""
    if distortion in UNEVEN:
        return np.sort(rng.choice(np.arange(1, 6), 4, replace=False)).astype(float)
    edges = np.linspace(WEAKEST, STRONGEST, 5)
    return np.round(rng.uniform(edges[:-1], edges[1:]), 2)


def scored_steps(picture, distortion, rng, scale, typical):
    """[(uint8 (256, 256, 3), score), ...] of one ladder, the untouched patch first."""
    shrunk = shrink(picture, rng.choice([1.0, rng.uniform(scale, 1.0)]), SIZE)
    untouched = random_patch(shrunk, SIZE, rng, BLOCK)
    levels, noise = random_levels(distortion, rng), int(rng.integers(2**32))
    distorted = [distort(untouched, distortion, level, seed=noise) for level in levels]
    scores = np.interp(levels, range(6), [UNTOUCHED_MOS, *typical[distortion]])
    return list(zip([untouched, *distorted], [UNTOUCHED_MOS, *scores], strict=True))


def clean_steps(picture, kind, rng, scale):
    """The same of a ladder whose first step is clean; the scores say only the order."""
    if min(picture.shape[:2]) * scale < SIZE:
        raise ImageError(f"{picture.shape[1]}x{picture.shape[0]} pixels are too few for {SIZE} at scale {scale:g}")
    patch = random_patch(shrink(picture, scale, SIZE), SIZE, rng, BLOCK)
    return list(zip(clean_ladder(patch, kind, rng), (5, 4, 3, 2, 1), strict=True))


def make_ladder(task, out, seed, steps_of):
    """Write one ladder; returns its lines for the label file, or the reason why the photograph cannot be used."""
    path, serial, kind = task
    rng = np.random.default_rng((seed, *path.name.encode(), serial))
    try:
        steps = steps_of(read_image(path), kind, rng)
    except ImageError as error:
        return f"{path}: {error}"
    number, lines = KINDS[kind].distortion if kind in KINDS else kind, []
    for step, (image, score) in enumerate(steps, start=1):
        file = out / f"{path.stem}-{serial}_{number:02d}_{step}.png"
        with written_whole(file) as stream:
            Image.fromarray(np.ascontiguousarray(image)).save(stream, "png", compress_level=1)
        lines.append(f"{score:.5f} {file.name}\n")
    return lines


def parse_arguments():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--photos", required=True, type=Path, help="folder of photographs to distort")
    add("--out", required=True, type=Path, help="folder to write to")
    add("--exclude", type=Path, help="leave out the photographs named in this file, one per line")
    add("--mos", type=Path, help="estimate scores from TID2013's, mos_with_names.txt")
    add(
        "--distortions",
        type=int,
        nargs="+",
        choices=DISTORTIONS,
        metavar="N",
        help="use only these distortions (default: all 24)",
    )
    add("--clean", nargs="*", choices=KINDS, help="make ladders without scores, of these kinds (default: all)")
    add("--scale", type=share, help=f"smallest scale of a photograph (default: {SMALLEST_SCALE}; --clean: {CLEAN_SCALE})")
    add("--per-photo", type=positive, default=2, help="ladders per photograph (default: 2)")
    add("--limit", type=positive, help="number of photographs to draw (default: all)")
    add("--seed", type=natural, default=0, help="random seed (default: 0)")
    add("--workers", type=positive, default=processors(), help="worker processes (default: one per processor)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if bool(arguments.mos) == (arguments.clean is not None):
        parser.error("give either --mos or --clean")
    if arguments.clean is not None and arguments.distortions:
        parser.error("--clean does not go with --distortions")
    return arguments


def main():
    arguments = parse_arguments()
    labels = read_mos(arguments.mos) if arguments.mos else []
    train, _ = split_by_reference(labels, TEST_REFERENCES + VALIDATION_REFERENCES)
    typical = typical_mos(train)
    unknown = sorted(set(arguments.distortions or DISTORTIONS) - set(typical)) if arguments.mos else []
    if unknown:
        raise LabelError(f"{arguments.mos} has no scores of distortion {', '.join(map(str, unknown))} to learn from")
    photos = list_photographs(arguments.photos, arguments.exclude)
    claim_folder(arguments.out, "make_ladders.py", arguments.overwrite)
    remove_leftovers(arguments.out)  # half-written images of a run that was killed, under their final names
    rng = np.random.default_rng(arguments.seed)
    if arguments.limit:
        photos = [photos[place] for place in sorted(rng.permutation(len(photos))[: arguments.limit])]
    places = [(path, serial) for path in photos for serial in range(arguments.per_photo)]
    if arguments.clean is not None:
        kinds = arguments.clean or list(KINDS)
        tasks = [(*place, kinds[number % len(kinds)]) for number, place in enumerate(places)]
        steps_of = partial(clean_steps, scale=arguments.scale or CLEAN_SCALE)
    else:
        others = [number for number in DISTORTIONS if number not in COMMON]
        tasks = [
            (path, serial, int(rng.choice(arguments.distortions or (others if serial % 2 else COMMON))))
            for path, serial in places
        ]
        steps_of = partial(scored_steps, scale=arguments.scale or SMALLEST_SCALE, typical=typical)
    make = partial(make_ladder, out=arguments.out, seed=arguments.seed, steps_of=steps_of)
    with ProcessPoolExecutor(arguments.workers) as pool:
        results = list(tqdm(pool.map(make, tasks), total=len(tasks), unit="ladder", file=sys.stderr))
    lines = [line for result in results if not isinstance(result, str) for line in result]
    refused = sorted({result for result in results if isinstance(result, str)})
    with written_whole(arguments.out / LABELS_NAME) as file:
        file.write("".join(lines).encode())
    for reason in refused:
        print(printable(f"left out: {reason}"), file=sys.stderr)
    made = f"{len(lines)} images of {len(photos)} photographs"
    print(f"{made} in {printable(arguments.out)}, {len(refused)} photographs left out")
    return 1 if refused else 0


if __name__ == "__main__":
    run(main)
