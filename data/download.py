"""Download the data that the shipped weights were made from, and check every file against data/files.sha256.

    python data/download.py                       everything below
    python data/download.py tid2013 kodak         some of it
    python data/download.py --to /big/disk

    tid2013      the 3,000 mean opinion scores of TID2013, and measured errors of its images (0.6 MB)
    kodak        the 24 Kodak images, from which TID2013 was made (15 MB)
    imagenet     torchvision's MobileNetV2, trained on ImageNet (14 MB)
    photos       1,000 photographs, one of each class of ImageNet (107 MB; research use only)
    ava          idealo's split of AVA: the votes on 255,000 photographs (38 MB)
    idealo       idealo's weights, aesthetic and technical (26 MB)

    python data/download.py photographs           48,000 photographs of 13 public repositories (2.4 GB), not among the above
    python data/download.py ava2k                 one of them: 2,188 photographs of AVA, under their ids
    python data/download.py biq2021               12,000 photographs (440 MB; research), and their grades in two tables

The terms of each repository are printed before its photographs are fetched; most allow research only. Pictures that are
nearly the same as one that we evaluate on are left out. To resume a broken transfer, repeat the command. TID2013's own
images come from its authors, https://www.ponomarenko.info/tid2013.htm, AVA's (32 GB) from
https://academictorrents.com/details/71631f83b11d3d79d8f84efe0a7e12f0ac001460, under their terms.
"""

import csv
import hashlib
import http.client
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
from urllib.parse import quote

from iqa.cards import sha256
from iqa.commands.terminal import parser_of, run
from iqa.errors import IqaError

MANIFEST = Path(__file__).with_name("files.sha256")
UNKNOWN = "-"  # in the manifest: the hash of the file is not known, so it is printed instead of checked

IDEALO = "https://raw.githubusercontent.com/idealo/image-quality-assessment/master/"
SOURCES = {
    "tid2013": "https://raw.githubusercontent.com/yy3948/IQA/c38a3262b488138c6ad0f60d4d8b17b9f0f990ce/tid2013/",
    "kodak": "https://r0k.us/graphics/kodak/kodak/",
    "imagenet": "https://download.pytorch.org/models/",
    "photos": "https://raw.githubusercontent.com/EliSchwartz/imagenet-sample-images/master/",
    "ava": IDEALO + "data/AVA/",
    "idealo": IDEALO + "models/MobileNet/",
    "biq2021": "https://raw.githubusercontent.com/nisarahmedrana/BIQ2021/62c7b40c036b68ee280626409699aa5c1a37fe57/",
}
#: Errors of TID2013's images, as others measured them; written as tid2013/metrics.csv.
METRICS = "https://raw.githubusercontent.com/lucia15/Image-Quality-Assessment/4b4eed7866c6425b7180f4e3f6204fae94b4a243/Data/data.csv"
#: What is fetched if nothing is named.
DEFAULT = tuple(name for name in SOURCES if name != "biq2021")

#: Photographs in public repositories, one `Source` a line, and where archives come from: HOST/OWNER/NAME/tar.gz/COMMIT.
PHOTOGRAPHS = Path(__file__).with_name("photographs.csv")
ARCHIVES = "https://codeload.github.com"

#: Beginnings of git's ids of pictures that are nearly one that we evaluate on.
NEAR_EVALUATION = ("eea68e4196", "5431c3138b", "0209f8e10a", "b9ad48c4ea", "2dd10b90d6", "e4277ff84a")

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


def read_sources() -> list[Source]:
    with open(PHOTOGRAPHS, newline="", encoding="utf-8") as table:
        rows: list[dict[str, Any]] = list(csv.DictReader(table))
    return [Source(**row | {"files": int(row["files"])}) for row in rows]


