"""What edged does through real pycuda, over the libcuda next door. Run as `python scenarios.py NAME`.

Not run on a GPU: device memory is host memory. What is proved is that our driver speaks pycuda and cuda-bindings as
they are: their names, their threads and contexts, their return codes, their clean-up.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pretended
import pytest
from pretended_gpu import double, elsewhere, plan_of, positives, run

from benchmarks.gpu.disturbance import disturbance
from benchmarks.gpu.green import GreenCuda, part_of
from benchmarks.gpu.spread import spread
from edged.core.errors import EngineError, MachineryError
from edged.engine.base import Engine
from edged.engine.cuda import Cuda, CudaError, Pair, open_cuda

LAUNCH_FAILED, INVALID, FULL = 719, 1, 2
ONCE, STICKY, ALWAYS = 0, 1, 2

library = ctypes.CDLL("libcuda.so.1")
host_function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
kept: list[Any] = []  # a graph calls them again and again


def on_stream(handle: int, work: Callable[[], None]) -> None:
    kept.append(host_function(lambda _: work()))
    assert library.cuLaunchHostFunc(ctypes.c_void_p(handle), kept[-1], None) == 0


def require(address: int, size: int) -> None:
    if not library.edged_live(ctypes.c_size_t(address), ctypes.c_size_t(size)):
        raise pretended.Misuse(f"{size} bytes at {address:#x} are not on the device")


def calls(*names: str) -> list[int]:
    return [library.edged_calls(name.encode()) for name in names]


def left() -> dict[str, int]:
    return {what: library.edged_left(what.encode()) for what in ("streams", "events", "graphs", "blocks", "greens")}


NOTHING = dict.fromkeys(("streams", "events", "graphs", "blocks", "greens"), 0)


def fail(call: str, code: int, lasts: int = ONCE, after: int = 0) -> None:
    library.edged_fail(call.encode(), code, lasts, after)


def opened(bundle: Any = None, cuda: Cuda | None = None) -> Engine:
    from edged.engine.tensorrt import open_tensorrt

    bundle = bundle or double()
    return open_tensorrt(bundle, plan_of(bundle), cuda or open_cuda())


def refused(kind: type[Exception], text: str, work: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        work()


def tick() -> None:
    """One upload, one launch, one download, one synchronisation; the numbers are right; nothing is left."""
    names = ("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuEventRecord", "cuMemAlloc_v2")
    launch = "cuGraphLaunch" if open_cuda().graphs else "cuLaunchHostFunc"
    with opened() as engine:
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        before = calls(*names, "cuMemHostAlloc", launch)
        assert run(engine, -1, 0, 0.5) == [-2, 0, 1]
        assert [now - then for now, then in zip(calls(*names, "cuMemHostAlloc", launch), before, strict=True)] == [
            1, 1, 1, 4, 0, 0, 1,
        ]  # fmt: skip
        assert engine.about["graph"] == ("replayed" if open_cuda().graphs else "cuda-bindings is not installed")
        assert engine.about["driver"] == "CUDA 13.0"
        with open_cuda(), open_cuda():  # within a context that is current already
            assert run(engine, 3, 2, 1) == [6, 4, 2]
        assert engine.timings["compute"].count > 3
    gc.collect()
    assert left() == NOTHING, left()


def threads() -> None:
    """Made by one thread, run by another, freed by the first or by a third: pycuda has an opinion on each."""
    found: dict[str, Engine] = {}

    def load() -> None:
        found["engine"] = opened()
        found["engine"].hand_over(live=True)

    assert elsewhere(load) is None
    engine = found["engine"]
    before = calls("cuThreadExchangeStreamCaptureMode")
    assert run(engine, 1, 2, 3) == [2, 4, 6]
    assert run(engine, 3, 2, 1) == [6, 4, 2]
    after = calls("cuThreadExchangeStreamCaptureMode")
    assert after[0] - before[0] == int(open_cuda().graphs)  # once for each thread that takes it
    engine.hand_over(live=False)
    assert elsewhere(engine.close) is None
    gc.collect()
    assert left() == NOTHING, left()
    assert elsewhere(lambda: opened(positives()).close()) is None  # nor does a thread end with a context on its stack


def mapped() -> None:
    """Where memory is shared, nothing is copied."""
    with opened() as engine:
        before = calls("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemAlloc_v2")
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        assert engine.about["memory"] == "mapped"
        assert before == [0, 0, 0]
        assert calls("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemAlloc_v2") == before


def late() -> None:
    """Without the synchronisation the numbers are wrong: what the other scenarios rely on."""
    with opened() as engine:
        run(engine, 1, 2, 3)
        stream_graph: Any = engine._stream_graph  # type: ignore[attr-defined]
        stream = stream_graph._stream
        engine.inputs["state"][...] = 4
        with open_cuda():
            for pair in stream_graph._uploads:
                stream.upload(pair)
            if stream_graph._graph is not None:
                open_cuda().launch(stream_graph._graph, stream)
            else:
                engine._launch(stream.handle)  # type: ignore[attr-defined]
            for pair in stream_graph._downloads:
                stream.download(pair)
            assert engine.outputs["action"].view(np.uint8).tolist() == [[0xA5] * 12]
            stream.synchronize()
        assert engine.outputs["action"].tolist() == [[8, 8, 8]]


def memory_full() -> None:
    """The old engine stays, and the message is clear."""
    with opened() as old:
        before = left()
        fail("cuMemAlloc_v2", FULL, ALWAYS, after=1)  # pycuda collects garbage and tries again
        refused(EngineError, "cuMemAlloc failed: out of memory; stop what else uses the GPU", opened)
        fail("", 0)
        gc.collect()
        assert left() == before, (left(), before)
        assert run(old, 1, 2, 3) == [2, 4, 6]


def passing() -> None:
    """An error that passes fails one run."""
    with opened() as engine:
        fail("cuMemcpyHtoDAsync_v2", INVALID)
        refused(EngineError, "cuMemcpyHtoDAsync failed: ", engine.run)
        assert run(engine, 1, 2, 3) == [2, 4, 6]


def sticky() -> None:
    """A kernel that failed: the context is dead, everything says so, and nothing hangs or aborts."""
    engine = opened()
    fail("cuStreamSynchronize", LAUNCH_FAILED, STICKY)
    refused(MachineryError, "the GPU's context is dead: cuStreamSynchronize failed", engine.run)
    refused(MachineryError, "the GPU's context is dead", engine.run)
    refused(MachineryError, "the GPU's context is dead", opened)
    sys.stdout.flush()
    os._exit(0)  # as the daemon ends then


def pageable() -> None:
    """Only page-locked memory can be copied asynchronously."""
    cuda: Cuda = open_cuda()
    array = np.zeros(4, np.float32)
    with cuda:
        memory, stream = cuda.alloc(16), cuda.stream(urgent=True)
        pair = Pair(array, array.ctypes.data, int(memory), 16)
        refused(cuda.errors[int(cuda.graphs)], "cuMemcpyHtoDAsync failed: invalid", lambda: stream.upload(pair))
        stream.close()
        cuda.free(memory)


def green() -> None:
    """On a quarter of the multiprocessors the numbers are right, and nothing is left; the context comes last."""
    cuda = open_cuda()
    with opened() as live, part_of(cuda, 0.25) as part:
        plain = calls("cuStreamCreateWithPriority")
        assert part is not None
        assert part.about["multiprocessors"] == "2 of 8"
        with opened(positives(), part) as engine:  # its program is not captured
            assert engine.timings["compute"].count > 3
        with opened(cuda=part) as engine:
            assert engine.about["graph"] == "replayed"
            assert run(engine, 1, 2, 3) == [2, 4, 6]
            engine.hand_over(live=True)
            assert elsewhere(lambda: engine.run() or engine.hand_over(live=False)) is None
            assert run(live, 1, 1, 1) == [2, 2, 2]
            assert calls("cuStreamCreateWithPriority") == plain
            assert calls("cuGreenCtxStreamCreate") == [1 + 2 + 2]  # one to see whether it goes
            with part:
                refused(CudaError, "cuGreenCtxDestroy failed: context is destroyed", part._destroy)  # type: ignore[attr-defined]
        assert left()["greens"] == 1
    with part_of(cuda, 1) as whole, part_of(None, 0.5) as none:
        assert whole is cuda
        assert none is None
    with part_of(cuda, 0.5) as half:
        running = opened()
        found = disturbance(running, lambda: opened(cuda=half), 0.1)
        assert found["quiet"]["ticks"] > 20
        assert all(row["gpu_ms"] is not None for row in found["worst"])
        assert spread(running, None, 0.1)["p99_to_p50"].keys() == {"run", "handover", "compute", "wait"}
        running.close()
    refused(EngineError, "cuDevSmResourceSplitByCount failed: invalid resource", lambda: GreenCuda(cuda, 1.5))
    fail("cuGreenCtxStreamCreate", INVALID)
    refused(EngineError, "cuGreenCtxStreamCreate failed: invalid argument", lambda: GreenCuda(cuda, 0.5))
    gc.collect()
    assert left() == NOTHING, left()


def green_missing() -> None:
    """A driver, or cuda-bindings, without green contexts."""
    cuda = open_cuda()
    if os.environ.get("OLD_BINDINGS"):
        names = [name for name in dir(cuda._bindings) if "green" not in name.lower()]
        cuda._bindings = types.SimpleNamespace(**{name: getattr(cuda._bindings, name) for name in names})
    refused(EngineError, os.environ["EXPECT"], lambda: GreenCuda(cuda, 0.5))
    assert left() == NOTHING, left()


def unavailable() -> None:
    """No device, or a driver too old: the environment says which."""
    refused(EngineError, os.environ["EXPECT"], open_cuda)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    if os.environ.get("WITHOUT_BINDINGS"):
        sys.modules["cuda"] = None  # type: ignore[assignment]
    pretended.serve(on_stream)
    pretended.watch_memory(require)
    globals()[sys.argv[1]]()


if __name__ == "__main__":
    main()
