"""What cameras and telephones write: raw files, HEIC, large JPEGs; and what is said where the extra is missing."""

import csv
import io
import json
import struct
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import ExifTags, Image, JpegImagePlugin

from iqa.commands import score
from iqa.errors import ImageError
from iqa.images import raw
from iqa.images.capture import read_time
from iqa.images.finding import LeftOut, images_below, in_words
from iqa.images.geometry import read_resized
from iqa.images.picture import Picture
from iqa.images.reading import read_image
from iqa.images.thumbnails import thumbnail
from iqa.labels.ratings import RatedImage, locate_ratings
from iqa.scoring.sidecars import rate

RUNTIME = ("--runtime", "litert")


@pytest.fixture(scope="module")
def scene(photograph):
    """A smooth picture of 320x240, which a Bayer filter keeps, with a white spot at the top left."""
    rows, columns = np.mgrid[:240, :320]
    pixels = np.stack([200 - columns / 2, 60 + rows / 2, 90 + columns / 4], -1)
    pixels[10:50, 10:50] = 255
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def green(scene):
    """A preview that no raw data of the scene would give."""
    return Image.new("RGB", (scene.shape[1], scene.shape[0]), (20, 180, 40))


def spot(pixels):
    """In which corner the white spot is: (bottom, right)."""
    bright = np.argwhere(pixels.min(axis=2) > 230).mean(axis=0)
    return tuple(bool(place > length / 2) for place, length in zip(bright, pixels.shape[:2], strict=True))


# --- raw files ---------------------------------------------------------------------------------------------------------


def test_raw_data_are_developed_to_the_colours_of_the_scene(make_dng, scene):
    notes = []
    found = read_image(make_dng(scene), notes)
    assert notes == ["a raw file, developed at 320x240 pixels: it has no preview that can be read"]
    # LibRaw sets the brightness by the white spot, which leaves the proportions of the colours.
    inner = (slice(60, 230), slice(60, 310))
    expected, linear = ((pixels[inner] / 255.0) ** 2.2 for pixels in (scene, found))
    gain = (expected * linear).sum() / (linear**2).sum()
    assert np.abs((gain * linear) ** (1 / 2.2) - expected ** (1 / 2.2)).mean() * 255 < 3


def test_a_preview_of_half_the_size_is_what_is_read(make_dng, scene, green):
    notes = []
    found = read_image(make_dng(scene, green.resize((160, 120))), notes)
    assert found.shape == (120, 160, 3)
    assert np.abs(found.astype(int) - (20, 180, 40)).max() <= 3
    assert not notes


def test_a_smaller_preview_is_passed_over(make_dng, scene, green):
    notes = []
    found = read_image(make_dng(scene, green.resize((152, 112))), notes)
    assert found.shape == (240, 320, 3)
    assert spot(found) == (False, False)
    assert notes == ["a raw file, developed at 320x240 pixels: its preview has 152x112"]


def test_a_small_preview_is_enough_for_a_thumbnail(make_dng, scene, green, tmp_path):
    path = tmp_path / "a.dng"
    path.write_bytes(make_dng(scene, green.resize((152, 112))))
    small = Image.open(io.BytesIO(thumbnail(path, 50).tobytes())).convert("RGB")
    assert np.abs(np.asarray(small).astype(int) - (20, 180, 40)).max() <= 8


@pytest.mark.parametrize(
    "orientation, corner", [(1, (False, False)), (3, (True, True)), (6, (False, True)), (8, (True, False))]
)
def test_raw_data_and_preview_stand_upright(make_dng, scene, orientation, corner):
    shape = (240, 320, 3) if orientation in (1, 3) else (320, 240, 3)
    for preview in (None, Image.fromarray(scene)):
        found = read_image(make_dng(scene, preview, orientation))
        assert found.shape == shape
        assert spot(found) == corner


def test_a_preview_that_stands_upright_already_is_not_turned_again(make_dng, scene):
    upright = Image.fromarray(scene).transpose(Image.Transpose.ROTATE_270)
    found = read_image(make_dng(scene, upright, 6))
    assert found.shape == (320, 240, 3)
    assert spot(found) == (False, True)


def test_a_broken_preview_is_replaced_by_the_raw_data_with_a_note(make_dng, scene, green):
    content = bytearray(make_dng(scene, green))
    at = content.index(b"\xff\xc0") + 5  # the height in the JPEG
    content[at : at + 4] = bytes(4)
    notes = []
    assert spot(read_image(bytes(content), notes)) == (False, False)
    assert notes == ["a raw file, developed at 320x240 pixels: it has no preview that can be read"]


def test_large_raw_data_are_developed_at_half_their_size(make_dng, photograph, monkeypatch):
    monkeypatch.setattr(raw, "ENOUGH", 128)
    notes = []
    found = read_image(make_dng(photograph), notes)
    assert found.shape == (128, 128, 3)
    assert notes == ["a raw file, developed at 128x128 pixels: it has no preview that can be read"]
    monkeypatch.setattr(raw, "ENOUGH", 129)
    assert read_image(make_dng(photograph)).shape == (256, 256, 3)


