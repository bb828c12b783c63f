"""A packed network takes raw inputs and gives physical outputs: the numbers of numpy around the original."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models import (
    ACTION_STATS,
    CLASSES,
    IMAGENET,
    STATE_STATS,
    load,
    policy_golden,
    policy_model,
    policy_recipe,
    segment_golden,
    segment_model,
    segment_recipe,
)

from edged.bundle.bundle import read_bundle, read_files
from edged.bundle.roles import LogitsOutput
from edged.core.errors import RefusedError
from edged.engine.registry import open_engine
from edged.pack import Action, Affine, Image, Labels, Recipe, State, affine, bake, pack
from edged.pipeline.golden import golden_check

SCALES = np.array([6.0, 1.0])  # of the action's axes


def by_hand(model: bytes, sample: dict) -> np.ndarray:
    """Pre- and post-processing written out once more, as a trainer would have it in a data loader."""
    rgb = sample["image"][0, :, :, [2, 1, 0]].astype(np.float64) / 255  # indexing puts the channels first
    image = (rgb - np.reshape(IMAGENET["mean"], (3, 1, 1))) / np.reshape(IMAGENET["std"], (3, 1, 1))
    state = (sample["state"] - np.array(STATE_STATS["mean"])) / np.array(STATE_STATS["std"])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (raw,) = session.run(["action"], {"image": image[None].astype(np.float32), "state": state.astype(np.float32)})
    low, high = np.array(ACTION_STATS["min"]), np.array(ACTION_STATS["max"])
    return (raw + 1) / 2 * (high - low) + low


@pytest.mark.parametrize("opset", range(11, 22))
@pytest.mark.parametrize("steps", [0, 4])
def test_actions_are_those_of_numpy_for_every_opset(tmp_path: Path, opset: int, steps: int):
    model = policy_model(opset, steps=steps)
    packed = pack(model, policy_recipe(), policy_golden(), tmp_path)
    assert packed.worst["action"].value <= 1e-5
    bundle = read_bundle(packed.path)
    for number, sample in enumerate(policy_golden()):
        error = np.abs(bundle.golden[f"{number:03d}/out/action"] - by_hand(model, sample)) / SCALES
        assert error.max() <= 1e-5
    assert load(bundle.model).opset_import[0].version == min(opset, 20)  # what TensorRT 10.3 parses
    with open_engine(bundle) as engine:
        assert engine.outputs["action"].shape == ((1, 4, 2) if steps else (1, 2))
        golden_check(engine, bundle)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
@pytest.mark.parametrize("shrink", [1, 4])
def test_labels_are_those_of_numpy(tmp_path: Path, opset: int, shrink: int):
    packed = pack(segment_model(opset, shrink=shrink), segment_recipe(shrink=shrink), segment_golden(), tmp_path)
    labels = read_bundle(packed.path).golden["001/out/labels"]
    assert labels.dtype == np.uint8
    assert labels.shape == (1, 16, 12)
    assert len(np.unique(labels)) > 1
    assert packed.worst["labels"].value == 1.0


def test_logits_are_scaled_up_before_the_argmax():
    """Two neighbours 0:1 and 1:0.9: half-way in between the second class leads only if scores are interpolated."""
    logits = np.zeros((1, 2, 1, 2))
    logits[0, :, 0, 0] = [0.0, 1.0]
    logits[0, :, 0, 1] = [1.0, 0.9]
    assert Labels(upscale=4).after(logits)[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


def test_a_single_score_is_a_class_above_zero(tmp_path: Path):
    model = load(segment_model())
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])[:1]
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weights), "w"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    recipe = segment_recipe(classes=("background", "scratch"))
    packed = pack(model.SerializeToString(), recipe, segment_golden(), tmp_path)
    assert packed.worst["labels"].value == 1.0
    assert set(np.unique(read_bundle(packed.path).golden["000/out/labels"])) == {0, 1}


def test_logits_may_be_left_to_the_decoder(tmp_path: Path):
    recipe = segment_recipe(outputs={"labels": LogitsOutput()}, after={})
    packed = pack(segment_model(shrink=4), recipe, segment_golden(), tmp_path)
    assert read_bundle(packed.path).golden["000/out/labels"].shape == (1, 3, 4, 3)


def test_the_same_arguments_give_the_same_bytes_in_another_process(tmp_path: Path):
    here = read_files(pack(policy_model(), policy_recipe(version=""), policy_golden(), tmp_path / "here").path)
    code = """
