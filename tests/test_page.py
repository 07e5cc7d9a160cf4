"""The page: what is written, and what a person meets who opens it in a browser."""

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqa.cards import AVA_SCALE, TID2013_SCALE
from iqa.errors import OutputError
from iqa.files import printable, text_to_name
from iqa.images.finding import named_images
from iqa.labels.faults import Fault
from iqa.labels.histograms import Score
from iqa.scoring import page as page_module
from iqa.scoring.page import check_page, is_page, write_page
from iqa.scoring.ranking import STRUCTURE, RankedSet, structure_of
from iqa.scoring.results import Result

SCALES = {"beauty": AVA_SCALE, "technical": TID2013_SCALE}
COUNT = 45
BEAUTY = np.random.default_rng(1).permutation(COUNT)  # of picture 0, 1 ...: the higher, the more votes for 8 than for 3
TECHNICAL = np.random.default_rng(2).permutation(COUNT) / 5
BURSTS = [{4, 5, 6}, {20, 21}]  # taken within seconds; all others are a minute apart
SMALL = 7  # which the technical model refuses
FLAT = 9  # has a warning
STRUCTURES = structure_of(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))


def result_of(number, path):
    votes = np.zeros(10, np.float32)
    votes[[2, 7]] = 1 - BEAUTY[number] / 100, BEAUTY[number] / 100
    first = next((min(burst) for burst in BURSTS if number in burst), number)
    return Result(
        path,
        {"beauty": Score.of(votes, "AVA")} | ({} if number == SMALL else {"technical": float(TECHNICAL[number])}),
        *(640, 480),
        taken=datetime(2024, 10, 4) + timedelta(minutes=first, seconds=1 + number - first),
        fault=Fault("blur", 0.75) if number == 3 else None,
        warning="nearly one flat colour" if number == FLAT else None,
        error="too small for patches" if number == SMALL else None,
        features={STRUCTURE: STRUCTURES},
    )


def write(path, results, names=("beauty", "technical"), order="overall", bursts=False, **options):
    """The page of some results."""
    ranked = RankedSet(lambda: iter(results), names, order, bursts)
    write_page(path, ranked, {name: SCALES[name] for name in names}, {"model": "a; t"}, **options)
    return path