def test_a_raw_file_is_known_by_its_content_whatever_its_name(make_dng, scene, green, tmp_path):
    content = make_dng(scene, green.resize((80, 60)))
    for name in ("a.tif", "a.jpg", "a"):
        (tmp_path / name).write_bytes(content)
        assert read_image(tmp_path / name).shape == (240, 320, 3), name
    assert read_image(io.BytesIO(content)).shape == (240, 320, 3)


def test_a_tiff_with_the_suffix_of_raw_files_is_never_read_as_a_tiff(tmp_path, scene):
    pytest.importorskip("rawpy")
    Image.fromarray(scene).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.nef")
    with pytest.raises(ImageError, match="LibRaw cannot read it"):
        read_image(tmp_path / "a.nef")


def test_a_jpeg_with_the_suffix_of_raw_files_is_read_as_what_it_is(tmp_path, scene):
    Image.fromarray(scene).save(tmp_path / "a.jpg", quality=95)
    (tmp_path / "a.jpg").rename(tmp_path / "a.dng")
    assert np.abs(read_image(tmp_path / "a.dng").astype(int) - scene).mean() < 3


def test_the_preview_that_pillow_opens_of_a_raw_file_is_refused(make_dng, scene, green):
    with (
        Image.open(io.BytesIO(make_dng(scene, green))) as opened,
        pytest.raises(ImageError, match="give its path instead of a PIL image"),
    ):
        read_image(opened)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.999])
def test_a_truncated_raw_file_is_refused_though_libraw_takes_what_is_missing_for_black(make_dng, scene, kept):
    content = make_dng(scene)
    with pytest.raises(ImageError, match="it is truncated"):
        read_image(content[: int(kept * len(content))])


def test_a_raw_file_with_too_many_pixels_is_refused_before_they_are_read(make_dng, scene, monkeypatch):
    import rawpy

    def read(*_):
        pytest.fail("its pixels were read")

    class Watched(rawpy.RawPy):
        extract_thumb = postprocess = unpack = read

    monkeypatch.setattr(rawpy, "RawPy", Watched)
    monkeypatch.setattr("iqa.images.reading.MAX_PIXELS", 320 * 240 - 1)
    with pytest.raises(ImageError, match="320x240 pixels are more than 76799"):
        read_image(make_dng(scene))


def test_names_that_libraw_could_not_open_or_would_print_are_no_obstacle(make_dng, scene, tmp_path):
    path = tmp_path / "a\x1b[31m\udcff.dng"
    path.write_bytes(make_dng(scene))
    assert read_image(path).shape == (240, 320, 3)


def test_a_raw_file_needs_its_reader_and_says_so(make_dng, scene, green, monkeypatch, tmp_path):
    for name, content in (
        ("a.dng", make_dng(scene, green)),
        ("a.tif", make_dng(scene, green)),
        ("a.cr3", b"\0\0\0\x18ftypcrx "),
    ):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for path in tmp_path.iterdir():
        with pytest.raises(ImageError, match=r"a raw file needs rawpy: pip install 'image-quality-assessment\[raw\]'"):
            read_image(path)


def test_a_raw_file_that_pillow_cannot_open_has_its_time_of_capture(make_dng, scene, tmp_path):
    path = tmp_path / "a.dng"
    path.write_bytes(make_dng(scene, when="2024:05:01 10:20:30"))
    with pytest.raises(OSError):
        Image.open(path)
    assert read_time(path).isoformat() == "2024-05-01T10:20:30"
    with mock.patch("PIL.Image.Exif.load_from_fp", side_effect=SyntaxError):  # of a raw file that is no TIFF
        assert read_time(path).isoformat() == "2024-05-01T10:20:30"
    content = path.read_bytes()
    tag = content.index(struct.pack("<HHI", 50706, 1, 4))  # the version, of four bytes, as if it had many
    path.write_bytes(content[: tag + 4] + struct.pack("<II", 10**6, 10**8) + content[tag + 12 :])
    with mock.patch("iqa.images.raw.read_time", side_effect=AssertionError), warnings.catch_warnings(record=True) as said:
        assert read_time(path).isoformat() == "2024-05-01T10:20:30"
    assert not said


def test_stars_in_a_file_that_pillow_cannot_open_are_kept(tmp_path):
    (tmp_path / "a.cr3").write_bytes(b"\0\0\0\x18ftypcrx " + b'<rdf:Description xmp:Rating="4"/>')
    assert rate(tmp_path / "a.cr3", 2) == "has 4 stars already"


# --- folders and commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(make_dng, scene, green, photograph, tmp_path):
    """A JPEG with its raw file, a HEIC, a picture that is too small for the technical model's patch, and a text."""
    pillow_heif = pytest.importorskip("pillow_heif")
    Image.fromarray(photograph).save(tmp_path / "IMG_1.jpg", quality=95)
    (tmp_path / "IMG_1.dng").write_bytes(make_dng(photograph, Image.fromarray(photograph)))
    pillow_heif.from_pillow(Image.fromarray(photograph)).save(tmp_path / "IMG_2.HEIC", quality=95)
    Image.fromarray(photograph[:120, :200]).save(tmp_path / "small.png")
    (tmp_path / "notes.txt").write_text("left out")
    return tmp_path


