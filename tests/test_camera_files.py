"""What cameras and telephones write: raw files and HEIC; and what is said where the extra is missing."""

import io
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from iqa.errors import ImageError
from iqa.images import raw
from iqa.images.reading import read_image, read_rgb, read_time


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


def test_raw_data_are_developed_to_the_colours_of_the_scene(make_dng, scene, monkeypatch):
    notes = []
    found = read_image(make_dng(scene), notes)
    assert notes == ["a raw file, developed at 320x240 pixels: it has no preview that can be read"]
    monkeypatch.setattr(raw, "ENOUGH", 120)  # a large file is developed at half its size
    assert read_image(make_dng(scene)).shape == (120, 160, 3)
    # LibRaw sets the brightness by the white spot, which leaves the proportions of the colours.
    inner = (slice(60, 230), slice(60, 310))
    expected, linear = ((pixels[inner] / 255.0) ** 2.2 for pixels in (scene, found))
    gain = (expected * linear).sum() / (linear**2).sum()
    assert np.abs((gain * linear) ** (1 / 2.2) - expected ** (1 / 2.2)).mean() * 255 < 3


def test_a_preview_is_read_if_it_has_half_the_size(make_dng, scene, green):
    notes = []
    found = read_image(make_dng(scene, green.resize((160, 120))), notes)
    assert found.shape == (120, 160, 3) and not notes
    assert np.abs(found.astype(int) - (20, 180, 40)).max() <= 3
    found = read_image(make_dng(scene, green.resize((152, 112))), notes)
    assert found.shape == (240, 320, 3) and spot(found) == (False, False)
    assert notes == ["a raw file, developed at 320x240 pixels: its preview has 152x112"]
    small = read_rgb(io.BytesIO(make_dng(scene, green.resize((152, 112)))), smallest=100)
    assert small.size == (152, 112)  # enough for a thumbnail


@pytest.mark.parametrize("orientation, corner", [(3, (True, True)), (6, (False, True)), (8, (True, False))])
def test_raw_data_and_preview_stand_upright(make_dng, scene, orientation, corner):
    shape = (240, 320, 3) if orientation == 3 else (320, 240, 3)
    for preview in (None, Image.fromarray(scene)):
        found = read_image(make_dng(scene, preview, orientation))
        assert found.shape == shape
        assert spot(found) == corner
    upright = read_image(make_dng(scene, Image.fromarray(scene).transpose(Image.Transpose.ROTATE_270), 6))
    assert upright.shape == (320, 240, 3) and spot(upright) == (False, True)  # not turned again


def test_a_raw_file_is_known_by_its_content_whatever_its_name(make_dng, scene, green, tmp_path):
    content = make_dng(scene, green.resize((80, 60)))
    for name in ("a.tif", "a.jpg", "a\x1b[31m\udcff.dng"):  # LibRaw would print the last
        (tmp_path / name).write_bytes(content)
        assert read_image(tmp_path / name).shape == (240, 320, 3), name
    assert read_image(io.BytesIO(content)).shape == (240, 320, 3)
    Image.fromarray(scene).save(tmp_path / "b.jpg", quality=95)
    (tmp_path / "b.jpg").rename(tmp_path / "b.dng")
    assert np.abs(read_image(tmp_path / "b.dng").astype(int) - scene).mean() < 3
    Image.fromarray(scene).save(tmp_path / "c.tif")
    (tmp_path / "c.tif").rename(tmp_path / "c.nef")
    with pytest.raises(ImageError, match="LibRaw cannot read it"):
        read_image(tmp_path / "c.nef")


def test_a_raw_file_has_its_time_of_capture(make_dng, scene, tmp_path):
    path = tmp_path / "a.dng"
    path.write_bytes(make_dng(scene, when="2024:05:01 10:20:30"))
    assert read_time(path).isoformat() == "2024-05-01T10:20:30"


def test_the_preview_that_pillow_opens_of_a_raw_file_is_refused(make_dng, scene, green):
    with (
        Image.open(io.BytesIO(make_dng(scene, green))) as opened,
        pytest.raises(ImageError, match="give its path instead of a PIL image"),
    ):
        read_image(opened)


@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_a_truncated_raw_file_is_refused_though_libraw_takes_what_is_missing_for_black(make_dng, scene, kept):
    content = make_dng(scene)
    with pytest.raises(ImageError, match="it is truncated"):
        read_image(content[: int(kept * len(content))])


def test_a_raw_file_needs_its_reader_and_says_so(make_dng, scene, green, monkeypatch, tmp_path):
    for name, content in (
        ("a.dng", make_dng(scene, green)),
        ("a.tif", make_dng(scene, green)),
        ("a.cr3", b"\0\0\0\x18ftypcrx "),
    ):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for path in tmp_path.iterdir():
        with pytest.raises(ImageError, match=r"a raw file needs rawpy: pip install rawpy"):
            read_image(path)


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


def test_an_avif_is_not_turned_by_xmp_of_which_its_standard_knows_nothing(scene, tmp_path):
    packet = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    Image.fromarray(scene).save(tmp_path / "a.avif", xmp=packet)
    assert read_image(tmp_path / "a.avif").shape == (240, 320, 3)
