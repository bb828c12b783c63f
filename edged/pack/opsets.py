"""Opset and local functions, so that every reader in the field takes the graph: opset 11 to 20, nothing but operators.

TensorRT 10.3's parser knows operators up to opset 20. Opset 21 changed what nine of them accept, not what they compute;
the two that it did change are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import inliner, version_converter

from edged.core.errors import RefusedError
from edged.pack.graph import EXPORT, nodes, opset

NEWEST = 20
QUANTISABLE = 13  # per-channel scales
BLOCKS = {"block_size", "output_dtype"}  # of QuantizeLinear and DequantizeLinear


def settle(model: onnx.ModelProto, least: int = 11) -> onnx.ModelProto:
    """A copy with local functions inlined and an opset from `least` to 20. Raises `RefusedError` when there is none."""
    settled = onnx.ModelProto()
    settled.CopyFrom(model)
    opset(settled)
    if settled.functions:
        settled = inliner.inline_local_functions(settled)
    if opset(settled) > NEWEST:
        _lower(settled)
    if opset(settled) < least:
        settled = _raise(settled, least)
    return settled


def _lower(model: onnx.ModelProto) -> None:
    for fact in _only_in_21(model):
        raise RefusedError(f"{fact} means something in opset 21 that TensorRT 10.3 does not know", EXPORT)
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = NEWEST
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise RefusedError(f"the graph cannot be written in opset {NEWEST}: {error}", EXPORT) from None


def _only_in_21(model: onnx.ModelProto) -> Iterator[str]:
    for node in nodes(model.graph):
        if node.op_type == "GroupNormalization":
            yield f"GroupNormalization {node.name!r}"
        quantises = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if quantises and BLOCKS & {attribute.name for attribute in node.attribute}:
            yield f"{node.op_type} {node.name!r}"


def _raise(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, least)
    except Exception as error:  # the converter raises RuntimeError and others, by operator
        raise RefusedError(f"opset {opset(model)} cannot become {least}: {error}", EXPORT) from None
