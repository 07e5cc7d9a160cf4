"""Makes a folder of pictures as people have it, of photographs that are tiled until they are as large as a camera's.

    made = fill(folder, photographs, 1000)

JPEGs of telephones, turned by EXIF; HEIC; DNGs with and without a preview; JPEGs of 24 and 50 megapixels; screenshots;
small pictures; broken files. It needs the extras `heic` and `tiff`. `scoring.py --mixed` scores such a folder.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw

from iqa.images.reading import read_image


def save(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def make_dng(
    pixels: np.ndarray, preview: Image.Image | None = None, orientation: int = 1, when: str = "2026:05:01 10:00:00"
) -> bytes:
    """A DNG of uint8 (H, W, 3) pixels, as a camera that sees linear sRGB through a Bayer filter writes it.

    A preview becomes a JPEG in it; `orientation` and `when`, the time of the capture, are as EXIF has them.
    """
    import tifffile

    height, width = (length // 2 * 2 for length in pixels.shape[:2])
    linear = np.rint((np.arange(256) / 255) ** 2.2 * 16383).astype(np.uint16)
    mosaic = np.empty((height, width), np.uint16)
    for top, left, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[top::2, left::2] = linear[pixels[top:height:2, left:width:2, channel]]
    # XYZ -> linear sRGB, what the camera sees.
    matrix = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
    rationals = [number for value in matrix for number in (round(value * 10_000), 10_000)]
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
            jpeg = save(preview, "JPEG", quality=92, subsampling="4:2:0")
            kind = {"photometric": "ycbcr", "compression": "jpeg", "subsampling": (2, 2), "rowsperstrip": preview.height}
            place = {"subfiletype": 1, "subifds": 1, "extratags": of_file, "metadata": None}
            writer.write(iter([jpeg]), shape=(preview.height, preview.width, 3), dtype=np.uint8, **kind, **place)
            of_file = []  # the tags of the file are those of its first picture
        writer.write(mosaic, photometric="cfa", subfiletype=0, extratags=of_file + of_data, metadata=None)
    return file.getvalue()


def tile(photograph: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture of this size made of a photograph and its mirror images."""
    beyond = max(0, height - photograph.shape[0]), max(0, width - photograph.shape[1])
    return np.pad(photograph, ((0, beyond[0]), (0, beyond[1]), (0, 0)), "symmetric")[:height, :width]


def make_jpeg(photograph: np.ndarray, number: int, width: int, height: int, **options: object) -> bytes:
    return save(Image.fromarray(tile(photograph, width, height)), "JPEG", quality=95, subsampling="4:2:0", **options)


def make_phone(photograph: np.ndarray, number: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = (1, 6, 3, 8)[number % 4]
    exif[ExifTags.Base.DateTime] = f"2026:05:01 10:{number % 60:02d}:00"
    return make_jpeg(photograph, number, 4032, 3024, exif=exif)


def make_heic(photograph: np.ndarray, number: int) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return save(Image.fromarray(tile(photograph, 4032, 3024)), "HEIF", quality=80, enc_params={"preset": "ultrafast"})


def make_raw(photograph: np.ndarray, number: int, with_preview: bool) -> bytes:
    pixels = tile(photograph, 6000, 4000)
    return make_dng(pixels, Image.fromarray(pixels) if with_preview else None, (1, 6, 8)[number % 3])


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


def make_broken(photograph: np.ndarray, number: int) -> bytes:
    jpeg, png = (save(Image.fromarray(photograph), format) for format in ("JPEG", "PNG"))
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"  # a header and no more
    return (jpeg[: len(jpeg) // 2], b"", b"<html>", png[: len(png) // 2], make_dng(photograph)[:20_000], heic)[number % 6]


#: {kind: (files of it in a thousand, (photograph, number) -> bytes)}.
KINDS: dict[str, tuple[int, Callable[[np.ndarray, int], bytes]]] = {
    "phone.jpg": (300, make_phone),
    "phone.heic": (80, make_heic),
    "preview.dng": (30, partial(make_raw, with_preview=True)),
    "bare.dng": (20, partial(make_raw, with_preview=False)),
    "screenshot.png": (200, make_screenshot),
    "24mp.jpg": (60, partial(make_jpeg, width=6000, height=4000)),
    "50mp.jpg": (20, partial(make_jpeg, width=8660, height=5774)),
    "small.jpg": (260, make_small),
    "broken.jpg": (30, make_broken),
}


def fill(folder: Path, photographs: list[Path], count: int, different: int = 12) -> dict[str, int]:
    """Make `count` files, at most `different` of a kind, the others links to them; returns how many there are of each."""
    made = {kind: max(1, round(share * count / 1000)) for kind, (share, _) in KINDS.items()}
    for kind, (_, make) in KINDS.items():
        for number in range(made[kind]):
            path = folder / f"{number:04d}-{kind}"
            if number < different:
                photograph = read_image(photographs[(number * len(KINDS) + len(kind)) % len(photographs)])
                path.write_bytes(make(photograph, number))
            else:
                path.hardlink_to(folder / f"{number % different:04d}-{kind}")
    return made
