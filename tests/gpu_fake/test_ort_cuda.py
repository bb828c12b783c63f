"""ONNX Runtime's CUDA provider on our stream and our memory, pretended (not run on a GPU)."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe
from pretended_gpu import double, elsewhere, fakes, gpu, run, runs_on

from edged.bundle.bundle import Bundle, read_bundle
from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.pack import pack
from edged.pipeline.golden import golden_check

__all__ = ["fakes", "gpu"]

Plug = Callable[..., Any]


@pytest.fixture
def provider(fakes: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """ONNX Runtime with a pretended CUDA provider; gives what can be wrong with it."""
    import ort_cuda_provider

    from edged.engine import ort_cuda

    monkeypatch.setattr(ort_cuda, "onnxruntime", ort_cuda_provider)
    trouble = ort_cuda_provider.Trouble
    for name in ("no_graphs", "libraries_missing", "run", "load", "placed"):
        monkeypatch.setattr(trouble, name, getattr(trouble, name))
    return trouble


def opened(bundle: Bundle, cuda: Any, memory: str = "auto") -> Engine:
    from edged.engine.ort_cuda import open_ort_cuda

    return open_ort_cuda(bundle, cuda, memory)


def test_it_gives_what_the_cpu_gives(gpu: Plug, provider: Any, tmp_path: Path) -> None:
    packed = [
        pack(policy_model(), policy_recipe(), policy_golden(), tmp_path),
        pack(segment_model(), segment_recipe(), segment_golden(), tmp_path),
    ]
    for bundle in (read_bundle(item.path) for item in packed):
        with opened(bundle, gpu()) as engine:
            assert all(item.ok for item in golden_check(engine, bundle))


def test_an_engine_packed_for_a_gpu_is_proved_and_timed_there(gpu: Plug, provider: Any, tmp_path: Path) -> None:
    gpu()
    packed = pack(segment_model(), segment_recipe(precision="fp16"), segment_golden(), tmp_path, backend="cuda")
    made = packed.converted
    assert {item.output for item in made.there} == {"labels"}
    assert made.pace is not None
    assert made.pace.about["gpu"]


def test_a_tick_is_one_upload_one_run_one_download_one_synchronisation(gpu: Plug, provider: Any) -> None:
    cuda = gpu()
    with opened(double(), cuda) as engine:
        cuda.calls.clear()
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        assert cuda.calls == {"upload": 1, "download": 1, "synchronize": 1, "mark": 4, "elapsed": 3}


def test_it_keeps_its_stream_for_life(gpu: Plug, provider: Any) -> None:
    """The session is bound to it, whoever owns the engine."""
    cuda = gpu()
    with opened(double(), cuda) as engine:
        assert len(cuda.streams) == 1
        engine.hand_over(live=True)

        def loop() -> list[float]:
            made = run(engine, 1, 2, 3)
            engine.hand_over(live=False)
            return made

        assert elsewhere(loop) == [2, 4, 6]
        assert run(engine, 2, 2, 2) == [4, 4, 4]


def test_shared_memory_is_bound_where_it_is(gpu: Plug, provider: Any) -> None:
    cuda = gpu(integrated=True)
    with opened(double(), cuda) as engine:
        cuda.calls.clear()
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        assert not {"upload", "download"} & set(cuda.calls)


def test_an_engine_runs_while_another_one_is_warmed(gpu: Plug, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime captures in its first runs, on the session's own thread: no other session waits for that one."""
    import ort_cuda_provider

    begun, go_on = threading.Event(), threading.Event()
    cuda, run_once = gpu(), ort_cuda_provider.InferenceSession.run_with_iobinding

    def slowly(self: Any, *given: Any) -> None:
        if threading.current_thread().name == "cuda:double" and not begun.is_set():
            begun.set()
            assert go_on.wait(30)
        run_once(self, *given)

    with opened(dataclasses.replace(double(), name="live"), cuda) as live:
        monkeypatch.setattr(ort_cuda_provider.InferenceSession, "run_with_iobinding", slowly)
        runs_on(live, lambda: opened(double(), cuda).close(), begun, go_on)


def test_it_says_what_it_is(gpu: Plug, provider: Any) -> None:
    with opened(double(), gpu()) as engine:
        assert engine.backend == "cuda"
        assert engine.about["graph"] == "replayed by ONNX Runtime"
        assert engine.about["nodes"] == "all on the GPU"


