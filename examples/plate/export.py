"""Export the trained segmenter and make an engine of it: python -m examples.plate.export [--run DIR] [--store DIR]

unet.pt -> unet.onnx (dynamic batch, named tensors, constants folded, opset read back, compared with PyTorch)
        -> <store>/plate/<version>/ (normalisation and argmax baked in, golden samples, sealed).
`seal` needs no PyTorch: any network with the same input and output can be made an engine this way.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.roles import ImageInput, LabelsOutput
from edged.demo.plates import CLASSES, SIZE, TRAIN, UNSEEN
from edged.inspection.confusion import Confusion
from edged.pack import Image, Labels, Packed, Recipe, pack
from examples.plate.data import MEAN, STD, views

OPSET = 18
PARITY = 1e-4  # greatest difference of a score between PyTorch and ONNX Runtime, relative to the greatest score
GOLDEN = 4


def export(weights: Path, model: Path) -> float:
    """Write `model` from `weights` and return how far it is from PyTorch; `RuntimeError` if it is not as asked."""
    import torch

    from examples.plate.net import UNet

    net = UNet(len(CLASSES)).eval()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    example = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it lists every torchvision operator it does without
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the exporter about itself
        torch.onnx.export(
            net,
            (example,),
            str(model),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["labels"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            optimize=True,
            external_data=False,
            verbose=False,
        )
    check_graph(onnx.load(str(model)))
    return _parity(model, net, torch)


def check_graph(model: onnx.ModelProto) -> None:
    """Exporters have been seen to write another opset than asked for and to fix the batch: read both back."""
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    names = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    if opset != OPSET or names != (["image"], ["labels"]) or not batch.dim_param:
        raise RuntimeError(f"exported opset {opset}, tensors {names}, batch {batch.dim_value or batch.dim_param!r}")


def _parity(model: Path, net: Any, torch: Any) -> float:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 3):
        image = np.random.default_rng(batch).standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32)
        with torch.no_grad():
            want = net(torch.from_numpy(image)).numpy()
        (have,) = session.run(["labels"], {"image": image})
        worst = max(worst, float(np.abs(have - want).max() / np.abs(want).max()))
    if worst > PARITY:
        raise RuntimeError(f"ONNX Runtime and PyTorch differ by {worst:.1e}, at most {PARITY:.0e} is allowed")
    return worst


def seal(
    model: Path | bytes, store: Path, version: str, provenance: dict[str, str], *, replace: bool = False
) -> Packed:
    """Bake normalisation and argmax into `model` and write the engine `plate` with golden samples to `store`."""
    recipe = Recipe(
        name="plate",
        version=version,
        task="semantic",
        inputs={
            "image": ImageInput(source="line", size=(SIZE, SIZE), resize="stretch", interpolation="linear", pad=0),
        },
        outputs={"labels": LabelsOutput()},
        before={"image": Image(size=(SIZE, SIZE), mean=MEAN, std=STD, channel_order="bgr")},
        after={"labels": Labels()},
        classes=CLASSES,
        provenance=provenance,
    )
    images, _ = views(TRAIN, range(20_000, 20_000 + GOLDEN), 1)
    return pack(model, recipe, [{"image": image[None]} for image in images], store, replace=replace)


def score(bundle: Bundle, seeds: int = 8, per_seed: int = 8) -> tuple[Confusion, float]:
    """What the engine is worth on the UNSEEN domain, and its median run time in milliseconds on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    found, times = Confusion(len(CLASSES)), []
    for image, truth in zip(*views(UNSEEN, range(seeds), per_seed), strict=True):
        began = time.perf_counter()
        (labels,) = session.run(["labels"], {"image": image[None]})
        times.append(time.perf_counter() - began)
        found.add(labels.reshape(truth.shape), truth)
    return found, 1000 * float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description="export the plate segmenter and make an engine of it")
    parser.add_argument("--run", type=Path, default=Path("runs/plate"), help="where train.py left unet.pt")
    parser.add_argument("--store", type=Path, default=Path("runs/engines"))
    parser.add_argument("--version", default="1")
    parser.add_argument("--replace", action="store_true", help="overwrite that version")
    args = parser.parse_args()

    model = args.run / "unet.onnx"
    print(f"{model}: opset {OPSET}, within {export(args.run / 'unet.pt', model):.1e} of PyTorch")
    provenance = {"made_by": "examples/plate", "trained_on": "synthetic plates, domain train"}
    packed = seal(model, args.store, args.version, provenance, replace=args.replace)
    found, milliseconds = score(read_bundle(packed.path))
    ious = "  ".join(f"{name} {iou:.4f}" for name, iou in zip(CLASSES, found.iou, strict=True))
    print(f"{packed.path}: unseen mIoU {found.miou:.4f} ({ious}), {milliseconds:.1f} ms on one thread")


if __name__ == "__main__":
    main()
