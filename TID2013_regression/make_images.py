"""Re-make the distorted images of TID2013 from the Kodak photographs that it was made from.

    python TID2013_regression/make_images.py --references data/kodak --mos data/tid2013/mos_with_names.txt \\
        --out data/tid2013_remade

The references I01-I24 of TID2013 are 512x384 crops of kodim01-24, and their places are known to the pixel
(iqa/distortions/reference_crops.json). With --metrics, a table of `name,mse` of the real images (Data/data.csv of
github.com/lucia15/Image-Quality-Assessment), each image is made as strong as its real twin: JPEG, quantization, mean shift
and contrast change to the pixel, the others to 2 % of the mean squared error or as near as they come. I25 is synthetic, so
only 2,880 of the 3,000 images can be re-made. They are re-made images with published scores, not TID2013. The script
writes `iRR_DD_L.png` and the `mos_with_names.txt` of the references that it found.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, run
from iqa.distortions.matching import Metrics, match, read_metrics
from iqa.distortions.references import REFERENCES, Crop, read_crops, read_reference
from iqa.distortions.signal import psnr_luma
from iqa.distortions.table import DISTORTIONS, ladder
from iqa.environment import processors
from iqa.errors import LabelError
from iqa.files import claim_folder, printable, remove_leftovers, written_whole
from iqa.images.reading import read_image
from iqa.labels.tid2013 import LABELS_NAME, LabelledImage, read_mos

LEVELS = (1, 2, 3, 4, 5)
MOS = Path(__file__).resolve().parent.parent / "data/tid2013" / LABELS_NAME  # where data/download.py puts it

#: Of each image published or made: {(distortion, level): {number of the reference: PSNR in dB}}.
Table = dict[tuple[int, int], dict[int, float]]


def make_ladder(
    task: tuple[int, int],
    folder: Path,
    crops: Mapping[str, Crop],
    out: Path,
    suffix: str,
    seed: int,
    metrics: Metrics | None = None,
) -> list[float]:
    """Write the five levels of one distortion of one reference; returns their luma PSNR."""
    number, distortion = task
    reference = read_reference(folder, number, crops)
    assert reference is not None, number
    if metrics is None:
        images = ladder(reference, distortion, LEVELS, seed=(seed, number, distortion))
    else:
        errors = [metrics[name_of(number, distortion, level)]["mse"] for level in LEVELS]
        images = [
            match(reference, distortion, level, error, seed=(seed, number, distortion))
            for level, error in zip(LEVELS, errors, strict=True)
        ]
    for level, image in zip(LEVELS, images, strict=True):
        with written_whole(out / f"{name_of(number, distortion, level)}.{suffix}") as file:
            Image.fromarray(image).save(file, suffix, **({"compress_level": 1} if suffix == "png" else {}))
    return [psnr_luma(reference, image) for image in images]


def name_of(number: int, distortion: int, level: int) -> str:
    """The name of an image as TID2013 has it, without suffix."""
    return f"i{number:02d}_{distortion:02d}_{level}"


def make_all(tasks: Sequence[tuple[int, int]], workers: int, **options) -> Table:
    """`make_ladder` of (reference, distortion) in processes of their own; returns the PSNR of every image."""
    table: Table = {}
    with ProcessPoolExecutor(workers) as pool:
        results = tqdm(pool.map(partial(make_ladder, **options), tasks), total=len(tasks), unit="ladder", file=sys.stderr)
        for (number, distortion), found in zip(tasks, results, strict=True):
            for level, psnr in zip(LEVELS, found, strict=True):
                table.setdefault((distortion, level), {})[number] = psnr
    return table


def read_published(file: Path, numbers: Iterable[int]) -> Table:
    """The published PSNR of some references, from columns `reference,distortion,level,psnr_db`.

    Raises:
        LabelError: naming the file and the line that lacks one of them.
    """
    published: Table = {}
    with open(file, newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        for row in rows:
            try:
                number = int(row["reference"][1:])
                key, psnr = (int(row["distortion"]), int(row["level"])), float(row["psnr_db"])
            except (KeyError, TypeError, ValueError):
                raise LabelError(f"{file}, line {rows.line_num}: not reference,distortion,level,psnr_db") from None
            if number in numbers:
                published.setdefault(key, {})[number] = psnr
    return published


def print_psnr(made: Table, published: Table | None) -> None:
    """Print the mean luma PSNR of each type and level, beside the published mean over the references in that table."""
    print("luma PSNR in dB (studio range)" + (": ours, published" if published else ""))
    for distortion in DISTORTIONS.values():
        cells = []
        for level in LEVELS:
            ours, theirs = made[distortion.number, level], {}
            if published:
                theirs = published.get((distortion.number, level), {})
            numbers = theirs or ours
            mean = np.mean([ours[number] for number in numbers])
            cells.append(f"{mean:6.2f}" + (f" {np.mean(list(theirs.values())):6.2f}" if theirs else ""))
        print(f"{distortion.number:2d} {distortion.name:34s}", "  ".join(cells))


def write_labels(labels: Iterable[LabelledImage], numbers: Iterable[int], out: Path, suffix: str) -> None:
    """Write the scores of the references that were made, in TID2013's form."""
    made = {f"i{number:02d}" for number in numbers}
    with written_whole(out / LABELS_NAME) as file:
        rows = [f"{image.mos:.5f} {image.name}.{suffix}\n" for image in labels if image.reference in made]
        file.write("".join(rows).encode())


