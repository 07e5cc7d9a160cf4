"""The page: what is written, and what a person meets who opens it in a browser."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from idealo_comparison import compare
from iqa.evaluation.predictions import Predictions, write_predictions
from iqa.files import printable
from iqa.scoring import report
from iqa.scoring.collection import provenance
from iqa.scoring.journal import Entry
from iqa.scoring.report import Picture, write_page, write_report
from iqa.scoring.scorer import load_scorer
from TID2013_regression import infer_regression

NASTY = (
    "<img src=x onerror=window.run=1>.png",
    "a<script>window.run=1<",  # a folder, in which lies:
    "a<script>window.run=1</script>.png",
    '" onfocus="window.run=1" autofocus x=".png',
    "javascript:window.run=1.png",
    "{{ 7 * 7 }} &amp; \u202egnp.exe\n%2f#?.png",
)


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """opened(file) -> the page in a browser, with the list of what its console complained of."""
    contexts = []

    def open(file, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(file.resolve().as_uri())
        return page

    yield open
    for context in contexts:
        context.close()


def save_pictures(photograph, folder):
    """14 pictures and a broken one."""
    folder.mkdir()
    for number in range(14):
        Image.fromarray(np.roll(photograph, 16 * number, axis=(0, 1))).save(folder / f"p{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def pictures(photograph, tmp_path):
    return save_pictures(photograph, tmp_path / "in")


@pytest.fixture(scope="module")
def page(photograph, tiny, tmp_path_factory):
    """The page of the pictures, in a folder of its own."""
    folder = tmp_path_factory.mktemp("page")
    pictures, scorer = save_pictures(photograph, folder / "in"), load_scorer(tiny)
    found = scorer.score_all(sorted(pictures.iterdir()))
    entries = [Entry(str(path), path, prediction=prediction) for path, prediction in found]
    (folder / "out").mkdir()
    write_report(folder / "out/page.html", lambda: entries, provenance(scorer), scorer.card.scale)
    return folder / "out/page.html"


def names(page):
    """The file names of the cards that can be seen, in their order."""
    return page.eval_on_selector_all(
        "#pictures > li:not([hidden])", "cards => cards.map(c => c.dataset.name.split('/').pop())"
    )


def scores(page):
    return page.eval_on_selector_all(
        "#pictures > li:not([hidden])", "cards => cards.map(c => JSON.parse(c.dataset.values)[0])"
    )


def test_the_page_holds_everything_in_one_file(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,") == 14 + 12  # those of the best and the worst are shown twice
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert 'src="' not in text.replace('src="data:', "")
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_pictures_are_sorted_by_score_and_the_skipped_have_their_reasons(page, opened):
    shown = opened(page)
    assert shown.complaints == []
    assert len(scores(shown)) == 14
    assert scores(shown) == sorted(scores(shown), reverse=True)
    assert "broken.png" in shown.inner_text("#skipped tbody th")
    assert "it is not an image" in shown.inner_text("#skipped tbody td")
    assert shown.eval_on_selector_all("img", "all => all.every(i => i.complete && i.naturalWidth > 100 && i.alt)")


def test_it_sorts_and_filters(page, opened):
    shown = opened(page)
    shown.click("#direction")
    assert scores(shown) == sorted(scores(shown))
    shown.select_option("#key", "name")
    shown.click("#direction")
    assert names(shown)[:3] == ["p0.png", "p1.png", "p2.png"]
    shown.fill("#text", "P1")
    assert names(shown) == ["p1.png", "p10.png", "p11.png", "p12.png", "p13.png"]
    assert shown.inner_text("#status") == "5 of 14 pictures"
    shown.click("#all")
    middle = sorted(scores(shown))[7]
    shown.fill("#from", str(middle))
    assert min(scores(shown)) == pytest.approx(middle)
    assert shown.inner_text("#status") == "7 of 14 pictures"
    shown.fill("#to", str(middle))
    assert scores(shown) == pytest.approx([middle])
    assert shown.complaints == []


def test_the_keyboard_walks_through_it(page, opened):
    shown = opened(page)
    order = names(shown)

    def at():
        return shown.evaluate("document.activeElement.dataset.name.split('/').pop()")

    shown.focus("#pictures > li")
    shown.keyboard.press("ArrowRight")
    assert at() == order[1]
    shown.keyboard.press("End")
    assert at() == order[-1]
    shown.keyboard.press("ArrowLeft")
    assert at() == order[-2]
    shown.keyboard.press("/")
    shown.keyboard.type("p13")
    assert names(shown) == ["p13.png"]
    shown.keyboard.press("Tab")
    shown.keyboard.press("Tab")
    shown.keyboard.press("Tab")
    shown.keyboard.press("Tab")
    assert at() == "p13.png"
    with shown.expect_navigation():
        shown.keyboard.press("Enter")
    assert shown.url.endswith("/in/p13.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_a_telephone_and_a_desk_and_can_be_read_in_light_and_dark(page, opened, scheme, width):
    shown = opened(page, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = (
        shown.evaluate(f"getComputedStyle(document.body).{side}.match(/\\d+/g).map(Number)")
        for side in ("color", "backgroundColor")
    )
    assert (np.mean(ink) < np.mean(paper)) == (scheme == "light")
    assert abs(np.mean(ink) - np.mean(paper)) > 150


def test_names_are_shown_and_never_run(command, tiny, photograph, save, tmp_path, opened):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / NASTY[1]).mkdir()
    for number, name in enumerate(name for name in NASTY if name != NASTY[1]):
        os.rename(save(f"{number}.png", np.roll(photograph, 9 * number)), tmp_path / "in" / name)
    os.rename(save("b.png", photograph), tmp_path / "in" / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "in/<script>window.run=1.png").write_bytes(b"no picture")
    assert command(infer_regression, tmp_path / "in", "--weights", tiny, "--report", tmp_path / "page.html")[0] == 1
    shown = opened(tmp_path / "page.html")
    shown.wait_for_timeout(300)
    assert shown.evaluate("window.run") is None
    assert shown.complaints == []
    found = set(shown.eval_on_selector_all("#pictures .name", "all => all.map(e => e.textContent)"))
    assert found == {printable(name) for name in NASTY if name != NASTY[1]} | {"caf\\xe9.png"}
    links = shown.eval_on_selector_all("#pictures a", "all => all.map(a => a.href)")
    assert all(link.startswith(f"file://{tmp_path.resolve()}/in/") for link in links)
    assert "<script>window.run=1.png" in shown.inner_text("#skipped")
    for link in links:
        assert shown.goto(link).ok  # each leads to its picture, whatever its name


def test_a_labelled_run_shows_what_people_said(command, tiny, pictures, tmp_path, opened):
    for number in range(14):
        (pictures / f"p{number}.png").rename(pictures / f"i01_{number:02d}_1.png")
    (tmp_path / "labels.txt").write_text("".join(f"{4 + n / 10} i01_{n:02d}_1.png\n" for n in range(14)))
    code, _, err = command(
        infer_regression,
        *("--weights", tiny, "--labels", tmp_path / "labels.txt", "--images", pictures),
        *("--out", tmp_path / "p.mat", "--report", tmp_path / "page.html"),
    )
    assert code == 0, err
    shown = opened(tmp_path / "page.html")
    shown.select_option("#key", label="error")
    values = shown.eval_on_selector_all("#pictures > li", "cards => cards.map(c => JSON.parse(c.dataset.values))")
    errors = [error for *_, error in values]
    assert errors == sorted(errors, reverse=True)
    assert all(error == pytest.approx(abs(score - people), abs=2e-6) for score, people, error in values)


def test_of_more_pictures_than_a_page_holds_the_best_the_worst_and_some_between_are_shown(
    command, tiny, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(report, "MOST", 10)
    seen = {}
    monkeypatch.setattr(report, "write_page", lambda path, pictures, **parts: seen.update(parts, pictures=pictures))
    command(infer_regression, pictures, "--weights", tiny, "--report", tmp_path / "page.html")
    found = [picture.values["score"] for picture in seen["pictures"]]
    assert len(set(found)) == 10
    assert found == sorted(found, reverse=True)
    assert seen["left_out"] == "10 of 14: the 2 best, the 2 worst, and every so many between them."
    assert "14 scores" in seen["distribution"]["label"]


def test_five_thousand_pictures_are_sorted_and_filtered(opened, tmp_path):
    many = [Picture(f"{number}.jpg", None, {"score": number % 977 / 100}) for number in range(5000)]
    write_page(tmp_path / "page.html", many, "5000 pictures", "")
    shown = opened(tmp_path / "page.html")
    shown.click("#direction")
    assert scores(shown) == sorted(picture.values["score"] for picture in many)
    shown.fill("#text", "4999.")
    assert names(shown) == ["4999.jpg"]


def test_the_models_disagreements_come_first(command, pictures, tmp_path, opened):
    rng = np.random.default_rng(0)
    found = [f"p{number}.png" for number in range(14)]
    labels, first = rng.uniform(1, 6, 14), rng.uniform(1, 6, 14).astype(np.float32)
    second = first + np.float32(0.1) * np.arange(14, dtype=np.float32)
    for name, predicted in (("a.mat", first), ("b.mat", second)):
        write_predictions(tmp_path / name, Predictions(labels, predicted, found, [], {"model": name}))
    code, _, err = command(
        compare, tmp_path / "a.mat", tmp_path / "b.mat", "--report", tmp_path / "page.html", "--images", pictures
    )
    assert code == 0, err
    shown = opened(tmp_path / "page.html")
    assert names(shown) == [f"p{number}" for number in range(13, -1, -1)]
    assert shown.locator("#pictures img").count() == 14
    assert "Williams-Steiger" in shown.inner_text("main")
    assert shown.complaints == []


def test_a_picture_that_is_gone_has_no_thumbnail_but_a_reason(tmp_path):
    gone = [Picture("gone.png", tmp_path / "gone.png", {"score": 1.0}), Picture("unknown.png", None, {"score": 2.0})]
    write_page(tmp_path / "page.html", gone, "two", "")
    text = (tmp_path / "page.html").read_text()
    assert "there is no such file" in text
    assert "the file was not found" in text


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_scored(command, tmp_path, monkeypatch):
    code, out, err = command(infer_regression, "--report", tmp_path / "page.pdf")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith("a page is written to a name like page.html")
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    code, _, err = command(infer_regression, "--report", tmp_path / "page.html")
    assert code == 2
    assert "pip install 'image-quality-assessment[report]'" in err


def test_no_page_of_nothing(command, tiny, tmp_path):
    code, _, err = command(infer_regression, tmp_path / "none.png", "--weights", tiny, "--report", tmp_path / "page.html")
    assert (code, list(tmp_path.glob("*.html"))) == (2, [])
    assert "none.png: there is no such file" in err
