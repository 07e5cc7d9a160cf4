"""Widen TID2013's few scenes: distort patches of any photographs, labelled with the typical score of the distortion.

    python TID2013_regression/make_ladders.py --photos data/photos --mos data/tid2013/mos_with_names.txt \\
        --out data/ladders --exclude TID2013_regression/ladder_photographs.txt

A ladder is one patch at five steps: untouched, then one distortion at four strengths, drawn at random between level
0.5 and level 5 (or --levels). Its labels are what TID2013 gave that distortion on average (over its training scenes,
references 7 to 25), interpolated between the levels. With --tid and --references they are corrected by how far the
picture differs from the untouched one, compared with TID2013's images of that distortion and level. Written are
`PHOTO-N_DD_S.png` (ladder N of the photograph, distortion, step 1-5) and a `mos_with_names.txt` in TID2013's form, so that
training reads them like TID2013 itself.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import parser_of, run
from iqa.distortions.judge import UNTOUCHED_MOS, Judge, cross_validate, features, read_examples
from iqa.distortions.references import read_crops, read_reference
from iqa.distortions.table import DISTORTIONS, distort, random_levels
from iqa.errors import ImageError
from iqa.evaluation.metrics import correlate
from iqa.files import remove_leftovers, written_whole
from iqa.images.finding import list_images
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.labels.tid2013 import (
    LABELS_NAME,
    TEST_REFERENCES,
    VALIDATION_REFERENCES,
    locate,
    read_mos,
    split_by_reference,
    typical_mos,
)

SIZE = 256  # a little more than the network sees, so that training can still crop

# Pixels in a unit of JPEG with halved chroma. Who saves a photograph again codes the blocks of its first coding again,
# which changes less, and otherwise, than coding across them.
BLOCK = 16

# The everyday distortions come in every second ladder: noise, blur, JPEG, JPEG2000.
COMMON = (1, 8, 10, 11)
OTHERS = tuple(number for number in range(1, 25) if number not in COMMON)

# To judge by fewer would fit their peculiarities.
SCENES = 12


def read_scene(images, references, crops):
    """`read_examples` of one scene; none if one of its images, or the reference, is missing."""
    if not all(image.path for image in images):
        return []
    reference = read_reference(references, int(images[0].reference[1:]), crops)
    return [] if reference is None else read_examples(reference, images)


def make_judge(folder, references, labels, workers):
    """The `Judge` of TID2013's images in a folder, and a line on how good it is."""
    scenes = {}
    for image in locate(labels, folder):
        scenes.setdefault(image.reference, []).append(image)
    read = partial(read_scene, references=references, crops=read_crops())
    with ProcessPoolExecutor(workers) as pool:
        found = list(tqdm(pool.map(read, scenes.values()), total=len(scenes), unit="scene", file=sys.stderr))
    short = [scene for scene, examples in zip(scenes, found) if not examples]
    if short:
        print(f"not judged by, images or references are missing: {', '.join(short)}", file=sys.stderr)
    if len(scenes) - len(short) < SCENES:
        raise ImageError(f"{folder}, {references}: fewer than {SCENES} whole scenes to judge by")
    examples = [example for scene in found for example in scene]
    mos, judged, typical = cross_validate(examples)
    with_differences, alone = (correlate(mos, scores)[0] for scores in (judged, typical))
    print(f"scenes left out: LCC {with_differences:.3f} with the differences, {alone:.3f} typical scores alone")
    return Judge(examples)


