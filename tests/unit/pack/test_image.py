"""An image input takes raw frames; the resize may live in the graph, with the geometry that the decoders invert."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from pack_models.net import Net
from pack_models.segmenters import scene

from edged.core.errors import RefusedError
from edged.pack import Image
from edged.pack.graph import infer_shapes, to_bytes
from edged.pack.image import bake_image_input
from edged.pack.static import make_static

HALF = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def identity(shape: list[int | str], opset: int = 17) -> onnx.ModelProto:
    net = Net(1, opset)
    net.output(net.input("image", shape), "out")
    return onnx.load_from_string(net.model())


def through(model: onnx.ModelProto, image: Image, frame: np.ndarray) -> np.ndarray:
    make_static(model, {})
    bake_image_input(model, "image", image)
    session = onnxruntime.InferenceSession(to_bytes(infer_shapes(model)), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": frame})[0]


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 20])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_resize_in_the_graph_is_that_of_the_reference(opset: int, resize: str, layout: str) -> None:
    frame = scene(3, 90)[:, :57]
    image = Image((40, 64), layout=layout, frame=(57, 90), resize=resize, pad=114, **HALF)
    made = through(identity(list(image.shape), opset), image, frame)
    assert made.shape == image.shape
    np.testing.assert_allclose(made, image.before(frame), atol=2e-5)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_the_reference_is_what_opencv_does_within_rounding(resize: str) -> None:
    frame = cv2.GaussianBlur(scene(3, 90)[0, :57], (9, 9), 3)[None]
    image = Image((40, 64), scale=1.0, channel_order="bgr", layout="NHWC", frame=(57, 90), resize=resize, pad=114)
    transform = image.transform
    expected = np.full((40, 64, 3), 114, np.uint8)
    rows, columns = transform.place.slices
    size = transform.place.size
    expected[rows, columns] = cv2.resize(frame[0][transform.crop.slices], size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(image.before(frame)[0] - expected).max() <= 1.0  # OpenCV rounds to whole numbers


def test_a_network_without_a_batch_is_fed_without_one() -> None:
    frame = scene(1)
    made = through(identity([3, 64, 64]), Image((64, 64), **HALF), frame)
    assert made.shape == (3, 64, 64)
    np.testing.assert_allclose(made, Image((64, 64), **HALF).before(frame)[0], atol=1e-5)


def test_a_network_with_a_window_of_one_gets_it() -> None:
    made = through(identity(["batch", 1, 3, 64, 64]), Image((64, 64)), scene(1))
    assert made.shape == (1, 1, 3, 64, 64)


def test_pixels_from_minus_one_to_one_are_a_shift_of_the_mean() -> None:
    image = Image((64, 64), scale=2 / 255, mean=(1.0, 1.0, 1.0))
    made = through(identity([1, 3, 64, 64]), image, np.array([[0, 255]], np.uint8).repeat(6144).reshape(1, 64, 64, 3))
    np.testing.assert_allclose([made.min(), made.max()], [-1, 1], atol=1e-6)


def test_another_size_than_the_network_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"'image' is \[1, 3, 64, 64\] in the model"):
        through(identity([1, 3, 64, 64]), Image((64, 32)), scene(1))


def test_uint8_is_cast_before_anything_else(tmp_path: Path) -> None:
    model = identity([1, 3, 40, 64])
    bake_image_input(model, "image", Image((40, 64), frame=(57, 90), resize="letterbox"))
    assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Cast"]
    assert {node.op_type for node in model.graph.node} <= {
        "Cast", "Transpose", "Slice", "Resize", "Pad", "Gather", "Mul", "Add", "Identity",
    }  # fmt: skip
