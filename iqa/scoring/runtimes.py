"""The runtimes that a network can be scored on, behind one face: `network(patches) -> [outputs, features]`.

Keras takes tens of milliseconds for what a compiled runtime does in a few, with the same float32 arithmetic. The compiled
ones read a file that is written on first use and kept in the user's cache folder, together with what Keras said of a probe
picture: every time that such a file is opened, it has to say the same, or it is not used. So neither a new version of a
runtime nor a damaged file changes a score unnoticed, and a process that finds its file there never imports Keras.
"""

import functools
import hashlib
import importlib.util
import json
import os
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

from iqa.errors import ExportError, RuntimeUnavailable
from iqa.files import written_whole
from iqa.models.export import FORMATS, export

#: What `auto` tries, in the order of benchmarks/README.md; all compute in float32.
FASTEST_FIRST = ("openvino", "litert", "onnx")

#: --runtime. `openvino-bf16` computes in bfloat16, where the processor can: half as fast again, scores move by up to 0.03.
RUNTIMES = ("auto", "keras", *FASTEST_FIRST, "openvino-bf16")

#: How far a score of the probe may lie from Keras's.
TOLERANCES = {"openvino-bf16": 0.03}
TOLERANCE = 1e-4

#: Patches that a compiled runtime is given at once, where that is faster than one by one: in bfloat16 the processor waits
#: for the weights, which then serve for two.
BATCHES = {"openvino-bf16": 2}

STEP = 32  # patches that go through Keras at once, at most: their activations take 15 MB each

# Part of the cache's key: files written by another version of this module's `_write` are not read.
VERSION = 1


class _Spoilt(RuntimeUnavailable):
    """A file of the cache that its runtime cannot open, or that says something else than Keras did."""


def open_network(runtime, weights, card, sha256, threads=None):
    """The network of a weight file on a runtime.

    Args:
        runtime: one of `RUNTIMES`; "auto" is the fastest of those installed that agrees with Keras on the probe, or
            Keras itself if none does, or if KERAS_BACKEND asks for another backend than tensorflow.
        weights, card, sha256: the file, what is on its card, its hash.
        threads: for a compiled runtime; None for all processors.

    Returns:
        A function (uint8 (N, size, size, 3)) -> [outputs, features], float32 arrays of N rows, with the attributes
        `name` ("litert"), `description` ("litert 2.3.0") and `packages`, whose versions decide what comes out.

    Raises:
        RuntimeUnavailable: if the runtime asked for is not installed, or does not agree with Keras.
        CardError, WeightsError: see `iqa.models.networks.network_of`.
    """
    if runtime == "keras":
        return _keras_network(weights, card)
    if runtime != "auto":
        return CompiledNetwork(runtime, weights, card, sha256, threads)
    reasons = []
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        for name in FASTEST_FIRST:
            if importlib.util.find_spec(_MODULES[name]):
                try:
                    network = CompiledNetwork(name, weights, card, sha256, threads)
                except RuntimeUnavailable as error:
                    reasons.append(str(error))
                    continue
                if reasons:
                    warnings.warn(f"scoring with {name}: {'; '.join(reasons)}", stacklevel=2)
                return network
        warnings.warn(f"scoring with Keras, which is slow: {'; '.join(reasons) or 'no other runtime'}", stacklevel=2)
    return _keras_network(weights, card)


def _keras_network(weights, card):
    from iqa.models.networks import network_of

    return KerasNetwork(network_of(card, weights))


class KerasNetwork:
    """Keras itself, on whatever backend it is set to; see `open_network`."""

    name = "keras"

    def __init__(self, model):
        import keras

        self._model = model
        self.description = f"keras on {keras.backend.backend()}"
        self.packages = ("keras", keras.backend.backend())

    def __call__(self, patches):
        # `predict_on_batch` runs the same compiled function as `predict`, without building a data set around each call.
        steps = [self._model.predict_on_batch(patches[i : i + STEP]) for i in range(0, len(patches), STEP)]
        return [np.concatenate([np.asarray(output) for output in outputs]) for outputs in zip(*steps)]


