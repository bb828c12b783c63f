"""Exports as people have them, from the file alone: the same objects as drawn, through frames of five sizes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from cells import frame
from onnx import TensorProto, helper, numpy_helper
from pack_models.net import Net
from pack_models.oracle import disc_boxes, disc_logits, discs, oracle, roi_shares

from edged.bundle.bundle import read_bundle
from edged.core.errors import UsageError
from edged.core.types import Instances, Labels, Observation
from edged.pack.flags import from_flags
from edged.pack.job import Result, pack_job
from edged.pack.network import Network
from edged.pack.published import published
from edged.pack.spec import Spec
from edged.pipeline.decode_instance import InstanceDecoder
from edged.pipeline.decode_semantic import SemanticDecoder

SIZE = 256
FRAMES = ((256, 256), (480, 640), (720, 1280), (361, 203), (1080, 1920))
ANSWERS: dict[str, Any] = {
    "name": "discs",
    "classes": "bolt,nut,washer",
    "camera": ["line"],
    "channels": "rgb",
    "pixels": "0..1",
    "mean": "0,0,0",
    "std": "1,1,1",
    "resize": "stretch",
    "interpolation": "linear",
    "score": 0.25,
}
ULTRALYTICS = {"task": "segment", "names": "['bolt', 'nut', 'washer']", "stride": "32", "imgsz": "[256, 256]"}


def said(flags: Mapping[str, Any]) -> Callable[[Network], Spec]:
    """What the command line makes of these flags; all others were not given."""
    return lambda network: from_flags(defaultdict(lambda: None, flags), network)


def half(model: bytes) -> bytes:
    """As exports with half=True come: every float tensor in half precision, nodes in no order."""
    loaded = onnx.load_from_string(model)
    for value in (*loaded.graph.input, *loaded.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in loaded.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in loaded.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    mixed = list(loaded.graph.node)[::-1]
    del loaded.graph.node[:]
    loaded.graph.node.extend(mixed)
    helper.set_model_props(loaded, ULTRALYTICS)
    return bytes(loaded.SerializeToString())


def open_axes(model: bytes, **said: str) -> bytes:
    """As exports with dynamic axes come: every extent but that of the channels is a name. `said`: metadata."""
    loaded = onnx.load_from_string(model)
    for value in (*loaded.graph.input, *loaded.graph.output):
        for axis, extent in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                extent.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"
    helper.set_model_props(loaded, said)
    return bytes(loaded.SerializeToString())


EXPORTS: dict[str, Any] = {
    "ultralytics dynamic": lambda n: open_axes(oracle("yolo-seg", n), **ULTRALYTICS),
    "ultralytics half": lambda n: half(oracle("yolo-seg", n)),
    "rfdetr": lambda n: oracle("rfdetr-seg", n, open_shapes=True),
    "transformers": lambda n: oracle("query-mask", n),
    "nvidia": lambda n: oracle("nvidia", n),
    "mmdet roi": lambda n: oracle("mmdet-roi", n),
    "mmdet full": lambda n: oracle("mmdet", n),
    "zoo": lambda n: oracle("zoo", n),
}
NAMED: dict[str, Any] = {"classes": None, "channels": None, "pixels": None, "mean": None, "std": None}
FIXED = ["batch=1", f"images_2={SIZE}", f"images_3={SIZE}"]
MORE: dict[str, dict[str, Any]] = {
    "ultralytics dynamic": {**NAMED, "fix": FIXED},
    "ultralytics half": NAMED,
    "rfdetr": {"mean": None, "std": None, "channels": None, "pixels": None},
    "zoo": {"fix": ["height=256", "width=256"], "size": "256x256"},
}


def pictures(folder: Path) -> Path:
    """What they show does not matter: the networks put out what is stored in them."""
    (folder / "golden").mkdir()
    cv2.imwrite(str(folder / "golden" / "one.png"), np.full((SIZE, SIZE, 3), 90, np.uint8))
    return folder / "golden"


def packed(folder: Path, export: str, objects: int) -> Result:
    path = folder / "model.onnx"
    path.write_bytes(EXPORTS[export](objects))
    flags = {**ANSWERS, **MORE.get(export, {}), "golden": str(pictures(folder))}
    return pack_job(path, said(flags), folder / "store")


def drawn(objects: int, size: tuple[int, int], export: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes, and [N, H, W] masks by warping what the export stores straight to the frame."""
    scale = np.array([size[1], size[0]] * 2) / SIZE
    boxes = disc_boxes(discs(objects)) * scale
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    if export in ("nvidia", "mmdet roi", "zoo"):
        masks = []
        for share, (left, top, right, bottom) in zip(roi_shares(objects), boxes, strict=True):
            grid = np.meshgrid((x - left) / (right - left) * 28 - 0.5, (y - top) / (bottom - top) * 28 - 0.5)
            beside, between = (x >= left) & (x <= right), (y >= top) & (y <= bottom)
            masks.append((warp(share, grid) > 0.5) & between[:, None] & beside)
        return boxes, np.array(masks)
    small = SIZE if export == "mmdet full" else SIZE // 4
    maps = disc_logits(discs(objects), SIZE, small)
    grid = np.meshgrid(x / size[1] * small - 0.5, y / size[0] * small - 0.5)
    return boxes, np.array([warp(map_, grid) > 0 for map_ in maps])