def test_a_graph_that_cannot_stay_on_the_gpu_runs_and_says_so(
    gpu: Plug, provider: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider.no_graphs = True
    cuda = gpu()
    with caplog.at_level(logging.WARNING, "edged"), opened(double(), cuda) as engine:
        assert run(engine, 1, 2, 3) == [2, 4, 6]
        assert engine.about["nodes"] == "on the CPU: NonZero found"
        assert engine.about["graph"].startswith("not captured: This session cannot use the graph capture feature")
    assert "not all of the graph can stay on the GPU: NonZero found" in caplog.text


@pytest.mark.parametrize("placed", [None, []], ids=["not told", "none"])
def test_a_graph_that_cannot_be_captured_may_be_whole_on_the_gpu(
    gpu: Plug, provider: Any, caplog: pytest.LogCaptureFixture, placed: list[Any] | None
) -> None:
    provider.no_graphs, provider.placed = True, placed
    with caplog.at_level(logging.WARNING, "edged"), opened(double(), gpu()) as engine:
        assert engine.about["nodes"] == ("all on the GPU" if placed == [] else "some may be on the CPU")
    assert "the graph cannot be captured: This session cannot use the graph capture feature" in caplog.text
    assert "not all of the graph" not in caplog.text


def test_a_gpu_that_fails_while_it_loads_is_not_the_graphs_fault(gpu: Plug, provider: Any) -> None:
    cuda = gpu()
    provider.load = "CUDA failure 2: out of memory ; GPU=0 ; hostname=cell ; file=cuda_allocator.cc"
    with pytest.raises(
        EngineError, match=r"double: ONNX Runtime cannot load it now: CUDA failure 2.*stop what else uses"
    ):
        opened(double(), cuda)
    provider.load = "Failed to allocate memory for requested buffer of size 1073741824"
    with pytest.raises(EngineError, match=r"cannot load it now: Failed to allocate.*stop what else uses"):
        opened(double(), cuda)
    provider.load = "CUDA_PATH is set but CUDA wasn't able to be loaded"
    with pytest.raises(EngineError, match="install the CUDA and cuDNN it was built for"):
        opened(double(), cuda)
    provider.load = "CUDA failure 700: an illegal memory access was encountered"
    cuda.fail("free_bytes", "an illegal memory access was encountered", sticky=True, after=3)  # when it is asked
    with pytest.raises(MachineryError, match="the GPU's context is dead: double: ONNX Runtime cannot load it now"):
        opened(double(), cuda)


def test_a_session_that_silently_became_the_cpus_is_an_error(gpu: Plug, provider: Any) -> None:
    provider.libraries_missing = True
    cuda = gpu()
    with pytest.raises(EngineError, match=r"gave CPUExecutionProvider for CUDA.*install the CUDA and cuDNN"):
        opened(double(), cuda)


def test_the_cpu_build_is_named(gpu: Plug, tmp_path: Path) -> None:
    gpu()
    with pytest.raises(EngineError, match=r"'cuda': onnxruntime .* has no CUDA provider; .*onnxruntime-gpu"):
        open_engine(double(), "cuda", cache=tmp_path)


def test_a_run_that_fails_is_an_error_and_a_dead_context_the_end(gpu: Plug, provider: Any) -> None:
    cuda = gpu()
    engine = opened(double(), cuda)
    provider.run = "CUDNN failure 8"
    with pytest.raises(EngineError, match="double failed to run: CUDNN failure 8"):
        engine.run()
    provider.run = ""
    assert run(engine, 1, 2, 3) == [2, 4, 6]
    provider.run = "CUDA failure 700: an illegal memory access was encountered"
    cuda.fail("free_bytes", "an illegal memory access was encountered", sticky=True)
    with pytest.raises(MachineryError, match="context is dead: double failed to run: CUDA failure 700"):
        engine.run()


def test_what_is_no_model_is_refused(gpu: Plug, provider: Any) -> None:
    good = double()
    cuda = gpu()
    with pytest.raises(RefusedError, match="does not load the graph"):
        opened(Bundle(good.name, "1", good.manifest, good.digest, b"nonsense", good.golden, b""), cuda)


def test_golden_samples_of_another_shape_are_refused(gpu: Plug, provider: Any) -> None:
    good = double()
    golden = {**good.golden, "000/out/action": np.zeros((1, 2), np.float32)}
    cuda = gpu()
    with pytest.raises(RefusedError, match=r"'action' is float32\[1, 3\] in the graph, float32\[1, 2\] in the golden"):
        opened(Bundle(good.name, "1", good.manifest, good.digest, good.model, golden, b""), cuda)


def test_out_of_memory_while_loading_leaves_the_old_engine_running(gpu: Plug, provider: Any) -> None:
    cuda = gpu()
    with opened(double(), cuda) as old:
        before = cuda.left
        cuda.fail("alloc", "out of memory")
        with pytest.raises(EngineError, match="out of memory; stop what else"):
            opened(double(), cuda)
        assert cuda.left == before
        assert run(old, 1, 2, 3) == [2, 4, 6]
