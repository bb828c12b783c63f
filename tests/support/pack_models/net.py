"""A few lines to write an ONNX graph with, weights drawn from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


class Net:
    def __init__(self, seed: int, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.metadata: dict[str, str] = {}

    def input(self, name: str, shape: list[Any], kind: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, tensor: str, name: str, shape: list[Any] | None = None, kind: int = FLOAT) -> None:
        self.nodes.append(helper.make_node("Identity", [tensor], [name], name=f"out:{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def const(self, value: Any, kind: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def weights(self, *shape: int, gain: float = 1.0) -> str:
        fan = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        return self.const(self.rng.normal(size=shape) * gain / np.sqrt(fan))

    def conv(self, tensor: str, inner: int, outer: int, size: int = 3, stride: int = 1, relu: bool = True) -> str:
        weight, bias = self.weights(outer, inner, size, size, gain=1.4), self.const(self.rng.normal(size=outer) * 0.1)
        pad = [size // 2 if size % 2 else 0] * 4
        made = self.add("Conv", tensor, weight, bias, strides=[stride] * 2, pads=pad, kernel_shape=[size] * 2)
        return self.add("Relu", made) if relu else made

    def fixed_conv(self, tensor: str, weight: Any, bias: Any, stride: int = 1) -> str:
        return self.add("Conv", tensor, self.const(weight), self.const(bias), strides=[stride] * 2)

    def linear(self, tensor: str, inner: int, outer: int, gain: float = 1.0) -> str:
        made = self.add("MatMul", tensor, self.weights(inner, outer, gain=gain))
        return self.add("Add", made, self.const(self.rng.normal(size=outer) * 0.1))

    def norm(self, tensor: str, width: int) -> str:
        """Layer normalisation over the last axis, written out as exporters did before opset 17."""
        mean = self.add("ReduceMean", tensor, axes=[-1])
        apart = self.add("Sub", tensor, mean)
        variance = self.add("ReduceMean", self.add("Mul", apart, apart), axes=[-1])
        deviation = self.add("Sqrt", self.add("Add", variance, self.const(1e-5)))
        return self.add("Mul", self.add("Div", apart, deviation), self.const(np.ones(width)))

    def attention(self, query: str, memory: str, width: int, queries: int, keys: int, heads: int = 4) -> str:
        def split(tensor: str, count: int) -> str:
            parts = self.add("Reshape", self.linear(tensor, width, width), self.ints(1, count, heads, width // heads))
            return self.add("Transpose", parts, perm=[0, 2, 1, 3])

        q, k, v = split(query, queries), split(memory, keys), split(memory, keys)
        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        shares = self.add("Softmax", self.add("Mul", scores, self.const((width // heads) ** -0.5)), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, v), perm=[0, 2, 1, 3])
        return self.linear(self.add("Reshape", mixed, self.ints(1, queries, width)), width, width)

    def block(self, tensor: str, width: int, count: int) -> str:
        """A transformer block with its norms before."""
        normed = self.norm(tensor, width)
        tensor = self.add("Add", tensor, self.attention(normed, normed, width, count, count))
        inner = self.linear(self.norm(tensor, width), width, 2 * width)
        return self.add("Add", tensor, self.linear(self.add("Relu", inner), 2 * width, width))

    def model(self) -> bytes:
        graph = helper.make_graph(self.nodes, "main", self.inputs, self.outputs, self.constants)
        imports = [helper.make_opsetid("", self.opset)]
        made = helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))
        helper.set_model_props(made, self.metadata)
        return bytes(made.SerializeToString())
