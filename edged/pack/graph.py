"""Surgery on ONNX graphs: rename, prepend, append, make static, make reproducible. Edits the model in place.

Works on opsets 11 to 21 and leaves the opset as it is (`opsets.py` settles it). Every operator added here means the
same in all of them and is one that TensorRT 10.3 takes (uint8 tensors, for one, may only be cast to and from float).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.closed import check_closed
from edged.core.errors import RefusedError, UsageError, in_words

OPSETS = range(11, 22)
EXPORTED = "give a file that torch.onnx.export wrote"
EXPORT = "export the model again with an opset of 11 to 21, in PyTorch torch.onnx.export(..., opset_version=17)"


def load_model(model: Path | bytes) -> onnx.ModelProto:
    """Read an ONNX file, with external data files beside it folded in; `RefusedError` if it is none, `UsageError` for
    a file that cannot be read.

    Nodes come sorted: converters to half precision append their casts at the end, which ONNX Runtime takes and ONNX
    does not.
    """
    try:
        loaded = onnx.load(str(model)) if isinstance(model, Path) else onnx.load_from_string(model)
        sort(loaded)
    except OSError as error:
        where = error.filename or model if isinstance(model, Path) else "bytes"
        raise UsageError(f"cannot read the model {where}: {in_words(error)}", "check the path and its owner") from None
    except (ValueError, onnx.checker.ValidationError) as error:
        raise RefusedError(
            f"cannot read the model: {error}", "give an ONNX file with its .data file beside it"
        ) from None
    except Exception as error:  # protobuf's DecodeError has no public home across its versions
        raise RefusedError(f"not an ONNX model: {error}", EXPORTED) from None
    if not loaded.graph.output:  # an empty file is a message of protobuf too
        raise RefusedError("not an ONNX model: it has no outputs", EXPORTED)
    return loaded


def whole(model: onnx.ModelProto) -> bytes:
    """The model with all of its weights as bytes, for those who are to read no file; `RefusedError` if it is not whole.

    An ONNX file holds 2 GiB at most.
    """
    try:
        content = bytes(model.SerializeToString(deterministic=True))
    except Exception as error:  # protobuf's EncodeError has no public home across its versions
        fact = f"the model with its weights is larger than the 2 GiB that one ONNX file holds ({error})"
        raise RefusedError(fact, "pack a smaller network, or export it in half precision") from None
    check_closed(content, "the model")
    return content


def opset(model: onnx.ModelProto) -> int:
    """The opset of the standard operators; `RefusedError` outside 11 to 21."""
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not versions or versions[0] not in OPSETS:
        raise RefusedError(f"opset {versions[0] if versions else 'unknown'}; 11 to 21 are packed", EXPORT)
    return int(versions[0])


def graph_input(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The graph input of that name, refusing with the names there are."""
    return _named(model.graph.input, name, "input")


