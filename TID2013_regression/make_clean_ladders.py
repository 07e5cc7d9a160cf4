"""Make ladders whose head is a clean picture, for the order alone: noise, JPEG, blur, JPEG2000, and grain under JPEG.

    python TID2013_regression/make_clean_ladders.py --photos data/photographs/unsplash1 --out data/clean
    python TID2013_regression/make_clean_ladders.py --photos data/kodak --scale 1 --per-photo 6 \\
        --exclude TID2013_regression/held_out_kodak.txt --out data/clean_kodak
    python TID2013_regression/tid2013_regression.py --order data/clean data/clean_kodak ...

Photographs are made smaller first, which takes away their own noise and the blocks of their own JPEG; those that are too
small for it are left out. Take --scale 1 for pictures that were never compressed. The script writes `PHOTO-N_DD_S.png`
(ladder N of the photograph, distortion, step 1-5) and a `mos_with_names.txt` in TID2013's form, whose scores stand for
the order only.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run, share
from iqa.distortions.clean import KINDS, clean_ladder, shrink
from iqa.environment import processors
from iqa.errors import ImageError
from iqa.files import claim_folder, printable, remove_leftovers, written_whole
from iqa.images.finding import list_photographs
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.labels.tid2013 import LABELS_NAME

SIZE = 256  # a little more than the network sees, so that training can still crop
BLOCK = 16  # pixels in a unit of JPEG with halved chroma: --multiple 16 finds the blocks again


def make_ladder(task: tuple[Path, int, str], out: Path, scale: float, seed: int) -> list[str] | str:
    """Write one ladder; returns its lines for the label file, or the reason why the photograph cannot be used."""
    path, serial, kind = task
    rng = np.random.default_rng((seed, *path.name.encode(), serial))
    try:
        picture = read_image(path)
        if min(picture.shape[:2]) * scale < SIZE:
            raise ImageError(f"{picture.shape[1]}x{picture.shape[0]} pixels are too few for {SIZE} at scale {scale:g}")
    except ImageError as error:
        return f"{path}: {error}"
    patch = random_patch(shrink(picture, scale, SIZE), SIZE, rng, BLOCK)
    lines = []
    for step, image in enumerate(clean_ladder(patch, kind, rng), start=1):
        name = f"{path.stem}-{serial}_{KINDS[kind].distortion:02d}_{step}.png"
        with written_whole(out / name) as file:
            Image.fromarray(np.ascontiguousarray(image)).save(file, "png", compress_level=1)
        lines.append(f"{6 - step} {name}\n")
    return lines


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--exclude", type=Path, help="file of photographs' names to leave out, one per line")
    parser.add_argument("--scale", type=share, default=0.55, help="photographs are made smaller to this (default: 0.55)")
    parser.add_argument("--per-photo", type=positive, default=2, help="ladders of each photograph (default: 2)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all, in turn")
    parser.add_argument("--limit", type=positive, help="take so many photographs, drawn at random")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--workers", type=positive, default=processors(), help="processes (default: one per processor)")
    add_overwrite(parser)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    photos = list_photographs(arguments.photos, arguments.exclude)
    rng = np.random.default_rng(arguments.seed)
    if arguments.limit:
        photos = [photos[place] for place in sorted(rng.permutation(len(photos))[: arguments.limit])]
    claim_folder(arguments.out, "make_clean_ladders.py", arguments.overwrite)
    remove_leftovers(arguments.out)  # half-written images of a run that was killed, under their final names
    kinds = arguments.kinds
    places = [(path, serial) for path in photos for serial in range(arguments.per_photo)]
    tasks = [(path, serial, kinds[number % len(kinds)]) for number, (path, serial) in enumerate(places)]
    make = partial(make_ladder, out=arguments.out, scale=arguments.scale, seed=arguments.seed)
    lines: list[str] = []
    refused: set[str] = set()
    with ProcessPoolExecutor(arguments.workers) as pool:
        for result in tqdm(pool.map(make, tasks), total=len(tasks), unit="ladder", file=sys.stderr):
            if isinstance(result, str):
                refused.add(result)
            else:
                lines += result
    with written_whole(arguments.out / LABELS_NAME) as file:
        file.write("".join(lines).encode())
    for reason in sorted(refused):
        print(printable(f"left out: {reason}"), file=sys.stderr)
    made = f"{len(lines)} images of {len(photos)} photographs"
    print(f"{made} in {printable(arguments.out)}, {len(refused)} photographs left out")
    return 1 if refused else 0


if __name__ == "__main__":
    run(main)
