"""Compression and transmission: distortions 10-13, 20, 21 and 24 of TID2013, and the codecs that they use."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.distortions.appearance import (
    Pixels,
    additive_gaussian_noise,
    block_dct,
    dct_denoise,
    distort_to_psnr,
    inverse_block_dct,
    psnr_rgb,
    to_rgb,
    to_ycc,
)

# Luma and chroma quantisation of the Independent JPEG Group's codec at quality 50 (ITU-T T.81, annex K).
IJG_TABLES = (
    (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
     51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121,
     120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
     *[99] * 38),
)  # fmt: skip


def encode_jpeg(image: Pixels, subsampling: str = "4:2:0", **options: Any) -> bytes:
    """A JPEG file; `options` are those of Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", subsampling=subsampling, **options)
    return buffer.getvalue()


def encode_jpeg2000(image: Pixels, psnr: float, **options: Any) -> bytes:
    """A JPEG2000 stream at a PSNR in dB; `options` are those of Pillow."""
    buffer = io.BytesIO()
    layers: dict[str, Any] = {"quality_mode": "dB", "quality_layers": [psnr]}
    Image.fromarray(image).save(buffer, "JPEG2000", irreversible=True, no_jp2=True, **layers, **options)
    return buffer.getvalue()


def decode(data: bytes | bytearray) -> Pixels:
    """The picture in an image file that is held in memory."""
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"))


