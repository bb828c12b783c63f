"""From an exported network to one of the asked precision, its tensors still what the trainer made them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edged.pack.graph import infer_shapes
from edged.pack.half import to_half
from edged.pack.int8 import Feed, Progress, to_int8
from edged.pack.opsets import QUANTISABLE, settle
from edged.pack.recipe import Recipe
from edged.pack.static import make_static


def convert(
    model: onnx.ModelProto, recipe: Recipe, feeds: Sequence[Feed], progress: Progress | None = None
) -> onnx.ModelProto:
    """A static copy of the network in `recipe.precision`; `feeds` (inputs of the network) calibrate int8."""
    network = settle(model, least=QUANTISABLE if recipe.precision == "int8" else 11)
    make_static(network, recipe.fixed)
    network = infer_shapes(network)
    match recipe.precision:
        case "fp16":
            return to_half(network)
        case "int8":
            return to_int8(network, feeds, reduce_range=recipe.reduce_range, progress=progress)
        case _:
            return network
