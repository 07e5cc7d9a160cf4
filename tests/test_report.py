"""The page: what is written, and what a person meets who opens it in a browser."""

import os
import shutil
import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idealo_comparison import compare
from iqa.cards import AVA_SCALE
from iqa.evaluation.predictions import Predictions, write_predictions
from iqa.files import printable, text_to_name
from iqa.images.finding import named_images
from iqa.labels.faults import KINDS
from iqa.labels.opinions import Prediction
from iqa.scoring import report
from iqa.scoring.collection import provenance
from iqa.scoring.drawings import draw_distribution
from iqa.scoring.journal import Entry
from iqa.scoring.pair_results import Results
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
    return page.eval_on_selector_all("#pictures .picture", "cards => cards.map(c => c.dataset.name.split('/').pop())")


def scores(page, column=0):
    return page.eval_on_selector_all(
        "#pictures .picture", f"cards => cards.map(c => JSON.parse(c.dataset.values)[{column}])"
    )


def focused(page):
    return page.evaluate("document.activeElement.dataset.name?.split('/').pop()")


def listed(page):
    """The paths of the pictures that are selected."""
    return page.input_value("#selection textarea").splitlines()


def test_the_page_holds_everything_in_one_file(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,") == 14
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert 'src="' not in text.replace('src="data:', "")
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_pictures_are_sorted_by_score_and_the_skipped_have_their_reasons(page, opened):
    shown = opened(page)
    assert shown.complaints == []
    assert len(scores(shown)) == 14
    assert scores(shown) == sorted(scores(shown), reverse=True)
    assert shown.title() == "in: 14 pictures scored by tiny"
    assert "broken.png" in shown.inner_text("#skipped tbody th")
    assert "it is not an image" in shown.inner_text("#skipped tbody td")
    assert shown.eval_on_selector_all("#pictures img", "all => all.every(i => i.complete && i.naturalWidth > 100)")


def test_it_sorts_and_filters(page, opened):
    shown = opened(page)
    shown.click("#direction")
    assert scores(shown) == sorted(scores(shown))
    shown.get_by_label("Sort by").select_option("name")
    shown.click("#direction")
    assert names(shown)[:3] == ["p0.png", "p1.png", "p2.png"]
    shown.get_by_label("Name contains").fill("P1")
    assert names(shown) == ["p1.png", "p10.png", "p11.png", "p12.png", "p13.png"]
    assert shown.inner_text("#status") == "5 of 14 pictures"
    shown.click("#unfilter")
    middle = sorted(scores(shown))[7]
    shown.get_by_label("from", exact=True).fill(str(middle))
    assert min(scores(shown)) == pytest.approx(middle)
    assert shown.inner_text("#status") == "7 of 14 pictures"
    shown.get_by_label("to", exact=True).fill(str(middle))
    assert scores(shown) == pytest.approx([middle])
    assert shown.complaints == []


def test_the_keyboard_walks_through_it_and_selects(page, opened):
    shown = opened(page)
    order = names(shown)
    shown.focus("#pictures > li")
    shown.keyboard.press("ArrowRight")
    assert focused(shown) == order[1]
    shown.keyboard.press("End")
    assert focused(shown) == order[-1]
    shown.keyboard.press("ArrowLeft")
    assert focused(shown) == order[-2]
    shown.keyboard.press("Home")
    shown.keyboard.press("Space")
    shown.keyboard.press("ArrowDown")
    places = shown.eval_on_selector_all("#pictures .picture", "all => all.map(e => [e.offsetLeft, e.offsetTop])")
    below = order.index(focused(shown))
    assert places[below][0] == places[0][0] and places[below][1] > places[0][1]
    shown.keyboard.press("Shift+ArrowRight")
    assert [path.rsplit("/")[-1] for path in listed(shown)] == [order[0], order[below], order[below + 1]]
    shown.keyboard.press("Space")
    assert len(listed(shown)) == 2
    shown.keyboard.press("/")
    shown.keyboard.type("p13")
    assert names(shown) == ["p13.png"]
    for _ in range(10):
        shown.keyboard.press("Tab")
        if focused(shown):
            break
    assert focused(shown) == "p13.png"
    with shown.context.expect_page() as tab:
        shown.keyboard.press("Enter")
    assert tab.value.url.endswith("/in/p13.png")


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
    shown.click("#pick")
    on_disk = {path for path in (tmp_path / "in").rglob("*.png") if not path.name.startswith("<script>")}
    assert {Path(text_to_name(text)) for text in listed(shown)} == on_disk
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
    shown.get_by_label("Sort by").select_option("error")
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
    assert "14 scores" in seen["distributions"][0]["label"]


def test_five_thousand_pictures_are_sorted_and_filtered_and_shown_in_pages(opened, tmp_path):
    many = [Picture(f"{number}.jpg", None, {"score": number % 977 / 100}) for number in range(5000)]
    write_page(tmp_path / "page.html", many, "5000 pictures", "")
    shown = opened(tmp_path / "page.html")
    shown.click("#direction")
    expected = sorted(picture.values["score"] for picture in many)
    assert scores(shown) == expected[:200]
    assert shown.locator(".pager span").all_inner_texts() == ["1 to 200", "1 to 200"]
    shown.get_by_label("next page").last.click()
    assert scores(shown) == expected[200:400]
    shown.focus("#pictures > li")
    shown.keyboard.press("ArrowLeft")
    assert scores(shown) == expected[:200]
    assert focused(shown) == names(shown)[199]
    shown.keyboard.press("ArrowDown")
    assert focused(shown) == names(shown)[0]
    shown.keyboard.press("End")
    assert scores(shown) == expected[4800:]
    assert shown.get_by_label("next page").first.is_disabled()
    shown.click("#pick")
    assert len(listed(shown)) == 5000
    shown.get_by_label("Name contains").fill("4999.")
    assert names(shown) == ["4999.jpg"]
    assert not shown.locator(".pager").first.is_visible()


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
    assert not shown.get_by_text("20 best").count()  # of a disagreement
    assert shown.locator("#pictures img").count() == 14
    assert "Williams-Steiger" in shown.inner_text("main")
    assert shown.complaints == []


def test_a_page_takes_no_more_memory_than_one_of_its_thumbnails(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "thumbnail", lambda image, side: np.zeros(100_000, np.uint8))
    many = [Picture(f"{number}.jpg", tmp_path, {"score": 1.0}) for number in range(300)]
    tracemalloc.start()
    write_page(tmp_path / "page.html", many, "300 pictures", "")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "page.html").stat().st_size > 40_000_000 > 4 * most


