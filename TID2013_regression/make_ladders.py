"""Widen TID2013's few scenes: distort patches of any photographs, labelled with the typical score of the distortion.

    python TID2013_regression/make_ladders.py --photos data/photos --mos data/tid2013/mos_with_names.txt \\
        --out data/ladders --exclude TID2013_regression/ladder_photographs.txt

A ladder is one patch at five steps: untouched, then one distortion at four strengths, drawn at random between level
0.5 and level 5 (or --levels). Its labels are what TID2013 gave that distortion on average (over its training scenes,
references 7 to 25), interpolated between the levels. With --tid and --references they are corrected by how far the
picture differs from the untouched one, compared with TID2013's images of that distortion and level. The script writes
`PHOTO-N_DD_S.png` (ladder N of the photograph, distortion, step 1-5) and a `mos_with_names.txt` in TID2013's form, so that
training reads them like TID2013 itself.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from iqa.commands.ladders import make_ladders, write_ladder
from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run, share
from iqa.distortions.judge import UNTOUCHED_MOS, Example, Judge, cross_validate, features, read_examples
from iqa.distortions.references import Crop, read_crops, read_reference
from iqa.distortions.signal import Pixels
from iqa.distortions.table import DISTORTIONS, STRONGEST, WEAKEST, check_levels, distort, random_levels
from iqa.environment import processors
from iqa.errors import ImageError, LabelError
from iqa.evaluation.metrics import correlate
from iqa.files import claim_folder
from iqa.images.finding import list_photographs
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.labels.tid2013 import (
    TEST_REFERENCES,
    VALIDATION_REFERENCES,
    LabelledImage,
    locate,
    read_mos,
    split_by_reference,
    typical_mos,
)

SIZE = 256  # a little more than the network sees, so that training can still crop

# Pixels in a unit of JPEG with halved chroma. Saving a photograph again codes the blocks of its first coding again, which
# changes it less, and in other ways, than coding across them.
BLOCK = 16

# The everyday distortions come in every second ladder: noise, blur, JPEG, JPEG2000.
COMMON = (1, 8, 10, 11)
OTHERS = tuple(number for number in range(1, 25) if number not in COMMON)

# A judge of fewer scenes would fit their peculiarities.
SCENES = 12


def read_scene(images: Sequence[LabelledImage], references: Path, crops: Mapping[str, Crop]) -> list[Example]:
    """`read_examples` of one scene; none if one of its images, or the reference, is missing."""
    if not all(image.path for image in images):
        return []
    reference = read_reference(references, int(images[0].reference[1:]), crops)
    return [] if reference is None else read_examples(reference, images)


def make_judge(folder: Path, references: Path, labels: Sequence[LabelledImage], workers: int) -> Judge:
    """The `Judge` of TID2013's images in a folder, after a line on how good it is."""
    scenes: dict[str, list[LabelledImage]] = {}
    for image in locate(labels, folder):
        scenes.setdefault(image.reference, []).append(image)
    read = partial(read_scene, references=references, crops=read_crops())
    with ProcessPoolExecutor(workers) as pool:
        found = list(tqdm(pool.map(read, scenes.values()), total=len(scenes), unit="scene", file=sys.stderr))
    short = [scene for scene, examples in zip(scenes, found, strict=True) if not examples]
    if short:
        print(f"scenes left out of judging, images or references are missing: {', '.join(short)}", file=sys.stderr)
    if len(scenes) - len(short) < SCENES:
        raise ImageError(f"{folder}, {references}: fewer than {SCENES} whole scenes to judge by")
    examples = [example for scene in found for example in scene]
    mos, judged, typical = cross_validate(examples)
    with_differences, alone = (correlate(mos, scores)[0] for scores in (judged, typical))
    print(f"scenes left out: LCC {with_differences:.3f} with the differences, {alone:.3f} typical scores alone")
    return Judge(examples)


