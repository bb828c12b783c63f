"""Networks of every shape keep their meaning in fp32, fp16 and int8; what collapses is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pack_models.policies import cnn_lstm, transformer
from pack_models.segmenters import mask_rcnn, query_mask, rfdetr_seg, segformer, yolo_seg
from pack_recipes import chunk_recipe, instance_recipe, lstm_recipe, moments, scenes, segformer_recipe

from edged.bundle import read_bundle
from edged.engine import open_engine
from edged.golden import golden_check
from edged.pack import Packed, pack

HEADS = {
    "yolo-seg": yolo_seg,
    "yolo-seg-nms": lambda opset=17: yolo_seg(opset, nms=True),
    "rfdetr-seg": rfdetr_seg,
    "query-mask": query_mask,
    "mask-rcnn": mask_rcnn,
}


def packed_as(precision: str, store: Path, what: str) -> Packed:
    match what:
        case "lstm":
            recipe = lstm_recipe(precision=precision)
            return pack(cnn_lstm(), recipe, moments(recipe), store, calibration=moments(recipe, 16, 100))
        case "transformer":
            recipe = chunk_recipe(precision=precision)
            return pack(transformer(), recipe, moments(recipe), store, calibration=moments(recipe, 16, 100))
        case "segformer":
            recipe = segformer_recipe(precision=precision, tolerance={"logits": 0.9})
            return pack(segformer(), recipe, scenes(recipe), store, calibration=scenes(recipe, 16, 100))
        case _:
            recipe = instance_recipe(what, precision=precision)
            return pack(HEADS[what](), recipe, scenes(recipe), store, calibration=scenes(recipe, 16, 100))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("what", ["lstm", "transformer", "segformer", *HEADS])
def test_every_network_proves_itself_and_passes_its_own_golden_check(tmp_path: Path, precision: str, what: str) -> None:
    packed = packed_as(precision, tmp_path, what)
    print(what, precision, {name: f"{item.value:.3g}" for name, item in packed.worst.items()}, packed.measured)
    bundle = read_bundle(packed.path)
    assert bundle.manifest.precision == precision
    with open_engine(bundle) as engine:
        golden_check(engine, bundle)