@pytest.mark.parametrize("scores", [[4.2], [0.0, 9.0], [3.1, 96.0], [-1e5, 1e6]])
def test_the_axis_of_a_distribution_holds_all_scores_and_has_a_dozen_ticks_at_most(scores):
    drawn = draw_distribution("score", np.array(scores))
    ticks = [float(tick["text"]) for tick in drawn["across"]]
    assert 2 <= len(ticks) <= 12
    assert ticks[0] <= min(scores) and max(scores) <= ticks[-1]
    assert drawn["bars"].count("M") == len(scores)


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


# --- the page of both scores ----------------------------------------------------------------------------------------

COUNT = 45
BEAUTY = np.random.default_rng(1).permutation(COUNT)  # of picture 0, 1 ...: the higher, the more votes for 8 than for 3
TECHNICAL = np.random.default_rng(2).permutation(COUNT) / 5
BURSTS = [{4, 5, 6}, {20, 21}]  # taken within seconds; all others are a minute apart
SMALL = 7  # which the technical model refuses
FLAT = 9  # has a warning


def opinion_of(number):
    """The answer of a `Pair` on a picture, as `iqa.scoring.pair.judge` makes it."""
    votes = np.zeros(10)
    votes[[2, 7]] = 1 - BEAUTY[number] / 100, BEAUTY[number] / 100
    first = next((min(burst) for burst in BURSTS if number in burst), number)
    second = 60 * first + number - first  # of a day that is 20,000 days after 1970
    head = [1, number != SMALL, 640, 480, 20_000, second, 0]
    remark = {SMALL: "too small for patches", FLAT: "nearly one flat colour"}.get(number)
    return Prediction(np.array([*head, *votes, TECHNICAL[number], *np.zeros(len(KINDS)), 1, 0], np.float32), warning=remark)


