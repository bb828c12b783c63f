"""Half precision as a GPU has it: what fails there fails here, and the nodes that have to be float32 are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from pack_models.net import Net
from pack_models.policies import cnn_lstm, transformer
from pack_models.segmenters import mask_rcnn, segformer
from pack_models.shipped import raw_plate
from pack_recipes import action, camera, lstm_recipe, moments, scenes, segformer_recipe

from edged.bundle.bundle import Bundle, read_bundle
from edged.core.errors import EngineError, RefusedError
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.pack import Image, Recipe, pack
from edged.pack.half import Half
from edged.pack.rounded import rounded

HOT = 300.0


def ran(model: onnx.ModelProto, **feed: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    running = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(running.run(None, feed))


def chain(*steps: tuple[str, str]) -> onnx.ModelProto:
    """x [5] -> y [5] by the given operators; the second word is a constant, "x" the value itself."""
    net = Net(0)
    made = net.input("x", [5])
    for op, other in steps:
        made = net.add(op, made, *([made] if other == "x" else [net.const(float(other))] if other else []))
    net.output(made, "y", [5])
    return onnx.load_from_string(net.model())


@pytest.mark.parametrize(
    ("steps", "numpy"),
    [
        ([("Mul", "x"), ("Sqrt", "")], lambda x: np.sqrt(x * x)),
        ([("Add", "1000"), ("Sub", "1000")], lambda x: (x + np.float16(1000)) - np.float16(1000)),
        ([("Div", "3"), ("Mul", "3"), ("Exp", "")], lambda x: np.exp(x / np.float16(3) * np.float16(3))),
    ],
)
def test_it_rounds_as_numpy_does_in_half(steps: list[tuple[str, str]], numpy: object) -> None:
    given = np.array([1.0001, 3.00001, 300, 1e-6, -2.5], np.float32)
    half = Half(chain(*steps)).convert()
    with np.errstate(all="ignore"):
        wanted = numpy(given.astype(np.float16)).astype(np.float32)  # type: ignore[operator]
    np.testing.assert_array_equal(ran(rounded(half), x=given)[0], wanted)


def test_the_cpu_itself_would_let_an_overflow_pass() -> None:
    """Why there is `rounded` at all; where this fails, ONNX Runtime has learned to round and it can go."""
    half = Half(chain(("Mul", "x"), ("Sqrt", ""))).convert()
    given = np.full(5, 300, np.float32)
    assert np.isfinite(ran(half, x=given)[0]).all()
    assert np.isinf(ran(rounded(half), x=given)[0]).all()


def test_a_graph_that_takes_and_gives_halves_is_rounded_too() -> None:
    made = chain(("Mul", "x"), ("Sqrt", ""))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    (found,) = ran(rounded(made), x=np.array([300, 2, 3, 0.5, 1], np.float16))
    np.testing.assert_array_equal(found, np.array([np.inf, 2, 3, 0.5, 1], np.float32))


@pytest.mark.parametrize("network", [segformer, transformer, cnn_lstm, raw_plate, mask_rcnn])
def test_with_every_node_kept_nothing_is_rounded(network: object) -> None:
    model = onnx.load_from_string(network())  # type: ignore[operator]
    conversion = Half(model)
    kept = conversion.convert(conversion.candidates)
    onnx.checker.check_model(kept)
    plain = conversion.convert()
    onnx.checker.check_model(rounded(plain))
    types = {tensor.data_type for tensor in kept.graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in plain.graph.initializer}


def test_between_two_kept_nodes_a_value_is_never_half() -> None:
    model = chain(("Mul", "x"), ("Mul", "x"), ("Sqrt", ""), ("Sqrt", ""), ("Mul", "2"))
    names = [node.name for node in model.graph.node]
    half = Half(model).convert(names[:4])
    given = np.array([300, 7, 0.001, 1, 20], np.float32)
    np.testing.assert_allclose(ran(rounded(half), x=given)[0], 2 * given, rtol=1e-3)
    assert [node.op_type for node in half.graph.node].count("Cast") == 2


def test_a_constant_of_kept_and_other_nodes_is_exact_for_the_kept() -> None:
    net = Net(0)
    x, tiny = net.input("x", [5]), net.const(1e-9)
    kept = net.add("Mul", net.add("Mul", x, tiny), net.const(1e9))
    net.output(net.add("Add", kept, net.add("Mul", x, tiny)), "y", [5])
    model = onnx.load_from_string(net.model())
    half = Half(model).convert([node.name for node in model.graph.node[:2]])
    given = np.array([1, 2, 3, 4, 5], np.float32)
    np.testing.assert_allclose(ran(rounded(half), x=given)[0], given, rtol=1e-3)


def test_a_segmenter_that_half_precision_breaks_keeps_the_few_nodes_that_it_needs(tmp_path: Path) -> None:
    recipe = segformer_recipe(precision="fp16")
    golden = scenes(recipe)
    with pytest.raises(RefusedError, match=r"wanted >= 0.999.*pack it as fp32"):
        pack(segformer(hot=HOT), recipe, golden, tmp_path, search_s=0)
    assert not list(tmp_path.iterdir())
    packed = pack(segformer(hot=HOT), recipe, golden, tmp_path, search_s=3600)
    kept = packed.converted.kept
    operators = {node.name: node.op_type for node in onnx.load_from_string(segformer(hot=HOT)).graph.node}
    assert [operators[name] for name in kept] == ["Mul", "ReduceMean", "Add", "Sqrt"]  # the variance of its first norm
    assert packed.worst["logits"].value >= 1 - 0.001 / 1.5
    assert not packed.converted.cut
    assert packed.converted.nodes > 60
    assert read_bundle(packed.path).manifest.provenance["float32_nodes"] == "4"
    said = pack(segformer(hot=HOT), replace(recipe, keep=kept), golden, tmp_path / "said", search_s=0)
    assert said.files["model.onnx"] == packed.files["model.onnx"]  # what was found can be written into the recipe
    assert said.converted.trials == 0


def test_the_search_gives_up_where_nothing_would_stay_half(tmp_path: Path) -> None:
    """Not a bit may differ, and every node in half precision rounds."""
    recipe = outlier_recipe(precision="fp16", tolerance={"action": 0.0})
    with pytest.raises(RefusedError, match="pack it as fp32"):
        pack(outlier(), recipe, moments(recipe), tmp_path)


def test_a_search_without_time_says_how_to_get_more(tmp_path: Path) -> None:
    recipe = segformer_recipe(precision="fp16")
    with pytest.raises(RefusedError, match="--search-s"):
        pack(segformer(hot=HOT), recipe, scenes(recipe), tmp_path, search_s=1e-9)


def test_a_node_that_is_not_there_is_refused(tmp_path: Path) -> None:
    recipe = segformer_recipe(precision="fp16", keep=("Softmax99",))
    with pytest.raises(RefusedError, match="no node 'Softmax99'"):
        pack(segformer(), recipe, scenes(recipe), tmp_path)


def outlier() -> bytes:
    """image -> action [1, 2]: one feature is a thousand times as large as the others and of no importance."""
    net = Net(3)
    seen = net.conv(net.conv(net.input("image", [1, 3, 32, 32]), 3, 8, stride=4), 8, 8)
    flat = net.add("Flatten", net.add("GlobalAveragePool", seen), axis=1)
    gain = np.ones((1, 8), np.float32)
    gain[0, 0] = 1000
    weights = net.rng.normal(size=(8, 8)).astype(np.float32)
    weights[0] /= 1e6
    mixed = net.add("MatMul", net.add("Mul", flat, net.const(gain)), net.const(weights))
    net.output(net.linear(mixed, 8, 2, gain=0.3), "action", [1, 2])
    return net.model()


def outlier_recipe(**changes: Any) -> Recipe:
    given = {"name": "outlier", "version": "1", "task": "policy", "inputs": {"image": camera(32)}, "precision": "int8"}
    more = {"outputs": {"action": action(2)}, "before": {"image": Image((32, 32))}}
    return Recipe(**{**given, **more, **changes})


def test_int8_keeps_what_one_scale_cannot_hold(tmp_path: Path) -> None:
    recipe = outlier_recipe()
    calibration = moments(recipe, 16, 100)
    with pytest.raises(RefusedError, match="calibrate with more"):
        pack(outlier(), recipe, moments(recipe), tmp_path, calibration=calibration, search_s=0)
    packed = pack(outlier(), recipe, moments(recipe), tmp_path, calibration=calibration)
    operators = {node.name: node.op_type for node in onnx.load_from_string(outlier()).graph.node}
    assert [operators[name] for name in packed.converted.kept] == ["MatMul"]
    made = onnx.load_from_string(packed.files["model.onnx"])
    assert {node.op_type for node in made.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    read = {name for node in made.graph.node for name in node.input} | {value.name for value in made.graph.output}
    assert all(name in read for node in made.graph.node for name in node.output)  # no Q or DQ is left that nobody reads
    assert all(tensor.name in read for tensor in made.graph.initializer)


def test_it_is_proved_and_timed_on_the_back_end_it_is_for(tmp_path: Path) -> None:
    recipe = segformer_recipe(precision="fp16")
    packed = pack(segformer(), recipe, scenes(recipe), tmp_path, backend="cpu")
    made = packed.converted
    assert made.backend == "cpu"
    assert {item.output for item in made.there} == {"logits"}
    assert made.pace is not None
    assert made.pace.ms > 0
    assert made.pace.about["runtime"].startswith("onnxruntime")


def test_what_only_the_back_end_breaks_is_looked_for_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine rounds nothing, the other one as half precision does."""

    def other(bundle: Bundle, backend: str, cache: Path) -> Engine:
        graph = rounded(onnx.load_from_string(bundle.model)).SerializeToString()
        return open_engine(replace(bundle, model=graph), "cpu")

    monkeypatch.setattr("edged.pack.trials.rounded", lambda model: model)
    monkeypatch.setattr("edged.pack.target.open_engine", other)
    recipe = segformer_recipe(precision="fp16")
    with pytest.raises(RefusedError, match=r"2 of 6 outputs differ"):
        pack(segformer(hot=HOT), recipe, scenes(recipe), tmp_path, search_s=0, backend="openvino")
    packed = pack(segformer(hot=HOT), recipe, scenes(recipe), tmp_path, search_s=3600, backend="openvino")
    assert 0 < len(packed.converted.kept) < 10
    assert all(item.ok for item in packed.converted.there)


def test_a_back_end_that_is_not_here_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = lstm_recipe(precision="fp16")
    with pytest.raises(EngineError, match="there is no NVIDIA GPU here"):
        pack(cnn_lstm(), recipe, moments(recipe), tmp_path, backend="cuda")
    assert not list(tmp_path.iterdir())
