"""How the plate engine was made, and what the shipped one is worth. No PyTorch needed but under `-m train`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edged.bundle.bundle import read_bundle
from edged.bundle.roles import ImageInput
from edged.core.errors import RefusedError
from edged.demo.plates import CLASSES, SIZE, TRAIN
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check
from examples.plate.data import crops, views
from examples.plate.export import GOLDEN, OPSET, check_graph, score, seal

SHIPPED = Path(__file__).parents[3] / "engines" / "plate" / "1"


def segmenter(batch: str | int = "batch", opset: int = OPSET) -> onnx.ModelProto:
    """Scores that grow with brightness for classes 1 to 3 and are 0 for the background."""
    weights = np.zeros((4, 3, 1, 1), np.float32)
    weights[1:, :, 0, 0] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    shape = [batch, 3, SIZE, SIZE]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["labels"])],
        "segmenter",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("labels", TensorProto.FLOAT, [batch, 4, SIZE, SIZE])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_any_network_of_that_shape_becomes_an_engine(tmp_path: Path) -> None:
    packed = seal(segmenter().SerializeToString(), tmp_path, "7", {"made_by": "a test"})
    bundle = read_bundle(packed.path)
    assert packed.path == tmp_path / "plate" / "7"
    assert bundle.manifest.classes == CLASSES
    assert isinstance(bundle.manifest.inputs["image"], ImageInput)
    with open_engine(bundle) as engine:
        found = golden_check(engine, bundle)
        assert len(found) == GOLDEN
        assert all(item.ok for item in found)
        engine.inputs["image"][...] = (10, 250, 20)  # green is the middle channel: class 2
        engine.run()
        assert (engine.outputs["labels"] == 2).all()


def test_a_wrong_shape_is_refused(tmp_path: Path) -> None:
    model = segmenter()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = SIZE // 2
    with pytest.raises(RefusedError, match="image"):
        seal(model.SerializeToString(), tmp_path, "1", {})


def test_what_the_exporter_wrote_is_read_back() -> None:
    check_graph(segmenter())
    for wrong in (segmenter(batch=1), segmenter(opset=OPSET - 1)):
        with pytest.raises(RuntimeError, match="exported opset"):
            check_graph(wrong)


def test_crops_keep_image_and_truth_together() -> None:
    images, labels = views(TRAIN, range(2), 2)
    marked = np.repeat(labels[..., None], 3, axis=3)
    found, truth = crops(marked, labels, np.random.default_rng(0), 16, 96)
    assert found.shape == (16, 96, 96, 3)
    assert truth.any()
    assert np.array_equal(found[..., 0], truth)
    assert images.std() > 10


def test_the_shipped_engine_does_what_it_did_when_it_was_packed() -> None:
    bundle = read_bundle(SHIPPED)
    assert bundle.manifest.classes == CLASSES
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3_000_000
    with open_engine(bundle) as engine:
        assert all(item.ok for item in golden_check(engine, bundle))


def test_the_shipped_engine_knows_plates_it_has_never_seen() -> None:
    found, _ = score(read_bundle(SHIPPED), seeds=6, per_seed=4)
    assert found.miou >= 0.93
    assert min(found.iou) >= 0.85


@pytest.mark.train
def test_training_and_export_run_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from examples.plate.export import export
    from examples.plate.train import train

    results = train(tmp_path, steps=120, batch=8, seeds=8, per_seed=8, threads=2)
    assert results["miou_seen"] > 0.2
    assert export(tmp_path / "unet.pt", tmp_path / "unet.onnx") < 1e-4
    packed = seal(tmp_path / "unet.onnx", tmp_path / "store", "1", {"made_by": "a test"})
    assert read_bundle(packed.path).manifest.name == "plate"
