"""The compiled networks that are kept in the user's cache folder, each with what Keras said of a probe picture.

A network is compiled when its weights are first used, which takes Keras and some seconds. Each time that the file is opened
later, its answer for the probe is compared with Keras's: neither a damaged file nor a new version of a runtime can change a
score unnoticed.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card
from iqa.environment import cache_folder
from iqa.errors import ExportError, RuntimeUnavailable
from iqa.files import written_whole

# Part of a folder's name: files that another version of `_write` made are not read.
_VERSION = 1


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
class CachedNetwork:
    """A compiled network in the cache.

    Attributes:
        file: the network.
        probe: what Keras says of the probe picture.
        written: whether this call wrote the file.
    """

    file: Path
    probe: Probe
    written: bool


def find_network(format: str, suffix: str, weights: Path, card: Card, sha256: str, rewrite: bool = False) -> CachedNetwork:
    """The compiled network of a weight file, which is written if the cache does not have it.

    Weights and what the card says of the network name the folder: the same weights with another padding are another
    network.

    Args:
        format, suffix: of the file; see `iqa.models.export.FORMATS`.
        weights, card, sha256: the weight file, its card, its hash.
        rewrite: write the file even if it is there.

    Raises:
        RuntimeUnavailable: if it cannot be written; the message says why.
        CardError, WeightsError: see `iqa.models.networks.network_of`.
    """
    facts = card.to_json()
    text = json.dumps([_VERSION, facts["backbone"], facts["head"], card.geometry.size], sort_keys=True)
    folder = cache_folder() / f"{sha256[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    file, probe = folder / f"network{suffix}", folder / "probe.npz"
    stored = _read_probe(probe)
    if stored is not None and file.exists() and not rewrite:
        return CachedNetwork(file, stored, written=False)
    return CachedNetwork(file, _write(file, probe, format, weights, card), written=True)


def _read_probe(path: Path) -> Probe | None:
    try:
        # Opened here, because `np.load` leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Probe(arrays["patches"], arrays["outputs"])
    except Exception:  # missing, or damaged: zipfile, zlib and NumPy each have errors of their own for that
        return None


def _write(file: Path, probe_file: Path, format: str, weights: Path, card: Card) -> Probe:
    from iqa.images.finding import sample_photograph
    from iqa.images.geometry import resize
    from iqa.images.reading import read_image
    from iqa.models.export import export
    from iqa.models.networks import network_of

    model = network_of(card, weights)
    patches = resize(read_image(sample_photograph()), card.geometry.size)[None]
    probe = Probe(patches, np.asarray(model.predict_on_batch(patches)[0]))
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
