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


def write(path, results, names=("beauty", "technical"), order="both", bursts=False, **options):
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
        tab.evaluate("sessionStorage.clear()")
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
    """The mean of the places by both scores, to compare pictures that have both."""
    return BEAUTY[number] + 5 * TECHNICAL[number]


def names(shown):
    """The file names of the cards that can be seen, in their order."""
    return shown.eval_on_selector_all("#pictures .picture", "cards => cards.map(c => c.dataset.name.split('/').pop())")


def scores(shown, column=0):
    return shown.eval_on_selector_all(
        "#pictures .picture", f"cards => cards.map(c => JSON.parse(c.dataset.values)[{column}])"
    )


def focused(shown):
    return shown.evaluate("document.activeElement.dataset.name?.split('/').pop()")


def listed(shown):
    """The paths of the pictures that are selected."""
    return shown.input_value("#selection textarea").splitlines()


def best_first(values, some=range(COUNT)):
    return [f"p{number}.png" for number in sorted(some, key=lambda number: -values[number])]


def test_the_page_holds_everything_in_one_file(page):
    text = page.read_text(encoding="utf-8")
    assert is_page(page)
    assert text.count("data:image/webp;base64,") == COUNT
    assert 'src="' not in text.replace('src="data:', "")
    assert text.count("<dt>main fault</dt><dd>blur (75 %)</dd>") == 1
    assert text.count("<dt>AVA percentile</dt>") == text.count("<dt>size</dt><dd>640x480</dd>") == COUNT


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
    path = write(tmp_path / "page.html", results, ["technical"], more={"error": np.array([np.nan, np.inf])})
    text = path.read_text()
    assert text.count("there is no such file") == 2
    assert [json.loads(part.partition('"')[0]) for part in text.split('data-values="')[1:]] == [[2.0, None], [1.0, None]]


