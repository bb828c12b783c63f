"""What a GPU, a plan or an installation may do wrong, and who then goes on."""

from __future__ import annotations

import logging

import pytest
from onnx import helper
from pretended_gpu import double, fakes, gpu, plan_of, run, state_bundle
from trt_engine import Plug, opened

from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.engine.plan_cache import Plan

__all__ = ["fakes", "gpu"]

# --- what goes wrong ---


def test_out_of_memory_while_loading_leaves_the_old_engine_running(gpu: Plug) -> None:
    cuda = gpu()
    with opened(double(), cuda) as old:
        before = cuda.left
        cuda.fail("alloc", "out of memory", after=1)
        with pytest.raises(EngineError, match=r"alloc failed: out of memory; stop what else uses the GPU"):
            opened(double(), cuda)
        assert cuda.left == before
        assert run(old, 1, 2, 3) == [2, 4, 6]


def test_what_does_not_fit_is_refused_before_it_is_tried(gpu: Plug) -> None:
    cuda = gpu(total=4 << 20)
    plan = Plan("key", plan_of(double()).data, {"activation_bytes": 900 << 20})
    with opened(double(), cuda) as old:
        cuda.calls.clear()
        with pytest.raises(EngineError, match=r"double 1 needs 900 MiB on the GPU, 3 MiB are free; .*goes on"):
            opened(double(), cuda, plan=plan)
        assert set(cuda.calls) == {"free_bytes"}
        assert run(old, 1, 2, 3) == [2, 4, 6]


def test_an_error_that_passes_fails_one_run(gpu: Plug) -> None:
    cuda = gpu()
    with opened(double(), cuda) as engine:
        cuda.fail("upload", "invalid argument")
        with pytest.raises(EngineError, match="upload failed: invalid argument") as caught:
            engine.run()
        assert not isinstance(caught.value, MachineryError)
        assert run(engine, 1, 2, 3) == [2, 4, 6]


@pytest.mark.parametrize("call", ["upload", "launch", "download", "synchronize", "mark", "elapsed"])
def test_a_sticky_error_is_the_end_whatever_call_shows_it(gpu: Plug, call: str) -> None:
    cuda = gpu()
    engine = opened(double(), cuda)
    cuda.fail(call, "an illegal memory access was encountered", sticky=True)
    with pytest.raises(MachineryError, match=r"context is dead: .*illegal memory access.*started anew.*Xid"):
        engine.run()
    with pytest.raises(MachineryError):
        engine.run()
    engine.close()  # frees what can be freed, and does not complain


def test_a_device_that_is_lost_while_loading_is_the_end_too(gpu: Plug) -> None:
    cuda = gpu()
    cuda.fail("synchronize", "unknown error", sticky=True, after=1)
    with pytest.raises(MachineryError, match="dead: synchronize failed: unknown error"):
        opened(double(), cuda)


def test_a_damaged_plan_is_refused_with_tensorrts_reason(gpu: Plug, caplog: pytest.LogCaptureFixture) -> None:
    cuda = gpu()
    with caplog.at_level(logging.ERROR, "edged"), pytest.raises(EngineError, match=r"Magic tag.*edged build"):
        opened(double(), cuda, plan=Plan("key", b"nonsense", {}))
    assert "TensorRT (double): IRuntime::deserializeCudaEngine" in caplog.text


def test_a_plan_of_another_tensorrt_is_refused(gpu: Plug) -> None:
    plan = plan_of(double())
    other = Plan("key", plan.data.replace(b'"10.3.0"', b'"10.2.0"'), plan.about)
    cuda = gpu()
    with pytest.raises(EngineError, match=r"Serialized Engine Version: 10\.2\.0"):
        opened(double(), cuda, plan=other)


def test_a_broken_installation_is_named(gpu: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(double())
    cuda = gpu()
    monkeypatch.setenv("FAKE_TENSORRT_BROKEN", "1")
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0 does not work: .*nullptr; reinstall"):
        opened(double(), cuda, plan=plan)


def test_a_plan_of_another_engine_is_refused(gpu: Plug) -> None:
    node = helper.make_node("Mul", ["state", "two"], ["command"])
    other = plan_of(state_bundle([node], {"command": [1, 3]}))
    cuda = gpu()
    with pytest.raises(RefusedError, match="the graph has no output 'action'"):
        opened(double(), cuda, plan=other)


def test_a_run_that_tensorrt_refuses_is_an_error_with_its_reason(gpu: Plug) -> None:
    with opened(double(), gpu(graphs=False)) as engine:
        context = engine._program._context  # type: ignore[attr-defined]
        context.set_tensor_address("action", 0)
        with pytest.raises(EngineError, match=r"execute_async_v3 failed: .*Address is not set for action"):
            engine.run()
