"""From an exported network to one of the asked precision, its tensors still what the trainer made them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import onnx

from edged.bundle.samples import Arrays
from edged.pack.graph import infer_shapes
from edged.pack.half import Half
from edged.pack.int8 import Int8, Progress
from edged.pack.opsets import QUANTISABLE, settle
from edged.pack.recipe import Recipe
from edged.pack.static import make_static


class Conversion(Protocol):
    """A static network in one precision. `candidates`: names of the nodes that could be kept in float32, in the graph's
    order; `first`: sets of them with which to begin where some have to be."""

    @property
    def candidates(self) -> Sequence[str]: ...
    @property
    def first(self) -> Sequence[Sequence[str]]: ...

    def convert(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """A copy with these nodes kept in float32."""


class Plain:
    """fp32: all of it is kept."""

    candidates: Sequence[str] = ()
    first: Sequence[Sequence[str]] = ()

    def __init__(self, network: onnx.ModelProto) -> None:
        self._network = network

    def convert(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        return self._network


def conversion(
    model: onnx.ModelProto, recipe: Recipe, feeds: Sequence[Arrays], progress: Progress | None = None
) -> Conversion:
    """Of a static copy of the network to `recipe.precision`; `feeds` (inputs of the network) calibrate int8."""
    network = settle(model, least=QUANTISABLE if recipe.precision == "int8" else 11)
    make_static(network, recipe.fixed)
    network = infer_shapes(network)
    match recipe.precision:
        case "fp16":
            return Half(network)
        case "int8":
            return Int8(network, feeds, reduce_range=recipe.reduce_range, progress=progress)
        case _:
            return Plain(network)
