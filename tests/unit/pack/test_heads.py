"""Instance heads come out small, static and the same as numpy's, for every opset; and the objects are those drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from dense_reference import read_back, rows_of
from heads import finder, rows
from pack_models.net import Net
from pack_models.segmenters import mask_rcnn, query_mask, rfdetr_seg, scene, yolo_seg
from pack_recipes import DENSE, TENSORS, instance_recipe, scenes

from edged.bundle.bundle import read_bundle
from edged.core.errors import RefusedError
from edged.pack import Dense, bake, pack
from edged.pack.dense import outputs_of
from edged.pack.graph import infer_shapes, load_model, to_bytes
from edged.pack.heads import bake_head
from edged.pipeline.geometry import fit
from edged.pipeline.masks import find

MODELS = {
    "yolo-seg": yolo_seg,
    "yolo-seg-nms": lambda: yolo_seg(nms=True),
    "rfdetr-seg": rfdetr_seg,
    "query-mask": query_mask,
    "mask-rcnn": mask_rcnn,
}
SAME = fit("none", (64, 64), (64, 64))


def drawn(seed: int) -> set[tuple[int, int, int]]:
    """(top, left, class) of the rectangles in `scene(seed)`; the network sees RGB."""
    image = scene(seed)[0]
    found = set()
    for top in (4, 36):
        for left in (8, 36):
            blue, green, red = image[top + 10, left + 10]
            if max(blue, green, red) > 200:
                found.add((top, left, int(np.argmax([red, green, blue]))))
    return found


@pytest.mark.parametrize("layout", MODELS)
def test_the_objects_are_those_drawn(tmp_path: Path, layout: str) -> None:
    recipe = instance_recipe(layout)
    packed = pack(MODELS[layout](), recipe, scenes(recipe), tmp_path)
    assert packed.worst["instances"].value == 1.0
    bundle = read_bundle(packed.path)
    for seed in range(3):
        outputs = {name: bundle.golden[f"{seed:03d}/out/{name}"] for name in outputs_of(layout)}
        assert outputs["scores"].shape[0] == 1
        assert outputs["classes"].dtype == np.int32
        found = find(bundle.manifest, outputs, SAME)
        best = {}
        for box, number, mask in zip(found.xyxy, found.class_id, found.masks, strict=True):
            best.setdefault((round(float(box[1]) / 32) * 32 + 4, 8 if box[0] < 22 else 36, int(number)), (box, mask))
        assert drawn(seed) <= set(best)
        for top, left, number in drawn(seed):
            box, mask = best[top, left, number]
            np.testing.assert_allclose(box, [left, top, left + 20, top + 20], atol=3)
            assert mask.mean() > 0.85


def raw_and_packed(layout: str, opset: int, dense: Dense) -> tuple[dict, dict]:
    """Random numbers of the layout's shapes through the graph and through the reference."""
    rng = np.random.default_rng(opset)
    shapes = {
        "yolo-seg": {"predictions": (1, 4 + 3 + 5, 40), "prototypes": (1, 5, 8, 8)},
        "yolo-seg-nms": {"predictions": (1, 30, 6 + 5), "prototypes": (1, 5, 8, 8)},
        "rfdetr-seg": {"boxes": (1, 12, 4), "logits": (1, 12, 3), "masks": (1, 12, 8, 8)},
        "query-mask": {"logits": (1, 12, 4), "masks": (1, 12, 8, 8)},
    }[layout]
    net = Net(1, opset)
    feed = {}
    for part, shape in shapes.items():
        feed[f"in_{part}"] = rng.normal(size=shape).astype(np.float32)
        net.output(net.input(f"in_{part}", list(shape)), dense.tensors[part], list(shape))
    model = onnx.load_from_string(net.model())
    bake_head(model, dense)
    session = onnxruntime.InferenceSession(to_bytes(infer_shapes(model)), providers=["CPUExecutionProvider"])
    made = dict(zip(outputs_of(layout), session.run(list(outputs_of(layout)), feed), strict=True))
    return made, rows_of(dense, {dense.tensors[part]: feed[f"in_{part}"] for part in shapes})


