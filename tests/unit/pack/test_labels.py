"""Scores or class numbers of any layout become [1, H, W] uint8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models import load, segment_golden, segment_model, segment_recipe
from onnx import TensorProto, helper
from pack_models.net import Net

from edged.core.errors import RefusedError
from edged.pack import Image, Labels, pack
from edged.pack.graph import infer_shapes, to_bytes
from edged.pack.labels import bake_labels_output
from edged.pipeline.geometry import Transform, fit

SMALL = np.random.default_rng(2).normal(size=(1, 5, 6, 4)).astype(np.float32)


def through(values: np.ndarray, labels: Labels, opset: int = 17, kind: int = TensorProto.FLOAT) -> np.ndarray:
    net = Net(1, opset)
    net.output(net.input("raw", list(values.shape), kind), "labels", list(values.shape), kind)
    model = infer_shapes(onnx.load_from_string(net.model()))
    bake_labels_output(model, "labels", labels)
    session = onnxruntime.InferenceSession(to_bytes(infer_shapes(model)), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"raw": values})
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, labels.after(values))
    return made


@pytest.mark.parametrize("opset", [11, 13, 18, 20])
@pytest.mark.parametrize("upscale", [1, 4, 8])
def test_scores_in_either_layout(opset: int, upscale: int) -> None:
    planes = through(SMALL, Labels(upscale), opset)
    assert planes.shape == (1, 6 * upscale, 4 * upscale)
    pixels = through(SMALL.transpose(0, 2, 3, 1), Labels(upscale, "NHWC"), opset)
    np.testing.assert_array_equal(planes, pixels)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_one_score_is_a_class_above_its_threshold(threshold: float) -> None:
    made = through(SMALL[:, :1], Labels(threshold=threshold))
    np.testing.assert_array_equal(made, SMALL[:, 0] > threshold)


@pytest.mark.parametrize("shape", [(1, 6, 4), (1, 1, 6, 4), (6, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
def test_class_numbers_of_any_rank_and_type(shape: tuple[int, ...], dtype: str) -> None:
    numbers = np.arange(24).reshape(shape).astype(dtype)
    kind = getattr(TensorProto, "FLOAT" if dtype == "float32" else dtype.upper())
    made = through(numbers, Labels(made=True), kind=kind)
    np.testing.assert_array_equal(made.ravel(), np.arange(24))
    assert made.shape == (1, 6, 4)


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("opset", [11, 13, 20])
def test_labels_are_led_back_to_the_frame(mode: str, opset: int) -> None:
    back = fit(mode, (30, 50), (24, 16))
    made = through(SMALL, Labels(4, back=back), opset)
    assert made.shape == (1, 30, 50)
    there, plain = Transform(back.target, back.source, back.place, back.crop), Labels(4).after(SMALL)[0]
    for y, x in ((0, 0), (15, 25), (29, 49), (7, 31)):
        u, v = there.to_source(np.array([x + 0.5, y + 0.5]))
        seen = 0 <= u < 16 and 0 <= v < 24
        assert made[0, y, x] == (plain[int(v), int(u)] if seen else 0)


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(RefusedError, match="made from logits"):
        through(SMALL[0], Labels())
    with pytest.raises(RefusedError, match="one map"):
        through(SMALL, Labels(made=True))


@pytest.mark.parametrize("odd", [{"std": (0.25, 0.0, 0.25)}, {"mean": (0.5, float("nan"), 0.5)}])
def test_a_picture_that_would_become_no_numbers_is_refused(tmp_path: Path, odd: dict[str, tuple[float, ...]]) -> None:
    recipe = segment_recipe(before={"image": Image(size=(16, 12), **odd)})
    with pytest.raises(RefusedError, match=r"image 'image' has the mean .+ and no std of 0"):
        pack(segment_model(), recipe, segment_golden(), tmp_path)


def test_scores_that_are_no_numbers_prove_nothing(tmp_path: Path) -> None:
    """They are the first class to numpy and to ONNX Runtime alike, so that the two would agree about all of it."""
    model = load(segment_model())
    model.graph.node[0].output[0] = "scores"
    model.graph.node.append(helper.make_node("Abs", ["scores"], ["size"]))
    model.graph.node.append(helper.make_node("Neg", ["size"], ["below"]))
    model.graph.node.append(helper.make_node("Sqrt", ["below"], ["labels"]))
    with pytest.raises(RefusedError, match="the network gives nan in 'labels'"):
        pack(model.SerializeToString(), segment_recipe(), segment_golden(), tmp_path)
