"""What fp16 and int8 cost and bring on this machine: the shipped plate network, packed in all three, run in turn.

    python benchmarks/precision.py [--plates 64]

Prints size, median run time on one thread (rounds interleaved, so that a busy machine is unfair to none), and mIoU on
plates never used in training, of which the calibration saw none either.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pack_models.shipped import PLATE, golden_inputs, raw_plate  # noqa: E402

from edged.bundle.bundle import read_bundle  # noqa: E402
from edged.demo.plates import CLASSES, TRAIN, UNSEEN  # noqa: E402
from edged.inspection.confusion import Confusion  # noqa: E402
from edged.pack import Image, Labels, Recipe, pack  # noqa: E402
from examples.plate.data import MEAN, STD, views  # noqa: E402

PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plates", type=int, default=64, help="unseen plates to run and score")
    plates = parser.parse_args().plates
    shipped = read_bundle(PLATE).manifest
    seen, _ = views(TRAIN, range(30_000, 30_064), 1)
    rows = {}
    with tempfile.TemporaryDirectory() as store:
        for precision in PRECISIONS:
            recipe = Recipe(
                name="plate",
                version=precision,
                task="semantic",
                inputs=shipped.inputs,
                outputs=shipped.outputs,
                before={"image": Image((256, 256), mean=MEAN, std=STD, channel_order="bgr")},
                after={"labels": Labels()},
                classes=shipped.classes,
                precision=precision,
            )
            calibration = [{"image": image[None]} for image in seen]
            packed = pack(raw_plate(), recipe, golden_inputs(PLATE), Path(store), calibration=calibration)
            rows[precision] = _Row(packed.files["model.onnx"])
    for image, truth in zip(*views(UNSEEN, range(-(-plates // 8)), 8), strict=True):
        for row in rows.values():
            row.run(image, truth)
    base = rows["fp32"]
    vnni = [flag for flag in ("avx512_vnni", "avx_vnni") if flag in Path("/proc/cpuinfo").read_text(encoding="ascii")]
    print(f"onnxruntime {onnxruntime.__version__}, one thread, {', '.join(vnni) or 'no VNNI'}")
    print(f"{'':6}{'KiB':>8}{'of fp32':>9}{'p50 ms':>9}{'faster':>8}{'mIoU':>9}{'drop':>9}")
    for name, row in rows.items():
        size, ratio = row.size / 1024, row.size / base.size
        faster, drop = base.p50 / row.p50, base.found.miou - row.found.miou
        print(f"{name:6}{size:8.0f}{ratio:9.3f}{row.p50:9.2f}{faster:8.2f}{row.found.miou:9.4f}{drop:9.4f}")


class _Row:
    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.size = len(model)
        self.found = Confusion(len(CLASSES))
        self._times: list[float] = []

    def run(self, image: np.ndarray, truth: np.ndarray) -> None:
        began = time.perf_counter()
        (labels,) = self._session.run(["labels"], {"image": image[None]})
        self._times.append(time.perf_counter() - began)
        self.found.add(labels.reshape(truth.shape), truth)

    @property
    def p50(self) -> float:
        return 1000 * float(np.median(self._times))


if __name__ == "__main__":
    main()