def test_a_raw_file_and_its_jpeg_are_scored_each_by_itself(mixed, command, tmp_path):
    table = tmp_path.with_suffix(".csv")
    code, _, errors = command(score, mixed, "--out", table, "--workers", "2", *RUNTIME)
    assert code == 0
    with open(table, newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert list(rows) == ["IMG_1.dng", "IMG_1.jpg", "IMG_2.HEIC", "small.png"]
    for name in ("IMG_1.dng", "IMG_2.HEIC"):  # the same picture, coded once more
        assert float(rows[name]["beauty"]) == pytest.approx(float(rows["IMG_1.jpg"]["beauty"]), abs=0.3)
        assert (rows[name]["width"], rows[name]["height"]) == ("256", "256")
    assert errors.endswith("left out: 1 .txt\n")


def test_without_the_extras_files_are_counted_by_kind_with_what_to_install(mixed, command, monkeypatch):
    for package in ("rawpy", "pillow_heif"):
        monkeypatch.setitem(sys.modules, package, None)
    code, rows, errors = command(score, mixed, "--json", "--workers", "0", *RUNTIME)
    assert code == 0
    assert [Path(json.loads(row)["path"]).name for row in rows.splitlines()] == ["IMG_1.jpg", "small.png"]
    line = errors.splitlines()[-1]
    assert line.startswith("left out: ") and line.endswith(" (pictures: pip install 'image-quality-assessment[heic,raw]')")
    assert set(line[10 : line.index(" (")].split(", ")) == {"1 .dng", "1 .heic", "1 .txt"}


@pytest.mark.parametrize("name, extra", [("IMG_1.dng", "raw"), ("IMG_2.HEIC", "heic")])
def test_a_file_that_is_named_itself_says_what_to_install(mixed, command, monkeypatch, name, extra):
    for package in ("rawpy", "pillow_heif"):
        monkeypatch.setitem(sys.modules, package, None)
    code, rows, errors = command(score, mixed / name, *RUNTIME)
    assert (code, rows) == (1, "")
    assert errors.endswith(f": pip install 'image-quality-assessment[{extra}]'\n")


def test_one_missing_extra_leaves_the_other_kind(mixed, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    left_out = LeftOut()
    assert [path.name for path, _ in images_below(mixed, left_out)] == ["IMG_1.jpg", "IMG_2.HEIC", "small.png"]
    assert in_words(left_out).endswith("[raw]')")


def test_a_label_means_the_jpeg_rather_than_its_raw_file(mixed):
    (found,) = locate_ratings([RatedImage("IMG_1", np.full(10, 0.1))], mixed)
    assert found.path == mixed / "IMG_1.jpg"


def test_rows_say_which_pictures_were_continued_by_their_mirror_image(mixed, command):
    _, rows, _ = command(score, mixed / "small.png", mixed / "IMG_1.jpg", "--json", *RUNTIME)
    small, other = map(json.loads, rows.splitlines())
    assert "200x120 pixels, continued by its mirror image" in small["warning"]
    assert "warning" not in other


def test_a_page_says_which_pictures_were_continued_by_their_mirror_image(mixed, command, tmp_path):
    pytest.importorskip("jinja2")
    page = tmp_path.with_suffix(".html")
    command(score, mixed / "small.png", mixed / "IMG_1.jpg", "--report", page, "--workers", "0", *RUNTIME)
    assert page.read_text(encoding="utf-8").count("200x120 pixels, continued by its mirror image") == 1


# --- large JPEGs ----------------------------------------------------------------------------------------------------------


def test_a_large_jpeg_is_decoded_once_for_both_models(photograph, tmp_path, monkeypatch):
    path = tmp_path / "large.jpg"
    Image.fromarray(np.tile(photograph, (12, 12, 1))).save(path, quality=95)
    decoded = []
    read = JpegImagePlugin.JpegImageFile.load

    def note(image):
        if getattr(image, "tile", None):
            decoded.append(image.size)
        return read(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", note)
    picture = Picture(path, once=True)
    assert picture.whole([]).size == (3072, 3072)
    once = read_resized(picture, 224)
    assert decoded == [(3072, 3072)]
    with Image.open(path) as image:
        whole = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    assert np.abs(once.astype(int) - whole).max() <= 2


def test_a_telephones_turned_heic_and_jpeg_stand_upright(scene, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(scene).save(tmp_path / "a.jpg", exif=exif, quality=95)
    lying = pillow_heif.from_pillow(Image.fromarray(scene))
    lying.info["exif"] = exif.tobytes()
    lying.save(tmp_path / "a.heic", quality=95)
    for name in ("a.jpg", "a.heic"):
        found = read_image(tmp_path / name)
        assert found.shape == (320, 240, 3), name
        assert spot(found) == (False, True), name