@pytest.fixture(scope="module")
def browser():
    """A tab for all tests, and the complaints of its console."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab, complaints = browser.new_page(), []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        yield tab, complaints
        browser.close()


@pytest.fixture
def opened(browser):
    """opened(file) -> the page in a browser, whose console must have nothing to complain of."""
    tab, complaints = browser
    complaints.clear()

    def open(file):
        tab.goto(file.resolve().as_uri())
        tab.evaluate("localStorage.clear()")
        tab.reload()
        return tab

    yield open
    assert complaints == []


@pytest.fixture
def shown(opened, page):
    """The page of 45 pictures as it opens."""
    return opened(page)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """45 pictures with two scores, light and dark by turns, in two folders, and a broken one."""
    folder = tmp_path_factory.mktemp("page") / "holiday"
    results = []
    for number in range(COUNT):
        path = folder / ("one" if number % 2 else "two") / f"p{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), ("white", "black")[number % 2]).save(path)
        results.append(result_of(number, path))
    results.append(Result(folder / "broken.png", error="it is not an image"))
    (folder.parent / "out").mkdir()
    return write(folder.parent / "out/page.html", results, bursts=True)


def scores_of(number):
    """The beauty, by which pictures without a quality rank."""
    return BEAUTY[number]


def names(shown):
    """The file names of the cards that can be seen, in their order."""
    return shown.eval_on_selector_all("#pictures .picture", "cards => cards.map(c => c.dataset.name.split('/').pop())")


def scores(shown, column=0):
    return shown.eval_on_selector_all(".picture", f"cards => cards.map(c => JSON.parse(c.dataset.values)[{column}])")


def focused(shown):
    return shown.evaluate("document.activeElement.dataset.name?.split('/').pop()")


def in_view(shown):
    return [title.rpartition("/")[2] for title in shown.locator("#panes bdi").all_inner_texts()]


def saved(shown, button, file):
    """What a button lets the browser save, in a file."""
    with shown.expect_download() as download:
        shown.click(button)
    download.value.save_as(file)
    return file


def best_first(values, some=range(COUNT)):
    return [f"p{number}.png" for number in sorted(some, key=lambda number: -values[number])]


def test_the_page_holds_everything_in_one_file(page):
    text = page.read_text(encoding="utf-8")
    assert is_page(page)
    assert text.count("data:image/webp;base64,") == COUNT
    assert 'src="' not in text.replace('src="data:', "")
    assert text.count('<p class="fault">blur (75 %)</p>') == 1
    assert text.count(" % of AVA&#39;s photographs</p>") == text.count("<dt>pixels</dt><dd>640 &times; 480</dd>") == COUNT


def test_a_page_of_another_suffix_is_refused():
    with pytest.raises(OutputError, match="a page is written to a name like page"):
        check_page("page.pdf")


def test_of_more_pictures_than_a_page_holds_the_best_the_worst_and_some_between_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MOST", 10)
    results = [result_of(number, Path(f"p{number}.png")) for number in range(14)]
    text = write(tmp_path / "page.html", results, ["beauty"]).read_text()
    assert "10 of 14: the 2 best, the 2 worst, and every so many between them." in text and "14 scores" in text
    shown = [part.partition(".png")[0] + ".png" for part in text.split('data-name="')[1:]]
    expected = best_first(BEAUTY, range(14))
    assert len(set(shown)) == 10 and shown == [name for name in expected if name in shown]
    assert shown[:2] + shown[-2:] == expected[:2] + expected[-2:]


def test_what_has_no_thumbnail_or_no_finite_number_says_so(tmp_path):
    results = [Result(Path("gone.png"), {"technical": 1.0}), Result(Path("other.png"), {"technical": 2.0})]
    text = write(tmp_path / "p.html", results, ["technical"], more={"error": np.array([np.nan, np.inf])}).read_text()
    assert text.count("there is no such file") == 2
    assert [json.loads(part.partition('"')[0]) for part in text.split('data-values="')[1:]] == [[2.0, None], [1.0, None]]


def test_the_keyboard_walks_through_it_and_marks(page, shown):
    shown.get_by_label("one of each burst").uncheck()
    order = names(shown)
    shown.focus("#pictures > li")
    for key, place in (("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2), ("Home", 0)):
        shown.keyboard.press(key)
        assert focused(shown) == order[place]
    shown.keyboard.press("ArrowDown")
    first, below = shown.locator(".picture").first, shown.locator(".picture:focus")
    (left, top), (x, y) = (tuple(card.bounding_box().values())[:2] for card in (first, below))
    assert x == left and y > top
    for key, text in (("4", "★★★★☆"), ("x", "rejected")):
        shown.keyboard.press(key)
        assert below.locator(".stars.own").inner_text() == text
    shown.keyboard.press("0")
    assert below.locator(".stars.own").count() == 0
    shown.keyboard.press("/")
    shown.keyboard.type("p13")
    assert names(shown) == ["p13.png"]


def test_the_full_view_opens_the_file_goes_on_compares_and_marks(page, shown):
    order = names(shown)
    shown.locator("a.frame").nth(1).click()
    shown.locator(".stage > img[src^='file:']").wait_for()
    assert shown.get_attribute(".stage > img", "src").endswith(order[1])

    keys = ("ArrowRight", "c", "ArrowRight", "Escape", "ArrowLeft")
    for key, expected in zip(keys, ([2], [2, 3], [2, 4], [4], [3]), strict=True):
        shown.keyboard.press(key)
        assert in_view(shown) == [order[place] for place in expected]
    shown.keyboard.press("h")
    assert "640 × 480" in shown.inner_text("#panes") and shown.locator("canvas.tones").count() == 1
    shown.keyboard.press("3")
    assert shown.locator("#rating [aria-pressed=true]").count() == 3
    shown.keyboard.press("Escape")
    assert not shown.is_visible("#view") and focused(shown) == order[3]
    assert shown.locator("#pictures .stars.own").all_inner_texts() == ["★★★☆☆"]


def test_marks_outlive_a_reload_and_are_saved_with_a_list_that_the_command_reads(page, shown, tmp_path):
    order = names(shown)
    for place, key in enumerate(("5", "2", "x")):
        shown.locator("#pictures > li").nth(place).press(key)
    shown.reload()
    assert shown.inner_text("#marked output") == "2 starred, 1 rejected"
    marks = json.loads(saved(shown, "#save", tmp_path / "marks.json").read_text())["marks"]
    paths = {path.name: path for path in (page.parent.parent / "holiday").rglob("*.png")}
    expected = zip(order, (5, 2, -1), strict=False)
    assert {Path(text_to_name(text)): stars for text, stars in marks.items()} == {paths[n]: stars for n, stars in expected}
    shown.get_by_label("My stars").select_option("2 or more")
    list_file = saved(shown, "#list", tmp_path / "list.txt")
    assert [path for path, reason in named_images([], [list_file]) if reason is None] == [paths[name] for name in order[:2]]
    shown.get_by_label("My stars").select_option("rejected")
    assert names(shown) == [order[2]]
    shown.once("dialog", lambda dialog: dialog.accept())
    shown.click("#clear")
    assert not shown.is_visible("#save") and names(shown) == []


def test_names_are_shown_and_never_run(photograph, tmp_path, opened):
    nasty = (
        "<img src=x onerror=window.run=1>.png",
        "a<script>window.run=1</script>.png",  # in a folder
        '" onfocus="window.run=1" autofocus x=".png',
        "{{ 7 * 7 }} &amp; \u202egnp.exe\n%2f#?.png",
        os.fsdecode(b"caf\xe9.png"),
    )
    paths = [tmp_path / "in" / name for name in nasty]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            Image.fromarray(photograph).save(file, "PNG")
    results = [result_of(number, path) for number, path in enumerate(paths)]
    results.append(Result(tmp_path / "in/<script>window.run=1.png", error="<script>window.run=1</script>"))
    shown = opened(write(tmp_path / "page.html", results))
    found = shown.eval_on_selector_all("#pictures .name", "all => all.map(e => e.textContent)")
    assert set(found) == {printable(path.relative_to(tmp_path / "in")) for path in paths}
    for number in range(len(paths)):
        shown.locator("a.frame").nth(number).click()
        shown.locator(".stage > img[src^='file:']").wait_for()
        shown.keyboard.press("Escape")
    assert shown.evaluate("window.run") is None
    listed = saved(shown, "#list", tmp_path / "list.txt").read_text().splitlines()
    assert {Path(text_to_name(text)) for text in listed} == set(paths)
    assert "<script>window.run=1.png" in shown.inner_text("#skipped")
    for link in shown.eval_on_selector_all("#pictures a", "all => all.map(a => a.href)"):
        assert link.startswith(f"file://{tmp_path.resolve()}/in/")
        assert shown.goto(link).ok  # each leads to its picture, whatever its name


def test_what_people_said_stands_beside_what_the_model_says(tmp_path, opened):
    people = np.stack([np.roll(np.eye(10)[0], number) for number in range(10)])
    results = [result_of(number, Path(f"p{number}.png")) for number in range(10)]
    shown = opened(write(tmp_path / "page.html", results, ["beauty"], "beauty", labels=people))
    shown.get_by_label("Sort by").select_option("difference from people")
    values = shown.eval_on_selector_all("#pictures > li", "cards => cards.map(c => JSON.parse(c.dataset.values))")
    assert [value[3] for value in values] == sorted((value[3] for value in values), reverse=True)
    assert all(error == pytest.approx(abs(score - mean), abs=2e-6) for score, _, mean, error in values)
    assert sorted(mean for _, _, mean, _ in values) == list(range(1, 11))
    shown.locator(".picture summary").first.click()
    assert shown.locator(".picture").first.locator(".votes").all_inner_texts() == ["predicted votes", "people's votes"]


def test_it_says_what_it_is_and_what_the_scores_mean_and_fits_a_telephone_in_light_and_dark(page, shown):
    assert shown.title() == shown.inner_text("h1") == "holiday: 45 pictures"
    assert shown.locator(".picture").first.bounding_box()["y"] < 150  # pictures come first
    shown.click("#about summary")
    header = shown.inner_text("header")
    folder = f"Folder: {page.parent.parent / 'holiday'}"
    for said in ("Beauty, 1-10: mean of the votes", "Technical, 0-9: TID2013", "1 file could not be scored", folder):
        assert said in header
    assert "broken.png\tit is not an image" in shown.inner_text("#skipped tbody")
    assert shown.eval_on_selector_all("#pictures img", "all => all.every(i => i.complete && i.naturalWidth > 50)")
    for scheme, width in (("light", 360), ("dark", 1400), ("light", 1280)):
        shown.emulate_media(color_scheme=scheme)
        shown.set_viewport_size({"width": width, "height": 800})
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        ink, paper = (
            sum(map(int, shown.evaluate(f"getComputedStyle(document.body).{side}.match(/\\d+/g)")))
            for side in ("color", "backgroundColor")
        )
        assert (ink < paper) == (scheme == "light")
    shown.locator("a.frame").first.click()
    unnamed = "all => all.filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).length"
    assert shown.eval_on_selector_all("button, input, select, a", unnamed) == 0


def test_it_sorts_by_either_score_by_both_and_by_time(shown):
    shown.get_by_label("one of each burst").uncheck()
    both = scores(shown, 2)
    assert both == sorted(both, reverse=True)
    shown.get_by_label("Sort by").select_option("technical")
    rated = [number for number in range(COUNT) if number != SMALL]
    assert names(shown) == [*best_first(TECHNICAL, rated), f"p{SMALL}.png"]
    assert shown.locator(".score span").first.inner_text() == f"technical {TECHNICAL.max():.2f}"
    shown.click("#direction")
    assert names(shown) == [*best_first(-TECHNICAL, rated), f"p{SMALL}.png"]  # what has no score stays last
    shown.click("#direction")
    shown.get_by_label("Sort by").select_option("time taken")
    assert names(shown) == [f"p{number}.png" for number in reversed(range(COUNT))]


def test_filters_of_scores_of_faults_and_of_names_work_together(shown):
    shown.get_by_label("Sort by").select_option("beauty")
    shown.get_by_label("from", exact=True).fill("3.8")  # 3 + 5 * share
    shown.get_by_label("to", exact=True).fill("4.5")
    shown.get_by_label("one of each burst").uncheck()
    inside = {f"p{n}.png" for n in range(COUNT) if 16 <= BEAUTY[n] <= 30}
    assert 0 < len(inside) < 25 and set(names(shown)) == inside
    shown.get_by_label("Search").fill("one")
    assert set(names(shown)) == {name for name in inside if int(name[1:-4]) % 2}
    for fault, expected in (("with a warning", {f"p{SMALL}.png", f"p{FLAT}.png"}), ("blur", {"p3.png"})):
        shown.click("#unfilter")
        shown.get_by_label("Faults").select_option(fault)
        assert set(names(shown)) == expected


def test_of_a_burst_the_best_stands_for_it_and_all_are_seen_side_by_side(shown):
    best = {max(burst, key=scores_of) for burst in BURSTS}
    hidden = set().union(*BURSTS) - best
    assert set(names(shown)) == {f"p{number}.png" for number in range(COUNT) if number not in hidden}
    shown.get_by_label("Search").fill("p20")  # not the best of its burst, or alone
    assert names(shown) == ["p20.png"]
    shown.get_by_role("button", name="burst of 2").click()
    assert set(in_view(shown)) == {"p20.png", "p21.png"}


def test_of_many_pictures_the_next_are_laid_out_when_one_comes_near_them(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "thumbnail", lambda image, side: np.zeros(9, np.uint8))
    many = [Result(Path(f"{number}.jpg"), {"technical": number % 97 / 10}) for number in range(500)]
    shown = opened(write(tmp_path / "page.html", many, ["technical"]))
    shown.click("#direction")
    expected = sorted(number % 97 / 10 for number in range(500))
    assert (first := scores(shown)) == expected[: len(first)] and len(first) < 300
    shown.focus("#pictures > li")
    shown.keyboard.press("End")
    assert scores(shown) == expected and focused(shown) == names(shown)[-1]
    assert len(saved(shown, "#list", tmp_path / "list.txt").read_text().splitlines()) == 500
