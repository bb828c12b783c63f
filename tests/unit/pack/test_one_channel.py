"""Networks of one channel: packed for mono8 or mono16, proved, and given what the camera's own numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pack_cli import edged, fault, written
from pack_models.net import Net

from edged.bundle.bundle import read_bundle
from edged.cli.infer import infer_file
from edged.core.errors import UsageError
from edged.pack import Image

SIDE = 32
EDGE = 1000  # of 65535, or 100 of 255: what is brighter is class 1


def network(layout: str, edge: float) -> bytes:
    """[1, 1, H, W] (or channels last), 0..1, to logits [1, 2, H, W]: above 0 where a pixel is brighter than `edge`."""
    net = Net(3, 17)
    image = net.input("image", [1, 1, SIDE, SIDE] if layout == "NCHW" else [1, SIDE, SIDE, 1])
    if layout == "NHWC":
        image = net.add("Transpose", image, perm=[0, 3, 1, 2])
    weight = np.array([-1e4, 1e4], np.float32).reshape(2, 1, 1, 1)
    net.output(net.fixed_conv(image, weight, [1e4 * edge, -1e4 * edge]), "logits", [1, 2, SIDE, SIDE])
    return net.model()


FLAGS = ["--task", "semantic", "--classes", "plain,bright", "--camera", "side", "--pixels", "0..1", "--mean", "0",
         "--std", "1", "--resize", "none", "--name", "bright", "--version", "1"]  # fmt: skip


def drawn(folder: Path, pixels: str) -> tuple[Path, np.ndarray]:
    """A folder of pictures whose pixels lie just below or above the edge, and which of the first one's lie above."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    above = rng.integers(0, 2, (3, SIDE, SIDE)).astype(bool)
    low, high = (99, 102) if pixels == "mono8" else (EDGE - 9, EDGE + 9)  # 3.85 and 3.93 of 255: equal in 8 bits
    for number, one in enumerate(above):
        picture = np.where(one, high, low).astype(np.uint16 if pixels == "mono16" else np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder, above[0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("pixels", "edge"), [("mono8", 100.5 / 255), ("mono16", EDGE / 65535)])
def test_a_network_of_one_channel_sees_what_its_camera_gives(
    tmp_path: Path, layout: str, pixels: str, edge: float
) -> None:
    model = written(tmp_path, "bright.onnx", network(layout, edge))
    pictures, above = drawn(tmp_path / "pictures", pixels)
    edged(model, *FLAGS, "--format", pixels, "--golden", pictures, "--store", tmp_path / "out")
    bundle = read_bundle(tmp_path / "out" / "bright" / "1")
    (role,) = bundle.manifest.images.values()
    assert (role.format, role.shape, bundle.manifest.schema) == (pixels, (1, SIDE, SIDE, 1), 2)
    told: dict[str, Any] = infer_file(str(tmp_path / "out" / "bright" / "1"), pictures / "0.png", tmp_path / "seen.png")
    assert told["classes"]["bright"] == above.mean()
    assert cv2.imread(str(tmp_path / "seen.png")) is not None


def test_a_picture_of_other_pixels_is_refused(tmp_path: Path) -> None:
    model = written(tmp_path, "bright.onnx", network("NCHW", EDGE / 65535))
    pictures, _ = drawn(tmp_path / "pictures", "mono16")
    edged(model, *FLAGS, "--format", "mono16", "--golden", pictures, "--store", tmp_path / "out")
    colours, _ = drawn(tmp_path / "eight", "mono8")
    with pytest.raises(UsageError, match="mono16 has one of 16"):
        infer_file(str(tmp_path / "out" / "bright" / "1"), colours / "0.png", tmp_path / "seen.png")
    assert "mono16 has one of 16" in fault(
        model, *FLAGS, "--format", "mono16", "--golden", colours, "--store", tmp_path / "b"
    )


def test_what_a_camera_gives_is_asked_for(tmp_path: Path) -> None:
    model = written(tmp_path, "bright.onnx", network("NCHW", 0.5))
    flags = [flag if flag != "0" else "0,0,0" for flag in FLAGS]
    said = fault(model, *flags, "--store", tmp_path / "out")
    assert "inputs.image.format: --format mono8 or mono16" in said
    assert "inputs.image.mean: --mean 0,0,0: 1 numbers, one for each channel; 0 for none" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--interpolation", "area"), "area resizes nothing with --resize none"),
        (("--resize", "stretch", "--interpolation", "cubic", "--frame", "60x80"), "linearly, not by cubic"),
        (("--channels", "bgr"), "mono8 has one channel"),
    ],
)
def test_what_would_be_done_otherwise_is_refused(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    model = written(tmp_path, "bright.onnx", network("NCHW", 0.5))
    assert said in fault(model, *FLAGS, "--format", "mono8", *flags, "--store", tmp_path / "out")


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("pixels", ["mono8", "mono16"])
def test_a_resize_in_the_graph_is_that_of_the_reference(resize: Any, pixels: Any) -> None:
    import onnx
    import onnxruntime

    from edged.pack.graph import infer_shapes, to_bytes
    from edged.pack.image import bake_image_input
    from edged.pack.static import make_static

    image = Image((20, 32), mean=(0.4,), std=(0.2,), frame=(57, 90), resize=resize, pad=114, format=pixels)
    net = Net(1, 17)
    net.output(net.input("image", list(image.shape)), "out")
    model = onnx.load_from_string(net.model())
    make_static(model, {})
    bake_image_input(model, "image", image)
    session = onnxruntime.InferenceSession(to_bytes(infer_shapes(model)), providers=["CPUExecutionProvider"])
    frame = np.random.default_rng(1).integers(0, 256, (1, 57, 90, 1)).astype(image.dtype)
    made = session.run(None, {"image": frame})[0]
    np.testing.assert_allclose(made, image.before(frame), atol=2e-5)
