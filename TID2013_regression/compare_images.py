"""How far the re-made images of TID2013 are from the real ones, by measures of the real ones that are published.

    python TID2013_regression/compare_images.py --images data/tid2013_remade --references data/kodak --metrics metrics.csv

For each type of distortion the script prints the mean over images of ours minus theirs, and the mean size of that: of the
mean squared error over RGB in percent, and of SSIM, VIF, GMSD and the weighted signal-to-noise ratio in dB.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from iqa.commands.terminal import parser_of, positive, run
from iqa.distortions.matching import Metrics, read_metrics
from iqa.distortions.measures import measure
from iqa.distortions.references import REFERENCES, Crop, read_crops, read_reference
from iqa.distortions.table import DISTORTIONS
from iqa.environment import processors
from iqa.errors import ImageError
from iqa.images.finding import list_images
from iqa.images.reading import read_image

COLUMNS = ("mse %", "ssim", "vif", "gmsd", "wsnr dB")


def deviate(path: Path, references: Path, crops: Mapping[str, Crop], metrics: Metrics) -> NDArray[np.float64]:
    """Ours minus theirs of one image, in the order of `COLUMNS`."""
    reference = read_reference(references, int(path.stem[1:3]), crops)
    assert reference is not None, path
    try:
        ours, theirs = measure(reference, read_image(path)), metrics[path.stem.lower()]
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    return np.array(
        [100 * (ours["mse"] / theirs["mse"] - 1), *(ours[n] - theirs[n] for n in ("ssim", "vif", "gmsd", "wsnr"))]
    )


def print_table(paths: Sequence[Path], deviations: NDArray[np.float64]) -> None:
    """Print a row for each type: mean, and after a slash mean size, of each column."""
    print("ours - theirs: mean / mean size".ljust(40) + "".join(name.rjust(16) for name in COLUMNS))
    types = np.array([int(path.stem[4:6]) for path in paths])
    for number, distortion in DISTORTIONS.items():
        rows = deviations[types == number]
        if len(rows):
            cells = [
                f"{mean:+.{digits}f} /{size:.{digits}f}".rjust(16)
                for mean, size, digits in zip(rows.mean(0), np.abs(rows).mean(0), (1, 3, 3, 3, 1), strict=True)
            ]
            print(f"{number:2d} {distortion.name}".ljust(40) + "".join(cells))


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="folder of make_images.py's images")
    parser.add_argument("--references", required=True, type=Path, help="folder of kodim01.png ... kodim24.png")
    parser.add_argument("--metrics", required=True, type=Path, help="table name,mse,wsnr,ssim,vif,gmsd of the real images")
    parser.add_argument("--crops", type=Path, help="JSON that says where the references lie in the Kodak images")
    parser.add_argument("--scenes", type=int, nargs="+", choices=REFERENCES, metavar="N", help="only these references")
    parser.add_argument("--workers", type=positive, default=processors(), help="processes (default: one per processor)")
    return parser, parser.parse_args()


def main() -> int:
    parser, arguments = parse_arguments()
    metrics, crops = read_metrics(arguments.metrics), read_crops(arguments.crops)
    missing = {"ssim", "vif", "gmsd", "wsnr"} - {name for row in metrics.values() for name in row}
    if missing:
        parser.error(f"{arguments.metrics} has no column {', '.join(sorted(missing))}")
    there = [number for number in REFERENCES if (arguments.references / f"kodim{number:02d}.png").exists()]
    scenes = {f"i{number:02d}" for number in arguments.scenes or REFERENCES if number in there}
    wanted = {name for name in metrics if name[:3] in scenes}
    paths = [path for path in list_images(arguments.images) if path.stem.lower() in wanted]
    if not paths:
        parser.error(f"{arguments.images} holds none of the images of {arguments.metrics} whose references are there")
    compare = partial(deviate, references=arguments.references, crops=crops, metrics=metrics)
    with ProcessPoolExecutor(arguments.workers) as pool:
        found = list(tqdm(pool.map(compare, paths, chunksize=8), total=len(paths), unit="image", file=sys.stderr))
    print_table(paths, np.array(found))
    return 0


if __name__ == "__main__":
    run(main)
