"""Export the trained part segmenter and make an engine of it: python -m examples.parts.export [--run DIR] [--store DIR]

parts.pt, calibration.json -> parts.onnx (layout yolo-seg, compared with PyTorch)
         -> <store>/parts/<version>/ (normalisation and the best rows baked in, golden samples, sealed).
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnxruntime as ort

from edged.bundle.bundle import Bundle, read_bundle
from edged.bundle.roles import Head, ImageInput
from edged.core.types import Instances
from edged.demo.parts import CLASSES, CRACKED, HELD_OUT, SIZE, render
from edged.inspection.evaluation import Drawn, Precision, average_precision, draw
from edged.pack import Dense, Image, Packed, Recipe, pack
from edged.pack.dense import outputs_of
from edged.pipeline.geometry import fit
from edged.pipeline.masks import find
from examples.parts.calibrate import ASKED, Calibration, read
from examples.parts.data import MEAN, STD

OPSET = 18
PARITY = 1e-4  # greatest difference between PyTorch and ONNX Runtime, relative to the greatest number of a tensor
GOLDEN = 1  # its maps are two megabytes a sample
MOST = 300  # rows of the graph; a view has eighty parts at most
LEAST = 0.15  # least score that the engine gives, but of a crack: `ASKED`
FLOOR = 0.05  # least score, for the whole of a precision curve
_running: dict[str, Any] = {}  # of a process that scores


def export(weights: Path, model: Path, shift: float = 0.0) -> float:
    """Write `model` from `weights`, a parts.pt or the folder of an engine, with `shift` added to the logit of cracked,
    and return how far it is from PyTorch; `RuntimeError` if that is too far."""
    import torch

    from examples.parts.net import Exported, Parts
    from examples.parts.shipped import load_start
    from examples.parts.train import normalised

    net = Parts(len(CLASSES))
    load_start(net, weights, [normalised(render(0).image[None])])
    net.heat.bias.data[CRACKED] += shift
    whole = Exported(net, [ASKED if name == CLASSES[CRACKED] else 0.0 for name in CLASSES]).eval()
    example = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it lists every torchvision operator it does without
    names = {"input_names": ["image"], "output_names": ["predictions", "prototypes"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            whole, (example,), str(model), dynamo=True, opset_version=OPSET, optimize=True, external_data=False,
            verbose=False, **names,
        )  # fmt: skip
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = [part.numpy() for part in whole(example)]
    made = session.run(None, {"image": example.numpy()})
    worst = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(made, wanted, strict=True))
    if worst > PARITY:
        raise RuntimeError(f"ONNX Runtime and PyTorch differ by {worst:.1e}, at most {PARITY:.0e} is allowed")
    return worst


def seal(
    model: Path | bytes, store: Path, version: str, provenance: dict[str, str], *, replace: bool = False
) -> Packed:
    """Bake normalisation and the choice of rows into `model` and write the engine `parts` to `store`."""
    recipe = Recipe(
        name="parts",
        version=version,
        task="instance",
        inputs={"image": ImageInput(source="line", size=(SIZE, SIZE), resize="stretch", interpolation="linear", pad=0)},
        outputs=outputs_of("yolo-seg"),
        before={"image": Image(size=(SIZE, SIZE), mean=MEAN, std=STD, channel_order="bgr")},
        dense=Dense(
            "yolo-seg", {"predictions": "predictions", "prototypes": "prototypes"}, (SIZE, SIZE), len(CLASSES), MOST
        ),
        head=Head(kind="yolo-seg", score_threshold=LEAST, mask_threshold=0.5, nms_threshold=0.8),
        classes=CLASSES,
        provenance=provenance,
    )
    return pack(model, recipe, [{"image": render(HELD_OUT - 1 - n).image[None]} for n in range(GOLDEN)], store,
                replace=replace)  # fmt: skip


def score(bundle: Bundle, seeds: Sequence[int], processes: int = 2) -> Precision:
    """Average precision on the views of `seeds`, by pycocotools."""
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=(bundle,)) as pool:
        return average_precision(pool.map(_judged, seeds, chunksize=8), CLASSES)


def _begin(bundle: Bundle) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    cv2.setNumThreads(1)
    head = msgspec.structs.replace(bundle.manifest.head, score_threshold=FLOOR)
    _running["manifest"] = msgspec.structs.replace(bundle.manifest, head=head)
    _running["session"] = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])


def _judged(seed: int) -> tuple[Drawn, Instances]:
    """What is in a view, and what was found there."""
    view, session = render(seed), _running["session"]
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {"image": view.image[None]}), strict=True))
    found = find(_running["manifest"], outputs, fit("none", (SIZE, SIZE), (SIZE, SIZE)))
    return draw(view.masks, view.classes), found


def main() -> None:
    parser = argparse.ArgumentParser(description="export the part segmenter and make an engine of it")
    parser.add_argument("--run", type=Path, default=Path("runs/parts"), help="where train.py left parts.pt")
    parser.add_argument("--weights", type=Path, help="else parts.pt in there; an engine's folder does, too")
    parser.add_argument("--store", type=Path, default=Path("runs/engines"))
    parser.add_argument("--version", default="1")
    parser.add_argument("--views", type=int, default=1000, help="held-out views to score it on")
    parser.add_argument("--replace", action="store_true", help="overwrite that version")
    parser.add_argument("--score", type=Path, metavar="ENGINE", help="only score this engine's folder")
    args = parser.parse_args()

    if args.score is not None:
        _tell(args.score, args.views)
        return
    model, chosen = args.run / "parts.onnx", read(args.run)
    apart = export(args.weights or args.run / "parts.pt", model, chosen.shift if chosen is not None else 0.0)
    print(f"{model}: opset {OPSET}, within {apart:.1e} of PyTorch", flush=True)
    provenance = {"made_by": "examples/parts", "trained_on": "rendered parts, seeds from 0", **_said(chosen)}
    packed = seal(model, args.store, args.version, provenance, replace=args.replace)
    _tell(packed.path, args.views)


def _said(chosen: Calibration | None) -> dict[str, str]:
    """Of the manifest: what was chosen, and by what."""
    if chosen is None:
        return {}
    by = f"{chosen.trays} rendered trays, seeds from {chosen.first}"
    return {"calibrated": f"{chosen.shift:+.2f} on the logit of cracked, by {by}"}


def _tell(engine: Path, views: int) -> None:
    found = score(read_bundle(engine), range(HELD_OUT, HELD_OUT + views))
    by_class = "  ".join(f"{name} {value:.3f}" for name, value in found.by_class.items())
    print(f"{engine}: {views} held-out views, seeds from {HELD_OUT}: AP50 {found.ap50:.4f}  "
          f"AP75 {found.ap75:.4f}  AP {found.ap:.4f} ({by_class})")  # fmt: skip


if __name__ == "__main__":
    main()
