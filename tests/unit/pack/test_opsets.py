"""Opset 11 to 21 in, 11 to 20 out, without local functions: what TensorRT 10.3's parser reads."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from models import policy_model
from onnx import TensorProto, helper
from pack_models.net import Net

from edged.core.errors import RefusedError
from edged.pack.graph import drop_outputs, sort
from edged.pack.opsets import settle


def opset(model: onnx.ModelProto) -> int:
    return model.opset_import[0].version


@pytest.mark.parametrize(
    ("given", "least", "made"), [(11, 11, 11), (11, 13, 13), (12, 13, 13), (17, 13, 17), (21, 11, 20)]
)
def test_the_opset_is_kept_where_it_can_be(given: int, least: int, made: int) -> None:
    model = settle(onnx.load_from_string(policy_model(given)), least)
    assert opset(model) == made
    feed = {"image": np.ones((1, 3, 8, 6), np.float32), "state": np.ones((1, 3), np.float32)}
    model.ir_version = 10
    run = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for data in (policy_model(given), model.SerializeToString())
    ]
    np.testing.assert_allclose(*run, atol=1e-6)


def test_what_only_opset_21_means_is_refused() -> None:
    model = onnx.load_from_string(policy_model(21))
    model.graph.node.append(helper.make_node("GroupNormalization", ["image", "a", "b"], ["n"], "norm", num_groups=1))
    with pytest.raises(RefusedError, match="GroupNormalization 'norm'"):
        settle(model)


def test_local_functions_become_plain_nodes() -> None:
    square = helper.make_function(
        "local", "Square", ["x"], ["y"], [helper.make_node("Mul", ["x", "x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Square", ["x"], ["y"], domain="local")], "g", value[:1], value[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = settle(helper.make_model(graph, opset_imports=imports, functions=[square], ir_version=8))
    assert [node.op_type for node in model.graph.node] == ["Mul"]
    assert not model.functions


def test_sorting_puts_makers_before_users_and_keeps_the_rest() -> None:
    net = Net(1)
    x = net.input("x", [1])
    for _ in range(3000):  # deeper than Python's stack
        x = net.add("Neg", x)
    net.output(x, "y", [1])
    model = onnx.load_from_string(net.model())
    ordered = [node.name for node in model.graph.node]
    shuffled = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(shuffled)
    sort(model)
    assert [node.name for node in model.graph.node] == ordered


def test_a_dropped_output_takes_what_only_it_needed_along() -> None:
    net = Net(1)
    x = net.input("x", [1, 4])
    net.output(net.linear(x, 4, 2), "kept", [1, 2])
    net.output(net.linear(x, 4, 3), "other", [1, 3])
    model = onnx.load_from_string(net.model())
    drop_outputs(model, ["other"])
    assert [value.name for value in model.graph.output] == ["kept"]
    assert len(model.graph.node) == 3
    assert len(model.graph.initializer) == 2
    with pytest.raises(RefusedError, match="no output 'other'"):
        drop_outputs(model, ["other"])
