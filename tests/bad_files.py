"""Files that are no pictures, of as many kinds as a collection holds."""

import gzip
import io
import struct
import zlib

import numpy as np
from PIL import Image


def _saved(pixels, format, **options):
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, format, **options)
    return stream.getvalue()


def png(*chunks):
    """A PNG of chunks (name, content) with right sums."""
    framed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def bad_files(pixels):
    """{kind: content}; `pixels` are those of a photograph, uint8 (H, W, 3)."""
    jpeg, whole_png = _saved(pixels, "JPEG"), _saved(pixels, "PNG")
    gif, webp, tiff, jp2 = (_saved(pixels, format) for format in ("GIF", "WEBP", "TIFF", "JPEG2000"))
    rng = np.random.default_rng(0)
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    frame = jpeg.index(b"\xff\xc0") + 5
    return {
        "empty": b"",
        "text": b"I am no picture.\n" * 10,
        "utf-16 text": "I am no picture.\n".encode("utf-16") * 10,
        "page of an error": b"<!doctype html><title>404</title><h1>Not found</h1>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "pdf": b"%PDF-1.7\n%%EOF\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n",
        "zip": b"PK\x05\x06" + bytes(18),
        "gzip": gzip.compress(jpeg, mtime=0),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "video": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        "zeros": bytes(5000),
        "chance": rng.integers(0, 256, 5000, np.uint8).tobytes(),
        "jpeg of a header": jpeg[:20],
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "jpeg of 65500 x 65500 pixels": jpeg[:frame] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 4 :],
        "half a png": whole_png[: len(whole_png) // 2],
        "png without data": png((b"IHDR", header), (b"IEND", b"")),
        "png of broken data": png((b"IHDR", header), (b"IDAT", b"no deflate"), (b"IEND", b"")),
        "png of 60000 x 60000 pixels": png((b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))),
        "png with a wrong sum": whole_png[:29] + bytes(4) + whole_png[33:],
        "gif of a header": gif[:13],
        "webp of a header": webp[:30],
        "half a tiff": tiff[: len(tiff) // 2],
        "tiff without a directory": b"II*\0\xff\xff\xff\x7f",
        "tiff of floats": _saved(Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF"),
        "tiff of 32 bits": _saved(Image.fromarray(np.full((300, 300), 1 << 20, np.int32)), "TIFF"),
        "bmp of a header": b"BM" + bytes(12),
        "jpeg2000 of a header": jp2[:40],
        "ppm of no pixels": b"P6 0 0 255\n",
    }
