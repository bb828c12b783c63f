"""Pre- and post-processing as nodes of the graph, each beside its plain numpy reference.

`Image`, `State`, `Action` and `Labels` are what the trainer did to a tensor; `bake_*` puts that into the graph, the
`before`/`after` methods do the same in numpy, and `prove.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.core.errors import RefusedError
from edged.pack.graph import FLOAT, Chain, element_type, graph_input, graph_output, set_value
from edged.pack.image import Image
from edged.pack.io_nodes import finish_input, finish_output, taken
from edged.pack.labels import Labels
from edged.pack.statistics import Affine


@dataclass(frozen=True, slots=True)
class State:
    """The network's state: normalised by `affine`; None = taken in physical units as it is.

    `pad_to`: the width that the network takes, zeros behind the normalised values; 0 = as wide as they are.
    """

    affine: Affine | None = None
    pad_to: int = 0

    def before(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        """[1, D] in physical units to what the network expects."""
        normal = self.affine.normalise(state) if self.affine else np.asarray(state, np.float64)
        behind = max(0, self.pad_to - normal.shape[-1])
        return np.concatenate([normal, np.zeros((*normal.shape[:-1], behind))], axis=-1)


@dataclass(frozen=True, slots=True)
class Action:
    """The network's action: to be un-normalised by `affine`; None = already in physical units.

    `take`: the columns that are axes, in the order of the axes; empty = all. `affine` is of these.
    """

    affine: Affine | None = None
    take: tuple[int, ...] = ()

    def after(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """What the network gives to physical units."""
        taken = raw[..., list(self.take)] if self.take else raw
        return self.affine.physical(taken) if self.affine else np.asarray(taken, np.float64)


Before: TypeAlias = Image | State
After: TypeAlias = Action | Labels


def bake_state_input(model: onnx.ModelProto, tensor: str, given: Sequence[int], state: State) -> None:
    """Make graph input `tensor` take `given`, [1, D] or of several moments [1, n, D], float32 in physical units."""
    value, width = graph_input(model, tensor), given[-1]
    inner = [*given[:-1], max(width, state.pad_to)]
    dims = taken(model, tensor, inner)
    chain = Chain(model, tensor, f"{tensor}/baked")
    if state.affine is not None:
        _check_width(tensor, state.affine, width)
        center, scale = (_broadcast(part, len(given)) for part in (state.affine.center, state.affine.scale))
        chain.add("Sub", "center", center.astype(np.float32))  # before the scale: no cancellation of large terms
        chain.add("Mul", "scale", (1 / scale).astype(np.float32))
    if inner[-1] > width:
        behind = np.array([0] * (2 * len(inner) - 1) + [inner[-1] - width], np.int64)
        chain.add("Pad", "padded", behind, np.array(0, np.float32))
    finish_input(model, value, chain, dims, inner)
    set_value(value, FLOAT, list(given))


def bake_prefix_input(model: onnx.ModelProto, tensor: str, width: int, state: State) -> None:
    """Make graph input `tensor`, [1, T, D or more], take the first `width` columns in physical units; zeros behind.

    Statistics per step are cut to its steps.
    """
    dims = [part.dim_value for part in graph_input(model, tensor).type.tensor_type.shape.dim]
    if len(dims) != 3 or not all(dims) or dims[2] < width:
        raise RefusedError(f"{tensor!r} is {dims}, a prefix is [1, T, {width} or more]", "export it with these sizes")
    bake_state_input(model, tensor, [1, dims[1], width], replace(cut(state, dims[1]), pad_to=dims[2]))


def cut(state: State, steps: int) -> State:
    """The same for the first `steps` steps of an action."""
    if state.affine is None or state.affine.center.ndim < 2:
        return state
    return replace(state, affine=Affine(state.affine.center[:steps], state.affine.scale[:steps]))


def _broadcast(part: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """With ones in front, so that it is of the tensor's rank."""
    return part.reshape((1,) * (rank - part.ndim) + part.shape)


def bake_action_output(model: onnx.ModelProto, tensor: str, width: int, action: Action) -> None:
    """Make graph output `tensor` give float32 in physical units, in the shape the network gives it."""
    value = graph_output(model, tensor)
    raw = f"{tensor}/raw"
    chain = Chain(model, raw, f"{tensor}/baked")
    if element_type(value) != FLOAT:
        chain.cast("float", FLOAT)
    if action.take:
        chain.add("Gather", "taken", np.array(action.take, np.int64), axis=-1)
    if action.affine is not None:
        _check_width(tensor, action.affine, width)
        parts = [np.atleast_2d(part).astype(np.float32) for part in (action.affine.scale, action.affine.center)]
        if action.affine.center.ndim == 2:
            parts = [part[None] for part in parts]
        chain.add("Mul", "scale", parts[0])
        chain.add("Add", "center", parts[1])
    finish_output(model, value, chain, raw)
    set_value(value, FLOAT, None)


def _check_width(tensor: str, statistics: Affine, width: int) -> None:
    if statistics.width != width:
        raise RefusedError(f"{tensor!r} has {width} values, its statistics {statistics.width}", "check names and order")
