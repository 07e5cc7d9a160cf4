"""The references of TID2013, cut from the Kodak photographs that they were made of.

TID2013's I01-I24 are exact 512x384 crops of kodim01-24, and where they lie is known to the pixel (`reference_crops.json`):
published errors and signal-to-noise ratios give the mean square of a reference to seven digits, which one place alone has,
and the errors of the mean shift agree there to the last digit. I25 is synthetic and cannot be made.
"""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from iqa.distortions.signal import Pixels
from iqa.errors import ImageError, LabelError
from iqa.images.reading import read_image

HEIGHT, WIDTH = 384, 512

#: The numbers of the references that can be made.
REFERENCES = range(1, 25)

#: Where a crop begins in its Kodak image, {"top": row, "left": column}.
Crop = Mapping[str, int]


def read_crops(file: str | PathLike[str] | None = None) -> dict[str, Crop]:
    """Where the references lie in the Kodak images, {"I03": crop}; by default what ships.

    Raises:
        LabelError: if the file is not JSON of that form.
    """
    path = Path(file) if file else Path(__file__).with_name("reference_crops.json")
    try:
        crops = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LabelError(f"{path}: not JSON ({error})") from None
    if not isinstance(crops, dict) or not all(_is_crop(crop) for crop in crops.values()):
        raise LabelError(f'{path}: not of the form {{"I01": {{"top": 0, "left": 0}}}}')
    return crops


def _is_crop(crop: object) -> bool:
    return isinstance(crop, dict) and all(isinstance(crop.get(side), int) for side in ("top", "left"))


def read_reference(folder: str | PathLike[str], number: int, crops: Mapping[str, Crop]) -> Pixels | None:
    """The reference I<number> as TID2013 has it, uint8 (384, 512, 3), or None if its Kodak image is missing.

    Args:
        folder: of kodim01.png ... kodim24.png.
        crops: see `read_crops`; the centre is taken of references that they do not name.

    Raises:
        ImageError: if the Kodak image cannot be read or is too small; the message names it.
    """
    file = Path(folder) / f"kodim{number:02d}.png"
    if not file.exists():
        return None
    try:
        image = read_image(file)
    except ImageError as error:
        raise ImageError(f"{file}: {error}") from None
    height, width = image.shape[:2]
    crop = crops.get(f"I{number:02d}", {"top": (height - HEIGHT) // 2, "left": (width - WIDTH) // 2})
    reference = image[max(crop["top"], 0) :, max(crop["left"], 0) :][:HEIGHT, :WIDTH]
    if reference.shape != (HEIGHT, WIDTH, 3):
        raise ImageError(f"{file}: {width}x{height} pixels do not hold the {WIDTH}x{HEIGHT} of the reference")
    return reference
