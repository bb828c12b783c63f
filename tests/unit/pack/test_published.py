"""Nothing is lost between the network and the objects: against stored predictions, drawn truth, and full-size masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cells import frame
from pack_models.oracle import disc_boxes, disc_logits, discs, oracle
from pack_recipes import DENSE, TENSORS, camera, instance_recipe

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import Head
from edged.core.errors import RefusedError
from edged.core.types import Instances, Observation
from edged.pack import Dense, Image, Packed, pack
from edged.pack.dense import LAYOUTS, outputs_of
from edged.pipeline.decode_instance import InstanceDecoder
from edged.pipeline.geometry import fit
from edged.pipeline.golden import objects_in

SIZE = 256
FRAMES = ((256, 256), (480, 640), (720, 1280), (361, 203), (1080, 1920))


def packed_oracle(tmp_path: Path, layout: str, objects: int, resize: str = "stretch", **dense: Any) -> Packed:
    recipe = instance_recipe(
        layout,
        inputs={"images": camera(SIZE, resize=resize)},
        outputs=outputs_of(layout),  # type: ignore[arg-type]
        before={"images": Image((SIZE, SIZE))},
        dense=Dense(layout, TENSORS[layout], (SIZE, SIZE), 3, **{**DENSE[layout], **dense}),  # type: ignore[arg-type]
        head=Head(
            kind=LAYOUTS[layout].kind,  # type: ignore[index]
            score_threshold=0.25,
            mask_threshold=0.5,
            nms_threshold=0.7 if layout == "yolo-seg" else 1.0,
        ),
    )
    return pack(oracle(layout, objects), recipe, [{"images": np.zeros((1, SIZE, SIZE, 3), np.uint8)}], tmp_path)


def truth(objects: int, size: tuple[int, int], resize: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and full-frame masks of the discs in a frame of `size`, by warping the map the long way round."""
    way = fit(resize, size, (SIZE, SIZE))  # type: ignore[arg-type]
    (height, width), place = way.crop.size, way.place
    scale = np.array([width / place.size[1], height / place.size[0]])
    boxes = (disc_boxes(discs(objects)).reshape(-1, 2, 2) - [place.left, place.top]) * scale
    small = disc_logits(discs(objects), SIZE, SIZE // 4)
    x = ((np.arange(size[1]) + 0.5) / scale[0] + place.left) / 4 - 0.5
    y = ((np.arange(size[0]) + 0.5) / scale[1] + place.top) / 4 - 0.5
    grid = [axis.astype(np.float32) for axis in np.meshgrid(x, y)]
    masks = np.array([cv2.remap(map_, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) > 0 for map_ in small])
    return boxes.reshape(-1, 4), masks


def full(found: Instances, row: int) -> np.ndarray:
    whole = np.zeros(found.size, bool)
    left, top = (int(np.floor(edge)) for edge in found.xyxy[row, :2])
    mask = found.masks[row]
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return whole


@pytest.mark.parametrize(
    ("layout", "objects"),
    [
        ("yolo-seg", 1),
        ("yolo-seg", 50),
        ("yolo-seg", 200),
        ("rfdetr-seg", 100),
        ("rfdetr-seg", 200),
        ("query-mask", 50),
    ],
)
def test_every_object_comes_out(tmp_path: Path, layout: str, objects: int) -> None:
    packed = packed_oracle(tmp_path, layout, objects)
    proof = packed.measured["instances"]
    assert (proof["objects"], proof["paired"], proof["truncated"]) == (objects, objects, 0)
    assert packed.worst["instances"].value > 0.999
    golden = read_bundle(packed.path).golden
    outputs = {name: golden[f"000/out/{name}"] for name in outputs_of(layout)}  # type: ignore[arg-type]
    for size in FRAMES[: 5 if objects == 50 and layout == "yolo-seg" else 2]:
        shot = Observation({"line": frame("line", 5, size)}, {}, 1)
        found = InstanceDecoder(packed.manifest, outputs).decode(outputs, shot)
        assert isinstance(found, Instances)
        assert (len(found.score), found.truncated) == (objects, 0)
        boxes, masks = truth(objects, size, "stretch")
        ious = []
        for row in range(objects):
            at = int(np.abs(boxes - found.xyxy[row]).max(axis=1).argmin())
            edge = 1.0 if layout != "query-mask" else 2.0 * max(size) / SIZE  # that box is the mask's extent
            assert np.abs(boxes[at] - found.xyxy[row]).max() <= edge
            mine, drawn = full(found, row), masks[at].copy()
            left, top, right, bottom = found.xyxy[row]
            begin = np.ceil if layout == "yolo-seg" else np.floor
            drawn[: int(begin(top))] = drawn[int(np.ceil(bottom)) :] = False
            drawn[:, : int(begin(left))] = drawn[:, int(np.ceil(right)) :] = False
            ious.append(np.count_nonzero(mine & drawn) / np.count_nonzero(mine | drawn))
        assert np.mean(ious) >= 0.99


def test_a_cap_that_loses_objects_is_refused_by_the_proof(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"of 50 objects.*left out by a cap"):
        packed_oracle(tmp_path, "yolo-seg", 50, top_k=100)  # twelve rows an object, chosen before suppression
    with pytest.raises(RefusedError, match="of 100 objects"):
        packed_oracle(tmp_path, "rfdetr-seg", 100, top_k=60)


def test_an_engine_whose_cap_is_reached_says_so(tmp_path: Path) -> None:
    packed = packed_oracle(tmp_path, "rfdetr-seg", 50, top_k=50)  # all are there, but who knows that?
    golden = read_bundle(packed.path).golden
    outputs = {name: golden[f"000/out/{name}"] for name in outputs_of("rfdetr-seg")}
    assert objects_in(packed.manifest, outputs).truncated == 1
    assert packed.measured["instances"]["truncated"] == 1
    assert "left out by a cap" in packed.worst["instances"].detail