def warp(map_: np.ndarray, grid: list[np.ndarray]) -> np.ndarray:
    across, down = (axis.astype(np.float32) for axis in grid)
    return np.asarray(cv2.remap(map_.astype(np.float32), across, down, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE))


def iou(found: Instances, row: int, truth: np.ndarray) -> float:
    """Of a mask and the truth within its own box."""
    left, top, right, bottom = found.xyxy[row]
    rows = slice(int(np.floor(top)), int(np.ceil(bottom)))
    columns = slice(int(np.floor(left)), int(np.ceil(right)))
    inside = truth[rows, columns].copy()
    inside[: int(np.ceil(top)) - rows.start] &= found.masks[row][: int(np.ceil(top)) - rows.start]
    inside[:, : int(np.ceil(left)) - columns.start] &= found.masks[row][:, : int(np.ceil(left)) - columns.start]
    return np.count_nonzero(inside & found.masks[row]) / np.count_nonzero(inside | found.masks[row])


@pytest.mark.parametrize("export", EXPORTS)
def test_the_same_objects_come_out(tmp_path: Path, export: str) -> None:
    check(tmp_path, export, 40, FRAMES[:2])


@pytest.mark.soak
@pytest.mark.parametrize("objects", [1, 200])  # the suite has 40
@pytest.mark.parametrize("export", EXPORTS)
def test_any_number_of_objects_comes_out_at_any_size(tmp_path: Path, export: str, objects: int) -> None:
    check(tmp_path, export, objects, FRAMES)


def check(tmp_path: Path, export: str, objects: int, frames: Sequence[tuple[int, int]]) -> None:
    result = packed(tmp_path, export, objects)
    assert result.packed.measured["instances"]["paired"] == objects
    assert result.packed.manifest.provenance["truncated"] == "0 of 1 samples"
    bundle = read_bundle(result.packed.path)
    outputs = {name: bundle.golden[f"000/out/{name}"] for name in bundle.manifest.outputs}
    for size in frames:
        shot = Observation({"line": frame("line", 5, size)}, {}, 1)
        found = InstanceDecoder(bundle.manifest, outputs).decode(outputs, shot)
        assert isinstance(found, Instances)
        assert (len(found.score), found.truncated) == (objects, 0)
        boxes, masks = drawn(objects, size, export)
        at = np.array([np.abs(boxes - box).max(axis=1).argmin() for box in found.xyxy])
        assert len(set(at.tolist())) == objects
        edge = 2.0 * max(size) / SIZE if export == "transformers" else 1.0  # there a box is its mask's extent
        off = np.abs(np.clip(boxes, 0, np.array(size[::-1] * 2))[at] - found.xyxy)
        assert off.max() <= edge + (0.13 * max(size) / SIZE if "half" in export else 0)  # half numbers: 1/8 pixel
        assert (found.class_id == at % 3).all()
        assert np.mean([iou(found, row, masks[at[row]]) for row in range(objects)]) >= 0.99


