import io
import struct
import tempfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from iqa.errors import ImageError
from iqa.images import geometry
from iqa.images.finding import sample_photograph
from iqa.images.geometry import resize
from iqa.images.reading import read_image, read_resized, thumbnail


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


def test_a_cmyk_jpeg_is_scored_in_its_colours(save, colour, photograph):
    close(read_image(save("p.jpg", colour.convert("CMYK"), quality=98)), photograph, 60)


def test_grey_is_repeated_in_three_channels(save, colour, grey):
    close(read_image(save("p.png", colour.convert("L"))), np.stack([grey] * 3, -1))


def test_sixteen_bit_grey_is_scaled_not_clipped(save, grey):
    path = save("p.png", Image.fromarray(grey.astype(np.uint16) * 257))
    close(read_image(path), np.stack([grey] * 3, -1))


def test_sixteen_bit_grey_tiff_of_either_byte_order_is_scaled(tmp_path, save, grey):
    path = save("p.tif", Image.fromarray(grey.astype(np.uint16) * 257))
    close(read_image(path), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("array", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70_000, np.int32)])
def test_pixels_of_unknown_range_are_refused_not_scored_as_black_or_white(save, array):
    with pytest.raises(ImageError, match="whose range is unknown"):
        read_image(save("p.tif", Image.fromarray(array)))


def test_a_palette_becomes_its_colours(save, colour):
    palette = colour.quantize(64)
    close(read_image(save("p.png", palette)), np.asarray(palette.convert("RGB")))


def test_a_transparent_palette_lies_on_white(save, colour):
    palette = colour.quantize(8)
    index = int(np.asarray(palette)[0, 0])
    assert (read_image(save("p.png", palette, transparency=index))[0, 0] == 255).all()


def test_transparency_lies_on_white(save, photograph):
    alpha = np.zeros((*photograph.shape[:2], 1), np.uint8)
    assert (read_image(save("p.png", np.concatenate([photograph, alpha], -1))) == 255).all()


def test_half_transparency_is_half_white(save):
    path = save("p.png", np.full((4, 4, 4), (0, 0, 0, 128), np.uint8))
    close(read_image(path), np.full((4, 4, 3), 127, np.uint8))


@pytest.mark.parametrize("orientation, turned", [(3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1))])
def test_exif_rotation_is_turned_upright(save, photograph, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save("p.png", photograph[:100], exif=exif)
    close(read_image(path), turned(photograph[:100]))


@pytest.mark.parametrize("name", ["p.gif", "p.png", "p.webp", "p.tif", "p.mpo", "p.avif"])
def test_of_several_pictures_the_first_is_taken(save, name):
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (10, 200)]
    path = save(name, frames[0], save_all=True, append_images=frames[1:])
    for pixels in (read_image(path), read_resized(path, 16)):
        np.testing.assert_allclose(pixels, 10, atol=3)


def test_a_large_jpeg_is_decoded_in_part_and_scores_as_the_whole(save):
    from iqa.scoring.scorer import Scorer

    large = Image.open(sample_photograph()).convert("RGB").resize((3072, 3600), Image.Resampling.BICUBIC)
    path = save("large.jpg", large, quality=92)
    whole, reduced = resize(read_image(path), 224), read_resized(path, 224)
    assert not np.array_equal(whole, reduced)
    scorer = Scorer("ava_vanilla", head="histogram")
    assert scorer.score(path).score == pytest.approx(scorer.score(read_image(path)).score, abs=0.01)
    np.testing.assert_array_equal(read_resized(path, 224, "nearest"), resize(read_image(path), 224, "nearest"))


def test_arrays_and_pil_images_are_taken_as_they_are(photograph, colour):
    assert read_image(photograph) is photograph
    close(read_image(colour), photograph)


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_of_another_kind_is_refused(array):
    for read in (read_image, lambda array: read_resized(array, 4)):
        with pytest.raises(ImageError, match="an image array must"):
            read(array)


@pytest.mark.parametrize("value", [None, [[1, 2, 3]], 5])
def test_what_is_neither_a_path_nor_pixels_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=f"an image must be a path, .* not {type(value).__name__}"):
        read_image(value)


