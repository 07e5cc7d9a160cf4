"""What workers answer: a head of fixed size, a short text, the bytes of an array.

A worker that a crafted picture has taken over may answer anything. Its parent therefore knows beforehand what kind of array
comes (`Form`), and takes nothing but numbers of that kind, in a shape and a size that the recipe allows.
"""

import struct
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from iqa.cards import Card
from iqa.images.reading import MAX_PIXELS
from iqa.images.thumbnails import most_bytes

#: Bytes of a reason or a warning, at most.
TEXT = 2000

#: Mark, kind, number of dimensions, bytes of the text, lengths of the dimensions.
_HEAD = struct.Struct("<4sBBH4I")
_MARK = b"iqa\1"
_READY, _ARRAY, _REASON = range(3)


class MessageError(ValueError):
    """What came is no message, or not of the form that was asked for."""


class Answer(NamedTuple):
    """What a worker says of a picture: an array, perhaps with a warning, or the reason why there is none."""

    array: NDArray[Any] | None
    reason: str | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Form:
    """The arrays that a recipe asks for.

    Attributes:
        dtype: of their numbers.
        shape: with None for the one length that may vary.
        most: of that length.
    """

    dtype: DTypeLike
    shape: tuple[int | None, ...]
    most: int = 0

    @classmethod
    def of(cls, recipe: dict[str, Any]) -> "Form":
        """The form of a recipe; see `iqa.scoring.pool.Workers`."""
        if "thumbnail" in recipe:
            return cls(np.uint8, (None,), most_bytes(recipe["thumbnail"]))
        if "pair" in recipe:
            return cls(np.float32, (recipe["length"],))
        card = Card.from_json(recipe["card"])
        if recipe["runtime"] != "keras":
            return cls(np.float32, (card.bins,))
        size = card.preprocessing.size
        # A grid over a picture has fewer than four times the patches that its pixels would fill; six views are the rest.
        return cls(np.uint8, (None, size, size, 3), 6 + 4 * MAX_PIXELS // size**2)

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array may have this shape."""
        return len(shape) == len(self.shape) and all(
            0 < found <= self.most if wanted is None else found == wanted
            for found, wanted in zip(shape, self.shape, strict=True)
        )


def write_ready(channel: IO[bytes]) -> None:
    """Say that the worker waits for pictures."""
    channel.write(_HEAD.pack(_MARK, _READY, 0, 0, 0, 0, 0, 0))
    channel.flush()


def write_answer(channel: IO[bytes], answer: Answer, form: Form) -> None:
    """Send an answer; the array is of the form of the recipe."""
    text = (answer.warning if answer.reason is None else answer.reason) or ""
    encoded = text.encode("utf-8", "backslashreplace")[:TEXT]
    if answer.array is None:
        channel.write(_HEAD.pack(_MARK, _REASON, 0, len(encoded), 0, 0, 0, 0) + encoded)
        return
    array = np.ascontiguousarray(answer.array, form.dtype)
    lengths = (*array.shape, *(0,) * (4 - array.ndim))
    channel.write(_HEAD.pack(_MARK, _ARRAY, array.ndim, len(encoded), *lengths) + encoded)
    channel.write(array.data.cast("B"))


def read_ready(channel: IO[bytes]) -> None:
    """Wait until the worker says that it is ready.

    Raises:
        EOFError: if it ended.
        MessageError: if it says anything else.
    """
    kind, *_ = _read_head(channel)
    if kind != _READY:
        raise MessageError("an answer without a question")


def read_answer(channel: IO[bytes], form: Form) -> Answer:
    """The next answer.

    Raises:
        EOFError: if the worker ended.
        MessageError: if it sent anything but an answer of this form.
    """
    kind, shape, length = _read_head(channel)
    if kind == _READY or length > TEXT or (kind == _REASON and (shape or not length)):
        raise MessageError("no answer")
    if kind == _ARRAY and not form.admits(shape):
        raise MessageError(f"an array of {shape}")
    text = _printable(_read(channel, length))
    if kind == _REASON:
        return Answer(None, text)
    array = np.empty(shape, form.dtype)
    if channel.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MessageError("a score that is no finite number")
    return Answer(array, warning=text or None)


def _read_head(channel: IO[bytes]) -> tuple[int, tuple[int, ...], int]:
    mark, kind, dimensions, length, *lengths = _HEAD.unpack(_read(channel, _HEAD.size))
    if mark != _MARK or kind > _REASON or dimensions > len(lengths):
        raise MessageError("no message")
    return kind, tuple(lengths[:dimensions]), length


def _read(channel: IO[bytes], count: int) -> bytes:
    content = channel.read(count)
    if len(content) != count:
        raise EOFError
    return content


def _printable(text: bytes) -> str:
    """A text of one line, whatever was sent."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.decode(errors="replace").split()))
