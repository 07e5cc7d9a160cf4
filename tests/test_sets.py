"""What is made of the scores of a set: places, bursts, stars in sidecars, shelves."""

import os
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter, PngImagePlugin
from scipy.ndimage import uniform_filter1d
from scipy.stats import rankdata

from iqa.errors import OutputError
from iqa.images.reading import decoders, read_image
from iqa.scoring.ranking import (
    STRUCTURE,
    Place,
    RankedSet,
    check_folder,
    find_bursts,
    rank,
    rank_by,
    sort_into,
    structure_of,
)
from iqa.scoring.results import Result
from iqa.scoring.sidecars import rate, write_stars


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_places_are_those_of_scipy_between_0_and_1(values):
    np.testing.assert_allclose(rank(values), (rankdata(values) - 0.5) / len(values))


def test_a_picture_that_lacks_a_score_is_ranked_by_the_others():
    nan = float("nan")
    scores = {"beauty": np.array([5.0, 6.0, 4.0, nan]), "technical": np.array([3.0, nan, 2.0, nan])}
    places = rank_by(scores)
    assert np.nanargmax(places) == 1 and np.nanargmin(places) == 2 and np.isnan(places[3])
    np.testing.assert_array_equal(rank_by(scores, "technical"), [0.75, nan, 0.25, nan])


def test_the_best_come_first_bursts_name_theirs_and_a_raw_file_and_its_jpeg_are_one_picture():
    like = {STRUCTURE: structure_of(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))}
    shots = (("a.JPG", 5.0, 0), ("a.nef", 1.0, 0), ("b.jpg", 6.0, 1.5), ("c.nef", 4.0, 60))
    results = [
        Result(Path(name), {"beauty": score}, taken=START + timedelta(seconds=second), features=like)
        for name, score, second in shots
    ]
    ranked = RankedSet(lambda: iter([*results, Result(Path("d.jpg"), error="broken")]), ["beauty"], bursts=True)
    np.testing.assert_allclose(ranked.places, [3 / 6, 3 / 6, 5 / 6, 1 / 6, np.nan])
    assert [result.path.name for result, _ in ranked.top(3)] == ["b.jpg", "c.nef"]  # one of the burst
    assert [path.name for path, _ in ranked.placed()] == ["a.JPG", "a.nef", "b.jpg", "c.nef"]
    assert [ranked.place_of(n) for n in range(4)] == [Place(1, False, 2)] * 2 + [Place(1, True, 2), Place()]
    assert list(ranked.describe_bursts()) == ["burst 1: 2 pictures, the best is b.jpg"]
    alone = RankedSet(lambda: iter(results[:2]), ["beauty"], "beauty", bursts=True)
    assert list(alone.describe_bursts()) == [
        "no bursts: no two pictures were taken within 3 s of one another and look alike, or are copies"
    ]


START = datetime(2024, 5, 1, 10, 20, 30)


def bursts_of(seconds, structures, start=START):
    times = [None if second is None else start + timedelta(seconds=second) for second in seconds]
    return find_bursts(times, structures)


def directions(*degrees):
    return [np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) for angle in degrees]


def test_pictures_near_in_time_that_look_like_the_first_are_a_burst():
    assert bursts_of([0, 1, 2, 100, 101], directions(0, 5, 80, 0, 3)) == [[0, 1], [3, 4]]
    assert bursts_of([0, 1, 2], directions(0, 90, 4)) == [[0, 2]]  # something else does not end it
    assert bursts_of([None, 0, 1], [*directions(0, 0), None]) == []
    assert len(bursts_of([n / 10 for n in range(3000)], directions(*[0] * 3000))[0]) == 3000


def test_where_the_times_have_no_seconds_only_what_is_nearly_the_same_is_a_burst():
    midnight = datetime(1985, 1, 1)
    assert bursts_of([0, 0, 0], directions(0, 40, 5), midnight) == [[0, 2]]
    noon = datetime(2024, 5, 1, 12)
    assert bursts_of([0, 0, 60, 60], directions(0, 40, 5, 7), noon) == [[2, 3]]


