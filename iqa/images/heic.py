"""HEIC, the pictures of the iPhone and its kin, by pillow-heif (the extra `heic`)."""

import io

from PIL import Image

from iqa.errors import ImageError

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heic(content: bytes) -> bool:
    """Whether a file says that it is one."""
    return content[4:8] == b"ftyp" and content[8:12] in _BRANDS


def open_heic(content: bytes) -> Image.Image:
    """The file as an opened image.

    Raises:
        ImageError: if the extra is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        raise ImageError("HEIC needs pillow-heif: pip install 'image-quality-assessment[heic]'") from None
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(content), formats=("HEIF",))


def colour_codes(image: Image.Image) -> tuple[int, int, bool] | None:
    """ITU-T H.273's numbers of primaries and transfer, and full range, which the pixels have; None if it has a profile."""
    said = image.info.get("nclx_profile")
    if not said or image.info.get("icc_profile"):
        return None
    return said["color_primaries"], said["transfer_characteristics"], True
