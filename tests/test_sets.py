"""What is made of the scores of a set: places, bursts, stars in sidecars, shelves, tables."""

import csv
import json
import os
import re
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from scipy.stats import rankdata

from iqa.cards import AVA_SCALE
from iqa.errors import OutputError
from iqa.images.capture import read_time
from iqa.labels.faults import KINDS
from iqa.labels.opinions import Prediction
from iqa.scoring.bursts import find_bursts
from iqa.scoring.journal import Entry
from iqa.scoring.pair_results import Results
from iqa.scoring.pair_tables import picture_of_pair, row_of_pair
from iqa.scoring.ranking import rank, rank_pairs
from iqa.scoring.shelves import check_folder, sort_into
from iqa.scoring.sidecars import rate

# --- places ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_places_are_those_of_scipy_between_0_and_1(values):
    np.testing.assert_allclose(rank(values), (rankdata(values) - 0.5) / len(values))


def test_a_picture_that_lacks_a_score_is_ranked_by_the_other():
    nan = float("nan")
    places = rank_pairs([5.0, 6.0, 4.0, nan], [3.0, nan, 2.0, nan])
    assert np.nanargmax(places) == 1 and np.nanargmin(places) == 2 and np.isnan(places[3])
    np.testing.assert_array_equal(rank_pairs([5.0, 6.0], [nan, 1.0], "technical"), [nan, 0.5])


# --- bursts ---------------------------------------------------------------------------------------------------------


def directions(*degrees):
    return [np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) for angle in degrees]


def test_pictures_near_in_time_and_alike_are_a_burst():
    times = [0.0, 1.0, 2.0, 100.0, 101.0]
    assert find_bursts(times, directions(0, 5, 80, 0, 3)) == [[0, 1], [3, 4]]


def test_a_burst_may_last_longer_than_the_time_between_two_of_its_pictures():
    assert find_bursts([0.0, 2.0, 4.0, 6.0], directions(0, 5, 10, 15)) == [[0, 1, 2, 3]]


def test_a_picture_of_something_else_does_not_end_a_burst():
    assert find_bursts([0.0, 1.0, 2.0], directions(0, 90, 4)) == [[0, 2]]


def test_a_picture_between_two_bursts_joins_them():
    assert find_bursts([0.0, 1.0, 2.0], directions(0, 50, 25)) == [[0, 1, 2]]


def test_pictures_without_a_time_or_a_score_are_in_no_burst():
    assert find_bursts([None, 0.0, 1.0], [*directions(0, 0), None]) == []


def test_a_long_series_is_one_burst_in_no_time():
    assert len(find_bursts([n / 10 for n in range(3000)], directions(*[0] * 3000))[0]) == 3000


def test_the_time_of_capture_is_read_to_the_fraction(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = "2025:01:01 00:00:00"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:01 10:20:30"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.SubsecTimeOriginal] = "25"
    for name in ("p.jpg", "p.png", "p.webp"):
        Image.new("RGB", (9, 9)).save(tmp_path / name, exif=exif)
        assert read_time(tmp_path / name) == datetime(2024, 5, 1, 10, 20, 30, 250_000), name
    Image.new("RGB", (9, 9)).save(tmp_path / "none.jpg")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "p.jpg").read_bytes()[:40])
    assert read_time(tmp_path / "none.jpg") is read_time(tmp_path / "broken.jpg") is None


# --- stars ----------------------------------------------------------------------------------------------------------

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="{stars}"
   darktable:xmp_version="5">
   <darktable:history><rdf:Seq><rdf:li darktable:params="a&quot;b&#10;c"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

AS_ELEMENT = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"><xmp:Rating>{stars}</xmp:Rating></rdf:Description>
</rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


def read_stars(sidecar):
    """The rating of a sidecar as an XML parser reads it, and exiv2 and exiftool where they are."""
    description = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
    rating = "{http://ns.adobe.com/xap/1.0/}Rating"
    root = ElementTree.parse(sidecar).getroot()
    texts = [node.get(rating) for node in root.iter(description) if node.get(rating)] + [n.text for n in root.iter(rating)]
    (stars,) = map(int, texts)
    try:
        import exiv2
    except ImportError:
        pass
    else:
        image = exiv2.ImageFactory.open(str(sidecar))
        image.readMetadata()
        assert image.xmpData()["Xmp.xmp.Rating"].toInt64() == stars
    if shutil.which("exiftool"):
        said = subprocess.run(["exiftool", "-s3", "-XMP:Rating", sidecar], capture_output=True, text=True, check=True)
        assert int(said.stdout) == stars
    return stars


@pytest.mark.parametrize(("names", "sidecar"), [("darktable", "a.jpg.xmp"), ("lightroom", "a.xmp")])
def test_stars_are_written_beside_a_picture_and_read_back_by_other_programs(picture, names, sidecar):
    content = picture.read_bytes()
    for stars in (1, 5, 3):
        assert rate(picture, stars, names, overwrite=True) is None
        assert read_stars(picture.with_name(sidecar)) == stars
    assert picture.read_bytes() == content
    assert {path.name for path in picture.parent.iterdir()} == {"a.jpg", sidecar}


