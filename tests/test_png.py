"""Colours that a PNG or an AVIF gives in numbers."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from iqa.images.reading import read_image

SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
DISPLAY_P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def gamma(value):
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def primaries(places):
    return chunk(b"cHRM", struct.pack(">8I", *(round(place * 100_000) for place in places)))


def codes(primaries, transfer, matrix=0, full=1):
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full]))


def png(pixels, *chunks):
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, "PNG")
    content = stream.getvalue()
    return content[:33] + b"".join(chunks) + content[33:]


def encode(light):
    """sRGB's values, 0-255, of light 0-1 (IEC 61966-2-1)."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def decode(values):
    values = np.asarray(values) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)


@pytest.mark.parametrize("power", [1.0, 1 / 1.8, 0.7])
def test_a_gamma_is_undone(power):
    expected = encode((np.arange(256) / 255) ** (1 / power))
    grey = Image.fromarray(RAMP[..., 0])
    for image in (RAMP, grey, grey.convert("P")):
        assert np.abs(read_image(png(image, gamma(power)))[0] - expected[:, None]).max() < 1


@pytest.mark.parametrize(
    "chunks",
    [
        (gamma(0.45455),),  # what programs wrote for sRGB before there was a chunk for it
        (gamma(0.45455), primaries(SRGB)),
        (chunk(b"sRGB", b"\0"), gamma(0.7), primaries(DISPLAY_P3)),
        (gamma(0),),
        (primaries([0] * 8),),
        (primaries([0.3] * 8), gamma(0.45455)),
        (codes(1, 13), gamma(0.7)),
        (codes(1, 1),),  # video, which screens show as they show sRGB
        (codes(2, 2),),
        (codes(12, 13, matrix=1),),
    ],
)
def test_what_is_srgb_or_nonsense_changes_no_pixel(photograph, chunks):
    assert (read_image(png(photograph, *chunks)) == photograph).all()


TOO_LONG = chunk(b"zTXt", b"c\0\0" + zlib.compress(b"a" * 3_000_000))  # for Pillow, which then reads no colours


@pytest.mark.parametrize(
    "chunks", [(codes(12, 13),), (codes(12, 13), gamma(0.7)), (primaries(DISPLAY_P3),), (TOO_LONG, codes(12, 13))]
)
def test_primaries_are_converted_as_css_color_4_does(chunks):
    colours = np.array([[[200, 0, 0], [0, 200, 0], [0, 0, 200], [180, 120, 90], [255, 255, 255]]], np.uint8)
    # https://www.w3.org/TR/css-color-4/#color-conversion-code, Display P3 to sRGB in linear light
    matrix = np.array([[1.2249402, -0.2249402, 0], [-0.0420569, 1.0420569, 0], [-0.0196376, -0.0786361, 1.0982737]])
    expected = encode(np.clip(decode(colours) @ matrix.T, 0, 1))
    assert np.abs(read_image(png(colours, *chunks)) - expected).max() < 2


@pytest.mark.parametrize(("transfer", "white", "name"), [(16, 0.58, "PQ"), (18, 0.75, "HLG")])
def test_of_hdr_the_highlights_alone_are_compressed_and_that_is_told(transfer, white, name):
    notes = []
    shown = read_image(png(RAMP, codes(9, transfer)), notes)[0, :, 0].astype(int)
    assert (np.diff(shown) >= 0).all() and shown[0] == 0 and shown[-1] == 255
    assert 180 < shown[round(255 * white)] < 240  # the white of a page is light, and what glows is lighter
    assert notes == [f"its highlights ({name}) were compressed to what an ordinary screen shows"]


def test_values_of_video_are_spread_to_the_full_range():
    shown = read_image(png(RAMP, codes(1, 13, full=0)))[0, :, 0]
    assert (shown[:17] == 0).all() and (shown[235:] == 255).all() and abs(int(shown[126]) - 128) <= 1


def test_colours_of_an_uncommon_kind_are_told_and_taken_for_srgb(photograph):
    for what in (codes(99, 13), codes(1, 9)):
        notes = []
        assert (read_image(png(photograph, what), notes) == photograph).all()
        assert notes == ["its colours are of an uncommon kind and were taken for sRGB"]


def test_an_opened_image_has_the_colours_of_its_file_and_stays_as_it_was(tmp_path, photograph):
    content = png(photograph, codes(12, 13), gamma(0.7))
    path = tmp_path / "p3.png"
    path.write_bytes(content)
    expected = read_image(path)
    assert (expected != photograph).any()
    for source in (path, io.BytesIO(content)):
        with Image.open(source) as image:
            assert (read_image(image) == expected).all()
            assert (np.asarray(image) == photograph).all() and "icc_profile" not in image.info


def test_the_colours_of_an_avif_in_numbers_are_converted(photograph):
    stream = io.BytesIO()
    Image.fromarray(photograph).save(stream, "AVIF", quality=100)
    content = stream.getvalue()
    place = content.index(b"nclx") + 4
    assert content[place : place + 4] == struct.pack(">HH", 1, 13)
    plain = read_image(content)
    p3 = read_image(content[:place] + struct.pack(">HH", 12, 13) + content[place + 4 :])
    expected = read_image(png(plain, codes(12, 13)))
    assert (p3 != plain).any() and np.abs(p3.astype(int) - expected).max() <= 1