def fetch_photographs(source: Source, folder: Path) -> int:
    """Download a repository as an archive and write its photographs to `folder`/NAME, all of them or none.

    Files are named by git's id of their content, so that the same picture comes once; those of AVA and BIQ2021 keep their
    names. An
    existing folder NAME is taken to be complete. Returns how many photographs it holds.

    Raises:
        OSError: if the transfer fails or the disk is full.
        DownloadError: if the archive holds other photographs than expected.
    """
    whole = folder / source.name
    if not whole.is_dir():
        archive = folder / f"{source.name}.tar.gz"
        fetch(f"{ARCHIVES}/{source.repository}/tar.gz/{source.commit}", archive, None)
        with tempfile.TemporaryDirectory(prefix=f".{source.name}.", dir=folder) as temporary:
            new = Path(temporary) / source.name
            new.mkdir()
            try:
                ids = extract(archive, source, new)
            except (tarfile.TarError, EOFError, zlib.error) as error:
                raise DownloadError(f"{archive.name} is not a complete archive ({error})") from None
            finally:
                archive.unlink()
            if hashlib.sha256("".join(sorted(ids)).encode()).hexdigest() != source.digest:
                raise DownloadError(f"the archive holds {len(ids)} photographs, but not the {source.files} expected ones")
            new.rename(whole)
    return len(list(whole.iterdir()))


def extract(archive: Path, source: Source, folder: Path) -> list[str]:
    """Write the photographs of an archive but for those of `NEAR_EVALUATION`; returns git's ids of all that it holds."""
    ids = []
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            path = Path(member.name.partition("/")[2])  # below the folder that the host puts around it
            photograph = re.search(r"\.(jpe?g|png|webp|bmp|tiff?)$", path.name, re.IGNORECASE)
            if (
                not photograph
                or not re.search(source.pattern, path.as_posix())
                or not (file := members.extractfile(member))
            ):
                continue
            content = file.read()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            ids.append(blob)
            if not blob.startswith(NEAR_EVALUATION):
                stem = path.stem if source.name in ("ava2k", "biq2021") else blob[:16]
                (folder / f"{stem}{path.suffix.lower()}").write_bytes(content)
    return ids


def read_manifest() -> dict[str, str]:
    """{path below the data folder: sha256}, from lines as `sha256sum` writes them."""
    rows = (line.split(maxsplit=1) for line in MANIFEST.read_text(encoding="utf-8").splitlines())
    return {path.strip(): digest for digest, path in rows}


def set_of(path: str) -> str:
    """The set of a file of the manifest: its folder, or "ava" for the label files, which have none."""
    return path.rpartition("/")[0] or "ava"


def url_of(path: str) -> str:
    """Where a file of the manifest comes from."""
    folder, name = set_of(path), path.rpartition("/")[2]
    if path == "tid2013/metrics.csv":
        return METRICS
    if folder == "biq2021":
        name = quote(f"{name.removesuffix('.csv').capitalize()} (Images and MOS).csv")
    return SOURCES[folder] + (name.replace(".jpg", ".JPEG") if folder == "photos" else name)


def fetch_source(source: Source, folder: Path) -> None:
    count = fetch_photographs(source, folder)
    print(f"{source.name}: {count} photographs in {folder / source.name}", flush=True)


def main() -> int:
    parser = parser_of(__doc__)
    sources = {source.name: source for source in read_sources()}
    names = [*SOURCES, "photographs", *sources]
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(names)} (default: {', '.join(DEFAULT)})")
    parser.add_argument("--to", type=Path, default=MANIFEST.parent, help="folder (default: that of this script)")
    arguments = parser.parse_args()
    wanted = set(arguments.sets or DEFAULT)
    if unknown := wanted - set(names):
        parser.error(f"unknown set {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    chosen = [source for name, source in sources.items() if {name, "photographs"} & wanted]
    files = {
        arguments.to / path: (url_of(path), digest) for path, digest in read_manifest().items() if set_of(path) in wanted
    }
    missing = {path: of for path, of in files.items() if not path.exists() or of[1] not in (UNKNOWN, sha256(path))}
    for source in chosen:
        print(f"{source.name}: {source.files} photographs of {source.repository}. Terms: {source.terms}")
    work: list[tuple[Any, ...]] = [(source.name, fetch_source, source, arguments.to / "photographs") for source in chosen]
    work += [(url, fetch, url, path, digest) for path, (url, digest) in missing.items()]
    failed = []
    for name, function, *values in work:
        try:
            function(*values)
        except (OSError, DownloadError, http.client.HTTPException) as error:
            failed.append(function)
            print(f"{name}: {error}", file=sys.stderr)
    if files:
        lost = failed.count(fetch)
        print(f"{len(files)} files: {len(files) - len(missing)} were there, {len(missing) - lost} fetched, {lost} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
