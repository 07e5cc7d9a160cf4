"""Scores a folder as people have it: one run of `iqa`, against a run of each infer script.

    python benchmarks/mixed.py PHOTOGRAPHS
    python benchmarks/mixed.py PHOTOGRAPHS --images 1000 --out FOLDER        # keep the table and the page of `iqa` there
    python benchmarks/mixed.py PHOTOGRAPHS --tables                          # without pages, on both sides

The folder is made of photographs, which are tiled until they are as large as pictures of cameras: JPEGs of telephones,
turned by EXIF; HEIC; DNGs with and without a preview; JPEGs of 24 and 50 megapixels; screenshots; small pictures; broken
files. Of each kind a few are made and then named several times. Both sides write tables and pages, in turn. What counts is
the ratio, of time and of the processor time of all processes. It needs the extras `heic`, `raw`, `tiff` and `report`.
"""

import csv
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw

from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors
from iqa.images.finding import list_images
from iqa.images.reading import read_image

ROOT = Path(__file__).resolve().parent.parent

#: Share of each kind in a thousand files.
KINDS = {
    "phone.jpg": 300,
    "phone.heic": 80,
    "preview.dng": 30,
    "bare.dng": 20,
    "screenshot.png": 200,
    "24mp.jpg": 60,
    "50mp.jpg": 20,
    "small.jpg": 260,
    "broken": 30,
}

# XYZ -> linear sRGB, which is what the DNG's camera sees.
_MATRIX = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)


def make_dng(
    pixels: np.ndarray, preview: Image.Image | None = None, orientation: int = 1, when: str = "2026:05:01 10:00:00"
) -> bytes:
    """A DNG of a camera that sees linear sRGB through a Bayer filter.

    Args:
        pixels: of the picture, uint8 (H, W, 3).
        preview: to embed, as a JPEG.
        orientation: EXIF's tag.
        when: time of the capture, as EXIF has it.
    """
    import tifffile

    height, width = (length // 2 * 2 for length in pixels.shape[:2])
    linear = np.rint((np.arange(256) / 255) ** 2.2 * 16383).astype(np.uint16)
    mosaic = np.empty((height, width), np.uint16)
    for top, left, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[top::2, left::2] = linear[pixels[top:height:2, left:width:2, channel]]
    rationals = [number for value in _MATRIX for number in (round(value * 10_000), 10_000)]
    of_file = [
        (274, "H", 1, orientation, True),
        (306, "s", 0, when, True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),
        (50708, "s", 0, "Mixed", True),
        (50721, "2i", 9, rationals, True),
        (50728, "2I", 3, (1,) * 6, True),
        (50778, "H", 1, 21, True),
    ]
    of_data = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True), (50717, "H", 1, 16383, True)]
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        if preview is not None:
            jpeg = io.BytesIO()
            preview.save(jpeg, "JPEG", quality=92, subsampling="4:2:0")
            writer.write(
                iter([jpeg.getvalue()]),
                shape=(preview.height, preview.width, 3),
                dtype=np.uint8,
                photometric="ycbcr",
                compression="jpeg",
                subsampling=(2, 2),
                rowsperstrip=preview.height,
                subfiletype=1,
                subifds=1,
                extratags=of_file,
                metadata=None,
            )
        tags = of_data if preview is not None else of_file + of_data
        writer.write(mosaic, photometric="cfa", subfiletype=0, extratags=tags, metadata=None)
    return file.getvalue()


