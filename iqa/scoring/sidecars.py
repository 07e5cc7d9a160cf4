"""Stars in XMP sidecars: small files beside pictures, from which darktable, digiKam, Lightroom and others take ratings.

rate(Path("IMG_1.jpg"), 4)                      # writes IMG_1.jpg.xmp; the picture itself is never changed

darktable and digiKam look for the name of the picture with `.xmp` behind it. Two pictures whose names differ in the suffix,
such as a raw file and its JPEG, then have one each. Lightroom and Capture One look for `IMG_1.xmp`, which both share.
"""

import contextlib
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from iqa.errors import OutputError
from iqa.files import written_whole

#: How sidecars are called: function of the picture's path.
NAMES = {
    "darktable": lambda picture: picture.with_name(f"{picture.name}.xmp"),
    "lightroom": lambda picture: picture.with_suffix(".xmp"),
}

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_RATING = f"{{{_XMP}}}Rating"

_NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about="" xmlns:xmp="{_XMP}" xmp:Rating="0"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""

#: A larger file is no sidecar that we would rewrite.
_MOST = 1 << 24

#: A rating in the XMP of a picture. Of a file that Pillow cannot open it is looked for in the first bytes.
_PACKED_RATING = re.compile(rb"""\bxmp:Rating\s*(?:=\s*["']|>)\s*(-?\d+)""")
_HEAD = 1 << 20

#: EXIF's tag for the stars that Windows and some cameras give.
_EXIF_RATING = 0x4746


def rate(picture: Path, stars: int, names: str = "darktable", overwrite: bool = False) -> str | None:
    """Write stars to the sidecar of a picture; all that it holds already stays.

    Args:
        picture: the picture, which is not changed.
        stars: 1-5.
        names: a key of `NAMES`.
        overwrite: also where the picture has stars already, in a sidecar of either name or in itself.

    Returns:
        None, or why nothing was written: the stars that are there.

    Raises:
        OutputError: if a sidecar is there that cannot be read; it stays as it is.
        OSError: if it cannot be written.
    """
    sidecar = NAMES[names](picture)
    text, here = _read(sidecar) if sidecar.exists() else (_NEW, 0)
    others = {name_of(picture) for name_of in NAMES.values()} - {sidecar}
    elsewhere = [_read(other)[1] for other in others if other.exists()]
    before = here or next(filter(None, elsewhere), 0) or _stars_in_picture(picture)
    if before and not overwrite:
        return f"has {before} star{'s' if before > 1 else ''} already" if before > 0 else "is rejected already"
    changed = _put(text, stars)
    if _stars_in(changed) != stars:
        raise OutputError(f"{sidecar}: a sidecar of an unknown form, it stays as it is")
    with written_whole(sidecar) as file:
        file.write(changed.encode("utf-8"))
    return None


def _read(sidecar: Path) -> tuple[str, int]:
    """The text of a sidecar, and the stars in it."""
    try:
        if sidecar.stat().st_size > _MOST:
            raise OutputError(f"{sidecar}: too large for a sidecar, it stays as it is")
        text = sidecar.read_bytes().decode("utf-8")
        if "<!DOCTYPE" in text:
            raise OutputError(f"{sidecar}: a sidecar has no DOCTYPE, it stays as it is")
        return text, _stars_in(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise OutputError(f"{sidecar}: no sidecar that can be read, it stays as it is ({error})") from None


def _stars_in(text: str) -> int:
    """The rating in XMP, -1 (rejected) to 5; 0 where there is none.

    Raises:
        ElementTree.ParseError: if it is no XML.
    """
    root = ElementTree.fromstring(text.removeprefix("\ufeff").encode())
    found = [node.get(_RATING) for node in root.iter(f"{{{_RDF}}}Description")]
    found += [node.text for node in root.iter(_RATING)]
    return next(filter(None, map(_number, found)), 0)


def _number(text: object) -> int:
    try:
        return round(float(str(text)))
    except (ValueError, OverflowError):
        return 0


def _stars_in_picture(picture: Path) -> int:
    """The rating in a picture itself: in its XMP, or in EXIF's tag for it."""
    with contextlib.suppress(Exception), warnings.catch_warnings():  # whatever a broken file makes Pillow raise
        warnings.simplefilter("ignore")
        with Image.open(picture) as opened:
            packet = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp") or b""
            packet = packet.encode() if isinstance(packet, str) else packet
            found = _PACKED_RATING.search(packet)
            return int(found[1]) if found else _number(str(opened.getexif().get(_EXIF_RATING, 0)))
    with contextlib.suppress(OSError), open(picture, "rb") as file:  # a raw file that is no TIFF
        found = _PACKED_RATING.search(file.read(_HEAD))
        return int(found[1]) if found else 0
    return 0


_TAG = re.compile(r"""<rdf:Description\b(?:[^>"'/]|"[^"]*"|'[^']*'|/(?!>))*""")


def _put(text: str, stars: int) -> str:
    """XMP with other stars. Every other character stays: editors keep their own work in sidecars."""
    for place in (r"""(\bxmp:Rating\s*=\s*["'])[^"']*(["'])""", r"(<xmp:Rating>)[^<]*(</xmp:Rating>)"):
        text, count = re.subn(place, rf"\g<1>{stars}\2", text)
        if count:
            return text

    def extend(tag: re.Match[str]) -> str:
        declared = "" if "xmlns:xmp=" in tag[0] else f' xmlns:xmp="{_XMP}"'
        return f'{tag[0].rstrip()}{declared} xmp:Rating="{stars}"'

    return _TAG.sub(extend, text, count=1)
