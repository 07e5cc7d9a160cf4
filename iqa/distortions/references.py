"""The references I01-I24 of TID2013: exact 512x384 crops of kodim01-24, whose places published errors tell."""

import json
from os import PathLike
from pathlib import Path

from iqa.distortions.signal import Pixels
from iqa.errors import ImageError
from iqa.images.reading import read_image

HEIGHT, WIDTH = 384, 512

#: The numbers of the references that can be made.
REFERENCES = range(1, 25)


def read_reference(folder: str | PathLike[str], number: int) -> Pixels | None:
    """The reference I<number>, uint8 (384, 512, 3); None if its kodim01.png ... kodim24.png is not in the folder.

    Raises an `ImageError` that names the Kodak image if that cannot be read or is too small.
    """
    file = Path(folder) / f"kodim{number:02d}.png"
    if not file.exists():
        return None
    crop = json.loads(Path(__file__).with_name("reference_crops.json").read_text())[f"I{number:02d}"]
    try:
        image = read_image(file)
    except ImageError as error:
        raise ImageError(f"{file}: {error}") from None
    reference = image[crop["top"] :, crop["left"] :][:HEIGHT, :WIDTH]
    if reference.shape != (HEIGHT, WIDTH, 3):
        height, width = image.shape[:2]
        raise ImageError(f"{file}: {width}x{height} pixels do not hold the {WIDTH}x{HEIGHT} of the reference")
    return reference