def tile(photograph: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture of this size made of a photograph and its mirror images."""
    row = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    block = np.concatenate([row, row[::-1]])
    times = -(-height // block.shape[0]), -(-width // block.shape[1]), 1
    return np.tile(block, times)[:height, :width]


def save(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def make_phone(photograph: np.ndarray, number: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = (1, 6, 3, 8)[number % 4]
    exif[ExifTags.Base.DateTime] = f"2026:05:01 10:{number % 60:02d}:00"
    return save(Image.fromarray(tile(photograph, 4032, 3024)), "JPEG", quality=92, subsampling="4:2:0", exif=exif)


def make_heic(photograph: np.ndarray, number: int) -> bytes:
    import pillow_heif

    stream = io.BytesIO()
    picture = pillow_heif.from_pillow(Image.fromarray(tile(photograph, 4032, 3024)))
    picture.save(stream, quality=80, enc_params={"preset": "ultrafast"})
    return stream.getvalue()


def make_raw(photograph: np.ndarray, number: int, with_preview: bool) -> bytes:
    pixels = tile(photograph, 6000, 4000)
    preview = Image.fromarray(pixels) if with_preview else None
    return make_dng(pixels, preview, (1, 6, 8)[number % 3])


def make_jpeg(photograph: np.ndarray, number: int, width: int, height: int) -> bytes:
    return save(Image.fromarray(tile(photograph, width, height)), "JPEG", quality=95, subsampling="4:2:0")


def make_screenshot(photograph: np.ndarray, number: int) -> bytes:
    size = ((1170, 2532), (1920, 1080), (2560, 1440))[number % 3]
    image = Image.new("RGB", size, ("white", "#202124", "#f0f0f0")[number % 3])
    draw = ImageDraw.Draw(image)
    for line in range(60, size[1] - 40, 44):
        draw.text((40, line), f"{number} {line} the quick brown fox jumps over the lazy dog", "#7a7a7a", font_size=24)
    image.paste(Image.fromarray(photograph), (size[0] // 3, size[1] // 3))
    return save(image, "PNG")


def make_small(photograph: np.ndarray, number: int) -> bytes:
    width, height = ((160, 120), (200, 400), (64, 64), (320, 240))[number % 4]
    return save(Image.fromarray(photograph).resize((width, height)), "JPEG", quality=90)


def make_broken(photograph: np.ndarray, number: int) -> tuple[str, bytes]:
    """(suffix, content)"""
    picture = Image.fromarray(photograph)
    jpeg, png = save(picture, "JPEG"), save(picture, "PNG")
    return (
        (".jpg", jpeg[: len(jpeg) // 2]),
        (".jpg", b""),
        (".jpg", b"<html>404 not found</html>"),
        (".png", png[: len(png) // 2]),
        (".dng", make_dng(photograph)[:20_000]),
        (".heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    )[number % 6]


MAKERS: dict[str, Callable[[np.ndarray, int], bytes]] = {
    "phone.jpg": make_phone,
    "phone.heic": make_heic,
    "preview.dng": lambda photograph, number: make_raw(photograph, number, True),
    "bare.dng": lambda photograph, number: make_raw(photograph, number, False),
    "screenshot.png": make_screenshot,
    "24mp.jpg": lambda photograph, number: make_jpeg(photograph, number, 6000, 4000),
    "50mp.jpg": lambda photograph, number: make_jpeg(photograph, number, 8660, 5774),
    "small.jpg": make_small,
}


def fill(folder: Path, photographs: list[Path], count: int, different: int) -> Counter[str]:
    """Make so many files, of each kind so many different ones; returns how many there are of each kind."""
    made: Counter[str] = Counter()
    for kind, share in KINDS.items():
        wanted = max(1, round(share * count / 1000))
        first: list[Path] = []
        for number in range(wanted):
            if number < different:
                photograph = read_image(photographs[(number * len(KINDS) + len(made)) % len(photographs)])
                stem, suffix = os.path.splitext(kind)
                if kind == "broken":
                    suffix, content = make_broken(photograph, number)
                else:
                    content = MAKERS[kind](photograph, number)
                first.append(folder / f"{number:04d}-{stem}{suffix}")
                first[-1].write_bytes(content)
            else:
                source = first[number % len(first)]
                os.link(source, folder / f"{number:04d}{source.name[4:]}")
        made[kind] = wanted
    return made


def measure(commands: list[list[object]]) -> tuple[float, float, str]:
    """(seconds, processor seconds, stderr) of commands, one after the other."""
    before, start, said = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), ""
    for command in commands:
        done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT)
        if done.returncode not in (0, 1):
            sys.exit(f"{command}: exit code {done.returncode}\n{done.stderr}")
        said += done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, used, said


def compare(ours: Path, theirs: dict[str, Path]) -> None:
    """Print how far the scores of the two sides are from one another, and why pictures have none."""
    rows = {row["path"]: row for row in map(json.loads, ours.read_text(encoding="utf-8").splitlines())}
    for score, path in theirs.items():
        with open(path, newline="", encoding="utf-8") as file:
            pairs = [(rows[row["path"]].get(score), row["mean"]) for row in csv.DictReader(file)]
        far = [abs(float(mine) - float(other)) for mine, other in pairs if mine is not None and other]
        print(f"{score}: {len(far)} pictures, {max(far):.4f} apart at most")
    reasons = Counter(re.sub(r"\d+", "N", row["error"]) for row in rows.values() if "error" in row)
    print(f"{len(rows)} pictures, {sum(reasons.values())} without one of the scores or both:")
    for reason, number in reasons.most_common():
        print(f"  {number:4d}  {reason}")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("photographs", type=Path, help="folder of the photographs to make pictures of")
    parser.add_argument("--images", type=positive, default=1000)
    parser.add_argument("--different", type=positive, default=12, help="files of a kind; others are links (default: 12)")
    parser.add_argument("--rounds", type=positive, default=1, help="of both sides, in turn; the best counts (default: 1)")
    parser.add_argument("--tables", action="store_true", help="write no pages")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="put the table and the page of iqa there")
    arguments = parser.parse_args()
    photographs = list_images(arguments.photographs)
    with tempfile.TemporaryDirectory() as temporary:
        folder, results = Path(temporary, "pictures"), arguments.out or Path(temporary, "results")
        folder.mkdir()
        results.mkdir(parents=True, exist_ok=True)
        made = fill(folder, photographs, arguments.images, arguments.different)
        count = sum(made.values())
        print(f"{count} files, {processors()} processors: {', '.join(f'{n} {kind}' for kind, n in made.items())}")

        def command(script: list[str], name: str) -> list[object]:
            page = [] if arguments.tables else ["--report", results / f"{name.split('.')[0]}.html"]
            return [*script, folder, "--out", results / name, *page, "--overwrite"]

        sides = {
            "iqa": [command(["-m", "iqa"], "both.jsonl")],
            "two runs": [
                command(["AVA/infer_vanilla.py"], "beauty.csv"),
                command(["TID2013_regression/infer_regression.py"], "technical.csv"),
            ],
        }
        times: dict[str, list[tuple[float, float, str]]] = {name: [] for name in sides}
        for _ in range(arguments.rounds):
            for name, commands in sides.items():
                times[name].append(measure(commands))
        best = {name: [min(column) for column in list(zip(*taken, strict=True))[:2]] for name, taken in times.items()}
        for name, (seconds, used) in best.items():
            print(f"{name:10s} {count / seconds:6.2f} images/s  {seconds:7.1f} s  {used:7.1f} s of processors")
        ratios = [theirs / ours for ours, theirs in zip(best["iqa"], best["two runs"], strict=True)]
        print(f"ratio: {ratios[0]:.2f} in time, {ratios[1]:.2f} in processor time")
        compare(results / "both.jsonl", {"beauty": results / "beauty.csv", "technical": results / "technical.csv"})
    return 0


if __name__ == "__main__":
    run(main)
