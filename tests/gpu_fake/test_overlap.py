"""Decoding beside the next run on a pretended GPU (not run on a GPU): page-locked outputs are overwritten and freed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import segment_golden, segment_model, segment_recipe
from pretended_gpu import fakes, gpu, plan_of

from edged.bundle.bundle import read_bundle
from edged.config import Config
from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Labels, Observation
from edged.pack import pack
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.inference_thread import Done, InferenceThread, Job

__all__ = ["fakes", "gpu"]


def config(overlap: bool) -> Config:
    camera = {"uri": "0", "width": 32, "height": 24, "fps": 30.0}
    return Config(
        daemon={"name": "line", "store": "/s", "cache": "/c", "runtime": "/r"}, loop={"clock": "camera:line"},
        cameras={"line": camera}, engine={"name": "plate"}, execution={"inference": "async", "overlap": overlap},
    )  # fmt: skip


@pytest.mark.parametrize("shared", [False, True], ids=["copied", "mapped"])
def test_results_are_those_of_one_after_the_other(gpu: Callable[..., Any], tmp_path: Path, shared: bool) -> None:
    from edged.engine.tensorrt import open_tensorrt

    bundle = read_bundle(pack(segment_model(), segment_recipe(), segment_golden(), tmp_path).path)
    rng = np.random.default_rng(1)
    frames = [Frame("line", n, n, rng.integers(0, 256, (24, 32, 3), np.uint8)) for n in range(1, 9)]
    seen = [Observation({"line": frame}, {}, frame.captured_ns) for frame in frames]

    def labels(found: Any) -> bytes:
        assert isinstance(found, Labels)
        return found.image.tobytes()

    engine = open_tensorrt(bundle, plan_of(bundle), gpu(integrated=shared))
    plain = make_pipeline(engine, config(False)).inference
    expected = []
    for one in seen:
        assert plain.run(one, Stopwatch()) is None
        expected.append(labels(plain.decode(one, 0)))
    engine.hand_over(live=True)
    worker = InferenceThread(make_pipeline(engine, config(True)), monotonic_ns, 60 * NS_PER_S)
    worker.start()

    def ended() -> Done:
        assert worker.wait(20 * NS_PER_S)
        done = worker.take()
        assert done is not None
        return done

    found = []
    worker.submit(Job(seen[0], 0, monotonic_ns()))
    for following in seen[1:]:
        done = ended()
        worker.submit(Job(following, 0, monotonic_ns()))
        assert worker.wait(20 * NS_PER_S), "the next run is over, and this thread, which does not own it, decodes"
        found.append(labels(done.conclude(Stopwatch())[0]))
    last = ended()
    worker.release()
    worker.join(20)
    engine.close()
    found.append(labels(last.conclude(Stopwatch())[0]))
    assert found == expected
    assert len(set(expected)) == len(expected)
