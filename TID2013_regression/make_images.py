"""Re-make the distorted images of TID2013 from the Kodak photographs that it was made from.

    python TID2013_regression/make_images.py --references data/kodak --mos data/tid2013/mos_with_names.txt \\
        --out data/tid2013_remade

The references I01-I24 of TID2013 are 512x384 crops of kodim01-24, and their places are known to the pixel. --metrics
names a table of the mean squared errors of the real images (Data/data.csv of
github.com/lucia15/Image-Quality-Assessment). With it each image is distorted as much as its real twin: JPEG,
quantization, mean shift, contrast and saturation to the pixel, the others to 2 % of the mean squared error or as
closely as possible. I25 is synthetic, so only 2,880 of the 3,000 images can be re-made. They are re-made images with
published scores, not TID2013. The script writes `iRR_DD_L.png` and the `mos_with_names.txt` of the references that it
found.
"""

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run
from iqa.distortions.appearance import BLOCK_SHIFTS, distort_to_psnr, flat_blocks, mean_squared_error, psnr_rgb
from iqa.distortions.table import DISTORTIONS, REFERENCES, distort, read_reference, strength
from iqa.environment import processors
from iqa.errors import LabelError
from iqa.files import claim_folder, printable, remove_leftovers, written_whole
from iqa.labels.tid2013 import LABELS_NAME, read_mos

LEVELS = (1, 2, 3, 4, 5)
MOS = Path(__file__).resolve().parent.parent / "data/tid2013" / LABELS_NAME  # where data/download.py puts it

# Types of one strength a level, whatever the picture (quantization, JPEG, mean shift, contrast), and types that search a
# PSNR over RGB themselves.
FIXED, BY_PSNR = (7, 10, 16, 17), (11, 12, 13, 23, 24)

NEAR = 0.06  # dB from the PSNR of the real image within which a search ends: 1.5 % of the error


def match(image, number, level, error, seed):
    """One distortion, as strong as a mean squared error over RGB asks, or as near as it comes; uint8 (H, W, 3).

    The level says where the search begins; for `seed` see `iqa.distortions.table.distort`.
    """
    usual, psnr = strength(number, level), 10 * np.log10(255**2 / error)

    def apply(chosen, draw=0):
        return DISTORTIONS[number].apply(image, chosen, np.random.default_rng((*seed, draw) if draw else seed))

    if number in FIXED:
        return apply(usual)
    if number == 15:
        return match_blocks(image, level, error, seed)
    if number == 18:  # saturation falls from 1 through 0 to -1.5
        return distort_to_psnr(image, lambda lost: apply(1 - lost), psnr, 0.05, 2.5, steps=18, near=4e-4)
    if number not in BY_PSNR:
        weak, strong = (usual * 8, usual / 8) if number == 22 else (usual / 8, usual * 8)  # fewer colours are worse
        return distort_to_psnr(image, apply, psnr, weak, strong, steps=16, near=NEAR)
    asked, best, off = psnr, image, np.inf
    for draw in range(4):  # ask for more or less as long as what comes is off
        candidate = apply(float(asked), draw)
        more = psnr - psnr_rgb(image, candidate)
        if abs(more) < off:
            best, off = candidate, abs(more)
        if off < NEAR:
            break
        asked += float(np.clip(more, -1, 1))
    return best


def match_blocks(image, level, error, seed):
    """Flat blocks in other places until their colours, changed by about what is usual at the level, give the error."""
    count, usual = 12 - 2 * level, BLOCK_SHIFTS[1][5 - level]
    share = count * 32 * 32 / (image.shape[0] * image.shape[1])
    best, off = image, np.inf
    for draw in range(200):
        hidden = mean_squared_error(image, flat_blocks(image, count, 0.0, np.random.default_rng((*seed, draw))))
        shift = np.sqrt(max((error - hidden) / share, 0.0))
        shift = float(np.clip(shift, max(0.9 * usual - 10, 0), 1.1 * usual + 10))
        candidate = flat_blocks(image, count, shift, np.random.default_rng((*seed, draw)))
        found = abs(mean_squared_error(image, candidate) / error - 1)
        if found < off:
            best, off = candidate, found
        if off < 0.015:
            break
    return best


def make_ladder(task, folder, out, seed, errors):
    """Write the five levels of one distortion of one reference."""
    reference, distortion = task
    pixels = read_reference(folder, reference)
    for level in LEVELS:
        name, chance = name_of(reference, distortion, level), (seed, reference, distortion)
        if errors:
            image = match(pixels, distortion, level, errors[name], chance)
        else:
            image = distort(pixels, distortion, level, chance)
        with written_whole(out / f"{name}.png") as file:
            Image.fromarray(image).save(file, "png", compress_level=1)


def name_of(reference, distortion, level):
    """The name of an image as TID2013 has it, without suffix."""
    return f"i{reference:02d}_{distortion:02d}_{level}"


def read_errors(file):
    """{name of an image: its mean squared error} from a table with columns `name` and `mse` or `MSE` and others."""
    errors = {}
    with open(file, newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        for row in rows:
            try:
                name, error = Path(row["name"]).stem.lower(), float(row.get("mse") or row["MSE"])
            except (KeyError, TypeError, ValueError):
                raise LabelError(f"{file}, line {rows.line_num}: not a name and an mse") from None
            if not 0 < error < 255**2:
                raise LabelError(f"{file}, line {rows.line_num}: an mse of {error:g} is not above 0")
            errors[name] = error
    return errors


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--references", required=True, type=Path, help="folder of kodim01.png ... kodim24.png")
    add("--out", required=True, type=Path, help="folder to write to")
    add("--mos", type=Path, default=MOS, help="mos_with_names.txt (default: that of data/tid2013)")
    add("--metrics", type=Path, help="distort each image as much as this .csv says (columns name and mse)")
    add("--seed", type=natural, default=0, help="random seed (default: 0)")
    add("--workers", type=positive, default=processors(), help="worker processes (default: one per processor)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    out, labels = arguments.out, read_mos(arguments.mos)
    there = [number for number in REFERENCES if read_reference(arguments.references, number) is not None]
    if not there:
        parser.error(f"{arguments.references} holds none of kodim01.png ... kodim24.png")
    missing = [f"kodim{number:02d}.png" for number in REFERENCES if number not in there]
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
    tasks = [(number, distortion) for number in there for distortion in DISTORTIONS]
    errors = read_errors(arguments.metrics) if arguments.metrics else {}
    unknown = sorted({name_of(*task, level) for task in tasks for level in LEVELS} - set(errors))
    if arguments.metrics and unknown:
        raise LabelError(f"{arguments.metrics} lacks {len(unknown)} images, first {unknown[0]}")
    claim_folder(out, "make_images.py", arguments.overwrite)
    remove_leftovers(out)  # half-written images of a run that was killed, under their final names
    make = partial(make_ladder, folder=arguments.references, out=out, seed=arguments.seed, errors=errors)
    with ProcessPoolExecutor(arguments.workers) as pool:
        list(tqdm(pool.map(make, tasks), total=len(tasks), unit="ladder", file=sys.stderr))
    made = {f"i{number:02d}" for number in there}
    rows = [f"{image.mos:.5f} {image.name}.png\n" for image in labels if image.reference in made]
    with written_whole(out / LABELS_NAME) as file:
        file.write("".join(rows).encode())
    print(f"{len(LEVELS) * len(tasks)} images of {len(there)} references in {printable(out)}")
    return 0


if __name__ == "__main__":
    run(main)