@pytest.mark.parametrize("form", [DARKTABLE, AS_ELEMENT])
def test_all_that_an_editor_wrote_stays_when_stars_are_added(picture, form):
    sidecar = picture.with_name("a.jpg.xmp")
    sidecar.write_text(form.format(stars=0))
    assert rate(picture, 4) is None
    assert sidecar.read_text() == form.format(stars=4)


@pytest.mark.parametrize("where", ["a.jpg.xmp", "a.xmp"])
def test_stars_that_somebody_gave_are_kept_unless_it_is_asked_for(picture, where):
    picture.with_name(where).write_text(DARKTABLE.format(stars=2))
    assert rate(picture, 4) == "has 2 stars already"
    assert picture.with_name(where).read_text() == DARKTABLE.format(stars=2)
    assert rate(picture, 4, overwrite=True) is None
    assert read_stars(picture.with_name("a.jpg.xmp")) == 4


def test_a_rejected_picture_stays_rejected(picture):
    picture.with_name("a.jpg.xmp").write_text(AS_ELEMENT.format(stars=-1))
    assert rate(picture, 4) == "is rejected already"


def test_stars_in_the_picture_itself_are_kept_too(tmp_path):
    exif = Image.Exif()
    exif[0x4746] = 3
    Image.new("RGB", (9, 9)).save(tmp_path / "exif.jpg", exif=exif)
    Image.new("RGB", (9, 9)).save(tmp_path / "xmp.jpg", xmp=DARKTABLE.format(stars=3).encode())
    for name in ("exif.jpg", "xmp.jpg"):
        assert rate(tmp_path / name, 5) == "has 3 stars already"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [b"no xml", b"\xff\xfe<\0", b"<!DOCTYPE x><x/>", b"<x/>", b""])
def test_a_sidecar_of_an_unknown_form_stays_as_it_is(picture, content):
    sidecar = picture.with_name("a.jpg.xmp")
    sidecar.write_bytes(content)
    with pytest.raises(OutputError, match=r"a\.jpg\.xmp: .*it stays as it is"):
        rate(picture, 4)
    assert sidecar.read_bytes() == content


# --- shelves --------------------------------------------------------------------------------------------------------


