"""Fetch what the shipped weights were made from; every file is checked against data/files.sha256.

    python data/download.py                       everything below
    python data/download.py tid2013 kodak         some of it
    python data/download.py --to /big/disk

    tid2013      the 3,000 mean opinion scores of TID2013 (63 kB)
    kodak        the 24 Kodak images, from which TID2013 was made (15 MB)
    imagenet     torchvision's MobileNetV2, trained on ImageNet (14 MB)
    photos       1,000 photographs, one of each class of ImageNet (107 MB; research use only)
    ava          idealo's split of AVA: the votes on 255,000 photographs (38 MB)
    idealo       idealo's weights, aesthetic and technical (26 MB)

To resume a transfer that broke, repeat the command. TID2013's own images come from its authors,
https://www.ponomarenko.info/tid2013.htm, AVA's (32 GB) from
https://academictorrents.com/details/71631f83b11d3d79d8f84efe0a7e12f0ac001460, under their terms.
"""

import http.client
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

from iqa.cards import sha256
from iqa.commands.terminal import parser_of, run
from iqa.errors import IqaError

MANIFEST = Path(__file__).with_name("files.sha256")

IDEALO = "https://raw.githubusercontent.com/idealo/image-quality-assessment/master/"
SOURCES = {
    "tid2013": "https://raw.githubusercontent.com/yy3948/IQA/c38a3262b488138c6ad0f60d4d8b17b9f0f990ce/tid2013/",
    "kodak": "https://r0k.us/graphics/kodak/kodak/",
    "imagenet": "https://download.pytorch.org/models/",
    "photos": "https://raw.githubusercontent.com/EliSchwartz/imagenet-sample-images/master/",
    "ava": IDEALO + "data/AVA/",
    "idealo": IDEALO + "models/MobileNet/",
}

UNKNOWN = "-"  # in the manifest: the hash of the file is not known, so it is printed instead of checked

TIMEOUT = 60  # seconds without a byte


class DownloadError(IqaError):
    """A file that came whole and is not the one expected."""


def set_of(path: str) -> str:
    """The set of a file of the manifest: its folder, or "ava" for the label files, which stand in none."""
    return path.rpartition("/")[0] or "ava"


def url_of(path: str) -> str:
    """Where a file of the manifest comes from."""
    folder, name = set_of(path), path.rpartition("/")[2]
    return SOURCES[folder] + (name.replace(".jpg", ".JPEG") if folder == "photos" else name)


def read_manifest(file: Path = MANIFEST) -> dict[str, str]:
    """{path below the data folder: sha256}, from lines as `sha256sum` writes them."""
    rows = (line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines())
    return {path.strip(): digest for digest, path in rows}


def fetch(url: str, path: Path, digest: str) -> None:
    """Download one file, or the rest of it if part of it is there.

    Args:
        url: http or https.
        path: of the whole file; what has come so far is kept beside it as NAME.part.
        digest: the SHA-256 that it must have.

    Raises:
        OSError: if the transfer fails or the disk is full; the part is kept.
        DownloadError: if all of it came and is not the file expected; nothing is kept.
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
    elif sha256(part) != digest:
        part.unlink()
        raise DownloadError("what came is not the file expected (sha256 differs)")
    part.rename(path)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SOURCES)} (default: all)")
    parser.add_argument("--to", type=Path, default=MANIFEST.parent, help="folder (default: that of this script)")
    arguments = parser.parse_args()
    unknown = set(arguments.sets) - set(SOURCES)
    if unknown:
        parser.error(f"unknown set {', '.join(sorted(unknown))}; choose from {', '.join(SOURCES)}")
    wanted = arguments.sets or list(SOURCES)
    files = {path: digest for path, digest in read_manifest().items() if set_of(path) in wanted}
    failed = fetched = 0
    for path, digest in files.items():
        target = arguments.to / path
        if target.exists() and digest in (UNKNOWN, sha256(target)):
            continue
        try:
            fetch(url_of(path), target, digest)
            fetched += 1
        except (OSError, DownloadError, http.client.HTTPException) as error:
            failed += 1
            print(f"{path}: {error} ({url_of(path)})", file=sys.stderr)
    print(f"{len(files)} files: {len(files) - fetched - failed} were there, {fetched} fetched, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
