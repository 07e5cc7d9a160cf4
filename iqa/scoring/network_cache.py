"""The compiled network of a weight file: the one that ships beside the weights, or one in the user's cache folder.

Shipped weights have their compiled file beside them (see `iqa.scoring.shipping`). Others are compiled when they are first
used, which takes Keras and some seconds. Each time that a file is opened, its answer for a probe picture is compared with
Keras's: neither a damaged file nor a new version of a runtime can change a score unnoticed.
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
from iqa.files import written_whole
from iqa.images.probe import draw_probe

# Part of a folder's name: files that another version of `_write` made are not read.
_VERSION = 2


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
    not there; and the same once more, written anew, since the file may have been damaged. Weights and what the card says of
    the network name the folder in the cache: the same weights with another padding are another network.

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
            yield CompiledFile(shipped, Probe(draw_probe(card.geometry.size)[None], np.array([card.probe], np.float32)))
        else:
            stale = f"{shipped.name} is not the file that {card_of(weights).name} describes"
    facts = card.to_json()
    text = json.dumps([_VERSION, facts["backbone"], facts["head"], card.geometry.size], sort_keys=True)
    folder = cache_folder() / f"{sha256[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    file, probe = folder / f"network{suffix}", folder / "probe.npz"
    stored = _read_probe(probe)
    if stored is not None and file.exists():
        yield CompiledFile(file, stored)
    try:
        written = CompiledFile(file, _write(file, probe, format, weights, card))
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(f"{stale}; {error}" if stale else str(error)) from None
    if stale:
        warnings.warn(f"{stale}: compiled anew", stacklevel=2)
    yield written


def _read_probe(path: Path) -> Probe | None:
    try:
        # Opened here, because `np.load` leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Probe(arrays["patches"], arrays["outputs"])
    except Exception:  # missing, or damaged: zipfile, zlib and NumPy each have errors of their own for that
        return None


def _write(file: Path, probe_file: Path, format: str, weights: Path, card: Card) -> Probe:
    check_keras(weights)
    from iqa.models.export import export
    from iqa.models.networks import network_of

    model = network_of(card, weights)
    probe = ask_keras(model, card)
    try:
        export(model, file, format, "uint8")
        with written_whole(probe_file) as stream:
            np.savez(stream, patches=probe.patches, outputs=probe.outputs)
    except ExportError as error:
        raise RuntimeUnavailable(str(error)) from None
    except OSError as error:
        raise RuntimeUnavailable(f"{file.parent} cannot be written: {error}; name another folder with IQA_CACHE") from None
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
    patches = draw_probe(card.geometry.size)[None]
    return Probe(patches, np.asarray(model.predict_on_batch(patches)[0]))
