"""Make ladders whose head is a clean picture, for the order alone: noise, JPEG, blur, JPEG2000, grain under JPEG, and what
a camera does wrong.

    python TID2013_regression/make_clean_ladders.py --photos data/photographs/unsplash1 --out data/clean
    python TID2013_regression/make_clean_ladders.py --photos data/kodak --scale 1 --per-photo 6 \\
        --exclude TID2013_regression/held_out_kodak.txt --out data/clean_kodak
    python TID2013_regression/tid2013_regression.py --order data/clean data/clean_kodak ...

Photographs are made smaller first, which takes away their own noise and the blocks of their own JPEG; those that are too
small for it are left out. Take --scale 1 for pictures that were never compressed. The script writes `PHOTO-N_DD_S.png`
(ladder N of the photograph, distortion, step 1-5) and a `mos_with_names.txt` in TID2013's form, whose scores stand for
the order only.
"""

from functools import partial
from pathlib import Path

import numpy as np

from iqa.commands.ladders import make_ladders, write_ladder
from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run, share
from iqa.distortions.clean import KINDS, clean_ladder, shrink
from iqa.environment import processors
from iqa.errors import ImageError
from iqa.files import claim_folder
from iqa.images.finding import list_photographs
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image

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
    images = clean_ladder(patch, kind, rng)
    steps = ((image, str(5 - number)) for number, image in enumerate(images))
    return write_ladder(out / f"{path.stem}-{serial}", KINDS[kind].distortion, steps)


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
    kinds = arguments.kinds
    places = [(path, serial) for path in photos for serial in range(arguments.per_photo)]
    tasks = [(path, serial, kinds[number % len(kinds)]) for number, (path, serial) in enumerate(places)]
    make = partial(make_ladder, out=arguments.out, scale=arguments.scale, seed=arguments.seed)
    return make_ladders(make, tasks, len(photos), arguments.out, arguments.workers)


if __name__ == "__main__":
    run(main)