def cut_patch(path: Path, smallest_scale: float, rng: np.random.Generator) -> Pixels:
    """A patch of a photograph, which half of the time is made smaller first.

    Made smaller, a photograph loses the traces of the camera's own JPEG: more of the ladders start clean.
    """
    image = read_image(path)
    smallest = SIZE / min(image.shape[:2])
    scale = max(smallest, rng.choice([1.0, rng.uniform(smallest_scale, 1.0)]))
    if scale < 1:
        width, height = (max(SIZE, round(length * scale)) for length in (image.shape[1], image.shape[0]))
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    return random_patch(image, SIZE, rng, BLOCK)


def make_ladder(
    task: tuple[Path, int, int],
    out: Path,
    typical: Mapping[int, NDArray[np.float64]],
    judge: Judge | None,
    seed: int,
    levels: tuple[float, float],
    smallest_scale: float,
) -> list[str] | str:
    """Write one ladder; returns its lines for the label file, or the reason why the photograph cannot be used."""
    path, serial, distortion = task
    rng = np.random.default_rng((seed, *path.name.encode(), serial))
    try:
        untouched = cut_patch(path, smallest_scale, rng)
    except ImageError as error:
        return f"{path}: {error}"
    strengths = random_levels(distortion, rng, *levels)
    noise = int(rng.integers(2**32))
    distorted = [distort(untouched, distortion, level, seed=noise) for level in strengths]
    if judge:
        scores = judge.scores(distortion, strengths, [features(untouched, step) for step in distorted])
    else:
        scores = np.interp(strengths, range(6), [UNTOUCHED_MOS, *typical[distortion]])
    texts = [f"{score:.5f}" for score in (UNTOUCHED_MOS, *scores)]
    return write_ladder(out / f"{path.stem}-{serial}", distortion, zip([untouched, *distorted], texts, strict=True))


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--mos", required=True, type=Path, help="TID2013's mos_with_names.txt")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--tid", type=Path, help="TID2013's images, or make_images.py's, to judge the photographs by")
    parser.add_argument("--references", type=Path, help="folder of kodim01.png ... kodim24.png; with --tid")
    parser.add_argument("--exclude", type=Path, help="file of photographs' names to leave out, one per line")
    parser.add_argument("--per-photo", type=positive, default=2, help="ladders of each photograph (default: 2)")
    parser.add_argument(
        "--distortions", type=int, nargs="+", choices=DISTORTIONS, metavar="N", help="only these (default: all 24)"
    )
    parser.add_argument(
        "--levels", type=float, nargs=2, default=(WEAKEST, STRONGEST), metavar=("WEAKEST", "STRONGEST"),
        help=f"default: {WEAKEST:g} {STRONGEST:g}",
    )  # fmt: skip
    parser.add_argument(
        "--smallest-scale", type=share, default=0.5, help="photographs are made smaller by up to this (default: 0.5)"
    )
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--workers", type=positive, default=processors(), help="processes (default: one per processor)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if bool(arguments.tid) != bool(arguments.references):
        parser.error("--tid and --references go together")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    check_levels(*arguments.levels)
    train, _ = split_by_reference(read_mos(arguments.mos), TEST_REFERENCES + VALIDATION_REFERENCES)
    typical = typical_mos(train)
    unknown = sorted(set(arguments.distortions or DISTORTIONS) - set(typical))
    if unknown:
        raise LabelError(f"{arguments.mos} has no scores of distortion {', '.join(map(str, unknown))} to learn from")
    photos = list_photographs(arguments.photos, arguments.exclude)
    claim_folder(arguments.out, "make_ladders.py", arguments.overwrite)
    judge = make_judge(arguments.tid, arguments.references, train, arguments.workers) if arguments.tid else None
    rng = np.random.default_rng(arguments.seed)
    tasks = [
        (path, serial, int(rng.choice(arguments.distortions or (OTHERS if serial % 2 else COMMON))))
        for path in photos
        for serial in range(arguments.per_photo)
    ]
    make = partial(
        make_ladder,
        out=arguments.out,
        typical=typical,
        judge=judge,
        seed=arguments.seed,
        levels=arguments.levels,
        smallest_scale=arguments.smallest_scale,
    )
    return make_ladders(make, tasks, len(photos), arguments.out, arguments.workers)


if __name__ == "__main__":
    run(main)
