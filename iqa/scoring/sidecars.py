"""Stars in XMP sidecars: small files beside pictures, from which darktable, digiKam, Lightroom and others take ratings.

    rate(Path("IMG_1.jpg"), 4)                      # writes IMG_1.jpg.xmp; the picture itself is never changed

darktable and digiKam look for the name of the picture with `.xmp` behind it. Two pictures whose names differ in the suffix
have one each. Lightroom and Capture One look for `IMG_1.xmp`, which both share.
"""

import contextlib
import mmap
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from xml.dom import XMLNS_NAMESPACE
from xml.dom.minidom import Document, Element, Node
from xml.parsers.expat import ExpatError

from PIL import Image

from iqa.errors import OutputError
from iqa.files import printable, written_whole
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

_NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""

_MOST = 1 << 24  # bytes of a sidecar
_UNREADABLE = (ExpatError, ValueError, LookupError, RecursionError)

# In a picture of any format: XMP, and the beginning of EXIF, whose tags hold stars and a percentage.
_PACKET = re.compile(rb"<(\w+:|)RDF[\s>].*?</\1RDF>", re.DOTALL)
_EXIF = re.compile(rb"II\*\0|MM\0\*")
_EXIF_TAGS = {_RATING: 0x4746, _PERCENT: 0x4749}

_MARKED = {9: "\ufdd0", 10: "\ufdd1", 13: "\ufdd2"}  # in attributes: minidom before Python 3.13 loses them
_HEAD = 1 << 20
_LOOKS = 10  # packets of a picture that are read


def write_stars(pictures: Iterable[tuple[Path, float]], names: str, overwrite: bool = False) -> tuple[int, list[str]]:
    """Write a sidecar beside each picture; one that cannot be written does not stop the others.

    Args:
        pictures: (path, place 0-1); see `iqa.scoring.ranking.stars_of`.
        names, overwrite: see `rate`.

    Returns:
        How many pictures could not get their stars, and lines that say so, and how many sidecars were written.
    """
    written, kept, lines = 0, 0, []
    seen: dict[Path, int] = {}
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
        except OSError as error:
            lines.append(f"{shown}: no stars, the sidecar cannot be written ({error.strerror or error})")
        else:
            written, kept = written + (why is None), kept + (why is not None)
    failed = len(lines)
    keep = f", {kept} pictures keep the stars that they have (--replace-stars)" if kept else ""
    return failed, [*lines, f"stars: {written} sidecars written{keep}"]


def rate(picture: Path, stars: int, names: str = "darktable", overwrite: bool = False) -> str | None:
    """Write stars to the sidecar of a picture; all else that it holds stays, and so do its mode, owner and links to it.

    Stars that this function wrote before, and nobody has changed since, are renewed.

    Args:
        picture: the picture, which is not changed.
        stars: 1-5.
        names: a key of `NAMES`.
        overwrite: also where somebody gave the picture stars, in a sidecar of either name or in itself.

    Returns:
        None, or why nothing was written: the stars that are there.

    Raises:
        OutputError: if a sidecar is there that cannot be read or is read-only; it stays as it is.
        OSError: if it cannot be written.
    """
    sidecar = NAMES[names](picture)
    document = _read(sidecar)
    if not overwrite:
        others = (_read(name_of(picture)) for name_of in NAMES.values())
        before = next(filter(None, map(_stars_in, (document, *others))), 0) or _stars_in_picture(picture)
        if before:
            return f"has {before} star{'s' if before > 1 else ''} already" if before > 0 else "is rejected already"
    content = _put(document, stars)
    if sorted((name, value) for name, value, *_ in _find(_parse(content))) != sorted(
        (n, str(stars)) for n in (_RATING, _MARK)
    ):
        raise OutputError(f"{sidecar}: a sidecar of an unknown form, it stays as it is")
    _write(sidecar, content)
    return None


def _parse(content: bytes) -> Document:
    """
    Raises:
        ExpatError, ValueError: if it is no XML, or has a DOCTYPE.
    """
    from defusedxml.minidom import parseString

    document: Document = parseString(content, forbid_dtd=True)
    return document


def _read(sidecar: Path) -> Document:
    """What a sidecar holds; a new one if there is none."""
    if not sidecar.exists():
        return _parse(_NEW.encode())
    if not sidecar.is_file() or sidecar.stat().st_size > _MOST:
        raise OutputError(f"{sidecar}: no ordinary file of a sidecar's size, it stays as it is")
    try:
        document = _parse(sidecar.read_bytes())
        roots = document.getElementsByTagNameNS(_RDF, "RDF")
    except _UNREADABLE as error:
        raise OutputError(f"{sidecar}: no sidecar that can be read, it stays as it is ({error})") from None
    if not roots:
        raise OutputError(f"{sidecar}: a sidecar of an unknown form, it stays as it is")
    return document


