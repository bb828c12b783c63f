"""What was drawn, from COCO's JSON and from folders of masks, as pycocotools and OpenCV have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core.errors import UsageError
from edged.core.types import Instances, Labels
from edged.evaluation.coco import CocoFindings, CocoTruth
from edged.evaluation.masks import MaskFindings, MaskTruth
from edged.evaluation.truth import IGNORED, BadTruth, labels_of
from edged.inspection.evaluation import Drawn, decoded, seen_as

coder = pytest.importorskip("pycocotools.mask")
CLASSES = ("background", "scratch", "a/b pit")
SIZE = (12, 16)


def truth(folder: Path, annotations: list[dict[str, Any]], semantic: bool = False, **image: Any) -> CocoTruth:
    images = [{"id": 7, "file_name": "x/a.png", "height": SIZE[0], "width": SIZE[1], **image}]
    made = [{"id": number, "image_id": 7, "category_id": 3, **one} for number, one in enumerate(annotations, 1)]
    categories = [{"id": 3, "name": "scratch"}, {"id": 9, "name": "unused"}]
    path = folder / "truth.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": made, "licenses": []}))
    return CocoTruth(path, CLASSES, semantic)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=SIZE[0] * SIZE[1], max_size=SIZE[0] * SIZE[1]))
def test_compressed_runs_are_read_as_pycocotools_writes_them(tmp_path_factory: Any, pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(SIZE)
    coded = coder.encode(np.asfortranarray(mask, np.uint8))
    about = {"size": list(SIZE), "counts": coded["counts"].decode()}
    drawn = truth(tmp_path_factory.mktemp("t"), [{"segmentation": about}]).of("x/a.png", SIZE)
    assert isinstance(drawn, Drawn)
    assert np.array_equal(decoded(drawn.masks[0]), mask)


def test_polygons_crowds_and_label_maps(tmp_path: Path) -> None:
    square = {"segmentation": [[2, 2, 8, 2, 8, 8, 2, 8]]}
    runs = [0, 24, SIZE[0] * SIZE[1] - 24]  # two columns
    crowd = {"segmentation": {"size": list(SIZE), "counts": runs}, "iscrowd": 1}
    drawn = truth(tmp_path, [square, crowd]).of("x/a.png", SIZE)
    assert isinstance(drawn, Drawn)
    assert drawn.class_id.tolist() == [1, 1]
    assert drawn.crowd.tolist() == [False, True]
    assert decoded(drawn.masks[0])[2:8, 2:8].all()
    assert coder.area(drawn.masks[0]) == 36
    seen = seen_as(drawn)
    assert seen.xyxy.tolist() == [[2, 2, 8, 8]]
    assert seen.masks[0].shape == (6, 6)
    painted = truth(tmp_path, [square, crowd], semantic=True).of("x/a.png", SIZE)
    assert isinstance(painted, Labels)
    assert (painted.image[:, :2] == IGNORED).all()
    assert painted.image[4, 4] == 1
    assert (painted.image == 0).sum() == SIZE[0] * SIZE[1] - 24 - 36


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 2, 3, 4]],
        {"size": [3, 3], "counts": [9]},
        {"size": list(SIZE), "counts": [1, 2]},
        {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1] * 9]},
        {"size": list(SIZE), "counts": [-5, SIZE[0] * SIZE[1] + 5]},
        {"size": list(SIZE), "counts": "zzzzzzzzzzzzzzzzzzzz"},
        {"size": list(SIZE), "counts": "\u00ff"},
        {"size": list(SIZE), "counts": ["a"]},
        {"size": list(SIZE)},
        {"size": 12, "counts": [1]},
        [[0, 0, 5e8, 0, 5e8, 5e8]],
        [[5e8, 5e8, 5e8 + 5, 5e8, 5e8 + 5, 5e8 + 5]],
    ],
)
def test_what_is_no_mask_of_the_picture_is_said(tmp_path: Path, segmentation: Any) -> None:
    with pytest.raises(BadTruth, match="annotation 1"):
        truth(tmp_path, [{"segmentation": segmentation}]).of("x/a.png", SIZE)


def test_another_size_than_annotated_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadTruth, match="annotated as 12x16, and it is 16x12"):
        truth(tmp_path, [], height=16, width=12).of("x/a.png", SIZE)


def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    square = {"segmentation": [[2, 2, 8, 2, 8, 8]]}
    with pytest.raises(UsageError, match="objects of unused, and the engine's classes are"):
        truth(tmp_path, [{**square, "category_id": 9}])
    with pytest.raises(UsageError, match="of image 5"):
        truth(tmp_path, [{**square, "image_id": 5}])
    (tmp_path / "truth.json").write_text('{"images": []}')
    with pytest.raises(UsageError, match="not COCO's JSON"):
        CocoTruth(tmp_path / "truth.json", CLASSES)
    with pytest.raises(UsageError, match="cannot be read"):
        CocoTruth(tmp_path / "none.json", CLASSES)


def found() -> Instances:
    masks = (np.eye(4, dtype=bool), np.ones((3, 5), bool))
    boxes = np.array([[1, 2, 5, 6], [11, 9, 16, 12]], np.float32)
    return Instances(boxes, np.array([0.9, 0.4], np.float32), np.array([2, 1], np.uint16), masks, SIZE)


def same(drawn: Drawn | Labels, wanted: Instances) -> bool:
    assert isinstance(drawn, Drawn)
    again = seen_as(drawn)
    return (
        again.xyxy.tolist() == wanted.xyxy.tolist()
        and again.class_id.tolist() == wanted.class_id.tolist()
        and all(np.array_equal(a, b) for a, b in zip(again.masks, wanted.masks, strict=True))
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    labels = labels_of(np.random.default_rng(0).integers(0, 3, SIZE, np.uint8))
    for semantic, wanted in ((False, found()), (True, labels)):
        coco = CocoFindings(CLASSES, {})
        coco.add("x/a.png", wanted)
        path = tmp_path / f"{semantic}.json"
        path.write_bytes(coco.encode({"b.png": "why"}))
        assert json.loads(path.read_text())["info"]["failed"] == {"b.png": "why"}
        folder = tmp_path / f"{semantic}"
        MaskFindings(folder, CLASSES, ["x/a.png"], semantic).add("x/a.png", wanted)
        for known in (CocoTruth(path, CLASSES, semantic), MaskTruth(folder, ["x/a.png", "b.png"], CLASSES, semantic)):
            assert list(known.names) == ["x/a.png"]
            drawn = known.of("x/a.png", SIZE)
            if isinstance(wanted, Labels):
                assert isinstance(drawn, Labels)
                assert np.array_equal(drawn.image, wanted.image)
            else:
                assert same(drawn, wanted)
        with pytest.raises(UsageError, match="not empty"):
            MaskFindings(folder, CLASSES, ["x/a.png"], semantic)


def test_pictures_whose_masks_would_mix_are_refused_before_the_first_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.png and a\.jpg would have the same masks"):
        MaskFindings(tmp_path, CLASSES, ["a.png", "a.jpg"], True)
    MaskFindings(tmp_path, CLASSES, ["tray/1.jpg", "tray.jpg"], True)
    with pytest.raises(UsageError, match=r"masks of tray/1\.jpg would lie among those of tray\.jpg"):
        MaskFindings(tmp_path, CLASSES, ["tray/1.jpg", "tray.jpg"], False)


def test_masks_without_a_picture_coloured_ones_and_other_sizes_are_said(tmp_path: Path) -> None:
    for name, image in (
        ("gone", np.zeros(SIZE, np.uint8)),
        ("colour", np.dstack([np.zeros(SIZE, np.uint8)] * 2 + [np.ones(SIZE, np.uint8)])),
        ("deep", np.zeros(SIZE, np.uint16)),
        ("small", np.zeros((3, 3), np.uint8)),
        ("beyond", np.full(SIZE, 3, np.uint8)),
        ("grey", np.dstack([np.ones(SIZE, np.uint8)] * 3)),
    ):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    (tmp_path / "text.png").write_text("no picture")
    pictures = [f"{name}.jpg" for name in ("colour", "deep", "small", "beyond", "grey", "text")]
    known = MaskTruth(tmp_path, pictures, CLASSES, True)
    assert set(known.names) == {*pictures, "gone"}
    for name, why in (("colour", "coloured"), ("deep", "8 bits"), ("small", "3x3"), ("beyond", "class 3"),
                      ("text", "8 bits")):  # fmt: skip
        with pytest.raises(BadTruth, match=why):
            known.of(f"{name}.jpg", SIZE)
    grey = known.of("grey.jpg", SIZE)
    assert isinstance(grey, Labels)
    assert (grey.image == 1).all()
    with pytest.raises(UsageError, match="same masks"):
        MaskTruth(tmp_path, ["a.png", "a.jpg"], CLASSES, True)


def test_an_empty_folder_of_objects_is_a_picture_without_any(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert cv2.imwrite(str(tmp_path / "b" / "0-stain.png"), np.ones(SIZE, np.uint8))
    known = MaskTruth(tmp_path, ["a.png", "b.png"], CLASSES, False)
    drawn = known.of("a.png", SIZE)
    assert isinstance(drawn, Drawn)
    assert not drawn.masks
    assert not len(seen_as(drawn).score)
    with pytest.raises(BadTruth, match=r"0-stain\.png"):
        known.of("b.png", SIZE)