def test_the_keyboard_walks_through_it_and_selects(page, shown):
    shown.get_by_label("Bursts").select_option("one by one")
    order = names(shown)
    shown.focus("#pictures > li")
    for key, place in (("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2), ("Home", 0)):
        shown.keyboard.press(key)
        assert focused(shown) == order[place]
    shown.keyboard.press("Space")
    shown.keyboard.press("ArrowDown")
    places = shown.eval_on_selector_all("#pictures .picture", "all => all.map(e => [e.offsetLeft, e.offsetTop])")
    below = order.index(focused(shown))
    assert places[below][0] == places[0][0] and places[below][1] > places[0][1]
    shown.keyboard.press("Shift+ArrowRight")
    assert [path.rsplit("/")[-1] for path in listed(shown)] == [order[0], order[below], order[below + 1]]
    shown.keyboard.press("/")
    shown.keyboard.type("p13")
    assert names(shown) == ["p13.png"]
    shown.focus("#pictures > li")
    with shown.context.expect_page() as tab:
        shown.keyboard.press("Enter")
    assert tab.value.url.endswith("/one/p13.png")
    tab.value.close()  # or the page stays in the background, where all is slow


def test_the_selection_is_downloaded_and_outlives_a_reload_as_a_list_that_the_command_reads(page, shown, tmp_path):
    shown.get_by_label("Bursts").select_option("one by one")
    assert not shown.is_visible("#selection")
    boxes = shown.locator(".picture > input")
    boxes.nth(2).click()
    boxes.nth(5).click(modifiers=["Shift"])
    wanted = {path for path in (page.parent.parent / "holiday").rglob("*.png") if path.name in names(shown)[2:6]}
    assert shown.locator("#selection output").inner_text() == "4 selected"
    with shown.expect_download() as download:
        shown.click("#download")
    assert download.value.suggested_filename == "selection.txt"
    download.value.save_as(tmp_path / "list.txt")
    assert {path for path, reason in named_images([], [tmp_path / "list.txt"]) if reason is None} == wanted
    shown.reload()
    assert set(map(Path, listed(shown))) == wanted
    shown.click("#clear")
    assert listed(shown) == []


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
    shown.wait_for_timeout(100)
    assert shown.evaluate("window.run") is None
    found = shown.eval_on_selector_all("#pictures .name", "all => all.map(e => e.textContent)")
    assert set(found) == {printable(path.relative_to(tmp_path / "in")) for path in paths}
    shown.click("#pick")
    assert {Path(text_to_name(text)) for text in listed(shown)} == set(paths)
    assert "<script>window.run=1.png" in shown.inner_text("#skipped")
    for link in shown.eval_on_selector_all("#pictures a", "all => all.map(a => a.href)"):
        assert link.startswith(f"file://{tmp_path.resolve()}/in/")
        assert shown.goto(link).ok  # each leads to its picture, whatever its name


def test_what_people_said_stands_beside_what_the_model_says(tmp_path, opened):
    people = np.stack([np.roll(np.eye(10)[0], number) for number in range(10)])
    results = [result_of(number, Path(f"p{number}.png")) for number in range(10)]
    shown = opened(write(tmp_path / "page.html", results, ["beauty"], "beauty", labels=people))
    shown.get_by_label("Sort by").select_option("error")
    values = shown.eval_on_selector_all("#pictures > li", "cards => cards.map(c => JSON.parse(c.dataset.values))")
    assert [value[3] for value in values] == sorted((value[3] for value in values), reverse=True)
    assert all(error == pytest.approx(abs(score - mean), abs=2e-6) for score, _, mean, error in values)
    assert sorted(mean for _, _, mean, _ in values) == list(range(1, 11))
    assert shown.locator(".picture").first.locator(".votes").all_inner_texts() == ["predicted votes", "people's votes"]


def test_it_says_what_it_is_and_what_the_scores_mean_and_fits_a_telephone_in_light_and_dark(page, shown):
    assert shown.title() == shown.inner_text("h1") == "holiday: 45 pictures scored by a and t"
    header = shown.inner_text("header")
    for said in ("Beauty, 1-10: mean of the votes", "Technical quality, 0-9: TID2013", "1 file could not be scored"):
        assert said in header
    assert f"Folder: {page.parent.parent / 'holiday'}" in header
    assert "broken.png\tit is not an image" in shown.inner_text("#skipped tbody")
    assert shown.eval_on_selector_all("#pictures img", "all => all.every(i => i.complete && i.naturalWidth > 50)")
    shown.locator(".picture > input").nth(2).click()
    usual = shown.viewport_size
    for scheme, width in (("light", 360), ("dark", 1400)):
        shown.emulate_media(color_scheme=scheme)
        shown.set_viewport_size({"width": width, "height": 800})
        shown.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
        ink, paper = (
            sum(map(int, shown.evaluate(f"getComputedStyle(document.body).{side}.match(/\\d+/g)")))
            for side in ("color", "backgroundColor")
        )
        assert (ink < paper) == (scheme == "light")
    shown.emulate_media(color_scheme="light")
    shown.set_viewport_size(usual)
    unnamed = "all => all.filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).length"
    assert shown.eval_on_selector_all("button, input, select, textarea, a", unnamed) == 0


def test_it_sorts_by_either_score_by_both_and_by_time_and_shows_the_20_best(shown):
    shown.get_by_label("Bursts").select_option("one by one")
    both = scores(shown, 2)
    assert both == sorted(both, reverse=True)
    shown.get_by_label("Sort by").select_option("technical")
    rated = [number for number in range(COUNT) if number != SMALL]
    assert names(shown) == [*best_first(TECHNICAL, rated), f"p{SMALL}.png"]
    shown.click("#direction")
    assert names(shown) == [*best_first(-TECHNICAL, rated), f"p{SMALL}.png"]  # what has no score stays last
    shown.get_by_label("20 best").check()
    assert names(shown) == best_first(TECHNICAL, rated)[:20]
    assert shown.inner_text("#status") == "20 of 45 pictures, the best by technical"
    shown.get_by_label("20 worst").check()
    shown.get_by_label("Sort by").select_option("beauty")
    assert names(shown) == best_first(-BEAUTY)[:20]
    shown.get_by_label("20 best").check()
    shown.get_by_label("Name contains").fill("two/")
    assert names(shown) == best_first(BEAUTY, range(0, COUNT, 2))[:20]
    shown.click("#unfilter")
    shown.get_by_label("Bursts").select_option("one by one")
    shown.get_by_label("Sort by").select_option("time taken")
    assert names(shown) == [f"p{number}.png" for number in reversed(range(COUNT))]


def test_filters_of_both_scores_of_remarks_and_of_names_work_together(shown):
    beauty, technical = (shown.get_by_role("group", name=name) for name in ("beauty", "technical"))
    beauty.get_by_label("from").fill("3.8")  # 3 + 5 * share
    technical.get_by_label("to").fill("5")
    inside = {f"p{n}.png" for n in range(COUNT) if BEAUTY[n] >= 16 and TECHNICAL[n] <= 5 and n != SMALL}
    assert 0 < len(inside) < 25 and set(names(shown)) == inside
    shown.get_by_label("Name contains").fill("one")
    assert set(names(shown)) == {name for name in inside if int(name[1:-4]) % 2}
    shown.click("#unfilter")
    shown.get_by_label("Warnings, errors").select_option("with")
    assert set(names(shown)) == {f"p{SMALL}.png", f"p{FLAT}.png"}
    shown.click("#unfilter")
    shown.locator(".picture > input").nth(3).check()
    shown.get_by_label("show only these").check()
    assert len(names(shown)) == 1


def test_bursts_are_groups_that_name_their_best(shown):
    groups = shown.eval_on_selector_all(
        ".group", "all => all.map(g => [...g.querySelectorAll('.picture')].map(c => c.dataset.name.split('/').pop()))"
    )
    assert sorted(map(sorted, groups)) == [["p20.png", "p21.png"], ["p4.png", "p5.png", "p6.png"]]
    best = {max(group, key=lambda name: scores_of(int(name[1:-4]))) for group in groups}
    assert {heading.split()[-1] for heading in shown.locator(".group h3").all_inner_texts()} == best
    shown.get_by_label("Bursts").select_option("only the best of each")
    assert len(names(shown)) == COUNT - 3 and best < set(names(shown))
    shown.get_by_label("Bursts").select_option("only bursts")
    shown.get_by_label("Name contains").fill("p20")
    assert shown.locator(".group h3").inner_text().startswith("Burst 2, 1 of 2 pictures")


def test_many_pictures_are_sorted_and_filtered_and_shown_in_pages(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "thumbnail", lambda image, side: np.zeros(9, np.uint8))
    many = [Result(Path(f"{number}.jpg"), {"technical": number % 97 / 10}) for number in range(500)]
    shown = opened(write(tmp_path / "page.html", many, ["technical"]))
    shown.click("#direction")
    expected = sorted(number % 97 / 10 for number in range(500))
    assert scores(shown) == expected[:200]
    shown.get_by_label("next page").last.click()
    assert scores(shown) == expected[200:400]
    shown.focus("#pictures > li")
    shown.keyboard.press("ArrowLeft")
    assert scores(shown) == expected[:200] and focused(shown) == names(shown)[199]
    shown.click("#pick")
    assert len(listed(shown)) == 500