def graph_output(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The graph output of that name, refusing with the names there are."""
    return _named(model.graph.output, name, "output")


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """Its dimensions: whole numbers where they are fixed, names (or "?") where they are not."""
    dims = value.type.tensor_type.shape.dim
    return [int(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]


def element_type(value: onnx.ValueInfoProto) -> int:
    """Its `TensorProto` data type."""
    return int(value.type.tensor_type.elem_type)


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Rename a tensor wherever nodes, and bodies of If and Loop, use it. Graph inputs and outputs keep their names."""
    for node in nodes(model.graph):
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for tensor in model.graph.initializer:
        if tensor.name == old:
            tensor.name = new


def constant(model: onnx.ModelProto, name: str, value: NDArray[Any]) -> str:
    """Add an initializer and return its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return name


class Chain:
    """Nodes one after the other, from tensor `start`; their tensors are called `<prefix>/<step>`."""

    def __init__(self, model: onnx.ModelProto, start: str, prefix: str) -> None:
        self._model = model
        self._prefix = prefix
        self.tensor = start
        self.nodes: list[onnx.NodeProto] = []

    def add(self, op: str, step: str, *constants: NDArray[Any], **attributes: Any) -> None:
        """Append `op(previous, *constants)`; an empty-size constant stands for an input that is left out."""
        name = f"{self._prefix}/{step}"
        others = [
            constant(self._model, f"{name}:{index}", value) if value.size else ""
            for index, value in enumerate(constants)
        ]
        self.nodes.append(helper.make_node(op, [self.tensor, *others], [name], name=name, **attributes))
        self.tensor = name

    def resize(self, step: str, size: Sequence[int], version: int) -> None:
        """Append a bilinear Resize (half-pixel centres, edges repeated) to the shape `size`."""
        name = f"{self._prefix}/{step}"
        # region and scales may be left out since 13; before, they have to be there and be empty
        none = "" if version >= 13 else constant(self._model, f"{name}:none", np.zeros(0, np.float32))
        sizes = constant(self._model, f"{name}:size", np.array(size, np.int64))
        half = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        self.nodes.append(helper.make_node("Resize", [self.tensor, none, none, sizes], [name], name, **half))
        self.tensor = name

    def cast(self, step: str, to: int) -> None:
        self.add("Cast", step, to=to)

    def end_as(self, name: str) -> list[onnx.NodeProto]:
        """The nodes, the last of which now makes `name`."""
        self.nodes[-1].output[0] = name
        return self.nodes


def refill(field: Any, items: Iterable[Any]) -> None:
    """Let a repeated field of a message hold these, in this order."""
    kept = list(items)
    del field[:]
    field.extend(kept)


def sort(model: onnx.ModelProto) -> None:
    """Bring the nodes into an order in which each comes after those it needs; otherwise they keep theirs."""
    listed = list(model.graph.node)
    makers = {name: index for index, node in enumerate(listed) for name in node.output if name}
    order: dict[int, None] = {}
    for start in range(len(listed)):
        waiting = [start]
        while waiting:  # depth first, without recursion: graphs are thousands of nodes deep
            needed = {makers[name] for name in _read(listed[waiting[-1]]) if name in makers}
            missing = sorted(needed - order.keys() - set(waiting))
            if missing:
                waiting.extend(reversed(missing))
            else:
                order.setdefault(waiting.pop())
    refill(model.graph.node, (listed[index] for index in order))


def name_nodes(model: onnx.ModelProto) -> None:
    """Every node its own name, by which converters tell them apart; names that do so already stay."""
    if len({node.name for node in nodes(model.graph) if node.name}) < sum(1 for _ in nodes(model.graph)):
        for number, node in enumerate(nodes(model.graph)):
            node.name = f"{node.op_type}:{number}"


def set_value(value: onnx.ValueInfoProto, dtype: int, shape: Sequence[int | str | None] | None) -> None:
    """Give a graph input or output its type; a shape of None is left for inference to find."""
    value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, shape))


def drop_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Take outputs away, and the nodes and constants that nothing else needs."""
    for name in names:
        model.graph.output.remove(graph_output(model, name))
    if names:
        drop_unread(model)


def drop_unread(model: onnx.ModelProto) -> None:
    """Take away the nodes and constants that no output needs."""
    wanted = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted |= _read(node)
            kept.append(node)
    refill(model.graph.node, reversed(kept))
    refill(model.graph.initializer, (tensor for tensor in model.graph.initializer if tensor.name in wanted))


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose outputs have their shapes; what inference cannot find stays open (and may be found by running)."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del inferred.graph.value_info[:]
    return inferred


def make_reproducible(model: onnx.ModelProto) -> None:
    """Remove what differs between machines and days: stack traces, paths, tool versions; settle the IR version.

    The lowest IR version that carries the opset (at least 8) is what the oldest reader in the field takes.
    """
    model.producer_name, model.producer_version, model.doc_string, model.domain = "edged", "", "", ""
    model.model_version = 0
    model.ir_version = max(8, helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True))
    del model.metadata_props[:]
    model.graph.name = "packed"
    used = {"", "ai.onnx", *(node.domain for node in nodes(model.graph))}
    refill(model.opset_import, (item for item in model.opset_import if item.domain in used))
    for graph in _graphs(model.graph):
        for item in (graph, *graph.input, *graph.output, *graph.initializer, *graph.node):
            _strip(item)
    for function in model.functions:
        for item in (function, *function.node):
            _strip(item)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Check the model and serialise it; the same model gives the same bytes."""
    try:
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise RefusedError(f"the packed graph is not valid: {error}", "report this with the model") from None


def _read(node: onnx.NodeProto) -> set[str]:
    """All that a node reads, what its bodies take from around them included."""
    names = set(node.input)
    for body in bodies(node):
        names |= {name for inner in nodes(body) for name in inner.input} | {value.name for value in body.output}
    return names


def _strip(item: Any) -> None:
    item.doc_string = ""
    if "metadata_props" in item.DESCRIPTOR.fields_by_name:
        del item.metadata_props[:]


def _named(values: Sequence[onnx.ValueInfoProto], name: str, side: str) -> onnx.ValueInfoProto:
    for value in values:
        if value.name == name:
            if not value.type.HasField("tensor_type"):
                raise RefusedError(f"{side} {name!r} is not a tensor", "export it as one")
            return value
    raise RefusedError(f"the model has no {side} {name!r}", f"it has {', '.join(sorted(item.name for item in values))}")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from _graphs(body)


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs within a node: of If, Loop and Scan."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those in the bodies of If, Loop and Scan included."""
    for part in _graphs(graph):
        yield from part.node


FLOAT = TensorProto.FLOAT
UINT8 = TensorProto.UINT8
