"""Checked downloads that continue where they stopped, and photographs from public repositories."""

import csv
import hashlib
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqa.cards import sha256
from iqa.errors import IqaError

UNKNOWN = "-"  # in a manifest: the hash of the file is not known, so it is printed instead of checked

TIMEOUT = 60  # seconds without a byte


class DownloadError(IqaError):
    """A complete download that is not the expected file."""


def fetch(url: str, path: Path, digest: str | None) -> None:
    """Download one file, or the rest of it if part of it is there.

    Args:
        url: http or https.
        path: of the whole file; what has come so far is kept beside it as NAME.part.
        digest: the SHA-256 that it must have; `UNKNOWN` prints what it has; None if the caller checks it.

    Raises:
        OSError: if the transfer fails or the disk is full; the part is kept.
        DownloadError: if the complete download is not the expected file; nothing is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            resumed = answer.status == 206  # a server that knows no ranges sends all of it again
            expected = (have if resumed else 0) + int(answer.headers.get("Content-Length", 0))
            with open(part, "ab" if resumed else "wb") as file:
                shutil.copyfileobj(answer, file)
        if part.stat().st_size < expected:
            raise OSError(f"the transfer broke after {part.stat().st_size} of {expected} bytes")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing left to send: the part is the whole
            raise
    if digest == UNKNOWN:
        print(f"{path.name}: not checked, its sha256 is {sha256(part)}", file=sys.stderr)
    elif digest and sha256(part) != digest:
        part.unlink()
        raise DownloadError("this is not the expected file (its sha256 differs)")
    part.rename(path)


@dataclass(frozen=True)
class Source:
    """Photographs in a public repository at one commit.

    Attributes:
        name: of the folder that they are written to.
        repository, commit: "owner/name", and 40 hexadecimal digits.
        pattern: a regular expression that the paths of the photographs match.
        files: how many there are.
        digest: SHA-256 over the sorted ids (git's, of blobs) of all of them.
        terms: under which they may be used, in a few words.
    """

    name: str
    repository: str
    commit: str
    pattern: str
    files: int
    digest: str
    terms: str


def read_sources(file: Path) -> list[Source]:
    """The sources of a `.csv` with the columns of `Source`."""
    with open(file, newline="", encoding="utf-8") as table:
        rows: list[dict[str, Any]] = list(csv.DictReader(table))
    return [Source(**row | {"files": int(row["files"])}) for row in rows]


def fetch_photographs(source: Source, folder: Path, host: str, left_out: tuple[str, ...] = ()) -> int:
    """Download a repository as an archive and write its photographs to `folder`/NAME, all of them or none.

    Files are named by git's id of their content, so that the same picture comes once; those of AVA keep its ids.

    Args:
        source: which photographs.
        folder: where to; an existing folder NAME is taken to be complete.
        host: where archives come from, as HOST/OWNER/NAME/tar.gz/COMMIT.
        left_out: beginnings of the ids of pictures to leave out.

    Returns:
        How many photographs the folder holds.

    Raises:
        OSError: if the transfer fails or the disk is full.
        DownloadError: if the archive holds other photographs than expected.
    """
    whole = folder / source.name
    if whole.is_dir():
        return sum(1 for _ in whole.iterdir())
    archive = folder / f"{source.name}.tar.gz"
    fetch(f"{host}/{source.repository}/tar.gz/{source.commit}", archive, None)
    with tempfile.TemporaryDirectory(prefix=f".{source.name}.", dir=folder) as temporary:
        try:
            new = Path(temporary) / source.name
            new.mkdir()
            ids = _extract(archive, source, new, left_out)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise DownloadError(f"{archive.name} is not a complete archive ({error})") from None
        finally:
            archive.unlink()
        found = hashlib.sha256("".join(sorted(ids)).encode()).hexdigest()
        if found != source.digest:
            raise DownloadError(f"the archive holds {len(ids)} photographs, but not the {source.files} expected ones")
        new.rename(whole)
    return sum(1 for _ in whole.iterdir())


_PICTURE = re.compile(r"\.(jpe?g|png|webp|bmp|tiff?)$", re.IGNORECASE)


def _extract(archive: Path, source: Source, folder: Path, left_out: tuple[str, ...]) -> list[str]:
    """Write the photographs of an archive; returns the ids of all that it holds."""
    ids = []
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            path = member.name.partition("/")[2]  # below the folder that the host puts around it
            if not member.isfile() or not _PICTURE.search(path) or not re.search(source.pattern, path):
                continue
            file = members.extractfile(member)
            assert file is not None
            content = file.read()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            ids.append(blob)
            if not blob.startswith(left_out):
                stem = Path(path).stem if source.name.startswith("ava") else blob[:16]
                (folder / f"{stem}{Path(path).suffix.lower()}").write_bytes(content)
    return ids