class CompiledNetwork:
    """A file of the cache on its runtime; see `open_network`.

    Patches go through one at a time, which is as fast as a batch on a processor, but for `BATCHES`. What a picture scores
    does not depend on its neighbours.
    """

    def __init__(self, name, weights, card, sha256, threads=None):
        self.name, self.packages = name, (_MODULES[name].replace("ai_edge_litert", "ai-edge-litert"),)
        if not importlib.util.find_spec(_MODULES[name]):
            raise RuntimeUnavailable(
                f"{name} is not installed: pip install 'image-quality-assessment[{name.split('-')[0]}]'"
            )
        self._lock, self.batch = threading.Lock(), BATCHES.get(name, 1)
        file, probe, written = _cached(name, weights, card, sha256)
        try:
            self._open(file, probe, threads)
        except _Spoilt:
            if written:
                raise
            # The file may be damaged, or written by a version that this one does not read: once more, from the weights.
            file, probe, _ = _cached(name, weights, card, sha256, anew=True)
            self._open(file, probe, threads)

    def _open(self, file, probe, threads):
        try:
            self._run, version = _OPENERS[self.name](file, threads or os.cpu_count())
            # One where patches go through one by one; a pair and one alone where they go through in pairs.
            found = self(np.repeat(probe["patches"], 2 * self.batch - 1, axis=0))
        except RuntimeUnavailable:
            raise
        except Exception as error:  # of a runtime's own kind, for a damaged file or a processor that it does not know
            reason = " ".join(str(error).split())[:200]
            raise _Spoilt(f"{self.name} cannot open {file} ({type(error).__name__}: {reason})") from None
        self.description = f"{self.name} {version}"
        difference = np.abs(_scores(found[0]) - _scores(probe["outputs"])).max()
        if not difference <= TOLERANCES.get(self.name, TOLERANCE):
            raise _Spoilt(f"{self.name} differs from Keras by {difference:.2g} on the probe picture ({file})")
        if (found[0] != found[0][-1]).any():
            self.batch = 1

    def __call__(self, patches):
        with self._lock:  # the runtimes keep the tensors of one call at a time
            results = [self._run(patches[i : i + self.batch]) for i in range(0, len(patches), self.batch)]
        return [np.concatenate(parts) for parts in zip(*results)]


def _scores(outputs):
    return outputs @ np.arange(1, outputs.shape[1] + 1)


# --- the files -------------------------------------------------------------------------------------------------------


