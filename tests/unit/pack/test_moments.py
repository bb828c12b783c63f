"""Networks that look at several moments: packed, proved, fed from a recording and by the daemon's own encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from models import make
from numpy.typing import NDArray
from onnx import helper
from pack_cli import edged, fault, written

from edged.bundle.bundle import read_bundle
from edged.cli.infer import infer_file

H, W, MS = 4, 6, 1_000_000
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])


def network(layout: str, moments: int | str = 2) -> bytes:
    """image [1, 2, 3, H, W] (or channels last) and state [1, 2, 2] to an action [1, 2]."""
    rng = np.random.default_rng(4)
    picture = [3, H, W] if layout == "NCHW" else [H, W, 3]
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"], axis=1),
        helper.make_node("Flatten", ["state"], ["values"], axis=1),
        helper.make_node("MatMul", ["pixels", "image_w"], ["from_image"]),
        helper.make_node("MatMul", ["values", "state_w"], ["from_state"]),
        helper.make_node("Add", ["from_image", "from_state"], ["action"]),
    ]
    weights = {"image_w": (2 * 3 * H * W, 2), "state_w": (4, 2)}
    constants = {name: rng.normal(size=shape).astype(np.float32) * 0.1 for name, shape in weights.items()}
    inputs = {"image": [1, moments, *picture], "state": [1, moments, 2]}
    return make(nodes, inputs, {"action": [1, 2]}, constants)  # type: ignore[no-any-return, no-untyped-call]


RECIPE = """
model = "moments.onnx"
name = "moments"
version = "1"
task = "policy"
golden = "golden.npz"

[inputs.image]
source = "tool"
channels = "rgb"
pixels = "0..1"
mean = [0.4, 0.5, 0.6]
std = [0.2, 0.25, 0.3]
resize = "stretch"
interpolation = "linear"
layout = "LAYOUT"
history = { steps = 2, spacing_ms = 100 }

[inputs.state]
role = "state"
parts = [{ sensor = "joints", names = ["a", "b"], unit = "rad" }]
statistics = { form = "none" }
history = { steps = 2, spacing_ms = 100 }