def test_pictures_are_linked_or_copied_into_shelves_under_names_of_their_own(tmp_path):
    for name in ("a/x.jpg", "b/x.jpg", "b/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    pictures = [(tmp_path / "a/x.jpg", "best"), (tmp_path / "b/x.jpg", "best"), (tmp_path / "b/y.jpg", "worst")]
    for copy in (False, True):
        folder = tmp_path / f"sorted {copy}"
        assert sort_into(folder, [*pictures, (tmp_path / "gone.jpg", "rest")] if copy else pictures, copy)[0] == 3
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        assert set(found) == {"best/x.jpg", "best/x (2).jpg", "worst/y.jpg"}
        assert found["best/x (2).jpg"].read_text() == "b/x.jpg"
        assert all(path.is_symlink() != copy for path in found.values())
        assert {path.name for path in folder.iterdir()} == {"best", "good", "rest", "worst"}


def test_nothing_is_sorted_into_a_folder_that_holds_anything(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="a new or an empty folder"):
        check_folder(tmp_path)
    with pytest.raises(OutputError):
        sort_into(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    check_folder(tmp_path / "new")


def test_pictures_are_not_sorted_into_the_folder_that_they_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for named in (".", tmp_path):
        with pytest.raises(OutputError, match="find each picture twice"):
            check_folder(Path("sorted"), [named])
    check_folder(tmp_path.parent / "sorted elsewhere", [".", "a.jpg", "*.jpg"])


def test_a_run_that_fails_while_it_sorts_leaves_no_folder(tmp_path):
    def pictures():
        yield Path(__file__), "best"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sort_into(tmp_path / "sorted", pictures())
    assert not list(tmp_path.iterdir())


# --- a set ----------------------------------------------------------------------------------------------------------


def entry_of(name, beauty, technical, time=0.0, feature=0.0, warning=None, day=20_000, fault=None):
    """An entry as `iqa.scoring.pair.judge` makes it: a histogram with one vote, a score, a second, features in a plane."""
    votes = np.zeros(10)
    votes[beauty - 1] = 1
    known = technical is not None
    said = [*votes, technical or 0, *(fault or np.zeros(len(KINDS)))]
    numbers = [1, known, 640, 480, day, time, bool(fault), *said, np.cos(feature), np.sin(feature)]
    return Entry(name, Path(name), prediction=Prediction(np.array(numbers, np.float32), warning=warning))


@pytest.fixture
def results():
    entries = [
        entry_of("a.jpg", 5, 4.0),
        entry_of("b.jpg", 6, 5.0, 1.5, 0.1),
        entry_of("c.jpg", 2, None, 60, warning="too small"),
        Entry("d.jpg", Path("d.jpg"), prediction=Prediction(reason="broken")),
    ]
    return Results(lambda: iter(entries), AVA_SCALE, {"model": "m"}, bursts=True)


def test_a_clock_that_is_set_back_in_this_place_does_not_tear_a_burst_apart(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    # 27 October 2024: at 3:00 in Berlin it was 2:00 again, but the camera's clock went on.
    entries = [entry_of(name, 5, 4.0, 3 * 3600 + second, day=20_023) for name, second in (("a.jpg", -1), ("b.jpg", 1))]
    results = Results(lambda: iter(entries), AVA_SCALE, {"model": "m"}, bursts=True)
    monkeypatch.undo()
    time.tzset()
    assert results.bursts == [[0, 1]]


def test_a_table_has_the_columns_that_are_documented(results, tmp_path):
    results.write_table(tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="") as file:
        first, second, third, fourth = csv.DictReader(file)
    assert list(first)[:8] == ["path", "beauty", "beauty_std", "beauty_percentile", "technical", "width", "height", "error"]
    assert list(first)[8:] == ["warning", "fault", "fault_share", "taken", "burst", "best_of_burst"]
    assert (first["path"], first["beauty"], first["technical"], first["width"]) == ("a.jpg", "5.0", "4.0", "640")
    assert (first["burst"], second["burst"], first["best_of_burst"], second["best_of_burst"]) == ("1", "1", "False", "True")
    assert first["taken"] == "2024-10-04T00:00:00"
    assert (third["beauty"], third["technical"], third["error"]) == ("2.0", "", "too small")
    assert (fourth["beauty"], fourth["error"]) == ("", "broken")


def test_the_other_formats_hold_the_same(results, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    results.write_table(tmp_path / "s.jsonl")
    results.write_table(tmp_path / "s.parquet")
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    rows = parquet.read_table(tmp_path / "s.parquet").to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == lines
    assert lines[1] | {"taken": 0} == {
        **{"path": "b.jpg", "beauty": 6.0, "beauty_std": 0.0, "beauty_percentile": lines[1]["beauty_percentile"]},
        **{"technical": 5.0, "width": 640, "height": 480, "taken": 0, "burst": 1, "best_of_burst": True},
    }


def test_the_best_come_first_and_bursts_name_theirs(results):
    assert [row["path"] for row in results.top(2)] == ["b.jpg", "a.jpg"]
    assert list(results.describe_bursts()) == ["burst 1: 2 pictures, the best is b.jpg"]


def test_the_page_and_the_row_name_the_main_fault_of_a_picture_that_has_one():
    fine = entry_of("a.jpg", 5, 5.0)
    blurred = entry_of("b.jpg", 5, 5.0, fault=np.log([1, 1, 15, 1, 1, 0.5, 0.5]).tolist())
    assert "main fault" not in picture_of_pair(fine, AVA_SCALE, 0.5).lines
    assert picture_of_pair(blurred, AVA_SCALE, 0.5).lines["main fault"] == "blur (75 %)"
    row = row_of_pair(blurred, AVA_SCALE)
    assert (row["fault"], row["fault_share"]) == ("blur", 0.75)
    assert "fault" not in row_of_pair(fine, AVA_SCALE)


def test_stars_and_shelves_follow_the_places(tmp_path):
    entries = []
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_text("no picture")
        entries.append(entry_of(str(tmp_path / f"{number}.jpg"), number + 1, float(number)))
    results = Results(lambda: iter(entries), AVA_SCALE, {"model": "m"})
    assert list(results.write_stars("darktable", False)) == ["stars: 10 sidecars written"]
    assert [read_stars(tmp_path / f"{number}.jpg.xmp") for number in range(10)] == [1, 2, 2, 3, 3, 3, 3, 4, 4, 5]
    assert re.search("10 pictures keep", list(results.write_stars("darktable", False))[-1])
    list(results.sort_into(tmp_path / "sorted", False))
    shelves = {path.name: sorted(os.listdir(path)) for path in (tmp_path / "sorted").iterdir()}
    assert shelves["best"] == ["9.jpg"] and shelves["good"] == ["7.jpg", "8.jpg"] and shelves["worst"] == ["0.jpg"]


def test_two_pictures_that_share_a_sidecar_do_not_both_write_it(tmp_path):
    entries = [entry_of(str(tmp_path / name), 5, 5.0) for name in ("a.jpg", "a.png")]
    results = Results(lambda: iter(entries), AVA_SCALE, {"model": "m"})
    first, last = results.write_stars("lightroom", False)
    assert "a.png: no stars, since a.xmp is that of another picture" in first and "1 sidecars written" in last