def cache_folder():
    """Where exported networks are kept: IQA_CACHE, or the user's cache folder."""
    if os.environ.get("IQA_CACHE"):
        return Path(os.environ["IQA_CACHE"])
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or ("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(os.path.expanduser(base)) / "image-quality-assessment"


def _cached(runtime, weights, card, sha256, anew=False):
    """(file, probe, written) of a network: whether they were written now, because they were not there or `anew` asks so.

    They are told apart by the weights and by what the card says of the network: the same weights with another padding are
    another network.
    """
    format = runtime.split("-")[0]
    facts = card.to_json()
    facts = json.dumps([VERSION, facts["backbone"], facts["head"], card.geometry.size], sort_keys=True)
    folder = cache_folder() / f"{sha256[:16]}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"
    file, probe = folder / f"network{FORMATS[format][1]}", folder / "probe.npz"
    stored = _read_probe(probe)
    written = anew or stored is None or not file.exists()
    if written:
        _write(file, probe, format, weights, card)
        stored = _read_probe(probe)
    return file, stored, written


def _read_probe(path):
    try:
        # Opened here: of a damaged file `np.load` would leave its own open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("patches", "outputs")}
    except Exception:  # not there, or damaged in a way that zipfile, zlib or NumPy have an error of their own for
        return None


def _write(file, probe, format, weights, card):
    from iqa.images.finding import sample_photograph
    from iqa.images.geometry import resize
    from iqa.images.reading import read_image
    from iqa.models.networks import network_of

    model = network_of(card, weights)
    patches = resize(read_image(sample_photograph()), card.geometry.size)[None]
    try:
        export(model, file, format, "uint8")
        with written_whole(probe) as stream:
            np.savez(stream, patches=patches, outputs=KerasNetwork(model)(patches)[0])
    except ExportError as error:
        raise RuntimeUnavailable(str(error)) from None
    except OSError as error:
        raise RuntimeUnavailable(f"{file.parent} cannot be written: {error}; IQA_CACHE names another folder") from None
    except Exception as error:  # of a converter
        reason = " ".join(str(error).split())[:200]
        raise RuntimeUnavailable(f"{format} cannot be written ({type(error).__name__}: {reason})") from None


# --- the runtimes: (file, threads) -> (function of uint8 (N, size, size, 3) -> (output, features), version) ----------


def _ordered(outputs):
    """(output, features): converters rename and reorder them, but a score is shorter than what it is made from."""
    return tuple(sorted(outputs, key=lambda output: output.shape[-1]))


def _open_litert(file, threads):
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    targets = [output["index"] for output in interpreter.get_output_details()]

    def run(patch):
        interpreter.set_tensor(source["index"], patch)
        interpreter.invoke()
        return _ordered([interpreter.get_tensor(target) for target in targets])

    return run, ai_edge_litert.__version__


def _open_onnx(file, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda patch: _ordered(session.run(None, {source.name: patch})), onnxruntime.__version__


@functools.cache
def _openvino_core():
    """One for the process, kept: where AMX is, each sets up a stack for signals, and one that is freed after a younger one
    leaves the process with a stack that is gone, so that the next Ctrl-C kills it.
    """
    import openvino

    return openvino.Core()


def _in_bfloat16(core, file):
    """The network of a file with a mark on its first two convolutions, which are computed in float32 all the same.

    Half of what bfloat16 would move the scores by comes from there, and a twentieth of the time is saved there.
    """
    from xml.etree import ElementTree

    tree = ElementTree.parse(file)
    convolutions = [layer for layer in tree.iter("layer") if layer.get("type") in ("Convolution", "GroupConvolution")]
    for layer in convolutions[:2]:
        facts = layer.find("rt_info")
        facts = ElementTree.SubElement(layer, "rt_info") if facts is None else facts
        ElementTree.SubElement(facts, "attribute", name="precise", version="0")
    return core.read_model(ElementTree.tostring(tree.getroot()), file.with_suffix(".bin").read_bytes())


def _open_openvino(file, threads, precision="f32"):
    import openvino

    core = _openvino_core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeUnavailable("this processor does not compute in bfloat16")
    model = _in_bfloat16(core, file) if precision == "bf16" else core.read_model(file)
    settings = {
        "INFERENCE_PRECISION_HINT": precision,  # said outright: on processors with AMX it would be bfloat16
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # several workers of one thread would all be pinned to the first processor
        "PERFORMANCE_HINT": "LATENCY",
    }
    count = len(model.outputs)

    @functools.cache
    def request_of(rows):
        model.reshape([rows, *list(model.input().partial_shape)[1:]])
        return core.compile_model(model, "CPU", settings).create_infer_request()

    def run(patches):
        request = request_of(len(patches))
        request.infer([patches], share_inputs=True)
        return _ordered([request.get_output_tensor(number).data.copy() for number in range(count)])

    return run, openvino.__version__.split("-")[0]


_OPENERS = {
    "litert": _open_litert,
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "openvino-bf16": functools.partial(_open_openvino, precision="bf16"),
}

_MODULES = {"litert": "ai_edge_litert", "onnx": "onnxruntime", "openvino": "openvino", "openvino-bf16": "openvino"}