import sys
from pathlib import Path
from models import policy_golden, policy_model, policy_recipe
from edged.pack import pack
pack(policy_model(), policy_recipe(version=""), policy_golden(), Path(sys.argv[1]))
"""
    tests = Path(__file__).parents[2] / "support"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, cwd=tests)
    (there,) = (tmp_path / "there" / "reach").iterdir()
    assert read_files(there) == here


def test_without_a_version_the_model_names_itself(tmp_path: Path):
    packed = pack(policy_model(), policy_recipe(version=""), policy_golden(), tmp_path)
    assert len(packed.manifest.version) == 12
    other = pack(policy_model(steps=4), policy_recipe(version=""), policy_golden(), tmp_path)
    assert other.manifest.version != packed.manifest.version


def test_nothing_of_this_machine_is_in_it(tmp_path: Path):
    model = load(policy_model())
    entry = model.metadata_props.add()
    entry.key, entry.value = "date", "2024-01-01T00:00:00"
    bundle = read_bundle(pack(model.SerializeToString(), policy_recipe(), policy_golden(), tmp_path).path)
    assert b"/home/someone" not in bundle.model
    assert b"2024-01-01" not in bundle.model
    assert load(bundle.model).ir_version == 8  # what the oldest runtimes in the field take


def test_only_operators_that_every_runtime_takes_are_added():
    model = bake(load(segment_model(shrink=4)), segment_recipe(shrink=4))
    added = {node.op_type for node in model.graph.node} - {"Conv"}
    assert added <= {"Cast", "Transpose", "Gather", "Mul", "Add", "Resize", "ArgMax"}
    first = next(node for node in model.graph.node if "image" in node.input)
    assert first.op_type == "Cast"


def test_external_data_is_folded_in(tmp_path: Path):
    path = tmp_path / "model.onnx"
    onnx.save(load(policy_model()), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    assert (tmp_path / "model.onnx.data").exists()
    packed = pack(path, policy_recipe(), policy_golden(), tmp_path / "store")
    with open_engine(read_bundle(packed.path)) as engine:
        engine.run()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_channel_order_and_layout(tmp_path: Path, order: str, layout: str):
    model = load(segment_model())
    if layout == "NHWC":
        model.graph.node[0].input[0] = "planes"
        model.graph.node.insert(0, onnx.helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
        dims = model.graph.input[0].type.tensor_type.shape.dim
        for dim, size in zip(dims[1:], (16, 12, 3), strict=False):
            dim.dim_value = size
    image = Image(size=(16, 12), channel_order=order, layout=layout, std=(0.5, 0.2, 0.1))
    packed = pack(model.SerializeToString(), segment_recipe(before={"image": image}), segment_golden(), tmp_path)
    assert packed.worst["labels"].value == 1.0


def test_a_channel_order_that_is_wrong_shows_in_the_numbers(tmp_path: Path):
    right = read_bundle(pack(segment_model(), segment_recipe(), segment_golden(), tmp_path / "rgb").path)
    recipe = segment_recipe(before={"image": Image(size=(16, 12), channel_order="bgr")})
    wrong = read_bundle(pack(segment_model(), recipe, segment_golden(), tmp_path / "bgr").path)
    assert not np.array_equal(right.golden["000/out/labels"], wrong.golden["000/out/labels"])


def test_a_pack_that_does_not_prove_itself_is_refused(tmp_path: Path):
    class Lying(Affine):
        def normalise(self, physical: np.ndarray) -> np.ndarray:
            return super().normalise(physical) + 0.1

    honest = affine(STATE_STATS)
    before = {**policy_recipe().before, "state": State(Lying(honest.center, honest.scale))}
    with pytest.raises(RefusedError, match=r"3 of 3 outputs differ.*action: error"):
        pack(policy_model(), policy_recipe(before=before), policy_golden(), tmp_path)
    assert not list(tmp_path.iterdir())


def refusal(model: bytes | Path, recipe: Recipe, golden: list, store: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        pack(model, recipe, golden, store)
    assert caught.value.remedy
    assert not list(store.glob("*/*"))
    return str(caught.value)


def test_what_does_not_fit_is_refused_with_the_reason(tmp_path: Path):
    golden = policy_golden()
    image = policy_recipe().inputs["image"]
    picture = policy_recipe(inputs={"picture": image}, before={"picture": Image(size=(8, 6))})
    wide = {"image": Image(size=(6, 8))}
    for model, recipe, samples, says in (
        (b"nonsense", policy_recipe(), golden, "not an ONNX model"),
        (onnx.ModelProto().SerializeToString(), policy_recipe(), golden, "not an ONNX model: it has no outputs"),
        (policy_model(), policy_recipe(), [], "no golden sample"),
        (policy_model(), policy_recipe(before={}), golden, "image 'image' has no pre-processing"),
        (policy_model(), policy_recipe(before=wide), golden, "image 'image' is (8, 6), its Image (6, 8)"),
        (policy_model(size=(9, 9)), policy_recipe(), golden, "input 'image' is [1, 3, 9, 9] in the model"),
        (policy_model(), picture, golden, "no input 'picture'"),
        (policy_model(), policy_recipe(name="A"), golden, "$.name"),
        (policy_model(), policy_recipe(before={"state": Image(size=(1, 1))}), golden, "Image is said of 'state'"),
        (policy_model(), policy_recipe(after={"action": Action(affine(STATE_STATS))}), golden, "'action' has 2 values"),
        (policy_model(), policy_recipe(), [{"image": golden[0]["image"]}], "state"),
        (segment_model(), segment_recipe(classes=CLASSES * 2), segment_golden(), "6 classes are named"),
        (segment_model(shrink=4), segment_recipe(), segment_golden(), "labels have the image's size [16, 12]"),
    ):
        assert says in refusal(model, recipe, samples, tmp_path)


@pytest.mark.parametrize("opset", [10, 22])
def test_other_opsets_are_refused(tmp_path: Path, opset: int):
    model = load(policy_model())
    model.opset_import[0].version = opset
    assert f"opset {opset}; 11 to 21" in refusal(model.SerializeToString(), policy_recipe(), policy_golden(), tmp_path)


def test_an_open_dimension_is_asked_for(tmp_path: Path):
    model = load(policy_model())
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    assert "['height']" in refusal(model.SerializeToString(), policy_recipe(), policy_golden(), tmp_path)
    packed = pack(model.SerializeToString(), policy_recipe(fixed={"height": 8}), policy_golden(), tmp_path)
    assert packed.worst["action"].ok