@pytest.fixture(params=["gif", "png", "webp", "tif"])
def animation(request, save):
    """A file of three frames, of 10, 120 and 240."""
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (10, 120, 240)]
    return save(f"p.{request.param}", frames[0], save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("frame, value", [(0, 10), (1, 120), (2, 240)])
def test_a_pil_image_is_read_at_its_frame_and_stays_there(animation, frame, value):
    with Image.open(animation) as opened:
        opened.seek(frame)
        before = opened.tell(), opened.size, opened.mode
        for pixels in (read_image(opened), read_resized(opened, 16)):
            np.testing.assert_allclose(pixels, value, atol=3)
        thumbnail(opened, 8)
        assert (opened.tell(), opened.size, opened.mode) == before
        opened.seek(0)
        np.testing.assert_allclose(read_image(opened), 10, atol=3)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
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


def test_writing_to_the_pixels_that_were_read_does_not_reach_the_pil_image(colour, photograph):
    pixels = read_image(colour)
    if pixels.flags.writeable:
        pixels[:] = 0
    np.testing.assert_array_equal(np.asarray(colour), photograph)


def jpeg(photograph):
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, "JPEG")
    return buffer.getvalue()


def png(photograph):
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(photograph):
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("empty.jpg", lambda p: b"", "empty"),
        ("text.jpg", lambda p: b"I am no picture.\n" * 10, "not an image"),
        ("cut.jpg", lambda p: jpeg(p)[:3000], "truncated"),
        ("cut.png", lambda p: png(p)[:3000], "cannot be decoded"),
        ("bomb.png", bomb, "pixels"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, photograph, name, content, reason):
    (tmp_path / name).write_bytes(content(photograph))
    with pytest.raises(ImageError, match=reason) as error:
        read_image(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_bytes_changed_anywhere_give_an_image_or_an_image_error(noise, position):
    content = bytearray(jpeg(np.full((16, 16, 3), 99, np.uint8)))
    content[position : position + len(noise)] = noise
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(content)
        file.flush()
        try:
            assert read_image(file.name).ndim == 3
        except ImageError as error:
            assert "\n" not in str(error)


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(ImageError, match="300x223 pixels are fewer than the 224x224"):
        geometry.centre_patch(np.zeros((223, 300, 3), np.uint8), 224)


@given(st.integers(8, 60), st.integers(8, 60))
def test_the_grid_covers_every_pixel_with_the_fewest_patches(height, width):
    image = np.arange(height * width, dtype=np.uint32).view(np.uint8).reshape(height, width, 4)[..., :3]
    patches = geometry.grid_patches(image, 8)
    assert len(patches) == -(-height // 8) * -(-width // 8)
    assert len(np.unique(patches.reshape(-1, 3), axis=0)) == len(np.unique(image.reshape(-1, 3), axis=0))


@given(st.integers(8, 60), st.integers(8, 60))
def test_a_grid_and_a_centre_keep_to_blocks_when_told(height, width):
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    image = np.stack([rows, columns, columns], -1).astype(np.uint8)
    patches = geometry.grid_patches(image, 8, multiple=4)
    seen = np.zeros((height, width), bool)
    for patch in [*patches, geometry.centre_patch(image, 8, multiple=4)]:
        top, left = patch[0, 0, :2]
        assert top % 4 == left % 4 == 0
        seen[top : top + 8, left : left + 8] = True
    assert seen[: height // 4 * 4, : width // 4 * 4].all()
    top, left = geometry.centre_patch(image, 8, multiple=4)[0, 0, :2]
    assert 0 <= (height - 8) // 2 - top < 4
    assert 0 <= (width - 8) // 2 - left < 4


def test_the_patches_of_a_ladder_are_cut_and_mirrored_alike(photograph):
    first, second = geometry.random_patches([photograph, 255 - photograph], 100, np.random.default_rng(5))
    np.testing.assert_array_equal(first, 255 - second)


def test_random_patches_reach_all_places_and_are_mirrored_half_of_the_time():
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = np.arange(16).reshape(4, 4)
    rng = np.random.default_rng(0)
    patches = [geometry.random_patch(image, 2, rng)[..., 0] for _ in range(400)]
    assert len({patch.min() for patch in patches}) == 9
    assert 150 < sum(patch[0, 0] < patch[0, 1] for patch in patches) < 250


def test_random_patches_keep_to_blocks_when_told():
    rows, columns = np.meshgrid(np.arange(50), np.arange(40), indexing="ij")
    image = np.stack([rows, columns, columns], -1).astype(np.uint8)
    rng = np.random.default_rng(0)
    corners = {tuple(geometry.random_patch(image, 17, rng, multiple=8).min((0, 1))[:2]) for _ in range(300)}
    assert corners == {(top, left) for top in (0, 8, 16, 24, 32) for left in (0, 8, 16)}
    assert geometry.random_patch(image, 40, rng, multiple=16).shape == (40, 40, 3)


def test_a_truncated_pil_image_is_an_error_like_others(colour):
    buffer = io.BytesIO()
    colour.save(buffer, "JPEG")
    whole = buffer.getvalue()
    with pytest.raises(ImageError, match="it cannot be decoded: image file is truncated"):
        read_image(Image.open(io.BytesIO(whole[: len(whole) // 2])))
