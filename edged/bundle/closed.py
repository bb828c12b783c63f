"""A sealed graph refers to nothing outside itself: what SHA256SUMS and a signature cover is then all that runs.

Weights in files of their own ("external data", where a path may also be `../..`, or an address in memory), operators of
libraries that would have to be loaded, and compiled programs beside the graph are refused. What a graph may have
in it is a closed list, `FIELDS` and `DOMAINS`: a field that onnx.proto gains later is refused until it was looked at.

The bytes are walked without the `onnx` package, which no robot has, in bounded time, depth and memory. The walk goes on
beside the loop, so it lets others run after every few fields.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from edged.bundle.protobuf import BYTES, VARINT, Field, read_field
from edged.core.errors import RefusedError

MAX_DEPTH = 64  # of messages within messages: sixteen bodies of If and Loop within each other
MAX_FIELDS = 1_000_000  # the engine of the demo has 1 300; what waits to be walked takes 150 bytes for each at most
SLICE = 200  # fields between two moments for others: 0.2 ms
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Whose operators ONNX Runtime brings along."""
ELSEWHERE = frozenset({"EPContext"})  # a compiled program, in most cases in a file beside the graph
REPACK = "pack it again with 'edged pack MODEL', which brings everything inside"

# onnx.proto: message -> its fields -> the message that a field holds, where there may be something in it to find.
FIELDS: dict[str, dict[int, str]] = {
    "ModelProto": dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 14, 26), "")
    | {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": dict.fromkeys((2, 10, 11, 12, 13, 14, 16), "")
    | {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": dict.fromkeys((1, 2, 3, 4, 6, 7, 8, 9, 10), "") | {5: "AttributeProto"},
    "AttributeProto": dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21), "")
    | {5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto"}
    | {22: "SparseTensorProto", 23: "SparseTensorProto"},
    "TensorProto": dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16), ""),
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto", 3: ""},
    "FunctionProto": dict.fromkeys((1, 4, 5, 6, 8, 9, 10, 12, 13, 14), "") | {7: "NodeProto", 11: "AttributeProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto", 3: "", 4: ""},
}
OP_TYPE, NODE_DOMAIN, FUNCTION_DOMAIN = 4, 7, 10
EXTERNAL_DATA, DATA_LOCATION = 13, 14


def check_closed(model: bytes, where: str) -> None:
    """Refuse a graph (an ONNX file's bytes) that needs anything but these bytes, naming what."""
    if model[4:8] == b"ORTM":
        raise RefusedError(f"{where} is in ONNX Runtime's own format", "give it as ONNX: edged pack FILE.onnx")
    try:
        _walk(model, where)
    except ValueError as error:
        raise RefusedError(f"{where} is not an ONNX graph: {error}", "fetch or pack this engine again") from None


def _walk(model: bytes, where: str) -> None:
    """Every message in which a tensor or a node may be, however deep; iterative, for graphs are untrusted."""
    waiting = [("ModelProto", 0, len(model), 1)]
    used: dict[str, str] = {}  # domain -> an operator of it
    own = set()  # domains of the functions that the model brings along
    count = 0
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        texts: dict[int, str] = {}
        outside = False
        for field in _fields(model, start, end):
            count += 1
            if count % SLICE == 0:
                time.sleep(0)
                if count > MAX_FIELDS:
                    raise ValueError(f"it has more than {MAX_FIELDS} fields")
            if (inner := FIELDS[message].get(field.number)) is None:
                fact = f"{where}: {message} has field {field.number}, which this edged does not know"
                raise RefusedError(fact, "pack it with the ONNX of this edged, or update edged")
            if inner and field.kind == BYTES:
                waiting.append((inner, field.start, field.end, depth + 1))
            elif message == "TensorProto":
                outside = outside or _is_outside(field)
                _note(texts, field, model, (8,))
            elif message == "NodeProto":
                _note(texts, field, model, (OP_TYPE, NODE_DOMAIN))
            elif message == "FunctionProto":
                _note(texts, field, model, (FUNCTION_DOMAIN,))
        if outside:
            fact = f"{where}: the weights {texts.get(8, '')!r} lie in a file outside the engine, which nothing seals"
            raise RefusedError(fact, REPACK)
        if message == "FunctionProto":
            own.add(texts.get(FUNCTION_DOMAIN, ""))
        elif message == "NodeProto":
            op, domain = texts.get(OP_TYPE, ""), texts.get(NODE_DOMAIN, "")
            if op in ELSEWHERE:
                raise RefusedError(f"{where}: {op} is a compiled program, not a graph", "pack the network it was of")
            used.setdefault(domain, op)
    for domain in sorted(used.keys() - own - DOMAINS):
        fact = f"{where}: operator {used[domain]!r} of {domain!r} is in no library that comes with edged"
        raise RefusedError(fact, "export the network with standard operators")


def _fields(model: bytes, at: int, end: int) -> Iterator[Field]:
    while at < end:
        field = read_field(model, at, end)
        yield field
        at = field.end


def _is_outside(field: Field) -> bool:
    """An entry of external_data, or a location that is external: an enum is the low 32 bits of its number."""
    if field.number == EXTERNAL_DATA:
        return True
    return field.number == DATA_LOCATION and field.kind == VARINT and field.value & 0xFFFFFFFF != 0


def _note(texts: dict[int, str], field: Field, model: bytes, wanted: tuple[int, ...]) -> None:
    if field.number in wanted and field.kind == BYTES:
        texts[field.number] = model[field.start : min(field.end, field.start + 200)].decode(errors="replace")
