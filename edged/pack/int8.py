"""int8: static quantisation by Q/DQ nodes, as ONNX Runtime fuses and TensorRT requires them.

Weights per channel, activations per tensor, both symmetric (TensorRT knows no zero point), biases left in float.
What comes after the last weights on the way to an output stays in float: there a detector joins pixels, probabilities
and coefficients in one tensor, and a single scale for all of them would leave nothing of the small ones.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edged.bundle.samples import Arrays
from edged.core.errors import RefusedError
from edged.pack.batch_norm import fold_batch_norms
from edged.pack.graph import drop_unread, name_nodes, sort

Progress: TypeAlias = Callable[[str, int, int], None]
"""What is being done, how many of how many."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# A sum of two branches is fused with the convolution before it; a sum with a constant is a bias (`biases`).
# Poolings and the like between weights are not listed: TensorRT moves Q and DQ across them by itself, and on the CPU a
# plain one is faster (U-Net 4.55 ms, not 4.95).
JOINING = ("Add",)
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "MatMulConstBOnly": True,
}


class Int8:
    """A network with Q/DQ nodes whose ranges are those that `feeds` (inputs of this network) made.

    `reduce_range`: 7-bit weights, for CPUs without VNNI, whose 16-bit sums would saturate. Needs opset 13.
    """

    first: Sequence[Sequence[str]] = ()

    def __init__(
        self,
        model: onnx.ModelProto,
        feeds: Sequence[Arrays],
        *,
        reduce_range: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if not feeds:
            raise RefusedError("int8 needs calibration data", "give --calibration")
        self._network = fold_batch_norms(model)
        name_nodes(self._network)
        spared = {*tail(self._network.graph), *biases(self._network.graph)}
        self.candidates = [
            node.name
            for node in self._network.graph.node
            if node.op_type in (*WEIGHTED, *JOINING) and node.name not in spared
        ]
        self._quantised = _quantised(self._network, sorted(spared), _Reader(feeds, progress), reduce_range)

    def convert(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """A copy in which the nodes named in `keep` compute in float, on what was not quantised where that is there."""
        made = onnx.ModelProto()
        made.CopyFrom(self._quantised)
        if keep:
            _leave_float(made, self._network, set(keep))
        return made


def _quantised(
    network: onnx.ModelProto, spared: Sequence[str], reader: CalibrationDataReader, reduce_range: bool
) -> onnx.ModelProto:
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        given = onnx.ModelProto()
        given.CopyFrom(network)  # the quantiser edits what it is given
        try:
            quantize_static(
                given,
                str(path),
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*WEIGHTED, *JOINING],
                nodes_to_exclude=spared,
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options=OPTIONS,
            )
        except Exception as error:  # the quantiser raises whatever its graph walk meets
            raise RefusedError(f"the graph cannot be quantised: {error}", "pack it as fp16 or fp32") from None
        made = onnx.load(str(path))
    sort(made)  # the quantiser's own order ignores what bodies of If and Loop read from around them
    return made


def _leave_float(model: onnx.ModelProto, network: onnx.ModelProto, keep: set[str]) -> None:
    """Let these nodes read what they read in `network`, and drop the Q and DQ that nothing reads any more."""
    given = {node.name: node.input for node in network.graph.node}
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    there = {tensor.name for tensor in (*model.graph.initializer, *model.graph.input)}
    there |= {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in keep:
            for index, name in enumerate(given[node.name]):
                if name not in there and name in weights:
                    model.graph.initializer.add().CopyFrom(weights[name])
                    there.add(name)
                if name in there:
                    node.input[index] = name
    drop_unread(model)


def tail(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes from which an output is reached without passing weights."""
    makers = {name: node for node in graph.node for name in node.output if name}
    constants = _constants(graph)
    found: dict[str, None] = {}
    open_tensors = [value.name for value in graph.output]
    while open_tensors:
        node = makers.get(open_tensors.pop())
        if node is not None and node.name not in found and not _is_weighted(node, constants):
            found[node.name] = None
            open_tensors.extend(node.input)
    return sorted(found)


def biases(graph: onnx.GraphProto) -> list[str]:
    """Names of the sums with a constant, which stay in float: TensorRT builds no plan with such a constant in int8
    ("Quantized constant is only allowed before DQ", 11.4)."""
    constants = _constants(graph)
    return [node.name for node in graph.node if node.op_type in JOINING and not constants.isdisjoint(node.input)]


def _constants(graph: onnx.GraphProto) -> set[str]:
    made = {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return {tensor.name for tensor in graph.initializer} | made


def _is_weighted(node: onnx.NodeProto, constants: set[str]) -> bool:
    return node.op_type in WEIGHTED and any(name in constants for name in node.input[1:2])


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands the feeds to the quantiser one by one and reports progress."""

    def __init__(self, feeds: Sequence[Arrays], progress: Progress | None) -> None:
        self._feeds = feeds
        self._progress = progress
        self._next = 0

    def get_next(self) -> Arrays | None:
        if self._progress is not None:
            self._progress("calibrating", self._next, len(self._feeds))
        if self._next == len(self._feeds):
            return None
        self._next += 1
        return self._feeds[self._next - 1]


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser gives advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
