import importlib.util
import io
import re
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bad_files import png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from iqa.errors import ImageError
from iqa.images import geometry
from iqa.images.finding import sample_photograph
from iqa.images.geometry import read_resized, resize
from iqa.images.reading import Picture, read_image
from iqa.images.thumbnails import thumbnail


def close(image, expected, tolerance=0):
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.fixture
def colour(photograph):
    return Image.fromarray(photograph)


@pytest.fixture
def grey(colour):
    return np.asarray(colour.convert("L"))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_formats_come_back_as_they_were(save, photograph, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    close(read_image(save(f"p.{suffix}", photograph, **options)), photograph)


def test_cmyk_grey_sixteen_bits_and_palettes_become_their_colours(save, colour, photograph, grey):
    close(read_image(save("p.jpg", colour.convert("CMYK"), quality=98)), photograph, 60)
    for image in (colour.convert("L"), Image.fromarray(grey.astype(np.uint16) * 257)):
        close(read_image(save("p.png", image)), np.stack([grey] * 3, -1))
    palette = colour.quantize(64)
    close(read_image(save("p.png", palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("array", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70_000, np.int32)])
def test_pixels_of_unknown_range_are_refused_not_scored_as_black_or_white(save, array):
    with pytest.raises(ImageError, match="whose range is unknown"):
        read_image(save("p.tif", Image.fromarray(array)))


def test_transparency_lies_on_white(save, photograph, colour):
    alpha = np.full((*photograph.shape[:2], 1), 128, np.uint8)
    half = read_image(save("p.png", np.concatenate([photograph, alpha], -1)))
    close(half, np.rint(255 - (255 - photograph.astype(float)) * 128 / 255), 1)
    palette = colour.quantize(8)
    index = int(np.asarray(palette)[0, 0])
    assert (read_image(save("p.png", palette, transparency=index))[0, 0] == 255).all()


@pytest.mark.parametrize("orientation, turned", [(3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1))])
def test_exif_rotation_is_turned_upright(save, photograph, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save("p.png", photograph[:100], exif=exif)
    close(read_image(path), turned(photograph[:100]))


def test_a_large_jpeg_is_decoded_in_part_to_nearly_the_pixels_of_the_whole(save):
    large = Image.open(sample_photograph()).convert("RGB").resize((2048, 2400), Image.Resampling.BICUBIC)
    path = save("large.jpg", large, quality=92)
    whole, reduced = resize(read_image(path), 128), read_resized(path, 128)
    assert not np.array_equal(whole, reduced)
    assert np.abs(whole.astype(int) - reduced).mean() < 0.5
    np.testing.assert_array_equal(read_resized(path, 128, "nearest"), resize(read_image(path), 128, "nearest"))
    shared = read_resized(Picture(path, once=True), 128)  # as several networks see it
    np.testing.assert_array_equal(shared, read_resized(read_image(path), 128))


def test_arrays_and_pil_images_are_taken_as_they_are(photograph, colour, grey):
    assert read_image(photograph) is photograph
    close(read_image(colour), photograph)
    close(read_image(grey), np.stack([grey] * 3, -1))


def test_an_array_of_another_kind_and_what_is_neither_a_path_nor_pixels_are_refused():
    for array in (np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ImageError, match="an image array must"):
            read_image(array)
    for value in (None, [[1, 2, 3]], 5, io.StringIO("photo.jpg")):
        for read in (read_image, lambda value: read_resized(value, 4)):
            with pytest.raises(TypeError, match=f"an image must be a path, .* not {type(value).__name__}"):
                read(value)


def test_the_bytes_of_a_file_and_an_opened_file_are_read_as_the_file_is(save, photograph):
    path = save("p.png", photograph)
    content = path.read_bytes()
    at_its_end = io.BytesIO()
    at_its_end.write(content)
    with open(path, "rb") as opened:
        for image in (content, bytearray(content), memoryview(content), at_its_end, opened):
            close(read_image(image), photograph)
    with pytest.raises(ImageError, match="empty"):
        read_image(b"")


def test_two_threads_may_read_one_pil_image_that_is_not_decoded_yet(save, photograph):
    path = save("p.png", np.tile(photograph, (3, 3, 1)))
    expected = read_image(path)
    with Image.open(path) as opened, ThreadPoolExecutor(4) as threads:
        for pixels in threads.map(read_image, [opened] * 4):
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "mpo", "avif"])
def test_of_several_pictures_the_first_is_taken_or_of_a_pil_image_that_where_it_stands(save, suffix):
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (10, 120, 240)]
    path = save(f"p.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    for pixels in (read_image(path), read_resized(path, 16)):
        np.testing.assert_allclose(pixels, 10, atol=3)
    with Image.open(path) as opened:
        for frame, value in ((1, 120), (2, 240), (0, 10)):
            opened.seek(frame)
            np.testing.assert_allclose(read_image(opened), value, atol=3)
            thumbnail(opened, 8)
            assert opened.tell() == frame


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "CMYK"])
def test_reading_a_pil_image_leaves_it_as_it_was(colour, mode):
    image = colour.convert(mode)
    image.getexif()[0x0112] = 6
    kept = image.copy()
    small = Image.open(io.BytesIO(thumbnail(image, 32).tobytes()))
    assert max(small.size) == 32
    read_image(image)
    read_resized(image, 16)
    assert (image.size, image.mode, image.getexif()[0x0112]) == (kept.size, kept.mode, 6)
    assert image.tobytes() == kept.tobytes()


