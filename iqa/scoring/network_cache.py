"""The compiled network of a weight file: the one that ships beside the weights, or one in the user's cache folder.

Shipped weights have their compiled file beside them (see `iqa.scoring.shipping`), and its hash on the card. Others are
compiled when they are first used, which takes Keras and some seconds. Beside such a file lies a record: the weights that it
was made from, and the hashes of what was written. A file that differs from its record is not used but compiled again. Each
time that a file is opened, its answer for a probe picture is compared with Keras's, so that no new version of a runtime
changes a score unnoticed. The probe alone would not do: most flipped bits hardly change the score of one picture.
"""

import hashlib
import importlib.util
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, card_of
from iqa.cards import sha256 as hash_of
from iqa.environment import cache_folder
from iqa.errors import ExportError, RuntimeUnavailable
from iqa.files import read_json, write_json, written_whole
from iqa.images.probe import draw_probe

# Part of a folder's name: files that another version of `_write` made are not read.
_VERSION = 3


@dataclass(frozen=True)
class Probe:
    """What Keras says of a picture.

    Attributes:
        patches: the picture as the network sees it, uint8 (1, size, size, 3).
        outputs: float32 (1, 1) or (1, 10).
    """

    patches: NDArray[np.uint8]
    outputs: NDArray[np.float32]


@dataclass(frozen=True)
class CompiledFile:
    """A compiled network.

    Attributes:
        file: the network.
        probe: what Keras says of the probe picture.
    """

    file: Path
    probe: Probe


def compiled_beside(weights: Path, suffix: str) -> Path:
    """The path of the compiled form that ships beside a weight file: NAME.weights.h5 -> NAME.tflite."""
    return card_of(weights).with_suffix(suffix)


def find_compiled(format: str, suffix: str, weights: Path, card: Card, sha256: str) -> Iterator[CompiledFile]:
    """The compiled forms of a network, one after the other until the caller finds one that it can use.

    These are the file that ships beside the weights, if the card names it; the one in the cache, which is written if it is
    not there or differs from its record; and the same once more, written anew, since another version may have written it.
    Weights and what the card says of the network name the folder in the cache: the same weights with another padding are
    another network.

    Args:
        format, suffix: of the file; see `iqa.models.export.FORMATS`.
        weights, card, sha256: the weight file, its card, its hash.

    Raises:
        RuntimeUnavailable: if a file cannot be written; the message says why.
        CardError, WeightsError: see `iqa.models.networks.network_of`.
    """
    shipped, stale = compiled_beside(weights, suffix), ""
    if card.probe and card.sha256 == sha256 and shipped.name in card.compiled and shipped.is_file():
        if hash_of(shipped) == card.compiled[shipped.name]:
            yield CompiledFile(
                shipped, Probe(draw_probe(card.preprocessing.size)[None], np.array([card.probe], np.float32))
            )
        else:
            stale = f"{shipped.name} is not the file that {card_of(weights).name} describes"
    facts = card.to_json()
    network = [
        _VERSION,
        facts["backbone"],
        facts["head"],
        card.preprocessing.size,
        *filter(None, [card.faults, card.preprocessing.flip_averaging]),
    ]
    text = json.dumps(network, sort_keys=True)
    folder = cache_folder() / f"{sha256[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    place = _Place(folder / f"network{suffix}", {"weights": sha256, "network": network})
    if place.record.exists() and place.file.exists():
        stored = _read_probe(place.probe) if place.is_as_written() else None
        if stored is not None:
            yield CompiledFile(place.file, stored)
        else:
            stale = f"{place.file} is not the file that was compiled from {weights.name}"
    try:
        written = CompiledFile(place.file, _write(place, format, weights, card))
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(f"{stale}; {error}" if stale else str(error)) from None
    if stale:
        warnings.warn(f"{stale}: compiled anew", stacklevel=2)
    yield written


@dataclass(frozen=True)
class _Place:
    """Where a compiled network is kept.

    Attributes:
        file: the network.
        facts: of the network, as JSON holds them: the hash of its weights, and what the card says.
    """

    file: Path
    facts: dict[str, Any]

    @property
    def probe(self) -> Path:
        return self.file.with_name(f"probe{self.file.suffix}.npz")

    @property
    def record(self) -> Path:
        return self.file.with_name(f"{self.file.name}.json")

    def describe(self) -> dict[str, Any]:
        """What is there now, as JSON holds it: the facts, and the hashes of the files."""
        return self.facts | {"sha256": {path.name: hash_of(path) for path in (self.file, self.probe)}}

    def is_as_written(self) -> bool:
        """Whether nothing has changed since the record was written, and it is the record of this network."""
        try:
            return bool(read_json(self.record) == json.loads(json.dumps(self.describe())))
        except (OSError, ValueError):
            return False


def _read_probe(path: Path) -> Probe | None:
    try:
        # Opened here, because `np.load` leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Probe(arrays["patches"], arrays["outputs"])
    except Exception:  # missing, or damaged: zipfile, zlib and NumPy each have errors of their own for that
        return None


def _write(place: _Place, format: str, weights: Path, card: Card) -> Probe:
    check_keras(weights)
    from iqa.models.export import export
    from iqa.models.networks import network_of

    model = network_of(card, weights)
    probe = ask_keras(model, card)
    try:
        place.record.unlink(missing_ok=True)  # if this process is killed now, no record vouches for what it leaves
        export(model, card, place.file, format, "uint8")
        with written_whole(place.probe) as stream:
            np.savez(stream, patches=probe.patches, outputs=probe.outputs)
        write_json(place.record, place.describe())
    except ExportError as error:
        raise RuntimeUnavailable(str(error)) from None
    except OSError as error:
        raise RuntimeUnavailable(
            f"{place.file.parent} cannot be written: {error}; name another folder with IQA_CACHE"
        ) from None
    except Exception as error:  # whatever a converter raises
        reason = " ".join(str(error).split())[:200]
        raise RuntimeUnavailable(f"{format} cannot be written ({type(error).__name__}: {reason})") from None
    return probe


def check_keras(weights: Path) -> None:
    """Make sure that Keras is there to read a weight file.

    Raises:
        RuntimeUnavailable: if it is not installed.
    """
    if not importlib.util.find_spec("keras"):
        raise RuntimeUnavailable(
            f"{weights.name} needs Keras, which is not installed: pip install 'image-quality-assessment[train]'"
        )


def ask_keras(model: Any, card: Card) -> Probe:
    """What a `keras.Model` says of the probe picture."""
    patches = draw_probe(card.preprocessing.size)[None]
    return Probe(patches, np.asarray(model.predict_on_batch(patches)[0]))