def make_ladder(task, out, typical, judge, seed, levels, smallest_scale):
    """Write one ladder; returns its lines for the label file, or the reason why the photograph cannot be used."""
    path, serial, distortion = task
    rng = np.random.default_rng((seed, *path.name.encode(), serial))
    try:
        image = read_image(path)
        smallest = SIZE / min(image.shape[:2])
        # Made smaller, a photograph loses the traces of the camera's own JPEG: more of the ladders start clean.
        scale = max(smallest, rng.choice([1.0, rng.uniform(smallest_scale, 1.0)]))
        if scale < 1:
            size = [max(SIZE, round(length * scale)) for length in (image.shape[1], image.shape[0])]
            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        untouched = random_patch(image, SIZE, rng, BLOCK)
    except ImageError as error:
        return f"{path}: {error}"
    levels = random_levels(distortion, rng, *levels)
    noise = rng.integers(2**32)
    steps = [untouched] + [distort(untouched, distortion, level, seed=noise) for level in levels]
    if judge:
        scores = [UNTOUCHED_MOS, *judge.scores(distortion, levels, [features(untouched, step) for step in steps[1:]])]
    else:
        scores = [UNTOUCHED_MOS, *np.interp(levels, range(6), [UNTOUCHED_MOS, *typical[distortion]])]
    lines = []
    for step, (image, score) in enumerate(zip(steps, scores), start=1):
        name = f"{path.stem}-{serial}_{distortion:02d}_{step}.png"
        with written_whole(out / name) as file:
            Image.fromarray(np.ascontiguousarray(image)).save(file, "png", compress_level=1)
        lines.append(f"{score:.5f} {name}\n")
    return lines


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--photos", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--mos", required=True, type=Path, help="TID2013's mos_with_names.txt")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--tid", type=Path, help="TID2013's images, or make_images.py's, to judge the photographs by")
    parser.add_argument("--references", type=Path, help="folder of kodim01.png ... kodim24.png; with --tid")
    parser.add_argument("--exclude", type=Path, help="file of photographs' names to leave out, one a line")
    parser.add_argument("--per-photo", type=int, default=2, help="ladders of each photograph (default: 2)")
    parser.add_argument(
        "--distortions", type=int, nargs="+", choices=DISTORTIONS, metavar="N", help="only these (default: all 24)"
    )
    parser.add_argument(
        "--levels", type=float, nargs=2, default=(0.5, 5), metavar=("WEAKEST", "STRONGEST"), help="default: 0.5 5"
    )
    parser.add_argument(
        "--smallest-scale", type=float, default=0.5, help="photographs are made smaller by up to this (default: 0.5)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    arguments = parser.parse_args()
    if bool(arguments.tid) != bool(arguments.references):
        parser.error("--tid and --references go together")
    train, _ = split_by_reference(read_mos(arguments.mos), TEST_REFERENCES + VALIDATION_REFERENCES)
    excluded = set(arguments.exclude.read_text().splitlines()) if arguments.exclude else set()
    photos = list_images(arguments.photos)
    absent = excluded - {path.name for path in photos}
    if absent:  # a held-out photograph that is misspelt would be trained on
        parser.error(f"{arguments.photos} holds no {', '.join(sorted(absent)[:5])}, which {arguments.exclude} excludes")
    photos = [path for path in photos if path.name not in excluded]
    if not photos:
        parser.error(f"{arguments.photos} holds no photographs")

    judge = make_judge(arguments.tid, arguments.references, train, arguments.workers) if arguments.tid else None
    arguments.out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(arguments.out)  # half-written images of a run that was killed, under their final names
    rng = np.random.default_rng(arguments.seed)
    tasks = [
        (path, serial, int(rng.choice(arguments.distortions or (OTHERS if serial % 2 else COMMON))))
        for path in photos
        for serial in range(arguments.per_photo)
    ]
    make = partial(
        make_ladder,
        out=arguments.out,
        typical=typical_mos(train),
        judge=judge,
        seed=arguments.seed,
        levels=arguments.levels,
        smallest_scale=arguments.smallest_scale,
    )
    lines, refused = [], []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for result in tqdm(pool.map(make, tasks), total=len(tasks), unit="ladder", file=sys.stderr):
            (refused.append if isinstance(result, str) else lines.extend)(result)
    with written_whole(arguments.out / LABELS_NAME) as file:
        file.write("".join(lines).encode())
    for reason in sorted(set(refused)):
        print(f"left out: {reason}", file=sys.stderr)
    print(f"{len(lines)} images of {len(photos)} photographs in {arguments.out}, {len(set(refused))} photographs left out")
    return 1 if refused else 0


if __name__ == "__main__":
    run(main)