def saved(photograph, format):
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, format)
    return buffer.getvalue()


def png_of(header, *chunks):
    """A PNG from the fields of its header and from chunks (name, content)."""
    return png((b"IHDR", struct.pack(">IIBBBBB", *header)), *chunks, (b"IEND", b""))


def png_of_size(width, height):
    return png_of((width, height, 8, 2, 0, 0, 0), (b"IDAT", zlib.compress(bytes(1000))))


@pytest.mark.parametrize(
    "content, reason",
    [
        (lambda p: b"", "empty"),
        (lambda p: b"I am no picture.\n" * 10, "not an image"),
        (lambda p: saved(p, "JPEG")[:3000], "truncated"),
        (lambda p: saved(p, "PNG")[:3000], "cannot be decoded"),
        (lambda p: png_of_size(60_000, 60_000), "pixels"),
        (lambda p: png_of_size(1, 178_000_000), "a side"),
        # What Pillow would show wrongly: 16-bit colours of which one is transparent, and a clean aperture.
        (
            lambda p: png_of((1, 1, 16, 2, 0, 0, 0), (b"tRNS", bytes(6)), (b"IDAT", zlib.compress(bytes(7)))),
            "16-bit colours",
        ),
        (lambda p: saved(p, "AVIF") + struct.pack(">I4s", 40, b"clap") + bytes(32), "only a part.* cannot be read rightly"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, photograph, content, reason):
    (tmp_path / "bad").write_bytes(content(photograph))
    with pytest.raises(ImageError, match=reason) as error:
        read_image(tmp_path / "bad")
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_a_patch_larger_than_the_picture_are_refused(tmp_path):
    for path, reason in ((tmp_path / "nothing.jpg", "no such file"), (tmp_path, "folder")):
        with pytest.raises(ImageError, match=reason):
            read_image(path)
    with pytest.raises(ImageError, match="300x223 pixels are fewer than the 224x224"):
        geometry.patch(np.zeros((223, 300, 3), np.uint8), 0, 0, 224)


def patches_that_cover(image, size, multiple=1):
    places = geometry.places_that_cover(*image.shape[:2], size, multiple)
    return [geometry.patch(image, *place, size) for place in places]


@settings(deadline=None)
@given(st.integers(8, 60), st.integers(8, 60))
def test_the_grid_covers_every_pixel_with_the_fewest_patches(height, width):
    image = np.arange(height * width, dtype=np.uint32).view(np.uint8).reshape(height, width, 4)[..., :3]
    patches = patches_that_cover(image, 8)
    assert len(patches) == -(-height // 8) * -(-width // 8)
    assert len(np.unique(np.stack(patches).reshape(-1, 3), axis=0)) == len(np.unique(image.reshape(-1, 3), axis=0))


def test_a_grid_and_a_centre_keep_to_blocks_when_told():
    places = geometry.places_that_cover(45, 38, 8, 4)
    seen = np.zeros((45, 38), bool)
    for top, left in [*places, *geometry.place_in_centre(45, 38, 8, 4)]:
        assert top % 4 == left % 4 == 0
        seen[top : top + 8, left : left + 8] = True
    assert seen[:44, :36].all()
    assert geometry.place_in_centre(45, 38, 8, 4) == [(16, 12)]


def test_the_patches_of_a_ladder_are_cut_and_mirrored_alike(photograph):
    first, second = (geometry.random_patch(x, 100, np.random.default_rng(5)) for x in (photograph, 255 - photograph))
    np.testing.assert_array_equal(first, 255 - second)


def test_random_patches_reach_all_places_and_are_mirrored_half_of_the_time():
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = np.arange(16).reshape(4, 4)
    rng = np.random.default_rng(0)
    patches = [geometry.random_patch(image, 2, rng)[..., 0] for _ in range(400)]
    assert len({patch.min() for patch in patches}) == 9
    assert 150 < sum(patch[0, 0] < patch[0, 1] for patch in patches) < 250
    corners = {geometry.random_patch(image, 1, rng, multiple=2)[0, 0, 0] for _ in range(100)}
    assert corners == {0, 2, 8, 10}  # on blocks of 2 x 2


# --- transparency, canvas and aperture --------------------------------------------------------------------------------


def bits_of(values, bits):
    return (values[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(values), -1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_lies_on_white_at_any_depth(bits):
    values = np.arange(2 ** min(bits, 8))[:, None].repeat(8, 1) * (257 if bits == 16 else 1)
    packed = np.packbits(bits_of(values, bits), axis=1).tobytes()
    width = len(packed) // len(values)
    rows = b"".join(b"\0" + packed[start : start + width] for start in range(0, len(packed), width))
    key = (b"tRNS", struct.pack(">H", int(values[1, 0])))
    content = png_of((8, len(values), bits, 0, 0, 0, 0), key, (b"IDAT", zlib.compress(rows)))
    expected = np.rint(values * (255 / (2**bits - 1))).astype(int)
    expected[1] = 255
    for image in (content, Image.open(io.BytesIO(content))):
        close(read_image(image), np.stack([expected] * 3, -1), 1)


def test_a_gif_whose_first_frame_does_not_fill_its_canvas_lies_on_white():
    frame = Image.fromarray(np.full((4, 6, 3), (200, 30, 30), np.uint8)).quantize(2)
    file = io.BytesIO()
    frame.save(file, "GIF")
    content = bytearray(file.getvalue())
    content[6:10] = struct.pack("<HH", 20, 10)  # the canvas
    start = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))
    content[start + 1 : start + 5] = struct.pack("<HH", 5, 3)  # where the frame lies on it
    expected = np.full((10, 20, 3), 255, np.uint8)
    expected[3:7, 5:11] = (200, 30, 30)
    for image in (bytes(content), Image.open(io.BytesIO(content))):
        close(read_image(image), expected)


# --- what is broken beside the pixels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exif", [b"garbage!", b"Exif\0\0II*\0\xff\xff\xff\xff", b"MM\0*" + bytes(3)], ids=str)
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_broken_exif_does_not_cost_the_pixels(save, photograph, suffix, exif):
    options = {"png": {}, "webp": {"lossless": True}}.get(suffix, {"quality": 90})
    expected = read_image(save(f"whole.{suffix}", photograph, **options))
    close(read_image(save(f"p.{suffix}", photograph, exif=exif, **options)), expected)


ODD = {b"zTXt": b"c\0\0" + zlib.compress(b"a" * 3_000_000), b"sRGB": b"", b"iCCP": b"no profile", b"tIME": b"\xff"}


@pytest.mark.parametrize("name, content", ODD.items())
def test_a_broken_or_odd_chunk_does_not_cost_the_pixels(photograph, name, content):
    whole = saved(photograph, "PNG")
    chunk = struct.pack(">I", len(content)) + name + content
    for checksum in (zlib.crc32(name + content), 99):
        close(read_image(whole[:33] + chunk + struct.pack(">I", checksum) + whole[33:]), photograph)


# --- colours ----------------------------------------------------------------------------------------------------------

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_of(gamma, red, green, blue):
    """A profile of a gamma and of primaries in XYZ (D50), made from sRGB's."""
    content = bytearray(SRGB)
    number = int.from_bytes(content[128:132], "big")
    tags = {bytes(content[at : at + 4]): at for at in range(132, 132 + 12 * number, 12)}
    for name, colour in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue)):
        (start,) = struct.unpack(">I", content[tags[name] + 4 : tags[name] + 8])
        content[start + 8 : start + 20] = struct.pack(">iii", *(round(part * 65536) for part in colour))
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        content[tags[name] + 4 : tags[name] + 12] = struct.pack(">II", len(content), 14)
    content += b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    content[:4] = struct.pack(">I", len(content))
    return bytes(content)


ADOBE = profile_of(2.2, (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
LINEAR = profile_of(1.0, (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def test_colours_are_converted_from_the_profile_of_the_file(save, colour, photograph):
    to_adobe = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), io.BytesIO(ADOBE), "RGB", "RGB")
    wide = ImageCms.applyTransform(colour, to_adobe)
    assert np.abs(np.asarray(wide).astype(int) - photograph).mean() > 4
    for name in ("p.png", "p.tif", "p.jpg"):
        options = {"quality": 98} if name == "p.jpg" else {}
        pixels = read_image(save(name, wide, icc_profile=ADOBE, **options)).astype(int)
        assert np.abs(pixels - photograph).mean() < (2 if options else 1)
    assert np.abs(read_image(wide.quantize(256)).astype(int) - photograph).mean() < 12
    wide.putalpha(128)
    half = read_image(save("half.png", wide, icc_profile=ADOBE)).astype(int)
    assert np.abs(half - (photograph / 2 + 127.5)).mean() < 1.5


def test_grey_of_an_rgb_profile_is_converted_unless_it_is_srgb_and_stays_grey(save, grey):
    close(read_image(save("g.png", grey, icc_profile=SRGB)), np.stack([grey] * 3, -1))
    pixels = read_image(save("g.png", grey, icc_profile=LINEAR)).astype(int)
    assert pixels.mean() > grey.mean() + 20
    assert np.ptp(pixels, axis=-1).max() <= 2
    sixteen = read_image(save("s.png", Image.fromarray(grey.astype(np.uint16) * 257), icc_profile=LINEAR))
    close(sixteen, pixels)


@pytest.mark.parametrize(
    "profile",
    [b"no profile", ADOBE[:200], ADOBE[:16] + b"CMYK" + ADOBE[20:], ADOBE[:16] + b"GRAY" + ADOBE[20:]],
    ids=["text", "cut", "CMYK", "grey"],
)
def test_a_broken_profile_is_ignored_with_a_note(save, photograph, profile):
    notes = []
    close(read_image(save("p.png", photograph, icc_profile=profile), notes), photograph)
    assert len(notes) == 1 and "colour profile" in notes[0] and "was ignored" in notes[0]


# --- TIFF -------------------------------------------------------------------------------------------------------------


def packed_tiff(values, bits, photometric=1, order="<", sample_format=1):
    """An uncompressed grey TIFF of any number of bits."""
    strip = np.packbits(bits_of(values, bits), axis=1) if bits != 16 else values.astype(f"{order}u2")
    strip = strip.tobytes() + b"\0" * (strip.nbytes % 2)
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(strip)}
    tags[339] = sample_format
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(strip))
    return start + strip + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order, photometric", ["<0", ">1"])
@pytest.mark.parametrize("bits", [1, 4, 8, 10, 12, 16])
def test_grey_tiffs_of_any_depth_keep_their_brightness(grey, bits, photometric, order):
    pytest.importorskip("imagecodecs")
    highest, photometric = 2**bits - 1, int(photometric)
    values = np.rint(grey * (highest / 255)).astype(np.int64)
    expected = np.rint(values * (255 / highest)).astype(int)
    content = packed_tiff(highest - values if photometric == 0 else values, bits, photometric, order)
    close(read_image(content), np.stack([expected] * 3, -1), 1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [None, "unassalpha", "assocalpha", "unspecified"])
def test_colour_tiffs_of_any_layout_keep_their_colours(photograph, bits, order, planar, alpha):
    pytest.importorskip("imagecodecs")
    tifffile = pytest.importorskip("tifffile")
    opacity = np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, 0)
    pixels, expected = photograph, photograph.astype(float)
    if alpha:
        if alpha == "assocalpha":
            pixels = np.rint(photograph * (opacity / 255)).astype(np.uint8)
        if alpha != "unspecified":
            expected = 255 - (255 - expected) * (opacity / 255)
        pixels = np.concatenate([pixels, opacity], -1)
    pixels = pixels.astype(np.uint16) * 257 if bits == 16 else pixels
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels,
        photometric="rgb",
        planarconfig=planar,
        byteorder=order,
        compression="lzw" if order == "<" else None,
        extrasamples=[alpha] if alpha else None,
    )
    assert np.abs(read_image(file.getvalue()) - expected).mean() < 1.5


