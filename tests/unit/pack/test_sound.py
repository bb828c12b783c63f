"""What cannot become an engine is refused by name: noise, nan, types, operators, statistics of what never changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import load, policy_golden, policy_model, policy_recipe
from onnx import TensorProto, helper, numpy_helper

from edged.core.errors import RefusedError
from edged.pack import State, affine, pack, sound
from edged.pack.sound import check_network, remarks


def net(*nodes: onnx.NodeProto, weights: dict[str, np.ndarray] | None = None, kind: int = TensorProto.FLOAT):
    made = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, [1, 3])],
        [helper.make_tensor_value_info("y", kind, None)],
        made,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(RefusedError) as caught:
        check_network(model)
    assert caught.value.remedy
    return caught.value.fact


NOISE = helper.make_node("RandomNormalLike", ["x"], ["n"], name="sampler/noise")
WRAPPED: dict[str, Callable[[], onnx.ModelProto]] = {
    "graph": lambda: net(NOISE, helper.make_node("Add", ["x", "n"], ["y"])),
    "body": lambda: net(
        helper.make_node(
            "If", ["c"], ["y"], then_branch=onnx.GraphProto(node=[NOISE]), else_branch=onnx.GraphProto(name="e")
        )
    ),
    "function": lambda: helper.make_model(
        net(helper.make_node("Noisy", ["x"], ["y"], domain="mine")).graph,
        functions=[helper.make_function("mine", "Noisy", ["x"], ["n"], [NOISE], [helper.make_opsetid("", 17)])],
    ),
}


@pytest.mark.parametrize("place", WRAPPED)
def test_a_random_node_is_named_wherever_it_is(place: str):
    assert "RandomNormalLike 'sampler/noise' draws random numbers" in refusal(WRAPPED[place]())


def test_pack_does_not_write_what_draws_random_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = load(policy_model())
    last = model.graph.output[0].name
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == last:
                node.output[index] = "before"
    model.graph.node.append(helper.make_node("RandomNormalLike", ["before"], ["noise"], seed=1.0))
    model.graph.node.append(helper.make_node("Add", ["before", "noise"], [last]))
    content = model.SerializeToString()
    with pytest.raises(RefusedError, match="draws random numbers"):
        pack(content, policy_recipe(), policy_golden(), tmp_path)
    monkeypatch.setattr(sound, "RANDOM", frozenset())  # one that nobody knows of yet
    with pytest.raises(RefusedError, match="differently when the same sample is run again"):
        pack(content, policy_recipe(), policy_golden(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_weights_that_are_not_numbers_are_named(kind: type):
    weights = np.ones((3, 2), kind)
    weights[1, 1] = np.nan
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert refusal(net(product, weights={"w": weights})).startswith("weights 'w' hold nan")
    inside = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(weights, "c"))
    assert refusal(net(inside)).startswith("weights 'c' hold nan")
    weights[1, 1] = -np.inf  # as attention masks have it
    check_network(net(product, weights={"w": weights}))


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.STRING, TensorProto.COMPLEX64])
def test_types_that_no_engine_takes_are_named(kind: int):
    name = TensorProto.DataType.Name(kind)
    copy = helper.make_node("Identity", ["x"], ["y"])
    assert refusal(net(copy, kind=kind)) == f"tensor 'x': {name} is a type that engines do not take"
    if kind == TensorProto.BFLOAT16:
        model = net(helper.make_node("MatMul", ["x", "w"], ["y"]))
        model.graph.initializer.append(helper.make_tensor("w", kind, [3, 1], [1.0, 1.0, 1.0]))
        assert refusal(model).startswith("weights 'w': BFLOAT16")


def test_operators_that_nobody_has_are_named():
    assert refusal(net(helper.make_node("Deform", ["x"], ["y"], domain="mmcv"))) == (
        "node Deform, which makes 'y', is an operator of 'mmcv', which needs a library of its own"
    )
    assert "Attention, which makes 'y', is no operator of opset 17" in refusal(
        net(helper.make_node("Attention", ["x"], ["y"]))
    )
    check_network(load(policy_model()))


def test_what_the_network_does_not_look_at_is_remarked():
    weights = np.ones((3, 2), np.float32)
    weights[1] = 0
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert remarks(net(product, weights={"w": weights})) == [
        "columns [1] of input 'x' have weight 0: the network does not look at them"
    ]
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    assert "columns [1]" in remarks(net(gemm, weights={"w": weights.T.copy()}))[0]
    assert remarks(net(helper.make_node("Constant", [], ["y"], value_float=1.0))) == [
        "nothing in the network reads input 'x'"
    ]
    assert remarks(net(helper.make_node("Relu", ["x"], ["y"]))) == []


@pytest.mark.parametrize(
    ("form", "flat"),
    [("mean_std", {"mean": [0.0, 1.0], "std": [1.0, 0.0]}), ("min_max", {"min": [-1.0, 2.0], "max": [1.0, 2.0]})],
)
def test_a_state_that_never_changed_is_named_instead_of_blown_up(
    tmp_path: Path, form: str, flat: dict[str, list[float]]
):
    recipe = policy_recipe()
    tensor = next(name for name, step in recipe.before.items() if isinstance(step, State))
    width = recipe.inputs[tensor].width
    values = {key: (value + [value[1]] * width)[:width] for key, value in flat.items()}
    recipe = type(recipe)(
        **{name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
        | {"before": {**recipe.before, tensor: State(affine(values, form, eps=1e-8))}}
    )
    with pytest.raises(RefusedError, match=f"of '{tensor}' never changed in training and would be multiplied by [12]e"):
        pack(policy_model(), recipe, policy_golden(), tmp_path)
