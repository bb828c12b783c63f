"""What objects cost after the engine: decode and encode for the bus, against full-size masks and COCO's RLE.

    python benchmarks/masks.py [--runs 30]

Both ways get the same tensors of a YOLO head (640x640, 32 prototypes, a dozen rows an object) and a 1280x720 frame, and
run in turn on one thread, twice each: 50 objects of about 170x170 px and 200 of 60x60. The least of `--runs` runs is
printed, and the least of the first of two, which finds the processor's caches as the other way left them. "Full size"
is what a straightforward script does: every mask scaled up to the frame, thresholded, cropped, and encoded by
pycocotools (pip install 'edged[eval]'). A label map of 1280x720 follows, raw and compressed, and the overlay.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zstandard
from pycocotools import mask as coco

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from heads import finder, rows, smooth  # noqa: E402

from edged.core.types import Frame, Instances, Observation  # noqa: E402
from edged.pipeline.decode_instance import InstanceDecoder  # noqa: E402
from edged.pipeline.overlay import overlay_instances  # noqa: E402
from edged.runtime.sender import Sender  # noqa: E402
from edged.runtime.verdict_message import message_arrays  # noqa: E402
from edged.wire import Kind, encode  # noqa: E402

HEIGHT, WIDTH, SIDE, ROWS, CANDIDATES = 720, 1280, 640, 3840, 12
Tensors = dict[str, Any]


def scene(objects: int, pixels: int) -> Tensors:
    """Tensors of a head that points a dozen times to each of `objects`, which lie anywhere."""
    rng = np.random.default_rng(objects)
    middle = np.stack([rng.uniform(pixels / 2, end - pixels / 2, objects) for end in (WIDTH, HEIGHT)], axis=1)
    half = rng.uniform(0.42, 0.58, (objects, 1)) * pixels
    boxes = np.concatenate([middle - half, middle + half], axis=1) / 2 + [0, 140, 0, 140]
    boxes = np.repeat(boxes, CANDIDATES, axis=0) + rng.normal(0, 0.01 * pixels, (objects * CANDIDATES, 4))
    score = np.repeat(rng.uniform(0.7, 0.95, objects), CANDIDATES) - np.tile(np.arange(CANDIDATES) * 0.01, objects)
    table = np.zeros((ROWS, 6))
    table[: len(boxes)] = np.column_stack([boxes, score, np.repeat(rng.integers(0, 3, objects), CANDIDATES)])
    table = table[np.argsort(-table[:, 4])]
    found = rows(table[:, :4].tolist(), table[:, 4].tolist(), table[:, 5].astype(int).tolist())
    coefficients = rng.normal(size=(1, ROWS, 32)).astype(np.float32)
    return {**found, "coefficients": coefficients, "prototypes": smooth((1, 32, SIDE // 4, SIDE // 4), 1)}


def full_size(tensors: Tensors, found: Instances, kept: list[int]) -> list[Any]:
    """The masks of the rows `kept` at the size of the frame, and their RLE."""
    maps = tensors["prototypes"][0]
    small = (tensors["coefficients"][0, kept] @ maps.reshape(len(maps), -1)).reshape(-1, *maps.shape[1:])
    encoded = []
    for logits, (left, top, right, bottom) in zip(small[:, 35:125], found.xyxy, strict=True):
        mask = cv2.resize(logits, (WIDTH, HEIGHT)) > 0
        whole = np.zeros((HEIGHT, WIDTH), np.uint8)
        part = (slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1))
        whole[part] = mask[part]
        encoded.append(coco.encode(np.asfortranarray(whole)))
    return encoded


def least(run: Callable[[], Any], runs: int) -> float:
    """Milliseconds of the quickest run."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args().runs
    cv2.setNumThreads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, OpenCV {cv2.__version__}")
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    seen = Observation({"line": Frame("line", 1, 1, picture)}, {}, 1)
    sender = Sender("bench", 1, bytes(8))
    for objects, pixels, budget in ((50, 170, 3.0), (200, 60, 12.0)):
        tensors = scene(objects, pixels)
        manifest = finder("yolo-seg", tensors, nms=0.7, size=(SIDE, SIDE), resize="letterbox")
        decoder = InstanceDecoder(manifest, tensors)
        found = decoder.decode(tensors, seen)
        assert isinstance(found, Instances)
        by_score = {float(score): row for row, score in enumerate(tensors["scores"][0])}
        kept = [by_score[float(score)] for score in found.score]

        def ours() -> bytes:
            again = decoder.decode(tensors, seen)  # noqa: B023 - called at once
            assert isinstance(again, Instances)
            header: dict[str, Any] = {"size": again.size}
            return encode(
                "bench/masks", sender.preamble(Kind.INSTANCES, 1, 1, 1, 1), header, message_arrays(again, header)
            )

        first, mine, plain = [], [], []
        for _ in range(runs):  # in turn, so that a busy machine is unfair to neither
            first.append(least(ours, 1))
            mine.append(least(ours, 1))
            plain.append(least(lambda: full_size(tensors, found, kept), 2))  # noqa: B023 - called at once
        print(
            f"{len(found.score):4} objects of {pixels} px: decode + encode {min(mine):.2f} ms (budget {budget:g}),"
            f" {min(first):.2f} after the other way, {len(ours()) / 1024:.0f} KiB;"
            f" full size + RLE {min(plain):.1f} ms ({min(plain) / min(mine):.0f}x)"
        )
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, radius in np.random.default_rng(0).uniform(0, [WIDTH, HEIGHT, 60], (40, 3)).astype(int):
        cv2.circle(labels, (int(x), int(y)), int(radius), int(x) % 4, -1)
    squeeze = zstandard.ZstdCompressor(level=1)
    size = len(squeeze.compress(labels))
    took = least(lambda: squeeze.compress(labels), runs)
    print(f"a label map of {labels.nbytes / 1e3:.0f} KB: zstd {size / 1e3:.1f} KB in {took:.2f} ms")
    assert isinstance(found, Instances)
    large = np.full((1080, 1920, 3), 90, np.uint8)
    took = least(lambda: overlay_instances(large, found, ("bolt", "nut", "washer")), max(5, runs // 3))
    print(f"an overlay of {len(found.score)} objects at 1920x1080: {took:.0f} ms (budget 60)")


if __name__ == "__main__":
    main()
