"""Open dimensions of a network get a size; what inference finds of its outputs comes before what the file declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from edged.core.errors import RefusedError
from edged.pack.graph import element_type, infer_shapes, refill, set_value, shape_of


def fixed_key(tensor: str, index: int) -> str:
    """How `fixed` calls a dimension that has no name of its own, or only a common one."""
    return f"{tensor}.{index}"


def with_sizes(tensor: str, dims: Sequence[int | str], fixed: Mapping[str, int]) -> list[int | str]:
    """A tensor's dimensions, of which those that `fixed` names have a size."""
    return [
        fixed.get(fixed_key(tensor, index), fixed.get(dim, dim)) if isinstance(dim, str) else dim
        for index, dim in enumerate(dims)
    ]


def make_static(model: onnx.ModelProto, fixed: Mapping[str, int]) -> None:
    """Give open dimensions of the inputs a size: that in `fixed`, and 1 for batch (what a first dimension is called).

    The shapes of the outputs are found again by inference; where it finds none, what the file declares stays.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    refill(model.graph.input, (value for value in model.graph.input if value.name not in initializers))
    first = [shape_of(value)[0] for value in model.graph.input if shape_of(value)]
    batch = {str(dim): 1 for dim in first if dim != "?"}
    for value in model.graph.input:
        dims = with_sizes(value.name, shape_of(value), {**batch, **fixed})
        if dims and dims[0] == "?":
            dims[0] = 1
        if free := [dim for dim in dims if isinstance(dim, str) or dim < 1]:
            raise RefusedError(f"input {value.name!r} has the open dimensions {free}", "say how large each is to be")
        set_value(value, element_type(value), dims)
    del model.graph.value_info[:]
    declared = {value.name: shape_of(value) for value in model.graph.output}
    for value in model.graph.output:
        set_value(value, element_type(value), None)
    inferred = {value.name: value for value in infer_shapes(model).graph.output}
    for value in model.graph.output:
        dims = [{**batch, **fixed}.get(dim, dim) if isinstance(dim, str) else dim for dim in declared[value.name]]
        found = inferred[value.name]
        if found.type.tensor_type.HasField("shape") and len(shape_of(found)) == len(dims):
            pairs = zip(shape_of(found), dims, strict=True)
            dims = [there if isinstance(there, int) else said for there, said in pairs]
        elif found.type.tensor_type.HasField("shape"):
            dims = shape_of(found)
        if any(isinstance(dim, int) for dim in dims):
            set_value(value, element_type(value), [dim if isinstance(dim, int) else None for dim in dims])