[outputs.action]
step_ms = 50
statistics = { form = "none" }
axes = [{ name = "a", unit = "rad", range = [-3, 3] }, { name = "b", unit = "rad", range = [-3, 3] }]
"""


def expected(layout: str, images: NDArray[Any], state: NDArray[Any]) -> NDArray[Any]:
    """The network by itself, on [2, H, W, 3] uint8 BGR and [2, 2]."""
    planes = (images[..., ::-1] / 255 - MEAN) / STD
    fed = planes.transpose(0, 3, 1, 2) if layout == "NCHW" else planes
    feed = {"image": fed.astype(np.float32)[None], "state": state.astype(np.float32)[None]}
    (made,) = onnxruntime.InferenceSession(network(layout)).run(None, feed)
    return made


def prepare(folder: Path, layout: str = "NCHW", model: bytes | None = None) -> Path:
    written(folder, "moments.onnx", model or network(layout))
    path = folder / "recipe.toml"
    path.write_text(RECIPE.replace("LAYOUT", layout))
    return path


@pytest.fixture
def recording(tmp_path: Path) -> dict[str, NDArray[Any]]:
    """Frames every 33 ms and samples every 20, written as the golden samples of a pack."""
    rng = np.random.default_rng(3)
    frames, samples = 40, 70
    arrays: dict[str, NDArray[Any]] = {
        "cameras/tool/captured_ns": np.arange(frames) * 33 * MS,
        "cameras/tool/image": rng.integers(0, 256, (frames, H, W, 3), np.uint8),
        "sensors/joints/captured_ns": np.arange(samples) * 20 * MS,
        "sensors/joints/values": rng.normal(size=(samples, 2)),
    }
    np.savez(tmp_path / "golden.npz", **arrays)
    return arrays


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_recording_feeds_several_moments(tmp_path: Path, recording: dict[str, NDArray[Any]], layout: str) -> None:
    edged(prepare(tmp_path, layout), "--store", tmp_path / "s")
    bundle = read_bundle(tmp_path / "s" / "moments" / "1")
    assert bundle.manifest.images["image"].shape == (1, 2, H, W, 3)
    last = bundle.golden["007/in/image"], bundle.golden["007/in/state"]
    at_ms = 39 * 33  # the last frame
    then = [round((at_ms - 100) / 33), 39]
    np.testing.assert_array_equal(last[0][0], recording["cameras/tool/image"][then])
    felt = [min(range(70), key=lambda i: abs(i * 20 - (at_ms - 100))), at_ms // 20]
    np.testing.assert_allclose(last[1][0], recording["sensors/joints/values"][felt], rtol=1e-6)
    (made,) = onnxruntime.InferenceSession(bundle.model).run(None, {"image": last[0], "state": last[1]})
    np.testing.assert_allclose(made, expected(layout, last[0][0], last[1][0]), atol=1e-5)


def test_moments_of_another_size_are_resized_in_the_graph(tmp_path: Path, recording: dict[str, NDArray[Any]]) -> None:
    big = np.random.default_rng(5).integers(0, 256, (40, 2 * H, 2 * W, 3), np.uint8)
    np.savez(tmp_path / "golden.npz", **{**recording, "cameras/tool/image": big})
    path = prepare(tmp_path)
    path.write_text(path.read_text().replace('resize = "stretch"', f'resize = "stretch"\nframe = [{2 * H}, {2 * W}]'))
    edged(path, "--store", tmp_path / "s")
    bundle = read_bundle(tmp_path / "s" / "moments" / "1")
    image, state = bundle.golden["007/in/image"], bundle.golden["007/in/state"]
    halved = image.reshape(2, H, 2, W, 2, 3).mean((2, 4))  # between the middle two of each pair, half a pixel off none
    (made,) = onnxruntime.InferenceSession(bundle.model).run(None, {"image": image, "state": state})
    np.testing.assert_allclose(made, expected("NCHW", halved, state[0]), atol=1e-4)


@pytest.mark.usefixtures("recording")
def test_a_picture_is_all_moments_at_once(tmp_path: Path) -> None:
    edged(prepare(tmp_path), "--store", tmp_path / "s")
    image = np.random.default_rng(1).integers(0, 256, (H, W, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "one.png"), image)
    about = infer_file("moments", tmp_path / "one.png", tmp_path / "out.png", tmp_path / "s")
    newest = read_bundle(tmp_path / "s" / "moments" / "1").golden["000/in/state"][0, -1]
    wanted = expected("NCHW", np.stack([image, image]), np.stack([newest, newest]))
    np.testing.assert_allclose([about["actions"][0][name] for name in "ab"], wanted[0], atol=1e-5)


@pytest.mark.usefixtures("recording")
def test_moments_that_are_not_the_networks_are_asked_for(tmp_path: Path) -> None:
    path = prepare(tmp_path)
    path.write_text(path.read_text().replace("steps = 2", "steps = 3"))
    asked = fault(path, "--store", tmp_path / "s")
    assert "inputs.image.history: 3 steps, but the network's input is [1, 2, 3, 4, 6]" in asked
    path.write_text(path.read_text().replace("history = ", "# history = "))
    asked = fault(path, "--store", tmp_path / "s")
    assert "inputs.image.history: it takes 2 moments" in asked


@pytest.mark.usefixtures("recording")
def test_an_open_number_of_moments_is_that_of_the_history(tmp_path: Path) -> None:
    edged(prepare(tmp_path, model=network("NCHW", "time")), "--store", tmp_path / "s")
    assert read_bundle(tmp_path / "s" / "moments" / "1").manifest.states["state"].shape == (1, 2, 2)
