"""Colours as a file means them, by a profile or in numbers -> sRGB, the colours that networks were trained on."""

import functools
import io
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.errors import ImageError

#: A profile that moves no colour by more levels of 255 than this is sRGB, by whatever name and maker.
SAME = 3
#: The colour space in the header of a profile -> the mode of the pixels that it describes.
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes | None, warn: Callable[[str], None]) -> Image.Image:
    """Convert an image whose colour profile is not sRGB's; any other is returned as it is.

    The image is in any mode of 8 bits; no profile means sRGB. `warn` is told of a profile that is ignored.
    """
    if not profile:
        return image
    try:
        space = _SPACES.get(bytes(profile[16:20]))
        grey, cmyk = image.mode in ("1", "L", "LA", "La"), image.mode == "CMYK"
        if space is None or (space == "L" and not grey) or (space == "CMYK") != cmyk:
            warn("its colour profile is made for other pixels and was ignored")
            return image
        transform = _transform(bytes(profile), space)
        if transform is None:
            return image
        alpha = None
        if image.has_transparency_data:
            image = with_alpha(image)
            alpha = image.getchannel("A")
        converted: Image.Image = transform.apply(image if image.mode == space else image.convert("RGB").convert(space))
        if alpha is not None:
            converted.putalpha(alpha)
        return converted
    except Exception:  # a parser in C, of what anyone may have written
        warn("its colour profile is broken and was ignored")
        return image


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """What converts pixels of a mode to RGB in sRGB; None if it would leave them as they are."""
    from PIL import ImageCms

    opened, srgb = ImageCms.getOpenProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    intent, flags = ImageCms.Intent.PERCEPTUAL, ImageCms.Flags.BLACKPOINTCOMPENSATION
    convert = ImageCms.buildTransform(opened, srgb, mode, "RGB", intent, flags)
    if mode == "CMYK":
        return convert
    steps = np.linspace(0, 255, 17).astype(np.uint8) if mode == "RGB" else np.arange(256, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    moved = np.asarray(convert.apply(Image.fromarray(colours))).astype(int)
    return None if np.abs(moved - colours.reshape(1, -1, colours.size // moved.shape[1])).max() <= SAME else convert


def with_alpha(image: Image.Image) -> Image.Image:
    """An image with any kind of transparency in RGBA."""
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha, of which Pillow converts each to its own kind alone
        image = image.convert(image.mode.upper())
    return image if image.mode == "RGBA" else image.convert("RGBA")


#: x and y of white, red, green and blue.
_Primaries = tuple[float, float, float, float, float, float, float, float]

_D65 = (0.3127, 0.3290)
_SRGB: _Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
#: The primaries of ITU-T H.273 by their numbers.
_PRIMARIES: dict[int, _Primaries] = {
    1: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    **dict.fromkeys((6, 7), (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
#: Transfers of H.273 that any screen shows as it shows sRGB (those of video, and its own); with highlights that none
#: shows; and that are a power.
_LIKE_SRGB, _HDR, _POWERS = (1, 6, 13, 14, 15), {16: "PQ", 18: "HLG"}, {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
#: The light of white in HDR, and the most that is told apart, in candela a square metre (ITU-R BT.2408).
_WHITE, _BRIGHTEST = 203.0, 1000.0

_STEPS = 4096  # of a curve


def profile_of_codes(primaries: int, transfer: int, full: bool, warn: Callable[[str], None]) -> bytes | None:
    """The profile of colours that a file gives as numbers of ITU-T H.273, as the chunk `cICP` of a PNG does.

    Args:
        primaries, transfer: the numbers; 2 is for what is not known.
        full: whether the values have the full range, and not 16-235.
        warn: is told of colours that are taken for sRGB, or whose highlights are compressed.

    Nothing (b"") is returned if the colours are sRGB's, or taken for it; None if the numbers do not say.
    """
    values = np.linspace(0, 1, _STEPS)
    if not full:
        values = np.clip((values * 255 - 16) / 219, 0, 1)
    linear = _linear(values, transfer)
    if 2 in (primaries, transfer):
        return None
    if linear is None or primaries not in _PRIMARIES:
        warn("its colours are of an uncommon kind and were taken for sRGB")
        return b""
    if transfer in _HDR:
        warn(f"its highlights ({_HDR[transfer]}) were compressed to what an ordinary screen shows")
    if full and transfer in _LIKE_SRGB and primaries == 1:
        return b""
    return _make_profile(_PRIMARIES[primaries], linear)


def profile_of_info(info: Mapping[Any, Any]) -> bytes | None:
    """The profile of a PNG without one, by its chunks `gAMA` and `cHRM` as Pillow tells them.

    None if the colours are sRGB's, or nothing or nonsense is said of them. A gamma near 1/2.2 was how programs said sRGB.
    """
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not (gamma or primaries):
        return None
    values = np.linspace(0, 1, _STEPS)
    like_srgb = not isinstance(gamma, float) or not 0.05 < gamma < 10 or abs(gamma * 2.2 - 1) < 0.05
    linear = light_of_srgb(values) if like_srgb else values ** (1 / gamma)  # type: ignore[operator]
    try:
        places = np.array(primaries, np.float64) if primaries else np.array(_SRGB)
        if like_srgb and np.abs(places - _SRGB).max() < 0.005:
            return None
        return _make_profile(tuple(places), linear)
    except (ValueError, np.linalg.LinAlgError):  # primaries that are none
        return None


def light_of_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The linear light, 0-1, of values 0-1 of sRGB (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _linear(values: NDArray[np.float64], transfer: int) -> NDArray[np.float64] | None:
    """The light of values 0-1, 0-1; None for a transfer that is not known."""
    if transfer in _LIKE_SRGB:
        return light_of_srgb(values)
    if transfer in _POWERS:
        return values ** _POWERS[transfer]
    if transfer == 16:  # SMPTE ST 2084
        root = values ** (1 / 78.84375)
        light = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    elif transfer == 18:  # ITU-R BT.2100, with a system gamma of 1.2 in each channel
        scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        light = _BRIGHTEST * scene**1.2
    else:
        return None
    return _compress(light / _WHITE, _BRIGHTEST / _WHITE)


def _compress(light: NDArray[np.float64], brightest: float, knee: float = 0.5) -> NDArray[np.float64]:
    """Light, of which 1 is white, in 0-1: as it is below the knee, compressed above it so that `brightest` becomes 1."""
    over = np.clip((light - knee) / (1 - knee), 0, None)
    most = (brightest - knee) / (1 - knee)
    return np.minimum(np.where(light < knee, light, knee + (1 - knee) * over * (1 + over / most**2) / (1 + over)), 1)


def _make_profile(primaries: tuple[float, ...], linear: NDArray[np.float64]) -> bytes:
    """A profile of ICC, version 2, of the light (steps,) of rising values and of primaries; ValueError if they are none."""
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (y > 1e-6).all()):
        raise ValueError("no primaries")
    places = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # XYZ of white, red, green, blue
    white, colours = places[:, 0], places[:, 1:]
    colours = colours * np.linalg.solve(colours, white)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    colours = np.linalg.solve(bradford, np.diag((bradford @ d50) / (bradford @ white)) @ bradford) @ colours
    if not np.abs(colours).max() < 4:
        raise ValueError("no primaries")
    curve = np.rint(linear * 65535).astype(">u2")
    columns = zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), (d50, *colours.T), strict=True)
    parts = {name: _xyz(column) for name, column in columns}
    parts[b"rTRC"] = b"curv" + struct.pack(">II", 0, _STEPS) + curve.tobytes()
    start, table = 128 + 4 + 12 * 7, {}
    for name, content in parts.items():
        table[name] = struct.pack(">II", start, len(content))
        start += len(content)
    table[b"gTRC"] = table[b"bTRC"] = table[b"rTRC"]  # one curve for all
    head = struct.pack(">II", start, 0) + b"\x02\x40\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + _xyz(d50)[8:]
    entries = b"".join(name + place for name, place in table.items())
    return head.ljust(128, b"\0") + struct.pack(">I", len(table)) + entries + b"".join(parts.values())


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *np.rint(values * 65536).astype(int))


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (mode "I;16", or "I" of older files) as grey of 8; `convert` would clip it to white."""
    grey = np.asarray(image)
    if grey.size and (grey.min() < 0 or grey.max() > 65535):
        raise ImageError("pixels of more than 16 bits, whose range is unknown")
    small = image.convert("I").point([(level + 128) // 257 for level in range(65536)], "L")
    key = image.info.get("transparency")
    if isinstance(key, int):
        small.putalpha(Image.fromarray(np.where(grey == key, np.uint8(0), np.uint8(255))))
    return small