@pytest.mark.parametrize("opset", [11, 12, 13, 16, 17, 18, 20])
@pytest.mark.parametrize("layout", ["yolo-seg", "yolo-seg-nms", "rfdetr-seg", "query-mask"])
def test_every_row_is_that_of_the_reference(layout: str, opset: int) -> None:
    dense = Dense(layout, TENSORS[layout], (64, 64), 3, top_k=7, **DENSE[layout])
    made, wanted = raw_and_packed(layout, opset, dense)
    assert set(made) == set(wanted) == set(outputs_of(layout))
    for name, array in made.items():
        assert array.shape == wanted[name].shape, name
        np.testing.assert_allclose(array, wanted[name].astype(array.dtype), atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("form", "unit"), [("xyxy", True), ("yxyx", False), ("yxyx", True), ("cxcywh", False)])
def test_boxes_of_every_form(form: str, unit: bool) -> None:
    dense = Dense("rfdetr-seg", TENSORS["rfdetr-seg"], (48, 64), 3, top_k=7, form=form, unit=unit)
    made, wanted = raw_and_packed("rfdetr-seg", 17, dense)
    np.testing.assert_allclose(made["boxes"], wanted["boxes"], rtol=1e-5)


@pytest.mark.parametrize("background", ["first", "last"])
def test_a_class_that_is_none_is_never_found(background: str) -> None:
    dense = Dense("rfdetr-seg", TENSORS["rfdetr-seg"], (64, 64), 2, top_k=24, background=background)
    made, wanted = raw_and_packed("rfdetr-seg", 17, dense)
    np.testing.assert_array_equal(made["classes"], wanted["classes"])
    assert set(made["classes"].ravel()) == {0, 1}


@pytest.mark.parametrize("opset", [11, 13, 16, 17, 20])
def test_mask_rcnn_finds_nothing_in_the_dark(tmp_path: Path, opset: int) -> None:
    """No detection at all: an empty tensor in the network, rows of score 0 in the packed graph."""
    recipe = instance_recipe("mask-rcnn")
    model = load_model(mask_rcnn(max(opset, 13)))
    session = onnxruntime.InferenceSession(to_bytes(bake(model, recipe)), providers=["CPUExecutionProvider"])
    outputs = dict(
        zip(outputs_of("mask-rcnn"), session.run(None, {"image": np.zeros((1, 64, 64, 3), np.uint8)}), strict=True)
    )
    assert outputs["scores"].shape == (1, 300)
    assert not outputs["scores"].any()
    assert outputs["masks"].shape == (1, 300, 56, 56)


def test_a_mask_read_back_at_its_box_and_pasted_again_is_the_same() -> None:
    y, x = np.mgrid[:120, :160]
    share = 1 / (1 + np.exp((np.hypot(y - 60, x - 70) - 30) / 1.5))  # a disc
    box = np.array([38.3, 27.6, 101.7, 92.4])
    (small,) = read_back(share[None], box[None], 56)
    tensors = {**rows([box.tolist()], [0.9], [0]), "masks": small[None, None].astype(np.float32)}
    (mask,) = find(
        finder("mask-rcnn-roi", tensors, size=(120, 160)), tensors, fit("none", (120, 160), (120, 160))
    ).masks
    true = share[27:93, 38:102] > 0.5
    assert np.count_nonzero(mask & true) / np.count_nonzero(mask | true) > 0.985


def test_what_does_not_fit_the_layout_is_refused() -> None:
    for layout, changes, says in (
        ("yolo-seg", {"classes": 4}, "10 channels, not 4 + 4 classes"),
        ("rfdetr-seg", {"classes": 2}, "3 columns for 2 classes"),
        ("query-mask", {"background": "none"}, "4 columns for 3 classes"),
        ("yolo-seg", {"tensors": {"predictions": "output1", "prototypes": "output0"}}, "wanted, the network gives"),
        ("yolo-seg", {"tensors": {"predictions": "nothing", "prototypes": "output1"}}, "no output 'nothing'"),
    ):
        given = {"tensors": TENSORS[layout], "classes": 3, **DENSE[layout], **changes}
        dense = Dense(layout, size=(64, 64), **given)
        with pytest.raises(RefusedError, match=says.replace("+", r"\+")):
            bake(load_model(MODELS[layout]()), instance_recipe(layout, dense=dense))
