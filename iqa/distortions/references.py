"""The references I01-I24 of TID2013: exact 512x384 crops of kodim01-24. I25 is synthetic and cannot be made.

Where they lie (`reference_crops.json`) is known to the pixel: published errors give the mean square of a reference to
seven digits, which one place alone has, and the errors of the mean shift agree there to the last digit.
"""

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

    Raises:
        ImageError: if the Kodak image cannot be read or is too small; the message names it.
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
