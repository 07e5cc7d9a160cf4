"""Distort photographs step by step, so that training has more scenes than TID2013's.

    python TID2013_regression/make_ladders.py --photos data/photos --mos data/tid2013/mos_with_names.txt \\
        --exclude TID2013_regression/ladder_photographs.txt --out data/ladders

A ladder is one patch at five steps: untouched, then one distortion at four strengths, drawn at random. Its labels are what
TID2013 gave that distortion on average (over its training scenes, references 7 to 25), interpolated between the levels.
Half of the photographs are downscaled first, so that more ladders start clean.

The script writes `PHOTO-N_DD_S.png` (ladder N of the photograph, distortion, step 1-5) and a `mos_with_names.txt` in
TID2013's form, so that training reads them like TID2013 itself (--ladders).
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run, share
from iqa.distortions.everyday import shrink
from iqa.distortions.table import DISTORTIONS, STRONGEST, UNEVEN, WEAKEST, distort
from iqa.environment import processors
from iqa.errors import ImageError, LabelError
from iqa.files import claim_folder, printable, remove_leftovers, written_whole
from iqa.images.finding import list_images
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

# Photographs are made smaller by up to this.
SMALLEST_SCALE = 0.5

# The everyday distortions come in every second ladder: noise, blur, JPEG, JPEG2000.
COMMON = (1, 8, 10, 11)

# TID2013 published no scores of its references. Its best distorted images reach 6.5, and people prefer the reference.
UNTOUCHED_MOS = 6.5


def list_photographs(folder, exclude):
    """The photographs of a folder but those whose names a file excludes; ImageError if none is left.

    LabelError if the file names one that is missing: a held-out photograph that is misspelt would be trained on.
    """
    excluded = set(exclude.read_text(encoding="utf-8").splitlines()) - {""} if exclude else set()
    photos = list_images(folder)
    missing = excluded - {path.name for path in photos}
    if missing:
        raise LabelError(f"{folder} holds no {', '.join(sorted(missing)[:5])}, which {exclude} excludes")
    photos = [path for path in photos if path.name not in excluded]
    if not photos:
        raise ImageError(f"{folder} holds no photographs")
    return photos


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


def make_ladder(task, out, seed, scale, typical):
    """Write one ladder; returns its lines for the label file, or the reason why the photograph cannot be used."""
    path, serial, number = task
    rng, lines = np.random.default_rng((seed, *path.name.encode(), serial)), []
    try:
        steps = scored_steps(read_image(path), number, rng, scale, typical)
    except ImageError as error:
        return f"{path}: {error}"
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
    add("--mos", required=True, type=Path, help="TID2013's scores, mos_with_names.txt, by which these are estimated")
    add(
        "--distortions",
        type=int,
        nargs="+",
        choices=DISTORTIONS,
        metavar="N",
        help="use only these distortions (default: all 24)",
    )
    add("--scale", type=share, default=SMALLEST_SCALE, help="smallest scale of a photograph (default: %(default)s)")
    add("--per-photo", type=positive, default=2, help="ladders per photograph (default: 2)")
    add("--limit", type=positive, help="number of photographs to draw (default: all)")
    add("--seed", type=natural, default=0, help="random seed (default: 0)")
    add("--workers", type=positive, default=processors(), help="worker processes (default: one per processor)")
    add_overwrite(parser)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    train, _ = split_by_reference(read_mos(arguments.mos), TEST_REFERENCES + VALIDATION_REFERENCES)
    typical = typical_mos(train)
    unknown = sorted(set(arguments.distortions or DISTORTIONS) - set(typical))
    if unknown:
        raise LabelError(f"{arguments.mos} has no scores of distortion {', '.join(map(str, unknown))} to learn from")
    photos = list_photographs(arguments.photos, arguments.exclude)
    claim_folder(arguments.out, "make_ladders.py", arguments.overwrite)
    remove_leftovers(arguments.out)  # half-written images of a run that was killed, under their final names
    rng = np.random.default_rng(arguments.seed)
    if arguments.limit:
        photos = [photos[place] for place in sorted(rng.permutation(len(photos))[: arguments.limit])]
    others = [number for number in DISTORTIONS if number not in COMMON]
    tasks = [
        (path, serial, int(rng.choice(arguments.distortions or (others if serial % 2 else COMMON))))
        for path in photos
        for serial in range(arguments.per_photo)
    ]
    make = partial(make_ladder, out=arguments.out, seed=arguments.seed, scale=arguments.scale, typical=typical)
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