@pytest.mark.parametrize("kind", [1, 4])
def test_a_tiff_whose_first_page_is_a_preview_or_a_mask_gives_its_picture(save, colour, photograph, kind):
    path = save("p.tif", colour.resize((64, 64)), save_all=True, append_images=[colour], tiffinfo={254: kind})
    close(read_image(path), photograph)  # Pillow marks both pages: the larger one is the picture
    content = bytearray(path.read_bytes())
    entry = struct.pack("<HHII", 254, 4, 1, kind)
    at = content.rindex(entry)
    content[at : at + 12] = struct.pack("<HHII", 254, 4, 1, 0)
    close(read_image(bytes(content)), photograph)


def test_what_cannot_be_read_rightly_is_refused_and_never_scored(grey, monkeypatch):
    with pytest.raises(ImageError, match="signed pixels, whose range is unknown"):
        read_image(packed_tiff(grey.astype(np.int64), 16, sample_format=2))
    content = packed_tiff(grey.astype(np.int64) * 16, 12)
    if importlib.util.find_spec("imagecodecs"):
        at = content.index(struct.pack("<HHI", 273, 4, 1)) + 8
        with pytest.raises(ImageError, match="truncated"):
            read_image(content[:at] + struct.pack("<I", len(content) - 100) + content[at + 4 :])
    with pytest.raises(ImageError, match="a TIFF of 12 bits, which Pillow reads wrongly: give its path"):
        read_image(Image.open(io.BytesIO(content)))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=r"a TIFF of 12 bits needs .*: pip install tifffile imagecodecs"):
        read_image(content)


