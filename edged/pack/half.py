"""fp16: the network's weights and arithmetic in half precision, its inputs and outputs still float32.

What is baked around it later, normalisation with physical units above all, stays float32: 1013.25 hPa minus a mean of
1013.0 is worth nothing in half precision.
"""

from __future__ import annotations

import warnings

import onnx
from onnxruntime.transformers import float16

from edged.errors import RefusedError
from edged.pack.graph import sort

# Besides what has no half kernel: positions and counts above 2048 do not exist in half precision.
KEPT = [*float16.DEFAULT_OP_BLOCK_LIST, "GridSample"]


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in fp16, cast from and to float32 at its ends."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights below 6e-8 become 0; the proof shows whether that matters
            typed = onnx.shape_inference.infer_shapes(model, data_prop=True)
            half = float16.convert_float_to_float16(
                typed, keep_io_types=True, disable_shape_infer=True, op_block_list=KEPT
            )
    except Exception as error:  # the converter raises whatever its graph walk meets
        raise RefusedError(f"the graph cannot be converted to fp16: {error}", "pack it as fp32") from None
    sort(half)  # the converter appends its casts at the end
    return half
