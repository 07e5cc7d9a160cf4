"""How do time and memory grow with the number of pictures?

    python benchmarks/growth.py                                 # 1,000, 10,000 and 100,000 paths; minutes
    python benchmarks/growth.py --counts 1000 10000

The paths are links to small pictures (224x224, 10 kB). What a run of `iqa` does apart from scoring is measured with scores
that cost nothing, each time in a fresh process: the start (to list the paths and enter them into the journal), the record
of a score, the writing of the `.csv`, the start of a run that was stopped halfway, the `.csv` with a page, and the most
memory that the process took beyond what it has before. Times are those of the processors, which other load does not change.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands import iqa
from iqa.commands.terminal import parser_of, positive, run
from iqa.images.finding import sample_photograph
from iqa.images.reading import read_image
from iqa.labels.histograms import Score
from iqa.scoring import runs
from iqa.scoring.many import load_shipped
from iqa.scoring.results import Result

#: Pictures that differ, and those in one folder.
PICTURES, SHELF = 50, 1000

#: Heading of each column, the measure that it shows, and how.
COLUMNS = {
    "start": ("run", "{:.2f} s"),
    "record a score": ("run", "{:.3f} ms"),
    "write": ("run", "{:.2f} s"),
    "memory": ("run", "+{:.0f} MB"),
    "resume": ("resume", "{:.2f} s"),
    "page": ("page", "{:.1f} s"),
    "its memory": ("page", "+{:.0f} MB"),
}


def make_pictures(folder, count):
    """So many names of `PICTURES` small pictures, `SHELF` in a folder."""
    whole, rng = read_image(sample_photograph()), np.random.default_rng(0)
    originals = []
    for number in range(PICTURES):
        top, left = rng.integers(0, whole.shape[0] - 224), rng.integers(0, whole.shape[1] - 224)
        originals.append(folder / f"original-{number}.jpg")
        Image.fromarray(whole[top : top + 224, left : left + 224]).save(originals[-1], quality=85)
    for number in range(count):
        shelf = folder / "named" / f"{number // SHELF:04d}"
        shelf.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % PICTURES], shelf / f"{number:06d}.jpg")


def spent():
    """Seconds of a processor that this process has taken, and those of its children that have ended."""
    return sum(os.times()[:4])


def peak():
    """The most memory that this process has taken, MB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def score(folder, most=sys.maxsize, *options):
    """Run `iqa` until so many scores are recorded; returns when it began, had its first and last score, and ended."""
    times = [spent()]
    scores = {"beauty": Score.of(np.full(10, 0.1, np.float32), "AVA"), "technical": 5.0}

    def score_all(models, paths, *_):
        times.append(spent())
        for number, path in enumerate(paths):
            if number == most:
                raise KeyboardInterrupt
            yield Result(path, scores, 224, 224)
        times.append(spent())

    runs.score_all = score_all
    sys.argv = ["iqa", str(folder / "named"), "--out", str(folder / "scores.csv"), *options]
    quiet = io.StringIO()
    with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet), contextlib.suppress(KeyboardInterrupt):
        iqa.main()
    return [*times, spent()]


def measure(what, folder, count):
    """The numbers of some columns, in this process."""
    load_shipped()
    before = peak()
    if what == "run":
        began, first, last, end = score(folder)
        record = 1000 * (last - first) / count
        return {"start": first - began, "record a score": record, "write": end - last, "memory": peak() - before}
    if what == "resume":
        score(folder, count // 2)
        began, first, *_ = score(folder)
        return {"resume": first - began}
    *_, last, end = score(folder, sys.maxsize, "--report", str(folder / "page.html"))
    return {"page": end - last, "its memory": peak() - before}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--counts", type=positive, nargs="+", default=(1_000, 10_000, 100_000), help="of paths")
    parser.add_argument("--measure", nargs=2, help="measure this in this folder, and print it as JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        what, folder = arguments.measure
        print(json.dumps(measure(what, Path(folder), arguments.counts[0])))
        return 0
    print("| paths |", " | ".join(COLUMNS), "|\n" + "|---" * (len(COLUMNS) + 1) + "|")
    for count in arguments.counts:
        found = {}
        with tempfile.TemporaryDirectory() as name:
            make_pictures(Path(name), count)
            for what in dict.fromkeys(what for what, _ in COLUMNS.values()):
                for path in Path(name).glob("scores.csv*"):
                    path.unlink()
                command = [sys.executable, __file__, "--counts", str(count), "--measure", what, name]
                found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(
            f"| {count:,} |", " | ".join(form.format(found[name]) for name, (_, form) in COLUMNS.items()), "|", flush=True
        )
    return 0


if __name__ == "__main__":
    run(main)