def test_a_shaken_frame_belongs_to_its_burst_and_other_photographs_of_a_date_do_not(shared):
    files = sorted((shared / "photos").glob("*.jpg"))[::10]
    structures, seconds, count = [], [], 9
    for number, file in enumerate(files[:count]):
        scene = Image.fromarray(read_image(file))
        width, height = scene.size
        for frame in range(3):
            left, top = ((frame * part) // 50 for part in scene.size)
            view = scene.crop((left, top, left + width * 9 // 10, top + height * 9 // 10))
            if frame == 1:
                view = view.filter(ImageFilter.GaussianBlur(2))
            if frame == 2:
                view = Image.fromarray(uniform_filter1d(np.asarray(view), 15, axis=1))
            structures.append(structure_of(view))
            seconds.append(60 * number + frame)
    assert bursts_of(seconds, structures) == [[3 * n, 3 * n + 1, 3 * n + 2] for n in range(count)]
    others = [structure_of(read_image(file)) for file in files]
    assert sum(map(len, bursts_of([0] * len(others), others, datetime(1985, 1, 1)))) <= 4


RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
PHOTO = "http://ns.microsoft.com/photo/1.0/"
OURS = "https://image-quality-assessment.invalid/ns/1.0/"
RATING, PERCENT, ACDSEE = f"{{{XMP}}}Rating", f"{{{PHOTO}}}Rating", "{http://ns.acdsee.com/iptc/1.0/}rating"


def wrap(body, root=""):
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f'<rdf:RDF xmlns:rdf="{RDF}"{root}>{body}</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    )


def described(attributes, inside=""):
    return wrap(f'<rdf:Description rdf:about="" {attributes}>{inside}</rdf:Description>')


DARKTABLE = described(
    f'xmlns:xmp="{XMP}" xmlns:darktable="http://darktable.sf.net/" xmp:Rating="{{stars}}" darktable:xmp_version="5"',
    '<darktable:history><rdf:Seq><rdf:li darktable:params="a&quot;b&#10;c"/></rdf:Seq></darktable:history>',
)

#: {what a program wrote: the stars in it}
FORMS = {
    DARKTABLE.format(stars=0): 0,
    DARKTABLE.format(stars=2): 2,
    DARKTABLE.format(stars=-1): -1,
    described(f'xmlns:xmp="{XMP}"', "<xmp:Rating>3</xmp:Rating>"): 3,
    described(f'xmlns:xmp="{XMP}"', '<xmp:Rating xml:lang="x-default"\n> 0 </xmp:Rating>'): 0,
    described(f'xmlns:xap="{XMP}" xap:Rating="3"'): 3,
    described(f'xmlns:xap="{XMP}" xap:Label="Red"'): 0,  # of a namespace with two prefixes exiv2 reads nothing
    described(f'xmlns:xmp="{XMP}" xmlns:xap="{XMP}" xap:Label="Red"', "<!-- xmp:Rating='5' --><xmp:Rating/>"): 0,
    described('xmlns:xmp="http://example.com/other/" xmp:Rating="5"'): 0,
    described(f'xmlns:m="{PHOTO}" xmlns:xmp="{XMP}" m:Rating="25" xmp:Rating="2"'): 2,
    wrap(f'<rdf:Description/><rdf:Description xmlns:xmp="{XMP}"><xmp:Rating>0</xmp:Rating></rdf:Description>'): 0,
    described('xmlns:s="http://example.com/s/"', f'<s:R><rdf:Description xmlns:xmp="{XMP}" xmp:Rating="5"/></s:R>'): 0,
    wrap(""): 0,
}


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


def take_out(content):
    """The ratings in XMP as an XML parser reads them, and a canonical form of all else that says something."""
    root = ElementTree.fromstring(content)
    nodes, found = root.find(f"{{{RDF}}}RDF"), []
    for node in list(nodes):
        for name in (RATING, PERCENT, ACDSEE):
            found += [(name, child.text) for child in node.findall(name)]
            found += [(name, node.attrib.pop(name))] if name in node.attrib else []
            for child in node.findall(name):
                node.remove(child)
        node.attrib.pop(f"{{{OURS}}}stars", None)
        if not len(node) and set(node.attrib) <= {f"{{{RDF}}}about"}:
            nodes.remove(node)
    return found, ElementTree.canonicalize(ElementTree.tostring(root), strip_text=True)


def read_stars(sidecar):
    """The rating of a sidecar, the only one, as exiv2 reads it too."""
    ((name, stars),) = take_out(sidecar.read_bytes())[0]
    assert name == RATING
    exiv2 = pytest.importorskip("exiv2")
    image = exiv2.ImageFactory.open(str(sidecar))
    image.readMetadata()
    assert [value.toString() for value in image.xmpData() if value.key() == "Xmp.xmp.Rating"][-1] == stars
    return int(stars)


@pytest.mark.parametrize(("form", "stars"), FORMS.items(), ids=range(len(FORMS)))
def test_a_sidecar_gets_one_rating_and_all_else_stays_but_what_somebody_gave_is_kept(picture, form, stars):
    sidecar = picture.with_name("a.jpg.xmp")
    sidecar.write_text(form)
    if stars:
        kept = "is rejected already" if stars < 0 else f"has {stars} stars already"
        assert rate(picture, 4) == rate(picture, 4, "lightroom") == kept
        assert sidecar.read_text() == form
    assert rate(picture, 4, overwrite=bool(stars)) is None
    assert read_stars(sidecar) == 4
    assert take_out(sidecar.read_bytes())[1] == take_out(form)[1]


@pytest.mark.parametrize(("names", "sidecar"), [("darktable", "a.jpg.xmp"), ("lightroom", "a.xmp")])
def test_stars_that_we_gave_are_renewed_unless_somebody_changed_them(picture, names, sidecar):
    content, place = picture.read_bytes(), picture.with_name(sidecar)
    for stars in (1, 5, 3):
        assert rate(picture, stars, names) is None
        assert read_stars(place) == stars
    assert picture.read_bytes() == content
    place.write_text(place.read_text().replace('xmp:Rating="3"', 'xmp:Rating="2"'))
    assert rate(picture, 4, names) == "has 2 stars already"


def test_a_sidecar_keeps_its_mode_and_a_link_to_it_and_a_read_only_one_stays(picture):
    store = picture.parent / "store"
    store.mkdir()
    (store / "k.xmp").write_text(DARKTABLE.format(stars=0))
    (store / "k.xmp").chmod(0o664)
    if not os.geteuid():
        os.chown(store / "k.xmp", 1000, 1000)
    before = (store / "k.xmp").stat()
    sidecar = picture.with_name("a.jpg.xmp")
    sidecar.symlink_to("store/k.xmp")
    assert rate(picture, 4) is None
    assert sidecar.is_symlink() and read_stars(store / "k.xmp") == 4
    after = (store / "k.xmp").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    (store / "k.xmp").chmod(0o444)
    with pytest.raises(OutputError, match="read-only"):
        rate(picture, 5)


def test_stars_in_the_picture_itself_are_kept_too(tmp_path):
    packet = described(f'xmlns:xap="{XMP}" xap:Rating="3"').encode()
    small, exif, percent = Image.new("RGB", (16, 16)), Image.Exif(), Image.Exif()
    exif[0x4746], percent[0x4749] = 3, 50
    decoders()  # which makes Pillow know HEIF
    for suffix in ("jpg", "webp", "avif", "heic"):
        small.save(tmp_path / f"xmp.{suffix}", xmp=packet)
    for suffix in ("jpg", "png", "webp", "tif", "avif", "heic"):
        small.save(tmp_path / f"exif.{suffix}", exif=exif)
    small.save(tmp_path / "percent.jpg", exif=percent)
    (tmp_path / "raw.cr3").write_bytes(b"\0\0\0\x18ftypcrx " + bytes(99) + packet)  # as in a GIF and a JPEG 2000
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet.decode())
    small.save(tmp_path / "xmp.png", pnginfo=text)
    pictures = sorted(tmp_path.iterdir())
    assert {path.name: rate(path, 5) for path in pictures} == {path.name: "has 3 stars already" for path in pictures}
    assert sorted(tmp_path.iterdir()) == pictures


def test_a_sidecar_of_an_unknown_form_stays_as_it_is(picture):
    sidecar = picture.with_name("a.jpg.xmp")
    for content in (b"no xml", b"\xff\xfe<\0", b"<!DOCTYPE x><x/>", b"<x/>", b"", b"<x>" * 9999 + b"</x>" * 9999):
        sidecar.write_bytes(content)
        with pytest.raises(OutputError, match=r"a\.jpg\.xmp: .*it stays as it is"):
            rate(picture, 4)
        assert sidecar.read_bytes() == content


def test_one_sidecar_that_cannot_be_written_does_not_stop_the_others(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "3.jpg.xmp")
    pictures = [(tmp_path / f"{number}.jpg", (number + 0.5) / 10) for number in range(10)]
    failed, (line, said) = write_stars(pictures, "darktable")
    assert failed == 1 and "3.jpg.xmp: no ordinary file" in line and said == "stars: 9 sidecars written"
    stars = [read_stars(tmp_path / f"{number}.jpg.xmp") for number in range(10) if number != 3]
    assert stars == [1, 2, 2, 3, 3, 3, 4, 4, 5]


def test_two_pictures_that_share_a_sidecar_do_not_both_write_it(tmp_path):
    pair = [(tmp_path / "a.jpg", 0.5), (tmp_path / "a.dng", 0.5)]
    assert write_stars(pair, "lightroom") == (0, ["stars: 1 sidecars written"])
    failed, (first, _) = write_stars([*pair, (tmp_path / "a.png", 0.9)], "lightroom")
    assert failed == 1 and "a.png: no stars, since a.xmp is that of another picture" in first


def test_pictures_are_linked_or_copied_into_shelves_under_names_of_their_own(tmp_path):
    for name in ("a/x.jpg", "b/x.jpg", "b/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    pictures = [(tmp_path / "a/x.jpg", 0.95), (tmp_path / "b/x.jpg", 0.99), (tmp_path / "b/y.jpg", 0.05)]
    for copy in (False, True):
        folder = tmp_path / f"sorted {copy}"
        failed, lines = sort_into(folder, [*pictures, (tmp_path / "gone.jpg", 0.5)] if copy else pictures, copy)
        assert failed == copy and lines[-1] == f"{folder}: 3 pictures sorted"
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        assert set(found) == {"best/x.jpg", "best/x (2).jpg", "worst/y.jpg"}
        assert found["best/x (2).jpg"].read_text() == "b/x.jpg"
        assert all(path.is_symlink() != copy for path in found.values())
        assert {path.name for path in folder.iterdir()} == {"best", "good", "rest", "worst"}


def test_pictures_are_sorted_into_an_empty_folder_that_is_not_their_own(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="a new or an empty folder"):
        sort_into(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="find each picture twice"):
        check_folder(Path("sorted"), ["."])