def _descriptions(document: Document) -> list[Element]:
    """The nodes that hold the properties of the picture itself, and not those of its regions or versions."""
    roots = document.getElementsByTagNameNS(_RDF, "RDF")
    return [node for root in roots for node in root.childNodes if node.nodeType == Node.ELEMENT_NODE]


def _find(document: Document) -> Iterator[tuple[tuple[str, str], str, Element, Any]]:
    """(name, value, node, its attribute or element) of each rating, by any program, and of our mark."""
    for node in _descriptions(document):
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


def _put(document: Document, stars: int) -> bytes:
    """XMP with these stars instead of all that are in it."""
    for *_, node, found in list(_find(document)):
        if found.nodeType == Node.ATTRIBUTE_NODE:
            node.removeAttributeNode(found)
        else:
            node.removeChild(found)
    nodes = _descriptions(document)
    if nodes:
        (node, *_) = nodes
    else:
        root = document.getElementsByTagNameNS(_RDF, "RDF")[0]
        node = document.createElementNS(_RDF, f"{root.prefix}:Description" if root.prefix else "Description")
        root.appendChild(node)
    for (namespace, name), prefix in ((_RATING, "xmp"), (_MARK, "iqa")):
        node.setAttributeNS(namespace, f"{_declare(node, namespace, prefix)}:{name}", str(stars))
    for element in document.getElementsByTagName("*"):
        for name, value in element.attributes.items():
            element.setAttribute(name, value.translate(_MARKED))
    text = document.toxml()
    for character, mark in _MARKED.items():
        text = text.replace(mark, f"&#{character};")
    declaration, rest = text.split("?>", 1)
    return f'{declaration} encoding="utf-8"?>\n{rest}\n'.encode()


def _declare(node: Element, namespace: str, prefix: str) -> str:
    """The prefix of a namespace at a node, which declares it if nothing above does; `prefix` if that is free."""
    declared: dict[str, str] = {}
    above: Node | None = node
    while isinstance(above, Element):
        for name, uri in above.attributes.items():
            declared.setdefault(name, uri)
        above = above.parentNode
    known = [name for name, uri in declared.items() if name.startswith("xmlns:") and uri == namespace]
    if known:
        return known[0].removeprefix("xmlns:")
    while f"xmlns:{prefix}" in declared:
        prefix += "_"
    node.setAttributeNS(XMLNS_NAMESPACE, f"xmlns:{prefix}", namespace)
    return prefix


def _write(sidecar: Path, content: bytes) -> None:
    """Write a file, whole or not at all, where a link leads if it is one; an older one keeps its mode and owner."""
    target = sidecar.resolve()
    if not target.parent.is_dir():
        raise OutputError(f"{sidecar}: the link leads to a folder that is not there, it stays as it is")
    before = target.stat() if target.exists() else None
    if before and not (before.st_mode & 0o200 and os.access(target, os.W_OK)):
        raise OutputError(f"{sidecar}: read-only, it stays as it is")
    with written_whole(target) as file:
        file.write(content)
        if before:
            shutil.copymode(target, file.name)
            if hasattr(os, "chown"):
                os.chown(file.name, before.st_uid, before.st_gid)


def _stars_in_picture(picture: Path) -> int:
    """The rating in a picture itself: in its XMP or its EXIF, which lie in the files of most formats as they are."""
    with contextlib.suppress(OSError, ValueError), open(picture, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            searched = content[:_HEAD] if content[:2] == b"\xff\xd8" else content  # a JPEG begins with all of it
            packets = [packet[0] for packet in islice(_PACKET.finditer(searched), _LOOKS)]
            places = [found.start() for found in islice(_EXIF.finditer(searched), _LOOKS)]
            heads = [content[place : place + _HEAD] for place in places]
        for packet in packets:
            with contextlib.suppress(*_UNREADABLE):
                if stars := _stars_in(_parse(packet)):
                    return stars
        for head in heads:
            exif = Image.Exif()
            with contextlib.suppress(Exception), warnings.catch_warnings():  # whatever makes Pillow raise
                warnings.simplefilter("ignore")
                exif.load(head)
                if stars := next(filter(None, (_stars_of(name, exif.get(tag)) for name, tag in _EXIF_TAGS.items())), 0):
                    return stars
    return 0
