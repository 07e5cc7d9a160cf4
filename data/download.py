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

    python data/download.py photographs           48,000 photographs of 13 public repositories (2.4 GB), not among the above
    python data/download.py ava2k                 one of them: 2,188 photographs of AVA, under their ids

The terms of each repository are printed before its photographs are fetched; most allow research only. Pictures that are
nearly the same as one that we evaluate on are left out. To resume a transfer that broke, repeat the command. TID2013's own
images come from its authors, https://www.ponomarenko.info/tid2013.htm, AVA's (32 GB) from
https://academictorrents.com/details/71631f83b11d3d79d8f84efe0a7e12f0ac001460, under their terms.
"""

import http.client
import sys
from pathlib import Path

from iqa.cards import sha256
from iqa.commands.fetch import UNKNOWN, DownloadError, Source, fetch, fetch_photographs, read_sources
from iqa.commands.terminal import parser_of, run

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

#: Photographs in public repositories, one per line; see `iqa.commands.fetch.Source`.
PHOTOGRAPHS = Path(__file__).with_name("photographs.csv")
ARCHIVES = "https://codeload.github.com"

#: Beginnings of git's ids of pictures that are nearly one that we evaluate on.
NEAR_EVALUATION = ("eea68e4196", "5431c3138b", "0209f8e10a", "b9ad48c4ea", "2dd10b90d6", "e4277ff84a")


def set_of(path: str) -> str:
    """The set of a file of the manifest: its folder, or "ava" for the label files, which have none."""
    return path.rpartition("/")[0] or "ava"


def url_of(path: str) -> str:
    """Where a file of the manifest comes from."""
    folder, name = set_of(path), path.rpartition("/")[2]
    return SOURCES[folder] + (name.replace(".jpg", ".JPEG") if folder == "photos" else name)


def read_manifest(file: Path = MANIFEST) -> dict[str, str]:
    """{path below the data folder: sha256}, from lines as `sha256sum` writes them."""
    rows = (line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines())
    return {path.strip(): digest for digest, path in rows}


def fetch_all_photographs(sources: list[Source], folder: Path) -> int:
    """Fetch photographs from their sources, after printing the terms of all; returns how many failed."""
    for source in sources:
        print(f"{source.name}: {source.files} photographs of {source.repository}. Terms: {source.terms}")
    failed = 0
    for source in sources:
        try:
            count = fetch_photographs(source, folder, ARCHIVES, NEAR_EVALUATION)
            print(f"{source.name}: {count} photographs in {folder / source.name}", flush=True)
        except (OSError, DownloadError, http.client.HTTPException) as error:
            failed += 1
            print(f"{source.name}: {error}", file=sys.stderr)
    return failed


def main() -> int:
    parser = parser_of(__doc__)
    sources = {source.name: source for source in read_sources(PHOTOGRAPHS)}
    names = [*SOURCES, "photographs", *sources]
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(names)} (default: {', '.join(SOURCES)})")
    parser.add_argument("--to", type=Path, default=MANIFEST.parent, help="folder (default: that of this script)")
    arguments = parser.parse_args()
    unknown = set(arguments.sets) - set(names)
    if unknown:
        parser.error(f"unknown set {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    failed = fetch_all_photographs(
        [source for name, source in sources.items() if {name, "photographs"} & set(arguments.sets)],
        arguments.to / "photographs",
    )
    wanted = set(arguments.sets or SOURCES) & set(SOURCES)
    return 1 if failed + fetch_files(wanted, arguments.to) else 0


def fetch_files(wanted: set[str], folder: Path) -> int:
    """Fetch the files of the manifest that belong to the sets wanted; returns how many failed."""
    files = {path: digest for path, digest in read_manifest().items() if set_of(path) in wanted}
    failed = fetched = 0
    for path, digest in files.items():
        target = folder / path
        if target.exists() and digest in (UNKNOWN, sha256(target)):
            continue
        try:
            fetch(url_of(path), target, digest)
            fetched += 1
        except (OSError, DownloadError, http.client.HTTPException) as error:
            failed += 1
            print(f"{path}: {error} ({url_of(path)})", file=sys.stderr)
    if files:
        print(f"{len(files)} files: {len(files) - fetched - failed} were there, {fetched} fetched, {failed} failed")
    return failed


if __name__ == "__main__":
    run(main)