@pytest.fixture(scope="module")
def pair_page(tmp_path_factory):
    """45 pictures, light and dark by turns, in two folders."""
    folder = tmp_path_factory.mktemp("pair") / "holiday"
    entries = []
    for number in range(COUNT):
        path = folder / ("one" if number % 2 else "two") / f"p{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), ("white", "black")[number % 2]).save(path)
        entries.append(Entry(str(path), path, prediction=opinion_of(number)))
    entries.append(Entry("broken.png", folder / "broken.png", prediction=Prediction(reason="broken")))
    results = Results(lambda: iter(entries), AVA_SCALE, {"model": "a; t"}, bursts=True)
    results.write_page(folder.parent / "page.html")
    return folder.parent / "page.html"


def best_first(values, some=range(COUNT)):
    return [f"p{number}.png" for number in sorted(some, key=lambda number: -values[number])]


def test_the_title_says_what_it_is_and_the_lead_what_the_scores_mean(pair_page, opened):
    shown = opened(pair_page)
    assert shown.title() == shown.inner_text("h1") == "holiday: 45 pictures scored by a and t"
    header = shown.inner_text("header")
    assert "Beauty, 1-10: mean of the votes" in header and "Technical quality, 0-9: TID2013" in header
    assert f"Folder: {pair_page.parent / 'holiday'}" in header and "1 file could not be scored" in header
    assert shown.locator(".distributions h2").all_inner_texts() == ["Distribution: beauty", "Distribution: technical"]


def test_it_sorts_by_either_score_by_both_by_name_and_by_time(pair_page, opened):
    shown = opened(pair_page)
    shown.get_by_label("Bursts").select_option("one by one")
    both = scores(shown, 2)
    assert both == sorted(both, reverse=True)
    shown.get_by_label("Sort by").select_option("beauty")
    assert names(shown) == best_first(BEAUTY)
    shown.get_by_label("Sort by").select_option("technical")
    rated = [number for number in range(COUNT) if number != SMALL]
    assert names(shown) == [*best_first(TECHNICAL, rated), f"p{SMALL}.png"]
    shown.click("#direction")
    assert names(shown) == [*best_first(-TECHNICAL, rated), f"p{SMALL}.png"]  # what has no score stays last
    shown.click("#direction")
    shown.get_by_label("Sort by").select_option("time taken")
    assert names(shown) == [f"p{number}.png" for number in reversed(range(COUNT))]
    assert shown.inner_text("#direction") == "latest first"
    last = datetime(1970, 1, 1) + timedelta(days=20_000, minutes=COUNT - 1)
    assert shown.locator("time").first.inner_text() == str(last)
    shown.get_by_label("Sort by").select_option("name")
    assert names(shown)[:2] == ["p1.png", "p3.png"]
    assert names(shown)[-1] == "p44.png"


def test_the_20_best_and_the_20_worst_are_those_of_the_score_that_it_is_sorted_by(pair_page, opened):
    shown = opened(pair_page)
    shown.get_by_label("Bursts").select_option("one by one")
    shown.get_by_label("Sort by").select_option("technical")
    shown.get_by_label("20 best").check()
    rated = [number for number in range(COUNT) if number != SMALL]
    assert names(shown) == best_first(TECHNICAL, rated)[:20]
    assert shown.inner_text("#status") == "20 of 45 pictures, the best by technical"
    shown.get_by_label("20 worst").check()
    assert names(shown) == best_first(-TECHNICAL, rated)[:20]
    shown.get_by_label("Sort by").select_option("beauty")
    assert names(shown) == best_first(-BEAUTY)[:20]
    shown.get_by_label("20 best").check()
    shown.get_by_label("Name contains").fill("two/")
    assert names(shown) == best_first(BEAUTY, range(0, COUNT, 2))[:20]