def jpeg(image: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """JPEG at an IJG quality, which need not be whole. Steps above 255 stay what they are, as in TID2013."""
    scale = np.floor(5000 / quality) if quality < 50 else 200 - 2 * quality
    tables = [np.clip((np.array(table) * scale + 50) // 100, 1, 32767).astype(int).tolist() for table in IJG_TABLES]
    with _silent_libjpeg():
        data = encode_jpeg(image, qtables=tables)
    return decode(data)


@contextmanager
def _silent_libjpeg() -> Iterator[None]:  # it writes to stderr that steps above 255 are more than baseline JPEG allows
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def jpeg2000(image: Pixels, psnr: float, rng: np.random.Generator) -> Pixels:
    """JPEG2000 with the irreversible wavelet, at a PSNR in dB."""
    return decode(encode_jpeg2000(image, psnr))


def lose_data(image: Pixels, stream: bytes, vulnerable: NDArray[np.int_], psnr: float, rng: np.random.Generator) -> Pixels:
    """Flip bits of a compressed stream until the picture that a real decoder makes of it has fallen to `psnr`.

    Bursts of errors that the decoder refuses, or that destroy too much, are put back. The PSNR over RGB is met within 0.08
    dB where 120 bursts are enough; `vulnerable` are the positions of the bytes that may be hit.
    """
    tolerance = 0.08
    best, burst = decode(stream), 1
    best_psnr = psnr_rgb(image, best)
    for _ in range(120):
        if best_psnr <= psnr + tolerance:
            break
        hit = bytearray(stream)
        for position in rng.choice(vulnerable, size=burst):
            changed = hit[position] ^ (1 << rng.integers(8))
            # 0xFF starts a marker: neither make nor break one, an error in a marker loses the rest of the picture.
            if 0xFF not in (changed, *hit[position - 2 : position + 1]):
                hit[position] = changed
        try:
            damaged = decode(hit)
            damaged_psnr = psnr_rgb(image, damaged)
        except OSError:  # the decoder gave up on the stream
            damaged_psnr = -np.inf
        if damaged_psnr >= psnr - tolerance:
            if damaged_psnr > best_psnr - 0.5:
                burst *= 2
            if damaged_psnr < best_psnr:
                stream, best, best_psnr = bytes(hit), damaged, damaged_psnr
        else:
            burst = max(1, burst // 2)
    return best


def jpeg_transmission_errors(image: Pixels, psnr: float, rng: np.random.Generator) -> Pixels:
    """Bit errors in a baseline JPEG stream with a restart marker every 8 units of 16x16 pixels."""
    stream = encode_jpeg(image, quality=85, restart_marker_blocks=8)
    start_of_scan = stream.index(b"\xff\xda")
    first = start_of_scan + 4 + int.from_bytes(stream[start_of_scan + 2 : start_of_scan + 4], "big")
    return lose_data(image, stream, np.arange(first, len(stream) - 2), psnr, rng)


def jpeg2000_transmission_errors(image: Pixels, psnr: float, rng: np.random.Generator) -> Pixels:
    """Bit errors in the code blocks of a JPEG2000 stream; its packet headers are spared, as resilient coders do."""
    stream = encode_jpeg2000(image, 40, codeblock_size=(16, 16), num_resolutions=4, plt=True)
    # Of each packet the later part: the header comes first, and an error there would lose the packets after it too.
    start, vulnerable = stream.index(b"\xff\x93") + 2, []
    for length in packet_lengths(stream):
        vulnerable.append(np.arange(start + length // 3, start + length - 2))
        start += length
    return lose_data(image, stream, np.concatenate(vulnerable), psnr, rng)


def packet_lengths(stream: bytes) -> list[int]:
    """The lengths of a tile's packets, by the PLT markers in its header (ITU-T T.800, A.7.3)."""
    lengths: list[int] = []
    number, at = 0, stream.index(b"\xff\x90") + 12
    while stream[at : at + 2] != b"\xff\x93":
        size = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at : at + 2] == b"\xff\x58":
            for byte in stream[at + 5 : at + 2 + size]:
                number = number << 7 | byte & 0x7F
                if byte < 0x80:
                    lengths.append(number)
                    number = 0
        at += 2 + size
    return lengths


def comfort_noise(image: Pixels, scale: float, rng: np.random.Generator) -> Pixels:
    """JPEG's luma quantisation in steps `scale` times those of quality 50, with noise in place of what it would zero.

    The noise is as strong as what it replaces, and a little stronger: a 24th of a step more at most. TID2013's
    published PSNRs of luma and RGB are those of an error in the luma alone.
    """
    coefficients = block_dct(to_ycc(image))
    exact = coefficients[..., 0]
    step = scale * np.reshape(IJG_TABLES[0], (8, 1, 8))
    coded = np.rint(exact / step) * step
    noise = exact * rng.choice((-1.0, 1.0), exact.shape) + rng.uniform(-1 / 24, 1 / 24, exact.shape) * step
    coded = np.where(coded == 0, noise, coded)
    coded[:, 0, :, 0] = exact[:, 0, :, 0]  # block means are coded finely, or the blocks themselves would show
    coefficients[..., 0] = coded
    return to_rgb(inverse_block_dct(coefficients, image.shape))


def compressed_noisy(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of `sigma`, then a block DCT that quantises all frequencies alike, in steps of four times `sigma`."""
    step, grey = 4 * sigma, np.array([128, 0, 0])
    coefficients = block_dct(to_ycc(additive_gaussian_noise(image, sigma, rng)) - grey)
    return to_rgb(inverse_block_dct(np.rint(coefficients / step) * step, image.shape) + grey)


def sparse_sampling(image: Pixels, psnr: float, rng: np.random.Generator) -> Pixels:
    """Compressive sensing: part of the Fourier samples is kept, the rest is reconstructed by an iterated DCT filter.

    Low frequencies are kept, of the others a random share; as many as `psnr` over RGB needs (Egiazarian, Foi,
    Katkovnik, "Compressed sensing image reconstruction via recursive spatially adaptive filtering", ICIP 2007).
    """
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape[:2]), indexing="ij"))
    ycc = to_ycc(image)
    measured = np.fft.fft2(ycc, axes=(0, 1))
    chance = rng.random(frequency.shape)

    def reconstruct(coarseness: float) -> Pixels:
        kept = (chance < np.exp(-((frequency * coarseness) ** 2)))[..., None]
        estimate = np.fft.ifft2(measured * kept, axes=(0, 1)).real
        for threshold in (60, 40, 25, 15):
            spectrum = np.fft.fft2(dct_denoise(estimate, threshold), axes=(0, 1))
            estimate = np.fft.ifft2(np.where(kept, measured, spectrum), axes=(0, 1)).real
        return to_rgb(dct_denoise(estimate, 15))

    return distort_to_psnr(image, reconstruct, psnr, weak=0.3, strong=150.0, steps=8)
