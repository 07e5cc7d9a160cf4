"""Stars in XMP sidecars: small files beside pictures, from which darktable, digiKam, Lightroom and others take ratings.

darktable and digiKam look for `IMG_1.jpg.xmp`; Lightroom and Capture One look for `IMG_1.xmp`, which `IMG_1.dng` shares.
"""

import contextlib
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.dom.minidom import Document, Node
from xml.parsers.expat import ExpatError

from PIL import Image

from iqa.errors import OutputError
from iqa.files import printable, read_json, text_to_name, written_whole
from iqa.images.reading import decoders
from iqa.scoring.ranking import stars_of

#: How sidecars are called: function of the picture's path.
NAMES = {
    "darktable": lambda picture: picture.with_name(f"{picture.name}.xmp"),
    "lightroom": lambda picture: picture.with_suffix(".xmp"),
}

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_OURS = "https://image-quality-assessment.invalid/ns/1.0/"

_RATING = (_XMP, "Rating")
_PERCENT = ("http://ns.microsoft.com/photo/1.0/", "Rating")  # as in EXIF: 1, 25, 50, 75, 99
_MARK = (_OURS, "stars")  # the stars that we gave: if the rating differs, somebody has changed it
_ALL = (_RATING, _PERCENT, ("http://ns.acdsee.com/iptc/1.0/", "rating"), _MARK)

_EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>
<?xpacket end="w"?>"""


def write_stars(pictures: Iterable[tuple[Path, float]], names: str, overwrite: bool = False) -> tuple[int, list[str]]:
    """Write a sidecar beside each picture, given with its place 0-1; see `rate` and `iqa.scoring.ranking.stars_of`.

    Returns:
        How many pictures could not get their stars, and lines that say so, and how many sidecars were written.
    """
    written, kept, lines, seen = 0, 0, list[str](), dict[Path, int]()
    for path, place in pictures:
        sidecar, stars, shown = NAMES[names](path), stars_of(place), printable(path)
        if sidecar in seen:
            if seen[sidecar] != stars:
                lines.append(f"{shown}: no stars, since {printable(sidecar.name)} is that of another picture")
            continue
        seen[sidecar] = stars
        try:
            why = rate(path, stars, names, overwrite)
        except OutputError as error:
            lines.append(printable(str(error)))
        except Exception as error:  # one sidecar, whatever somebody wrote into it, costs one picture
            lines.append(f"{shown}: no stars, the sidecar cannot be written ({getattr(error, 'strerror', None) or error})")
        else:
            written, kept = written + (why is None), kept + (why is not None)
    failed = len(lines)
    keep = f", {kept} pictures keep the stars that they have (--replace-stars)" if kept else ""
    return failed, [*lines, f"stars: {written} sidecars written{keep}"]


def write_marks(file: Path, names: str) -> tuple[int, list[str]]:
    """Write what somebody marked on a page, `{"marks": {path: 1-5 or -1 for rejected}}`, to sidecars as their own stars.

    Returns:
        As `write_stars`.

    Raises:
        OutputError: if the file holds no such marks.
    """
    try:
        marks = read_json(file)["marks"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(f"{file}: not the marks.json that a page saves") from None
    lines = []
    for text, stars in marks:
        path = Path(text_to_name(text))
        try:
            if type(stars) is not int or stars not in (-1, 1, 2, 3, 4, 5):
                raise OutputError(f"{path}: a mark is 1-5 stars, or -1 for rejected, not {stars!r}")
            if not path.is_file():
                raise OutputError(f"{path}: there is no such file")
            rate(path, stars, names, overwrite=True, ours=False)
        except OutputError as error:
            lines.append(printable(str(error)))
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            lines.append(printable(f"{path}: no stars, the sidecar cannot be written ({error})"))
    return len(lines), [*lines, f"stars: {len(marks) - len(lines)} sidecars written"]


def read_stars(picture: Path) -> int:
    """The stars that somebody gave a picture, in a sidecar of either name or in itself: 1-5, -1 rejected, 0 for none.

    Raises:
        OutputError: if a sidecar cannot be read.
    """
    sidecars = (_read(name_of(picture)) for name_of in NAMES.values())
    return next(filter(None, map(_stars_in, sidecars)), 0) or _stars_in_picture(picture)


def rate(picture: Path, stars: int, names: str = "darktable", overwrite: bool = False, ours: bool = True) -> str | None:
    """Write stars, 1-5 or -1, to the sidecar of a picture; all else in it stays, as do its mode, owner and links to it.

    Args:
        names: a key of `NAMES`.
        overwrite: also where somebody gave the picture stars, see `read_stars`.
        ours: whether the stars are not somebody's, so that they may be renewed.

    Returns:
        None, or why nothing was written: the stars that are there. Those that we wrote are renewed.

    Raises:
        OutputError: if a sidecar is there that cannot be read or is read-only; it stays as it is.
    """
    sidecar = NAMES[names](picture)
    document = _read(sidecar)
    if not overwrite and (before := read_stars(picture)):
        return f"has {before} star{'s' if before > 1 else ''} already" if before > 0 else "is rejected already"
    content, target = _put(document, stars, ours), sidecar.resolve()
    if not target.parent.is_dir():
        raise OutputError(f"{sidecar}: the link leads to a folder that is not there, it stays as it is")
    if target.exists() and not (target.stat().st_mode & 0o200 and os.access(target, os.W_OK)):
        raise OutputError(f"{sidecar}: read-only, it stays as it is")
    with written_whole(target) as file:
        file.write(content)
        file.flush()
        written = [value for name, value, *_ in _find(_read(Path(file.name))) if name == _RATING]
        if written != [str(stars)]:
            raise OutputError(f"{sidecar}: it would have {len(written)} ratings, it stays as it is")
        if target.exists():
            with contextlib.suppress(OSError, AttributeError):  # only root gives files away, and Windows does not know how
                os.chown(file.name, -1, target.stat().st_gid)
                os.chown(file.name, target.stat().st_uid, -1)
            shutil.copymode(target, file.name)
    return None


def _parse(content: bytes | str) -> Any:
    from defusedxml.minidom import parseString

    return parseString(content, forbid_dtd=True)


def _read(sidecar: Path) -> Any:
    """What a sidecar holds; a new one if there is none."""
    if not sidecar.exists():
        return _parse(_EMPTY)
    if not sidecar.is_file() or sidecar.stat().st_size > 1 << 24:
        raise OutputError(f"{sidecar}: no ordinary file of a sidecar's size, it stays as it is")
    try:
        document = _parse(sidecar.read_bytes())
        if document.getElementsByTagNameNS(_RDF, "RDF"):
            return document
    except (ExpatError, ValueError, LookupError, RecursionError) as error:
        raise OutputError(f"{sidecar}: no sidecar that can be read, it stays as it is ({error})") from None
    raise OutputError(f"{sidecar}: a sidecar of an unknown form, it stays as it is")


def _find(document: Document) -> Iterator[tuple[tuple[str, str], str, Any, Any]]:
    """(name, value, node, its attribute or element) of each rating of the picture itself, and of our mark."""
    roots = document.getElementsByTagNameNS(_RDF, "RDF")
    for node in (node for root in roots for node in root.childNodes if node.nodeType == Node.ELEMENT_NODE):
        for name in _ALL:
            if node.hasAttributeNS(*name):
                yield name, node.getAttributeNS(*name), node, node.getAttributeNodeNS(*name)
            for child in node.childNodes:
                if (child.namespaceURI, child.localName) == name:
                    yield name, "".join(part.data for part in child.childNodes if hasattr(part, "data")), node, child


def _stars_in(document: Document) -> int:
    """The rating that somebody gave, -1 (rejected) to 5; 0 where there is none, or only that which we gave."""
    found = [(name, _stars_of(name, value)) for name, value, *_ in _find(document)]
    ours = dict(found).get(_MARK)
    return next((stars for name, stars in found if name != _MARK and stars not in (0, ours)), 0)


def _stars_of(name: tuple[str, str], value: object) -> int:
    """A rating as an integer from -1 to 5; 0 of what is none.

    >>> [_stars_of(_PERCENT, percent) for percent in (0, 1, 25, 50, 75, 99)]
    [0, 1, 2, 3, 4, 5]
    """
    try:
        number = float(str(value))
    except ValueError:
        return 0
    if name == _PERCENT and 1 <= number <= 100:
        number = min(5, 1 + round(number / 25))
    return (round(number) or int(number > 0)) if -1 <= number <= 5 else 0


def _put(document: Any, stars: int, ours: bool) -> bytes:
    """XMP with these stars, in a node of their own, instead of all that are in it."""
    root = document.getElementsByTagNameNS(_RDF, "RDF")[0]
    about = next((n.getAttributeNS(_RDF, "about") for n in root.childNodes if n.nodeType == Node.ELEMENT_NODE), "")
    for *_, node, found in list(_find(document)):
        (node.removeAttributeNode if found.nodeType == Node.ATTRIBUTE_NODE else node.removeChild)(found)
        if not node.childNodes and all(name.startswith(("xmlns", "rdf:about")) for name, _ in node.attributes.items()):
            node.parentNode.removeChild(node)
    # exiv2 reads nothing of a file in which a namespace has two prefixes: the one that was declared last is taken.
    namespaces = {_RDF: "rdf", _XMP: "xmp", _OURS: "iqa"}
    rdf, xmp, iqa = (_prefix_of(document, *namespace) for namespace in namespaces.items())
    declared = f'xmlns:{rdf}="{_RDF}" xmlns:{xmp}="{_XMP}" xmlns:{iqa}="{_OURS}"'
    mark = f' {iqa}:stars="{stars}"' if ours else ""
    rating = _parse(f'<{rdf}:Description {declared} {rdf}:about="" {xmp}:Rating="{stars}"{mark}/>').documentElement
    rating.setAttributeNS(_RDF, f"{rdf}:about", about)
    root.appendChild(document.importNode(rating, True))
    # minidom before Python 3.13 loses line breaks and tabs in attributes: others stand for them until all is text.
    marks = {9: "\ufdd0", 10: "\ufdd1", 13: "\ufdd2"}
    for element in document.getElementsByTagName("*"):
        for name, value in element.attributes.items():
            element.setAttribute(name, value.translate(marks))
    text = document.toxml()
    for character, mark in marks.items():
        text = text.replace(mark, f"&#{character};")
    declaration, rest = text.split("?>", 1)
    return f'{declaration} encoding="utf-8"?>\n{rest}\n'.encode()


def _prefix_of(document: Document, namespace: str, usual: str) -> str:
    attributes = (pair for element in document.getElementsByTagName("*") for pair in element.attributes.items())
    declared = [name[6:] for name, value in attributes if name.startswith("xmlns:") and value == namespace]
    return declared[-1] if declared else usual


def _stars_in_picture(picture: Path) -> int:
    """The rating in a picture itself: in its EXIF, or in XMP that Pillow finds or that stands in the file as text."""
    stars, packets = 0, list[Any]()
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # decoders raise whatever their parsing runs into
        warnings.simplefilter("ignore")
        with Image.open(picture, formats=decoders()) as image:
            exif = image.getexif()
            stars = _stars_of(_RATING, exif.get(0x4746)) or _stars_of(_PERCENT, exif.get(0x4749))
            packets += filter(None, [image.info.get("xmp") or exif.get(700)])
    if not stars and not packets:
        with contextlib.suppress(OSError):
            _, start, rest = picture.read_bytes().partition(b"<rdf:RDF")
            packets += re.findall(rb"<rdf:RDF\b.*?</rdf:RDF>", start + rest, re.DOTALL)
    for packet in packets:
        with contextlib.suppress(Exception):
            stars = stars or _stars_in(_parse(packet.strip(b"\0")))
    return stars
