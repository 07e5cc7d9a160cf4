"""Files that are no pictures, of as many kinds as a collection holds."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def _saved(pixels, format):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def png(*chunks):
    """A PNG of chunks (name, content) with right sums."""
    framed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def bad_files(pixels):
    """{kind: content}; `pixels` are those of a photograph, uint8 (H, W, 3)."""
    jpeg, whole_png, gif = (_saved(pixels, format) for format in ("JPEG", "PNG", "GIF"))
    frame = jpeg.index(b"\xff\xc0") + 5
    return {
        "empty": b"",
        "page of an error": b"<!doctype html><title>404</title><h1>Not found</h1>",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "chance": np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes(),
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "jpeg of 65500 x 65500 pixels": jpeg[:frame] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 4 :],
        "half a png": whole_png[: len(whole_png) // 2],
        "gif of a header": gif[:13],
        "tiff without a directory": b"II*\0\xff\xff\xff\x7f",
        "ppm of no pixels": b"P6 0 0 255\n",
    }