def test_filters_of_both_scores_of_remarks_and_of_names_work_together(pair_page, opened):
    shown = opened(pair_page)
    shown.get_by_label("Bursts").select_option("one by one")
    beauty, technical = (shown.get_by_role("group", name=name) for name in ("beauty", "technical"))
    beauty.get_by_label("from").fill("3.8")  # 3 + 5 * share
    technical.get_by_label("to").fill("5")
    inside = {f"p{n}.png" for n in range(COUNT) if BEAUTY[n] >= 16 and TECHNICAL[n] <= 5 and n != SMALL}
    assert 0 < len(inside) < 25
    assert set(names(shown)) == inside
    shown.get_by_label("Name contains").fill("one")
    assert set(names(shown)) == {name for name in inside if int(name[1:-4]) % 2}
    shown.click("#unfilter")
    assert len(names(shown)) == COUNT
    shown.get_by_label("Warnings, errors").select_option("with")
    assert set(names(shown)) == {f"p{SMALL}.png", f"p{FLAT}.png"}
    shown.get_by_label("Warnings, errors").select_option("without")
    assert len(names(shown)) == COUNT - 2
    shown.click("#unfilter")
    shown.locator(".picture > input").nth(3).check()
    shown.get_by_label("show only these").check()
    assert len(names(shown)) == 1
    shown.click("#clear")
    assert len(names(shown)) == COUNT


def test_bursts_are_groups_that_name_their_best(pair_page, opened):
    shown = opened(pair_page)
    groups = shown.eval_on_selector_all(
        ".group", "all => all.map(g => [...g.querySelectorAll('.picture')].map(c => c.dataset.name.split('/').pop()))"
    )
    assert sorted(map(sorted, groups)) == [["p20.png", "p21.png"], ["p4.png", "p5.png", "p6.png"]]
    headings = sorted(shown.locator(".group h3").all_inner_texts())
    marked = dict(
        shown.eval_on_selector_all("[data-best]", "all => all.map(c => [c.dataset.burst, c.dataset.name.split('/').pop()])")
    )
    assert headings == [f"Burst 1, 3 pictures. The best: {marked['1']}", f"Burst 2, 2 pictures. The best: {marked['2']}"]
    shown.get_by_label("Bursts").select_option("only the best of each")
    assert len(names(shown)) == COUNT - 3
    assert set(marked.values()) < set(names(shown))
    shown.get_by_label("Bursts").select_option("only bursts")
    assert len(names(shown)) == 5 and shown.locator(".group").count() == 2
    shown.get_by_label("Name contains").fill("p20")
    assert shown.locator(".group h3").inner_text().startswith("Burst 2, 1 of 2 pictures")
    shown.click("#unfilter")
    shown.get_by_label("Bursts").select_option("one by one")
    assert shown.locator(".group").count() == 0
    assert len(names(shown)) == COUNT


def test_the_selection_is_copied_and_downloaded_as_a_list(pair_page, opened):
    shown = opened(pair_page)
    shown.get_by_label("Bursts").select_option("one by one")
    assert not shown.is_visible("#selection")
    boxes = shown.locator(".picture > input")
    boxes.nth(2).click()
    boxes.nth(5).click(modifiers=["Shift"])
    wanted = {str(path) for path in (pair_page.parent / "holiday").rglob("*.png") if path.name in names(shown)[2:6]}
    assert shown.locator("#selection output").inner_text() == "4 selected"
    assert set(listed(shown)) == wanted
    with shown.expect_download() as download:
        shown.click("#download")
    assert download.value.suggested_filename == "selection.txt"
    assert set(Path(download.value.path()).read_text().splitlines()) == wanted
    shown.click("#copy")
    shown.locator("#selection output", has_text="copied").wait_for()
    shown.focus("[name=text]")
    shown.keyboard.press("Control+V")
    assert all(path in shown.input_value("[name=text]") for path in wanted)  # a field of one line joins them
    shown.click("#clear")
    assert listed(shown) == []
    assert shown.complaints == []


