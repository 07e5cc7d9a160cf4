"""The page: what is written, and what a person meets who opens it in a browser."""

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idealo_comparison import compare
from iqa.cards import AVA_SCALE, TID2013_SCALE
from iqa.errors import OutputError
from iqa.evaluation.predictions import Predictions, write_predictions
from iqa.files import printable, text_to_name
from iqa.images.finding import named_images
from iqa.labels.faults import Fault
from iqa.labels.histograms import Score
from iqa.scoring import page as page_module
from iqa.scoring.page import check_page, draw_distribution, is_page, write_page
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


def votes_of(number):
    votes = np.zeros(10, np.float32)
    votes[[2, 7]] = 1 - BEAUTY[number] / 100, BEAUTY[number] / 100
    return Score.of(votes, "AVA")


def result_of(number, path):
    first = next((min(burst) for burst in BURSTS if number in burst), number)
    return Result(
        path,
        {"beauty": votes_of(number)} | ({} if number == SMALL else {"technical": float(TECHNICAL[number])}),
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
    """opened(file) -> the page in a browser, whose console must have nothing to complain of."""
    contexts, complaints = [], []

    def open(file, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.resolve().as_uri())
        return page

    yield open
    for context in contexts:
        context.close()
    assert complaints == []


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


# --- what is written ------------------------------------------------------------------------------------------------


def test_the_page_holds_everything_in_one_file(page):
    text = page.read_text(encoding="utf-8")
    assert is_page(page)
    assert text.count("data:image/webp;base64,") == COUNT
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert 'src="' not in text.replace('src="data:', "")
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    assert text.count("<dt>main fault</dt><dd>blur (75 %)</dd>") == 1
    assert text.count("<dt>above in AVA</dt>") == text.count("<dt>size</dt><dd>640x480</dd>") == COUNT


def test_a_page_that_cannot_be_written_is_refused(monkeypatch):
    with pytest.raises(OutputError, match="a page is written to a name like page"):
        check_page("page.pdf")
    monkeypatch.setattr(page_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OutputError, match=r"pip install 'image-quality-assessment\[report\]'"):
        check_page("page.html")


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


def test_a_raw_file_stands_on_the_card_of_the_jpeg_of_the_same_shot(tmp_path):
    results = [result_of(number, Path(name)) for number, name in enumerate(("a.jpg", "a.dng", "b.jpg"))]
    text = write(tmp_path / "page.html", results).read_text()
    assert text.count('class="picture"') == 2 and "2 pictures scored" in text
    assert text.count("<dt>raw file</dt><dd>a.dng</dd>") == 1


@pytest.mark.parametrize("scores", [[4.2], [0.0, 9.0], [3.1, 96.0], [-1e5, 1e6]])
def test_the_axis_of_a_distribution_holds_all_scores_and_has_a_dozen_ticks_at_most(scores):
    drawn = draw_distribution("score", np.array(scores))
    ticks = [float(tick["text"]) for tick in drawn["across"]]
    assert 2 <= len(ticks) <= 12
    assert ticks[0] <= min(scores) and max(scores) <= ticks[-1]
    assert drawn["bars"].count("M") == len(scores)


# --- in a browser ---------------------------------------------------------------------------------------------------


def test_the_title_says_what_it_is_and_the_lead_what_the_scores_mean(page, opened):
    shown = opened(page)
    assert shown.title() == shown.inner_text("h1") == "holiday: 45 pictures scored by a and t"
    header = shown.inner_text("header")
    for said in ("Beauty, 1-10: mean of the votes", "Technical quality, 0-9: TID2013", "1 file could not be scored"):
        assert said in header
    assert f"Folder: {page.parent.parent / 'holiday'}" in header
    assert shown.locator(".distributions h2").all_inner_texts() == ["Distribution: beauty", "Distribution: technical"]
    assert "broken.png\tit is not an image" in shown.inner_text("#skipped tbody")
    assert shown.eval_on_selector_all("#pictures img", "all => all.every(i => i.complete && i.naturalWidth > 50)")


def test_it_sorts_by_either_score_by_both_by_name_and_by_time(page, opened):
    shown = opened(page)
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
    assert shown.locator("time").first.inner_text() == str(result_of(COUNT - 1, Path()).taken)
    shown.get_by_label("Sort by").select_option("name")
    assert names(shown)[:2] == ["p1.png", "p3.png"]
    assert names(shown)[-1] == "p44.png"


def test_the_20_best_and_the_20_worst_are_those_of_the_score_that_it_is_sorted_by(page, opened):
    shown = opened(page)
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


def test_filters_of_both_scores_of_remarks_and_of_names_work_together(page, opened):
    shown = opened(page)
    beauty, technical = (shown.get_by_role("group", name=name) for name in ("beauty", "technical"))
    beauty.get_by_label("from").fill("3.8")  # 3 + 5 * share
    technical.get_by_label("to").fill("5")
    inside = {f"p{n}.png" for n in range(COUNT) if BEAUTY[n] >= 16 and TECHNICAL[n] <= 5 and n != SMALL}
    assert 0 < len(inside) < 25 and set(names(shown)) == inside
    shown.get_by_label("Name contains").fill("one")
    assert set(names(shown)) == {name for name in inside if int(name[1:-4]) % 2}
    shown.click("#unfilter")
    assert len(names(shown)) == COUNT
    for choice, expected in (("with", 2), ("without", COUNT - 2)):
        shown.get_by_label("Warnings, errors").select_option(choice)
        assert len(names(shown)) == expected
        assert (f"p{SMALL}.png" in names(shown)) == (f"p{FLAT}.png" in names(shown)) == (choice == "with")
    shown.click("#unfilter")
    shown.locator(".picture > input").nth(3).check()
    shown.get_by_label("show only these").check()
    assert len(names(shown)) == 1
    shown.click("#clear")
    assert len(names(shown)) == COUNT


def test_bursts_are_groups_that_name_their_best(page, opened):
    shown = opened(page)
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


def test_the_keyboard_walks_through_it_and_selects(page, opened):
    shown = opened(page)
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
    shown.keyboard.press("Space")
    assert len(listed(shown)) == 2
    shown.keyboard.press("/")
    shown.keyboard.type("p13")
    assert names(shown) == ["p13.png"]
    while focused(shown) != "p13.png":
        shown.keyboard.press("Tab")
    with shown.context.expect_page() as tab:
        shown.keyboard.press("Enter")
    assert tab.value.url.endswith("/one/p13.png")


def test_the_selection_is_copied_and_downloaded_and_outlives_a_reload_as_a_list_that_the_command_reads(
    page, opened, tmp_path
):
    shown = opened(page)
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
    shown.click("#copy")
    shown.locator("#selection output", has_text="copied").wait_for()
    shown.focus("[name=text]")
    shown.keyboard.press("Control+V")
    assert all(str(path) in shown.input_value("[name=text]") for path in wanted)  # a field of one line joins them
    shown.reload()
    assert set(map(Path, listed(shown))) == wanted
    shown.click("#clear")
    assert listed(shown) == []


def test_names_are_shown_and_never_run(photograph, tmp_path, opened):
    nasty = (
        "<img src=x onerror=window.run=1>.png",
        "a<script>window.run=1</script>.png",  # in a folder
        '" onfocus="window.run=1" autofocus x=".png',
        "javascript:window.run=1.png",
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


def test_many_pictures_are_sorted_and_filtered_and_shown_in_pages(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "thumbnail", lambda image, side: np.zeros(9, np.uint8))
    many = [Result(Path(f"{number}.jpg"), {"technical": number % 977 / 100}) for number in range(1000)]
    shown = opened(write(tmp_path / "page.html", many, ["technical"]))
    shown.click("#direction")
    expected = sorted(number % 977 / 100 for number in range(1000))
    assert scores(shown) == expected[:200]
    assert shown.locator(".pager span").all_inner_texts() == ["1 to 200", "1 to 200"]
    shown.get_by_label("next page").last.click()
    assert scores(shown) == expected[200:400]
    shown.focus("#pictures > li")
    shown.keyboard.press("ArrowLeft")
    assert scores(shown) == expected[:200] and focused(shown) == names(shown)[199]
    shown.keyboard.press("ArrowDown")
    assert focused(shown) == names(shown)[0]
    shown.keyboard.press("End")
    assert scores(shown) == expected[800:]
    assert shown.get_by_label("next page").first.is_disabled()
    shown.click("#pick")
    assert len(listed(shown)) == 1000
    shown.get_by_label("Name contains").fill("999.")
    assert names(shown) == ["999.jpg"] and not shown.locator(".pager").first.is_visible()


def test_the_models_disagreements_come_first(command, save, photograph, tmp_path, opened):
    rng = np.random.default_rng(0)
    found = [f"p{number}.png" for number in range(14)]
    for name in found:
        save(name, photograph[:40, :60])
    labels, first = rng.uniform(1, 6, 14), rng.uniform(1, 6, 14).astype(np.float32)
    second = first + np.float32(0.1) * np.arange(14, dtype=np.float32)
    for name, predicted in (("a.mat", first), ("b.mat", second)):
        write_predictions(tmp_path / name, Predictions(labels, predicted, found, [], {"model": name}))
    code, _, err = command(
        compare, tmp_path / "a.mat", tmp_path / "b.mat", "--report", tmp_path / "page.html", "--images", tmp_path
    )
    assert code == 0, err
    shown = opened(tmp_path / "page.html")
    assert names(shown) == [f"p{number}.png" for number in range(13, -1, -1)]
    assert not shown.get_by_text("20 best").count()  # of a disagreement
    assert shown.locator("#pictures img").count() == 14
    assert "Williams-Steiger" in shown.inner_text("main")


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
def test_it_fits_a_telephone_and_a_desk_and_all_of_it_can_be_seen_in_light_and_dark(page, opened, scheme):
    shown = opened(page, color_scheme=scheme, viewport={"width": 360, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    shown.set_viewport_size({"width": 1400, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1400
    ink, paper = (
        shown.evaluate(f"getComputedStyle(document.body).{side}.match(/\\d+/g).map(Number)")
        for side in ("color", "backgroundColor")
    )
    assert (np.mean(ink) < np.mean(paper)) == (scheme == "light")
    shown.locator(".picture > input").nth(2).click()
    found = shown.evaluate(CONTRASTS)
    assert len(found) > 300
    assert [text for contrast, text in found if contrast < 4.5] == []
    edges = shown.eval_on_selector_all(
        "#pictures img",
        "all => all.map(i => { const s = getComputedStyle(i);"
        " return [s.borderTopWidth, s.borderTopColor, getComputedStyle(i.closest('.picture')).backgroundColor] })",
    )
    assert all(width == "1px" and edge != card for width, edge, card in edges)
    scale = shown.evaluate("getComputedStyle(document.querySelector('.votes'), '::after').content")
    assert scale == '"1 2 3 4 5 6 7 8 9 10"'


def test_each_control_has_a_name_and_is_reached_without_a_mouse(page, opened):
    shown = opened(page)
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
    results = [result_of(number, Path(f"p{number}.png")) for number in range(12)]
    shown = opened(write(tmp_path / "page.html", results, order="technical"))
    rated = [number for number in range(12) if number != SMALL]
    assert names(shown) == [*best_first(TECHNICAL, rated), f"p{SMALL}.png"]
    assert shown.get_by_label("Sort by").locator("option:checked").inner_text() == "technical"
    assert shown.get_by_label("Bursts").count() == 0
