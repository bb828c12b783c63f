"""An engine on a plug-in: what its failures mean. The CPU stands for the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from edged.bundle.bundle import read_bundle
from edged.bundle.store import shipped_store
from edged.core.errors import EngineError, MachineryError, RefusedError
from edged.engine.ort_cpu import STRICT
from edged.engine.plug_in import PLUG_INS
from edged.engine.plug_in import open as opening
from edged.engine.plug_in.provider import Offered

REACH = read_bundle(shipped_store() / "reach/2")
SESSION = onnxruntime.InferenceSession(REACH.model, providers=["CPUExecutionProvider"], **STRICT)
PLACE = (
    "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/providers/webgpu/buffer_manager.cc:641 void f() "
)
PASSING = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : the shape is wrong"
GONE = f"{PLACE}status was false. Failed to download data from buffer. value: 4, message: [Device] is lost. "


class Failing:
    """In place of the session that ONNX Runtime's own class keeps: its provider fails."""

    def __init__(self, session: Any, text: str) -> None:
        self._session, self._text = session, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *_: object) -> None:
        raise onnxruntime_pybind11_state.EPFail(self._text)


@pytest.fixture
def plugged() -> Iterator[tuple[opening.PlugInEngine, Any]]:
    """An engine as a plug-in's, with the session that it runs; the CPU stands for the device."""
    made: list[Any] = []

    def load(graph: bytes, threads: int) -> Any:
        made.append(onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"], **STRICT))
        return made[0]

    with opening.PlugInEngine(REACH, PLUG_INS["webgpu"], 1, load, {}) as engine:
        yield engine, made[0]


def test_a_run_that_fails_does_not_go_on_on_the_cpu(
    plugged: tuple[opening.PlugInEngine, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    engine, session = plugged
    working, session._sess = session._sess, Failing(session._sess, PASSING)
    for _ in range(5):  # however often: input may be the cause
        with pytest.raises(EngineError, match="reach failed to run on webgpu: the shape is wrong; if it stays so"):
            engine.run()
    assert isinstance(session._sess, Failing)
    assert capsys.readouterr().out == ""
    session._sess = working
    engine.run()


def test_a_lost_device_is_the_end(plugged: tuple[opening.PlugInEngine, Any]) -> None:
    """A daemon that held for ever would wait for somebody to restart it; systemd does."""
    engine, session = plugged
    session._sess = Failing(session._sess, GONE)
    with pytest.raises(MachineryError, match=r"^webgpu has lost its device: Failed to download .*Device\] is lost"):
        engine.run()


def test_a_device_that_fails_before_its_first_run_ends_nothing() -> None:
    """A daemon that cannot load its engine stays up and says why; one that ended would be started again for ever."""
    dead = SimpleNamespace(
        get_inputs=lambda: SESSION.get_inputs(),
        get_outputs=lambda: SESSION.get_outputs(),
        run=Mock(side_effect=RuntimeError(GONE)),
    )
    with pytest.raises(EngineError, match=r"reach failed to run on webgpu: Failed to download .* is lost"):
        opening.PlugInEngine(REACH, PLUG_INS["webgpu"], 1, lambda graph, threads: dead, {})


def test_what_is_wrong_with_a_graph_is_no_fault_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers say EP_FAIL of both."""
    for name, instead in {
        "_register": lambda plug_in: None,
        "_version": lambda plug_in: "1",
        "_choose": lambda plug_in, word: (None, Offered("CPU", "CPU", "")),
        "session_options": lambda *given, **more: Mock(),
    }.items():
        monkeypatch.setattr(opening, name, instead)
    monkeypatch.setitem(PLUG_INS, "openvino", replace(PLUG_INS["openvino"], options=lambda *given: {}))
    refusing = Mock(side_effect=RuntimeError("[ONNXRuntimeError] : 11 : EP_FAIL : the network cannot be compiled"))
    monkeypatch.setattr(opening.onnxruntime, "InferenceSession", refusing)
    with pytest.raises(RefusedError, match="reach: openvino on CPU does not load the graph: the network cannot be"):
        opening.open_plug_in(REACH, PLUG_INS["openvino"], 0, None, Path())


def test_an_output_of_another_shape_is_not_spread_over_all_axes(
    plugged: tuple[opening.PlugInEngine, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, session = plugged
    before = engine.outputs["action"].copy()
    monkeypatch.setattr(session, "run", lambda names, given: [np.ones((1, 1), np.float32)])
    with pytest.raises(EngineError, match=r"output 'action' came as \[1, 1\], and not as \[1, 7\]"):
        engine.run()
    assert (engine.outputs["action"] == before).all()