def draw_sheet(number: int, out: Path, suffix: str, figure: Path) -> None:
    """Draw all types and levels of one reference."""
    from iqa.evaluation.plots import draw_pictures

    rows = {
        f"{d.number} {d.name}": [
            (read_image(out / f"{name_of(number, d.number, level)}.{suffix}"), f"level {level}") for level in LEVELS
        ]
        for d in DISTORTIONS.values()
    }
    draw_pictures(rows, figure, columns=len(LEVELS))


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--references", required=True, type=Path, help="folder of kodim01.png ... kodim24.png")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--mos", type=Path, default=MOS, help="published scores (default: data/tid2013)")
    parser.add_argument("--crops", type=Path, help="JSON that says where the references lie in the Kodak images")
    parser.add_argument("--metrics", type=Path, help="name,mse,... of the real images: make each as strong")
    parser.add_argument("--psnr", type=Path, help="published PSNR (reference,distortion,level,psnr_db) to compare with")
    parser.add_argument("--figure", type=Path, help="contact sheet of all types and levels of one reference")
    parser.add_argument("--format", choices=("png", "bmp"), default="png")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--workers", type=positive, default=processors(), help="processes (default: one per processor)")
    add_overwrite(parser)
    return parser, parser.parse_args()


def main() -> int:
    parser, arguments = parse_arguments()
    folder, out, suffix = arguments.references, arguments.out, arguments.format
    crops = read_crops(arguments.crops)
    labels = read_mos(arguments.mos)
    numbers = [number for number in REFERENCES if read_reference(folder, number, crops) is not None]
    if not numbers:
        parser.error(f"{folder} holds none of kodim01.png ... kodim24.png")
    missing = [f"kodim{number:02d}.png" for number in REFERENCES if number not in numbers]
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
    published = read_published(arguments.psnr, numbers) if arguments.psnr else None
    metrics = read_metrics(arguments.metrics) if arguments.metrics else None
    wanted = {name_of(*key) for key in product(numbers, DISTORTIONS, LEVELS)} if metrics else set()
    unknown = sorted(wanted - set(metrics or ()))
    if unknown:
        raise LabelError(f"{arguments.metrics} lacks {len(unknown)} images, first {unknown[0]}")

    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite)
    claim_folder(out, "make_images.py", arguments.overwrite)
    remove_leftovers(out)  # half-written images of a run that was killed, under their final names
    tasks = [(number, distortion) for number in numbers for distortion in DISTORTIONS]
    made = make_all(
        tasks, arguments.workers, folder=folder, crops=crops, out=out, suffix=suffix, seed=arguments.seed, metrics=metrics
    )
    write_labels(labels, numbers, out, suffix)
    print_psnr(made, published)
    if arguments.figure:
        draw_sheet(numbers[-1], out, suffix, arguments.figure)
    print(f"{len(LEVELS) * len(tasks)} images of {len(numbers)} references in {printable(out)}")
    return 0


if __name__ == "__main__":
    run(main)
