"""How long does a browser take for a page of many pictures, shown 200 at a time or all at once?

    python benchmarks/page.py
    python benchmarks/page.py --count 1000 --rounds 3

Both pages hold the same cards with two scores and a thumbnail of noise each. Chromium opens each in turn, sorts, filters,
goes from picture to picture. What counts is the time until the next frame is drawn. Needs playwright, and Chromium.
"""

import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, positive, run
from iqa.errors import IqaError
from iqa.scoring import report

FRAME = "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));"
INPUT = "dispatchEvent(new Event('input', { bubbles: true }))"
ACTS = {
    "sort by the second score": f"const key = document.querySelector('[name=key]'); key.value = 1; key.{INPUT};",
    "sort by name": f"const key = document.querySelector('[name=key]'); key.value = 'name'; key.{INPUT};",
    "filter by name": f"const text = document.querySelector('[name=text]'); text.value = '7'; text.{INPUT};",
    "show all again": "document.querySelector('#unfilter').click();",
    "one picture down": "document.querySelector('.picture').dispatchEvent("
    "new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));",
    "scroll": "scrollTo(0, document.body.scrollHeight);",
}


def write_pages(folder: Path, count: int) -> dict[str, Path]:
    """The two pages."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 18, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((report.SIDE, report.SIDE * 2 // 3), Image.Resampling.BICUBIC).save(
        file, "WEBP", quality=60
    )
    thumbnail = np.frombuffer(file.getvalue(), np.uint8)
    pictures = [
        report.Picture(
            f"DSC_{number}.jpg",
            folder,
            {"beauty": rng.normal(5, 0.6), "technical": rng.normal(5, 0.8)},
            {"size": "6000x4000"},
            {"predicted votes": rng.dirichlet(np.ones(10))},
        )
        for number in range(count)
    ]
    pages = {f"{report.PAGE} at a time": report.PAGE, "all at once": count}
    paths = {name: folder / f"{size}.html" for name, size in pages.items()}
    for name, size in pages.items():
        with patch.object(report, "PAGE", size), patch.object(report, "thumbnail", lambda image, side: thumbnail):
            report.write_page(paths[name], pictures, name, "", score_count=2, ends=True)
    return paths


def measure(browser: Any, path: Path) -> Iterator[tuple[str, float]]:
    """What was done, and the seconds until the next frame."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(600_000)
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.evaluate(f"async () => {{ {FRAME} }}")
    yield "open", time.perf_counter() - start
    for name, act in ACTS.items():
        took = page.evaluate(
            f"async () => {{ const start = performance.now(); {act} {FRAME} return performance.now() - start; }}"
        )
        yield name, took / 1000
    page.close()


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=positive, default=report.MOST)
    parser.add_argument("--rounds", type=positive, default=2)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        raise IqaError("this needs Chromium: apt install chromium")
    taken: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        paths = write_pages(Path(folder), arguments.count)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(arguments.rounds):
            for side, path in paths.items():
                for name, seconds in measure(browser, path):
                    least = taken.setdefault(name, {})
                    least[side] = min(seconds, least.get(side, seconds))
        browser.close()
    first, second = paths
    print(f"{arguments.count} pictures, seconds\n{'':26}{first:>14}{second:>14}{'ratio':>8}")
    for name, least in taken.items():
        print(f"{name:26}{least[first]:14.3f}{least[second]:14.3f}{least[second] / least[first]:8.1f}")
    return 0


if __name__ == "__main__":
    run(main)
