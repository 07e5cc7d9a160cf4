"""How do time and memory grow with the number of pictures?

    python benchmarks/growth.py                                 # 1,000, 10,000 and 100,000 paths; minutes
    python benchmarks/growth.py --counts 1000 10000

The paths are links to small pictures (224x224, 10 kB). What a run does apart from scoring is measured with scores that cost
nothing, each time in a fresh process: the start (to list the paths and enter them into the journal), the record of a score,
the writing of the `.csv`, the start of a run that was stopped halfway, the `.csv` with a page, and the most memory that the
process took beyond what it has before. Times are those of the processors, of the process and its workers, which other load
does not change. To score a picture takes the same time whatever comes before it.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.cards import shipped_weights
from iqa.commands.terminal import parser_of, positive, run
from iqa.images.finding import sample_photograph
from iqa.images.reading import read_image
from iqa.labels.opinions import Prediction
from iqa.scoring.collection import RunOptions, named_entries, score_to_file
from iqa.scoring.scorer import Scorer

COUNTS = (1_000, 10_000, 100_000)

#: Pictures that differ, and those in one folder.
PICTURES, SHELF = 50, 1000

WORKERS = 2


def make_pictures(folder: Path, count: int) -> None:
    """So many names of `PICTURES` small pictures, `SHELF` in a folder."""
    whole, rng = read_image(sample_photograph()), np.random.default_rng(0)
    originals = []
    for number in range(PICTURES):
        top, left = rng.integers(0, whole.shape[0] - 224), rng.integers(0, whole.shape[1] - 224)
        originals.append(folder / f"original-{number}.jpg")
        Image.fromarray(whole[top : top + 224, left : left + 224]).save(originals[-1], quality=85)
    for number in range(count):
        shelf = folder / "named" / f"{number // SHELF:04d}"
        if number % SHELF == 0:
            shelf.mkdir(parents=True)
        os.link(originals[number % PICTURES], shelf / f"{number:06d}.jpg")


@cache
def open_scorer() -> Scorer:
    return Scorer(shipped_weights("ava_vanilla"), head="histogram", runtime="litert")


def spent() -> float:
    """Seconds of a processor that this process has taken, and those of its workers that have ended."""
    return sum(os.times()[:4])


def peak() -> float:
    """The most memory that this process has taken, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


# --- what a fresh process measures: folder -> {name: number} ----------------------------------------------------------


def measure_run(folder: Path) -> dict[str, float]:
    """A run whose scores cost nothing: its start, each record, the writing."""
    asked, recorded = [], []

    def engine(waiting):
        asked.append(spent())
        for position, _ in waiting:
            yield position, Prediction(np.full(10, 0.1, np.float32))
        recorded.append(spent())

    before, began = peak(), spent()
    outcome = score(folder, engine)
    return {
        "start": asked[0] - began,
        "record": 1000 * (recorded[0] - asked[0]) / outcome.scored,
        "write": spent() - recorded[0],
        "memory": peak() - before,
    }


def measure_resume(folder: Path) -> dict[str, float]:
    """A run that was stopped halfway: the time until it asks for the first score that it lacks."""
    total = sum(1 for _ in (folder / "named").rglob("*.jpg"))
    asked = []

    def first_half(waiting):
        for number, (position, _) in enumerate(waiting):
            if number == total // 2:
                raise KeyboardInterrupt
            yield position, Prediction(np.full(10, 0.1, np.float32))

    def second_half(waiting):
        asked.append(spent())
        raise KeyboardInterrupt
        yield

    for engine in (first_half, second_half):
        began = spent()
        with contextlib.suppress(KeyboardInterrupt):
            score(folder, engine)
    return {"resume": asked[0] - began}


def measure_page(folder: Path) -> dict[str, float]:
    """The `.csv` and the page of a run."""
    recorded = []

    def engine(waiting):
        for position, _ in waiting:
            yield position, Prediction(np.full(10, 0.1, np.float32))
        recorded.append(spent())

    before = peak()
    score(folder, engine, report=folder / "page.html", workers=WORKERS)
    return {"page": spent() - recorded[0], "page memory": peak() - before}


MEASURES = {
    "run": measure_run,
    "resume": measure_resume,
    "page": measure_page,
}


def score(folder: Path, engine, **options):
    out = folder / "scores.csv"
    list_entries = partial(named_entries, [folder / "named"])
    chosen = RunOptions(engine=engine, **options)
    # Without the second look at the folder, for what came meanwhile, which takes as long as the first.
    return score_to_file(open_scorer(), list_entries, out, chosen, again=False, tell=lambda line: None)


# --- the table -------------------------------------------------------------------------------------------------------

#: Heading of each column, the measure that it shows, and how.
COLUMNS = {
    "start": ("start", "{:.2f} s"),
    "record a score": ("record", "{:.3f} ms"),
    "write": ("write", "{:.2f} s"),
    "resume": ("resume", "{:.2f} s"),
    "memory": ("memory", "+{:.0f} MB"),
    "page": ("page", "{:.1f} s"),
    "its memory": ("page memory", "+{:.0f} MB"),
}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--counts", type=positive, nargs="+", default=COUNTS, help="of paths (default: 1000 10000 100000)")
    parser.add_argument("--measure", choices=MEASURES, help="measure this in the folder of --folder, and print it as JSON")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.measure:
        open_scorer()
        print(json.dumps(MEASURES[arguments.measure](arguments.folder)))
        return 0
    print("| paths |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for count in arguments.counts:
        found = {}
        with tempfile.TemporaryDirectory() as name:
            make_pictures(Path(name), count)
            for measure in MEASURES:
                found |= ask(measure, Path(name))
        cells = [form.format(found[value]) for value, form in COLUMNS.values()]
        print(f"| {count:,} |", " | ".join(cells), "|", flush=True)
    return 0


def ask(measure: str, folder: Path) -> dict[str, float]:
    """What a fresh process measures; nothing is left of an earlier run."""
    for path in folder.glob("scores.csv*"):
        path.unlink()
    command = [sys.executable, __file__, "--measure", measure, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{measure}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    run(main)
