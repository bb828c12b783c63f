"""Networks of every shape keep their meaning in fp32, fp16 and int8; what collapses is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from pack_models.net import Net
from pack_models.policies import cnn_lstm, transformer
from pack_models.segmenters import SIZE, mask_rcnn, query_mask, rfdetr_seg, segformer, yolo_seg
from pack_models.shipped import PLATE, REACH, golden_inputs, raw_plate, raw_reach
from pack_recipes import action, camera, chunk_recipe, instance_recipe, lstm_recipe, moments, scenes, segformer_recipe

from edged.bundle.bundle import read_bundle, read_files
from edged.bundle.roles import ActionOutput
from edged.core.errors import RefusedError
from edged.engine.registry import open_engine
from edged.pack import Action, Image, Labels, Packed, Recipe, State, affine, pack
from edged.pack.batch_norm import fold_batch_norms
from edged.pack.int8 import tail
from edged.pipeline.golden import golden_check

HEADS = {
    "yolo-seg": yolo_seg,
    "yolo-seg-nms": lambda: yolo_seg(nms=True),
    "rfdetr-seg": rfdetr_seg,
    "query-mask": query_mask,
    "mask-rcnn": mask_rcnn,
}


def packed_as(precision: str, store: Path, what: str) -> Packed:
    match what:
        case "lstm":
            recipe, model = lstm_recipe(precision=precision), cnn_lstm()
        case "transformer":
            recipe, model = chunk_recipe(precision=precision), transformer()
        case "segformer":
            recipe, model = segformer_recipe(precision=precision), segformer()
        case _:
            recipe, model = instance_recipe(what, precision=precision), HEADS[what]()
    given = moments if recipe.task == "policy" else scenes
    return pack(model, recipe, given(recipe), store, calibration=given(recipe, 16, 100))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("what", ["lstm", "transformer", "segformer", *HEADS])
def test_every_network_proves_itself_and_passes_its_own_golden_check(tmp_path: Path, precision: str, what: str) -> None:
    packed = packed_as(precision, tmp_path, what)
    bundle = read_bundle(packed.path)
    assert bundle.manifest.precision == precision
    with open_engine(bundle) as engine:
        golden_check(engine, bundle)
    if what == "segformer":
        assert len(np.unique(bundle.golden["000/out/logits"])) > 1
    if what in HEADS:
        assert packed.measured["instances"]["objects"] >= 9  # the proof was about something


def weights(model: onnx.ModelProto) -> Counter[str]:
    """How many values the model holds of each type."""
    counts: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        counts[onnx.TensorProto.DataType.Name(tensor.data_type)] += int(np.prod(tensor.dims))
    return counts


def test_precision_is_a_property_of_the_graph(tmp_path: Path) -> None:
    counts = {}
    for precision in ("fp32", "fp16", "int8"):
        model = onnx.load(packed_as(precision, tmp_path / precision, "transformer").path / "model.onnx")
        counts[precision] = weights(model)
        kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
        assert kinds == {onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT}  # the contract does not change
    assert counts["fp16"]["FLOAT16"] > 0.9 * counts["fp32"]["FLOAT"]
    assert counts["int8"]["INT8"] > 0.7 * counts["fp32"]["FLOAT"]


def test_quantisation_is_what_tensorrt_wants(tmp_path: Path) -> None:
    model = onnx.load(packed_as("int8", tmp_path, "segformer").path / "model.onnx")
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert nodes
    for node in nodes:
        assert node.domain == ""
        assert not constants[node.input[2]].any(), "zero points are zero"
        assert constants[node.input[2]].dtype == np.int8
    assert any(constants[node.input[1]].size > 1 for node in nodes), "weights have a scale per channel"
    biases = [node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2]
    assert all(constants[name].dtype == np.float32 for name in biases)
    assert {entry.domain for entry in model.opset_import} == {""}


def test_seven_bit_weights_for_cpus_without_vnni(tmp_path: Path) -> None:
    recipe = segformer_recipe(precision="int8", reduce_range=True)
    packed = pack(segformer(), recipe, scenes(recipe), tmp_path, calibration=scenes(recipe, 16, 100))
    model = onnx.load(packed.path / "model.onnx")
    stored = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert max(int(np.abs(values.astype(int)).max()) for values in stored) == 64


def test_what_follows_the_last_weights_stays_in_float() -> None:
    model = onnx.load_from_string(raw_plate())
    names = {node.name: node.op_type for node in model.graph.node}
    after = [names[name] for name in tail(model.graph)]
    assert after
    assert "Conv" not in after


def test_int8_promises_what_was_proved(tmp_path: Path) -> None:
    packed = packed_as("int8", tmp_path, "transformer")
    worst, promised = packed.worst["action"].value, packed.manifest.tolerance["action"]
    assert 2 * worst <= promised <= 2.2 * worst
    assert packed_as("fp16", tmp_path / "half", "transformer").manifest.tolerance["action"] == 1e-2


def fragile(scale: float) -> bytes:
    """image -> action [1, 2] by way of numbers that half precision cannot hold."""
    net = Net(3)
    seen = net.conv(net.input("image", [1, 3, 32, 32]), 3, 8, stride=4)
    flat = net.add("Flatten", net.add("GlobalAveragePool", seen), axis=1)
    large = net.add("Mul", flat, net.const(scale))
    net.output(net.add("Mul", net.linear(large, 8, 2), net.const(1 / scale)), "action", [1, 2])
    return net.model()


def fragile_recipe(precision: str) -> Recipe:
    return Recipe(
        name="fragile",
        version="1",
        task="policy",
        inputs={"image": camera(32)},
        outputs={"action": action(2)},
        before={"image": Image((32, 32))},
        precision=precision,
    )


def test_a_conversion_that_collapses_is_refused_by_name(tmp_path: Path) -> None:
    recipe = fragile_recipe("fp16")
    with pytest.raises(RefusedError, match=r"fp16 graph .* 4 of 4 outputs differ: sample 00\d action: error") as caught:
        pack(fragile(1e7), recipe, moments(recipe), tmp_path, search_s=0)
    assert caught.value.exit_code == 3
    assert not list(tmp_path.iterdir())
    pack(fragile(1.0), recipe, moments(recipe), tmp_path)


def test_int8_without_calibration_is_refused(tmp_path: Path) -> None:
    recipe = segformer_recipe(precision="int8")
    with pytest.raises(RefusedError, match="calibration"):
        pack(segformer(), recipe, scenes(recipe), tmp_path)


def test_calibration_tells_how_far_it_is(tmp_path: Path) -> None:
    heard = []
    recipe = segformer_recipe(precision="int8")
    said = scenes(recipe, 5, 100)
    pack(segformer(), recipe, scenes(recipe), tmp_path, calibration=said, progress=lambda *now: heard.append(now))
    assert [now for now in heard if now[0] == "calibrating"] == [("calibrating", index, 5) for index in range(6)]
    assert heard[-1] == ("proving", 3, 3)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_bytes_in_another_process(tmp_path: Path, precision: str) -> None:
    here = read_files(packed_as(precision, tmp_path / "here", "segformer").path)
    code = (
        f"from pathlib import Path; from test_precision import packed_as\npacked_as({precision!r}, Path('there'), "
        "'segformer')"
    )
    code = code.replace("'there'", repr(str(tmp_path / "there")))
    root = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": f"{root}:{root.parents[1] / 'support'}:{root.parents[2]}",
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root)
    assert read_files(tmp_path / "there" / "road" / "1") == here


def test_a_batch_normalisation_is_folded_into_its_convolution() -> None:
    net = Net(5)
    image = net.input("image", [1, 3, 8, 8])
    made = net.conv(image, 3, 6, relu=False)
    numbers = [net.const(net.rng.uniform(0.5, 2, 6)) for _ in range(4)]
    net.output(net.add("BatchNormalization", made, *numbers, epsilon=1e-3), "out", [1, 6, 8, 8])
    model = onnx.load_from_string(net.model())
    folded = fold_batch_norms(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Identity"]
    feed = {"image": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    run = [
        onnxruntime.InferenceSession(item.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for item in (model, folded)
    ]
    np.testing.assert_allclose(run[0], run[1], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_shipped_plate_network(tmp_path: Path, precision: str) -> None:
    shipped = read_bundle(PLATE)
    size = (256, 256)
    recipe = Recipe(
        name="plate",
        version="1",
        task="semantic",
        inputs=shipped.manifest.inputs,
        outputs=shipped.manifest.outputs,
        before={"image": Image(size, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), channel_order="bgr")},
        after={"labels": Labels()},
        classes=shipped.manifest.classes,
        precision=precision,
    )
    golden = golden_inputs(PLATE)
    packed = pack(raw_plate(), recipe, golden, tmp_path, calibration=golden)
    assert packed.measured["labels"]["mIoU"] >= {"fp32": 1.0, "fp16": 0.995, "int8": 0.97}[precision]
    size_of = {"fp32": 1.05, "fp16": 0.55, "int8": 0.30}[precision]
    assert len(read_bundle(packed.path).model) <= size_of * len(shipped.model)
    if precision == "fp32":  # what was shipped, once more
        np.testing.assert_array_equal(
            read_bundle(packed.path).golden["000/out/labels"], shipped.golden["000/out/labels"]
        )


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_shipped_reach_network_from_its_raw_export(tmp_path: Path, precision: str) -> None:
    shipped = read_bundle(REACH)
    model, statistics = raw_reach()
    _, role = shipped.manifest.action
    axes = tuple(
        msgspec.structs.replace(axis, mode="delta_state")
        if axis.unit == "rad"
        else msgspec.structs.replace(axis, kind="continuous", range=(-20.0, 20.0))  # a logit, here
        for axis in role.axes
    )
    recipe = Recipe(
        name="reach",
        version="1",
        task="policy",
        inputs=shipped.manifest.inputs,
        outputs={"action": ActionOutput(axes=axes, step_ms=role.step_ms, on_swap=role.on_swap)},
        before={
            "image": Image((96, 96), channel_order="bgr"),
            "state": State(affine(statistics["state"])),
        },
        after={"action": Action(affine(statistics["action"]))},
        precision=precision,
    )
    golden = golden_inputs(REACH)
    packed = pack(model, recipe, golden, tmp_path, calibration=golden)
    if precision != "fp32":
        return
    assert packed.worst["action"].value <= 1e-5
    bundle = read_bundle(packed.path)
    for number, sample in enumerate(golden):  # differences and the state are what the shipped engine commands
        found, wanted = (item.golden[f"{number:03d}/out/action"] for item in (bundle, shipped))
        np.testing.assert_allclose(found[0, :6] + sample["state"][0, :6], wanted[0, :6], atol=2e-6)


def test_sizes_are_static_whatever_the_network_leaves_open(tmp_path: Path) -> None:
    packed = packed_as("fp32", tmp_path, "mask-rcnn")
    model = onnx.load(packed.path / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name
    assert model.graph.input[0].type.tensor_type.shape.dim[1].dim_value == SIZE


def branching() -> bytes:
    """image -> action [1, 2] by way of an If whose branches read what is outside, and a Max that takes it twice."""
    net = Net(3)
    seen = net.conv(net.input("image", [1, 3, 32, 32]), 3, 8, stride=4)
    flat = net.add("Flatten", net.add("GlobalAveragePool", seen), axis=1)
    level = net.add("ReduceMean", flat, keepdims=0)
    high = net.add("Greater", level, net.const(0.3))
    bodies = {}
    for branch, op in (("then_branch", "Neg"), ("else_branch", "Abs")):
        out = [onnx.helper.make_tensor_value_info(f"{branch}_out", onnx.TensorProto.FLOAT, [1, 8])]
        inner = [onnx.helper.make_node(op, [flat], [f"{branch}_out"], name=branch)]
        bodies[branch] = onnx.helper.make_graph(inner, branch, [], out)
    chosen = net.add("If", high, **bodies)
    net.output(net.linear(net.add("Max", chosen, chosen), 8, 2), "action", [1, 2])
    return net.model()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_bodies_of_if_keep_what_they_read_from_around_them(tmp_path: Path, precision: str) -> None:
    recipe = fragile_recipe(precision)
    packed = pack(branching(), recipe, moments(recipe), tmp_path, calibration=moments(recipe, 16, 100))
    with open_engine(read_bundle(packed.path)) as engine:
        golden_check(engine, read_bundle(packed.path))
