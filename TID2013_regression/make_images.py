"""Re-make the distorted images of TID2013 from the Kodak photographs that it was made of.

    python TID2013_regression/make_images.py --references data/kodak --mos data/tid2013/mos_with_names.txt \\
        --out data/tid2013_remade

The references I01-I24 of TID2013 are 512x384 crops of kodim01-24. Where five of them lie is known to the pixel
(iqa/distortions/reference_crops.json); of the others the centre is taken. I25 is synthetic and cannot be re-made, so
2,880 of the 3,000 images are. They are re-made images with published scores, not TID2013. The script writes
`iRR_DD_L.png` and the `mos_with_names.txt` of the references that it found.
"""

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import parser_of, run
from iqa.distortions.references import read_crops, read_reference
from iqa.distortions.signal import psnr_luma
from iqa.distortions.table import DISTORTIONS, ladder
from iqa.files import remove_leftovers, written_whole
from iqa.images.reading import read_image
from iqa.labels.tid2013 import LABELS_NAME, read_mos

LEVELS = (1, 2, 3, 4, 5)
MOS = Path(__file__).resolve().parent.parent / "data/tid2013" / LABELS_NAME  # where data/download.py puts it


def make_ladder(task, folder, crops, out, suffix, seed):
    """Write the five levels of one distortion of one reference; returns their luma PSNR."""
    number, distortion = task
    reference = read_reference(folder, number, crops)
    images = ladder(reference, distortion, LEVELS, seed=(seed, number, distortion))
    for level, image in zip(LEVELS, images):
        with written_whole(out / f"i{number:02d}_{distortion:02d}_{level}.{suffix}") as file:
            Image.fromarray(image).save(file, suffix, **({"compress_level": 1} if suffix == "png" else {}))
    return [psnr_luma(reference, image) for image in images]


def print_psnr(found, published):
    """Print the mean luma PSNR of each type and level, beside the published mean over the references in the table."""
    print("luma PSNR in dB (studio range)" + (": ours, published" if published else ""))
    for distortion in DISTORTIONS.values():
        cells = []
        for level in LEVELS:
            key = (distortion.number, level)
            numbers = list(published[key]) if published else sorted({n for n, d in found if d == distortion.number})
            ours = np.mean([found[number, distortion.number][level - 1] for number in numbers])
            cells.append(f"{ours:6.2f}" + (f" {np.mean(list(published[key].values())):6.2f}" if published else ""))
        print(f"{distortion.number:2d} {distortion.name:34s}", "  ".join(cells))


def read_published(file, numbers):
    """`reference,distortion,level,psnr_db` -> {(distortion, level): {reference number: dB}}, for `numbers` only."""
    published = {}
    with open(file, newline="") as lines:
        for row in csv.DictReader(lines):
            number = int(row["reference"][1:])
            if number in numbers:
                published.setdefault((int(row["distortion"]), int(row["level"])), {})[number] = float(row["psnr_db"])
    return published


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--references", required=True, type=Path, help="folder of kodim01.png ... kodim24.png")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--mos", type=Path, default=MOS, help="published scores (default: data/tid2013)")
    parser.add_argument("--crops", type=Path, help="JSON that says where the references lie in the Kodak images")
    parser.add_argument("--psnr", type=Path, help="published PSNR (reference,distortion,level,psnr_db) to compare with")
    parser.add_argument("--figure", type=Path, help="contact sheet of all types and levels of one reference")
    parser.add_argument("--format", choices=("png", "bmp"), default="png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    arguments = parser.parse_args()
    crops = read_crops(arguments.crops)
    labels = read_mos(arguments.mos)
    numbers = [n for n in range(1, 25) if read_reference(arguments.references, n, crops) is not None]
    published = read_published(arguments.psnr, numbers) if arguments.psnr else None
    if not numbers:
        parser.error(f"{arguments.references} holds none of kodim01.png ... kodim24.png")
    absent = sorted(set(range(1, 25)) - set(numbers))
    if absent:
        print(f"not there: {', '.join(f'kodim{n:02d}.png' for n in absent)}", file=sys.stderr)

    arguments.out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(arguments.out)  # half-written images of a run that was killed, under their final names
    tasks = [(number, distortion) for number in numbers for distortion in DISTORTIONS]
    make = partial(
        make_ladder,
        folder=arguments.references,
        crops=crops,
        out=arguments.out,
        suffix=arguments.format,
        seed=arguments.seed,
    )
    with ProcessPoolExecutor(arguments.workers) as pool:
        results = tqdm(pool.map(make, tasks), total=len(tasks), unit="ladder", file=sys.stderr)
        found = dict(zip(tasks, results))

    made = {f"i{number:02d}" for number in numbers}
    with written_whole(arguments.out / LABELS_NAME) as file:
        rows = [f"{i.mos:.5f} {i.name}.{arguments.format}\n" for i in labels if i.reference in made]
        file.write("".join(rows).encode())
    print_psnr(found, published)
    if arguments.figure:
        from iqa.evaluation.plots import draw_contact_sheet

        rows = {
            f"{d.number} {d.name}": [
                read_image(arguments.out / f"i{numbers[-1]:02d}_{d.number:02d}_{level}.{arguments.format}")
                for level in LEVELS
            ]
            for d in DISTORTIONS.values()
        }
        draw_contact_sheet(rows, [f"level {level}" for level in LEVELS], arguments.figure)
    print(f"{5 * len(tasks)} images of {len(numbers)} references in {arguments.out}")
    return 0


if __name__ == "__main__":
    run(main)