def test_scores_of_queries_are_those_of_transformers(tmp_path: Path) -> None:
    """post_process_instance_segmentation: the share of the class times the mean of the mask where it is above 0."""
    result = packed(tmp_path, "transformers", 20)
    logits = np.array([4 + np.linspace(0.95, 0.6, 20), np.full(20, -8.0), np.full(20, -8.0), np.zeros(20)])
    share = np.exp(logits[0]) / np.exp(logits).sum(axis=0)
    masks = disc_logits(discs(20), SIZE, SIZE // 4).astype(np.float64)
    means = [(1 / (1 + np.exp(-mask)))[mask > 0].mean() for mask in masks]
    golden = read_bundle(result.packed.path).golden["000/out/scores"][0]
    np.testing.assert_allclose(np.sort(golden)[::-1][:20], np.sort(share * means)[::-1], rtol=1e-4)
    assert "head.mask_scores = true (transformers output names)" in result.inferred
    assert result.recipe.dense is not None
    raw = {
        "class_queries_logits": logits.T[None],
        "masks_queries_logits": masks[None],
    }
    assert result.recipe.head is not None
    np.testing.assert_allclose(
        published(result.recipe.dense, raw, result.recipe.head).score, np.sort(share * means)[::-1], rtol=1e-6
    )


@pytest.mark.parametrize("axes", ["fixed", "dynamic"])
def test_a_second_output_of_torchvision_is_left_out(tmp_path: Path, axes: str) -> None:
    check_labels(tmp_path, axes, 40, FRAMES[:2])


@pytest.mark.soak
@pytest.mark.parametrize("objects", [1, 200])
@pytest.mark.parametrize("axes", ["fixed", "dynamic"])
def test_the_first_output_of_torchvision_comes_out_at_any_size(tmp_path: Path, axes: str, objects: int) -> None:
    check_labels(tmp_path, axes, objects, FRAMES)


def check_labels(tmp_path: Path, axes: str, objects: int, frames: Sequence[tuple[int, int]]) -> None:
    """The class of the network's own pixel under the middle of each pixel of the frame."""
    model = oracle("torchvision", objects)
    (tmp_path / "model.onnx").write_bytes(open_axes(model) if axes == "dynamic" else model)
    flags = {**ANSWERS, "classes": "background,bolt,nut,washer", "score": None, "golden": str(pictures(tmp_path))}
    result = pack_job(tmp_path / "model.onnx", said({**flags, "fix": FIXED * (axes == "dynamic")}), tmp_path / "store")
    assert result.packed.manifest.task == "semantic"
    assert list(result.packed.manifest.outputs) == ["out"]
    bundle = read_bundle(result.packed.path)
    outputs = {"out": bundle.golden["000/out/out"]}
    inside = np.concatenate([np.full((1, SIZE, SIZE), 0.5), disc_logits(discs(objects), SIZE, SIZE)])
    own = inside.argmax(axis=0)
    own[own > 0] = (own[own > 0] - 1) % 3 + 1
    for size in frames:
        shot = Observation({"line": frame("line", 5, size)}, {}, 1)
        found = SemanticDecoder(bundle.manifest, outputs).decode(outputs, shot)
        assert isinstance(found, Labels)
        rows, columns = (((2 * np.arange(extent) + 1) * SIZE) // (2 * extent) for extent in size)
        np.testing.assert_array_equal(found.image, own[rows][:, columns])


def plain(kind: str) -> bytes:
    """A network of which nothing is known but its shapes."""
    net = Net(4, 17)
    if kind == "policy":
        net.output(net.linear(net.input("x", [1, 6]), 6, 4), "y", [1, 4])
        return net.model()
    image = net.input("x", [1, 3, 32, 32])
    if kind == "instance":
        return oracle("yolo-seg", 4)
    net.output(net.conv(image, 3, 1 if kind == "binary" else 3, 1, relu=False), "y", None)
    return net.model()


SAID: dict[str, dict[str, Any]] = {
    "policy": {"task": "policy", "name": "a", "state": ["arm:a,b,c,d,e,f:rad"], "axes": ["a,b,c,d:rad"], "form": "none",
               "step_ms": 20.0, "range": ["a=0:1", "b=0:1", "c=0:1", "d=0:1"]},
    "semantic": {**ANSWERS, "task": "semantic", "score": None},
    "binary": {**ANSWERS, "task": "semantic", "score": None, "classes": "background,crack", "above": "crack"},
    "instance": {**ANSWERS, "task": "instance", "head": "yolo-seg",
                 "tensor": ["predictions=output0", "prototypes=output1"]},
}  # fmt: skip


@pytest.mark.parametrize("kind", SAID)
def test_the_first_list_of_questions_is_all_of_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(plain(kind))
    with pytest.raises(UsageError) as refused:
        pack_job(path, said({}), tmp_path / "store")
    for flag in SAID[kind]:
        if SAID[kind][flag] is not None and flag != "score":
            assert re.search(rf"--{flag.replace('_', '-')}\b", str(refused.value)), flag
    golden = {}
    if kind == "instance":
        golden = {"golden": str(pictures(tmp_path))}
    if kind == "policy":
        golden = {"golden": str(tmp_path / "states.npz")}
        np.savez(tmp_path / "states.npz", x=np.zeros((1, 6), np.float32))
    assert ("--golden" in str(refused.value)) == bool(golden)
    result = pack_job(path, said({**SAID[kind], **golden}), tmp_path / "store")
    assert result.packed.manifest.task == SAID[kind]["task"]
