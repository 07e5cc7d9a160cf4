"""What an exported file says of itself: the names and order of its outputs, and the card of its weights.

    describe("onnx", Path("ava_vanilla.onnx"), ("histogram", "features"), card)

Converters name and sort outputs each in its own way. A card lies in a file as text of JSON, under `KEY`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iqa.cards import Card
from iqa.errors import ExportError

#: What the card is called in a file: in `metadata_props` of ONNX, `rt_info` of OpenVINO, `metadata` of LiteRT.
KEY = "iqa_card"

#: Where the card is in the folder of a saved model; TensorFlow leaves `assets.extra` to others.
IN_SAVED_MODEL = "assets.extra/card.json"

#: Buffers of a LiteRT file begin on multiples of so many bytes, as the format's schema wants it.
_ALIGNMENT = 16


def outputs_of(card: Card) -> tuple[str, ...]:
    """The names of what an exported network gives, in their order."""
    said = {"histogram": "histogram", "regression": "score"}[card.head.kind]
    return (said, "features", "faults") if card.faults else (said, "features")


def card_to_export(card: Card) -> Card:
    """The card that goes along with an exported file: without the files that ship beside the weights."""
    return replace(card, compiled={})


def describe(format: str, file: Path, card: Card) -> None:
    """Sort the outputs of an exported file and write the card into it.

    Args:
        format: a key of `iqa.models.export.FORMATS`.
        file: as Keras exported it, with outputs of the names in `outputs_of`; it is written anew.
        card: of the weights.

    Raises:
        ExportError: if the file holds what its format does not know.
    """
    text = json.dumps(card_to_export(card).to_json(), ensure_ascii=False)
    _DESCRIBE[format](file, outputs_of(card), text)


def _describe_litert(file: Path, names: Sequence[str], text: str) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    tensors = {output.name.decode(): output.tensorIndex for output in signature.outputs}
    graph.outputs = [tensors[name] for name in names]
    signature.outputs.sort(key=lambda output: names.index(output.name.decode()))
    for name, tensor in tensors.items():
        graph.tensors[tensor].name = name
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(text.encode())
    entry.name, entry.buffer = KEY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
    builder = _aligned_builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(builder.Output())


def _aligned_builder() -> Any:
    """A builder of flatbuffers whose vectors are aligned; Python's own forgets what the schema says of that."""
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def StartVector(self, size: int, count: int, alignment: int) -> Any:
            return super().StartVector(size, count, max(alignment, _ALIGNMENT))

    return Builder(1 << 24)


def _describe_onnx(file: Path, names: Sequence[str], text: str) -> None:
    import onnx

    model = onnx.load(file)
    outputs = sorted(model.graph.output, key=lambda output: names.index(output.name))
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    model.metadata_props.add(key=KEY, value=text)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:  # Keras computes some convolutions by XLA, of which ONNX knows nothing
        reason = str(error).splitlines()[0][:200]
        raise ExportError(f"{file.name}: this network cannot be written as ONNX: {reason}") from None
    onnx.save(model, file)


def _describe_openvino(file: Path, names: Sequence[str], text: str) -> None:
    import openvino

    # Read from memory: a file that is read stays mapped, and cannot be written.
    model = openvino.Core().read_model(file.read_bytes(), file.with_suffix(".bin").read_bytes())
    for name in names:
        model.output(name).tensor.set_names({name})
    results = [model.output(name).node for name in names]
    sorted_model = openvino.Model(results, model.get_parameters(), "network")
    sorted_model.set_rt_info(text, KEY)
    openvino.save_model(sorted_model, file, compress_to_fp16=False)


def _describe_saved_model(file: Path, names: Sequence[str], text: str) -> None:
    """Its outputs are a map, which has no order."""
    place = file / IN_SAVED_MODEL
    place.parent.mkdir(exist_ok=True)
    place.write_text(text, encoding="utf-8")


_DESCRIBE: dict[str, Callable[[Path, Sequence[str], str], None]] = {
    "litert": _describe_litert,
    "onnx": _describe_onnx,
    "openvino": _describe_openvino,
    "saved_model": _describe_saved_model,
}
