"""The ends of a graph: how a chain of baked nodes takes the place of an input or output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edged.core.errors import RefusedError
from edged.pack.graph import (
    FLOAT,
    Chain,
    element_type,
    graph_input,
    refill,
    rename,
    shape_of,
)


def taken(model: onnx.ModelProto, tensor: str, shape: Sequence[int]) -> list[int]:
    """The network's own shape for this input at batch 1, which holds as many values as `shape` in the same order.

    It may have ones after the batch (a window of one step), or no batch at all.
    """
    declared = shape_of(graph_input(model, tensor))
    extra = max(0, len(declared) - len(shape))
    unbatched = len(declared) == len(shape) - 1
    wanted = list(shape[1:]) if unbatched else [1] * extra + list(shape)
    open_or_same = [isinstance(have, str) or have == want for have, want in zip(declared, wanted, strict=False)]
    if len(declared) != len(wanted) or not all(open_or_same):
        raise RefusedError(
            f"input {tensor!r} is {declared} in the model", f"it was said to be {list(shape)}: check size, layout"
        )
    return wanted


def finish_input(
    model: onnx.ModelProto, value: onnx.ValueInfoProto, chain: Chain, dims: list[int], shape: Sequence[int]
) -> None:
    """Lead the chain into what the network took `value` for, in its own shape and type."""
    if dims != list(shape):
        chain.add("Reshape", "shape", np.array(dims, np.int64))
    if element_type(value) != FLOAT:
        chain.cast("type", element_type(value))
    inner = f"{value.name}/network"
    if not chain.nodes:
        return
    rename(model, value.name, inner)
    refill(model.graph.node, [*chain.end_as(inner), *model.graph.node])  # a graph must stay sorted


def finish_output(model: onnx.ModelProto, value: onnx.ValueInfoProto, chain: Chain, raw: str) -> None:
    """Let the chain, which starts at `raw`, make `value`; what the network made under that name is called `raw`."""
    if not chain.nodes:
        return
    rename(model, value.name, raw)
    model.graph.node.extend(chain.end_as(value.name))
