"""Colours as a profile means them -> sRGB, the colours that networks were trained on."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

#: A profile that moves no colour by more levels of 255 than this is sRGB, by whatever name and maker.
SAME = 3

#: The colour space in the header of a profile -> the mode of the pixels that it describes.
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


def to_srgb(image: Image.Image, warn: Callable[[str], None]) -> Image.Image:
    """Convert an image whose colour profile is not sRGB's; any other is returned as it is.

    Args:
        image: in any mode of 8 bits, with its profile among its `info`.
        warn: is told if the profile is broken or made for other pixels, and therefore ignored.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        space = _SPACES.get(bytes(profile[16:20]))
        grey, cmyk = image.mode in ("1", "L", "LA", "La"), image.mode == "CMYK"
        if space is None or (space == "L" and not grey) or (space == "CMYK") != cmyk:
            warn("its colour profile is made for other pixels and was ignored")
            return image
        transform = _transform(bytes(profile), space)
        return image if transform is None else _convert(image, space, transform)
    except Exception:  # a parser in C, of what anyone may have written
        warn("its colour profile is broken and was ignored")
        return image


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """What converts pixels of a mode to RGB in sRGB; None if it would leave them as they are.

    Raises:
        PyCMSError, OSError: if the profile is broken.
    """
    from PIL import ImageCms

    convert = ImageCms.buildTransform(
        ImageCms.getOpenProfile(_file(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.PERCEPTUAL,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode == "CMYK":
        return convert
    steps = np.linspace(0, 255, 17).astype(np.uint8) if mode == "RGB" else np.arange(256, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    moved = np.asarray(convert.apply(Image.fromarray(colours))).astype(int)
    return None if np.abs(moved - colours.reshape(1, -1, colours.size // moved.shape[1])).max() <= SAME else convert


def _file(content: bytes) -> Any:
    import io

    return io.BytesIO(content)


def _convert(image: Image.Image, mode: str, transform: Any) -> Image.Image:
    """An image in RGB, or in RGBA if it has any transparency."""
    alpha = None
    if image.has_transparency_data:
        image = with_alpha(image)
        alpha = image.getchannel("A")
    converted: Image.Image = transform.apply(image if image.mode == mode else image.convert("RGB").convert(mode))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def with_alpha(image: Image.Image) -> Image.Image:
    """An image with any kind of transparency in RGBA."""
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha, of which Pillow converts each to its own kind alone
        image = image.convert(image.mode.upper())
    return image if image.mode == "RGBA" else image.convert("RGBA")
