"""What exporters write into their files is read; what contradicts it is refused."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from models import segment_model
from pack_models.segmenters import CLASSES, mask_rcnn, query_mask, rfdetr_seg, yolo_seg

from edged.core.errors import RefusedError
from edged.pack.job import new_facts
from edged.pack.metadata import descriptions
from edged.pack.network import look_at
from edged.pack.spec import Spec, merge


def said(model: bytes, **metadata: str) -> Spec:
    loaded = onnx.load_from_string(model)
    for key, value in metadata.items():
        for entry in [item for item in loaded.metadata_props if item.key == key]:
            loaded.metadata_props.remove(entry)
        entry = loaded.metadata_props.add()
        entry.key, entry.value = key, value
    whole = Spec()
    for _, spec in descriptions(look_at(loaded)):
        whole = merge(whole, spec)
    return whole


@pytest.mark.parametrize("nms", [False, True])
def test_ultralytics_says_everything_about_its_models(nms: bool) -> None:
    spec = said(yolo_seg(nms=nms))
    assert (spec.task, spec.classes) == ("instance", CLASSES)
    image = spec.inputs["images"]
    assert (image.channels, image.pixels, image.resize, image.pad, image.size) == (
        "rgb",
        "0..1",
        "letterbox",
        114,
        (64, 64),
    )
    assert spec.head.layout == ("yolo-seg-nms" if nms else "yolo-seg")
    assert spec.head.tensors == {"predictions": "output0", "prototypes": "output1"}
    assert spec.head.nms_threshold == (1.0 if nms else 0.7)


def test_outputs_are_told_apart_by_their_shape_not_by_their_order() -> None:
    model = onnx.load_from_string(yolo_seg())
    first, second = model.graph.output
    model.graph.output.extend([second, first])
    del model.graph.output[:2]
    assert said(model.SerializeToString()).head.tensors == {"predictions": "output0", "prototypes": "output1"}


def test_python_reprs_are_literals_and_never_run() -> None:
    with pytest.raises(RefusedError, match="'detect' has no masks"):
        said(yolo_seg(), task="detect")
    assert said(yolo_seg(), names="['a', 'b', 'c']").classes == ("a", "b", "c")
    with pytest.raises(RefusedError, match="names"):
        said(yolo_seg(), names="__import__('os').system('true')")
    with pytest.raises(RefusedError, match="names"):
        said(yolo_seg(), names="{0: 'a', 2: 'c'}")


IMAGE = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}


@pytest.mark.parametrize(
    ("metadata", "channels", "pixels"),
    [
        (IMAGE, "bgr", "0..255"),
        ({"Image.BitmapPixelFormat": "Rgb8"}, "rgb", None),
        ({"Image.NominalPixelRange": "Normalized_1_1", "Image.ColorSpaceGamma": "SRGB"}, None, "-1..1"),
    ],
)
def test_onnx_image_metadata(metadata: dict[str, str], channels: Any, pixels: Any) -> None:
    image = said(segment_model(), **metadata).inputs["image"]
    assert (image.role, image.channels, image.pixels) == ("image", channels, pixels)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Image.BitmapPixelFormat", "Gray8"),
        ("Image.NominalPixelRange", "NominalRange_16_235"),
        ("Image.ColorSpaceGamma", "Linear"),
    ],
)
def test_pixels_that_no_camera_gives_are_refused(key: str, value: str) -> None:
    with pytest.raises(RefusedError, match=f"{key}.*{value}"):
        said(segment_model(), **{key: value})


def test_output_names_tell_the_layout() -> None:
    spec = said(mask_rcnn())
    assert (spec.head.layout, spec.head.background, spec.head.boxes) == ("mask-rcnn", "first", "xyxy")
    assert spec.inputs["image"].pixels == "0..1"
    spec = said(rfdetr_seg())
    assert (spec.head.layout, spec.head.unit, spec.inputs["input"].resize) == ("rfdetr-seg", True, "stretch")
    assert spec.inputs["input"].mean == (0.485, 0.456, 0.406)
    spec = said(query_mask())
    assert (spec.head.layout, spec.head.background) == ("query-mask", "last")
    assert not [fact for fact in new_facts(spec, Spec()) if fact.startswith("outputs")], "all of them are of the head"
    assert spec.classes is None, "names of classes are not in it"


def test_nothing_is_told_where_nothing_is_said() -> None:
    assert list(descriptions(look_at(onnx.load_from_string(segment_model())))) == []