def test_a_selection_outlives_a_reload(pair_page, opened):
    shown = opened(pair_page)
    shown.locator(".picture > input").nth(2).click()
    before = listed(shown)
    shown.reload()
    assert listed(shown) == before
    assert shown.locator(".picture > input").nth(2).is_checked()


def test_a_list_of_the_selection_is_read_by_the_command(pair_page, opened, tmp_path):
    shown = opened(pair_page)
    shown.click("#pick")
    (tmp_path / "list.txt").write_text(shown.input_value("#selection textarea"))
    found = list(named_images([], [tmp_path / "list.txt"]))
    assert {path for path, reason in found if reason is None} == set((pair_page.parent / "holiday").rglob("p*.png"))


def test_light_pictures_are_set_off_from_the_page_and_votes_have_a_scale(pair_page, opened):
    for scheme in ("light", "dark"):
        shown = opened(pair_page, color_scheme=scheme)
        edges = shown.eval_on_selector_all(
            "#pictures img",
            "all => all.map(i => { const s = getComputedStyle(i);"
            " return [s.borderTopWidth, s.borderTopColor, getComputedStyle(i.closest('.picture')).backgroundColor] })",
        )
        assert all(width == "1px" and edge != card for width, edge, card in edges)
    scale = shown.evaluate("getComputedStyle(document.querySelector('.votes'), '::after').content")
    assert scale == '"1 2 3 4 5 6 7 8 9 10"'
    assert shown.locator(".votes figcaption").first.inner_text() == "predicted votes"


# The contrast of two colours as WCAG 2 defines it, of each text with what lies behind it.
CONTRASTS = r"""() => {
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => sum + share * linear(rgb[i] / 255), 0);
  const behind = (element) => {
    const colour = parse(getComputedStyle(element).backgroundColor);
    return colour[3] === 0 ? behind(element.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility() && !element.disabled
    && !element.closest("svg") && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((element) => {
    const colours = [parse(getComputedStyle(element).color), behind(element)].map(luminance).sort((a, b) => b - a);
    return [(colours[0] + 0.05) / (colours[1] + 0.05), element.outerHTML.slice(0, 80)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_that_wcag_asks_for(pair_page, opened, scheme):
    shown = opened(pair_page, color_scheme=scheme)
    shown.locator(".picture > input").nth(2).click()
    found = shown.evaluate(CONTRASTS)
    assert len(found) > 300
    assert [text for contrast, text in found if contrast < 4.5] == []


def test_each_control_has_a_name_and_is_reached_without_a_mouse(pair_page, opened):
    shown = opened(pair_page)
    shown.locator(".picture > input").nth(2).click()
    tree = shown.context.new_cdp_session(shown).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "combobox", "radio", "searchbox", "spinbutton", "textbox", "link"}
    controls = [node for node in tree if node.get("role", {}).get("value") in roles]
    assert len(controls) > 2 * COUNT
    assert [node for node in controls if not node["name"]["value"]] == []
    wanted = shown.eval_on_selector_all(
        "#controls :is(select, button, input:not([type=radio])), #selection :is(button, input), summary",
        "all => all.filter(e => e.checkVisibility()).map(e => e.id || e.name || e.textContent)",
    )
    shown.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(40):
        shown.keyboard.press("Tab")
        reached.append(shown.evaluate("(e => e.id || e.name || e.textContent)(document.activeElement)"))
    assert set(wanted) <= set(reached)
    assert "view" in reached


def test_the_best_are_shown_first_by_whatever_they_are_ranked(tmp_path, opened):
    entries = [Entry(f"{number}.png", None, prediction=opinion_of(number)) for number in range(12)]
    results = Results(lambda: iter(entries), AVA_SCALE, {"model": "a; t"}, order="technical")
    results.write_page(tmp_path / "page.html")
    shown = opened(tmp_path / "page.html")
    rated = [number for number in range(12) if number != SMALL]
    assert names(shown) == [f"{name[1:]}" for name in [*best_first(TECHNICAL, rated), f"p{SMALL}.png"]]
    assert shown.get_by_label("Sort by").locator("option:checked").inner_text() == "technical"
    assert shown.get_by_label("Bursts").count() == 0