def test_a_tiff_that_does_not_say_where_its_pixels_are_is_refused(grey):
    tifffile, file = pytest.importorskip("tifffile"), io.BytesIO()
    tifffile.imwrite(file, grey.astype(np.uint16), rowsperstrip=64, photometric="miniswhite")
    content = file.getvalue()
    at = content.index(struct.pack("<HHI", 273, 4, 4)) + 4
    with pytest.raises(ImageError, match="truncated, or does not say where its pixels are"):
        read_image(content[:at] + struct.pack("<I", 3) + content[at + 4 :])


def test_a_heic_is_read_with_its_reader_and_without_it_says_what_to_install(colour, photograph, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(colour).save(file, quality=95)
    content = file.getvalue()
    for brand in (b"heic", b"mif2", b"miaf", b"hevm", b"msf1"):  # it is compatible with the first
        assert np.abs(read_image(content[:8] + brand + content[12:]).astype(int) - photograph).mean() < 4, brand
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC needs pillow-heif: pip install pillow-heif"):
        read_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_a_gif_with_a_vast_canvas_is_refused_since_it_is_held_twice():
    buffer = io.BytesIO()
    Image.new("P", (20, 20)).save(buffer, "GIF")
    content = bytearray(buffer.getvalue())
    content[6:10] = (10_000).to_bytes(2, "little") * 2
    with pytest.raises(ImageError, match=r"10000x10000 pixels of a GIF, .* are more than 89478485"):
        read_image(bytes(content))


@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_its_end_is_read_with_a_note(save, photograph, missing):
    content, notes = save("p.jpg", photograph).read_bytes(), []
    np.testing.assert_array_equal(read_image(content[:-missing], notes), read_image(content))
    assert notes == ["the file lacks its end, but no pixels"]


LOST = "a part of its data is missing: "
HALF, CENTRE = (lambda c: c[: len(c) // 2] + b"\xff\xd9"), (lambda c: c[: len(c) * 4 // 10] + c[len(c) // 2 :])


@pytest.mark.parametrize(
    "options, lose, note",
    [
        ({}, HALF, LOST + "the lower 5.% of the picture is grey"),
        ({}, CENTRE, LOST + "the lower .+% of the picture is grey"),
        ({"restart_marker_rows": 1}, HALF, LOST + "the lower 5.% of the picture is grey"),
        ({"progressive": True}, HALF, LOST + "it shows less detail than it had"),
    ],
)
def test_a_jpeg_that_lost_data_before_its_end_marker_is_read_with_a_note(save, photograph, options, lose, note):
    notes = []
    content = save("p.jpg", photograph, quality=92, **options).read_bytes()
    read_image(content, notes)
    assert not notes
    read_image(lose(content), notes)
    assert len(notes) == 1 and re.fullmatch(note, notes[0])
    read_image(save("grey.jpg", np.full((64, 64, 3), 128, np.uint8), **options), whole := [])
    assert not whole  # which ends in the grey of blocks without data
