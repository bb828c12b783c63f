"""Plug-ins of ONNX Runtime: registered, discovered, refused and cached for real; run where a device appears.

The wheels are fetched when CI is set (200 MB). OpenVINO's offers a CPU on Intel's processors alone.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state
from real_tensorrt import RTX
from wheels import folder_of, install

from edged.bundle.bundle import read_bundle
from edged.bundle.store import shipped_store
from edged.config.engine import EngineConfig
from edged.core.errors import EngineError, MachineryError
from edged.engine.ort_cpu import STRICT
from edged.engine.plug_in import PLUG_INS
from edged.engine.plug_in import open as opening

OPENVINO = ("onnxruntime-ep-openvino", "1.8.1")
IS_INTEL = "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def with_wheel(wheel: tuple[str, str]) -> dict[str, str]:
    if platform.machine() != "x86_64":
        pytest.skip("the plug-ins are for x86-64")
    if not (os.environ.get("CI") or folder_of(*wheel).exists()):
        pytest.skip(f"{wheel[0]} is fetched when CI is set")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(install(*wheel)), *filter(None, sys.path)])}


def verified(env: dict[str, str], engine: str, backend: str, cache: Path) -> tuple[int, list[dict[str, str]]]:
    argv = [sys.executable, "-m", "edged", "verify", str(shipped_store() / engine), "--backend", backend, "--json"]
    done = subprocess.run([*argv, "--cache", str(cache)], env=env, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["checks"]


@pytest.mark.parametrize("engine", ["plate/1", "reach/2"])
def test_openvino_gives_what_onnx_runtime_gives(tmp_path: Path, engine: str) -> None:
    code, rows = verified(with_wheel(OPENVINO), engine, "openvino", tmp_path)
    if not IS_INTEL:
        assert code == 1
        assert "openvino offers no device here; offered: " in rows[-1]["detail"]
        return
    assert code == 0, rows
    assert [row["result"] for row in rows if row["check"] == "golden openvino"] == ["ok"]
    (folder,) = (tmp_path / "compiled").iterdir()
    made = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert made
    assert folder.stat().st_mode & 0o077 == 0
    assert verified(with_wheel(OPENVINO), engine, "openvino", tmp_path)[0] == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == made  # compiled once
    folder.chmod(0o777)
    code, rows = verified(with_wheel(OPENVINO), engine, "openvino", tmp_path)
    assert (code, "others can write" in rows[-1]["detail"]) == (1, True)


def test_tensorrt_rtx_without_a_driver_says_what_it_needs(tmp_path: Path) -> None:
    code, rows = verified(with_wheel(RTX), "reach/2", "tensorrt-rtx", tmp_path)
    assert code == 1
    assert rows[-1]["check"] == "golden tensorrt-rtx"
    assert "onnxruntime-ep-nv-tensorrt-rtx-cu13 does not load" in rows[-1]["detail"]
    assert "8.0, 8.6, 8.9 or 12.x" in rows[-1]["remedy"]


def test_a_plug_in_that_is_not_installed_names_its_extra(tmp_path: Path) -> None:
    code, rows = verified(dict(os.environ), "reach/2", "openvino", tmp_path)
    assert code == 1
    assert (rows[-1]["detail"], rows[-1]["remedy"]) == (
        "onnxruntime-ep-openvino is not installed",
        "pip install 'edged[openvino]'",
    )


def device(name: str, kind: str, provider: str = "OpenVINOExecutionProvider", **facts: str) -> Any:
    hardware = SimpleNamespace(type=f"OrtHardwareDeviceType.{kind}", vendor="Intel")
    return SimpleNamespace(ep_name=provider, device=hardware, ep_metadata={"ov_device": name, **facts})


THERE = [
    device("", "CPU", "CPUExecutionProvider"),
    device("CPU", "CPU", FULL_DEVICE_NAME="Intel Core"),
    device("NPU", "NPU"),
    device("GPU.0", "GPU"),
    device("GPU.1", "GPU"),
    device("GPU", "GPU", ov_meta_device="AUTO"),
]


@pytest.mark.parametrize(
    ("word", "chosen"), [(None, "GPU.0"), ("CPU", "CPU"), ("NPU", "NPU"), ("GPU.1", "GPU.1"), (0, "CPU"), (3, "GPU.1")]
)
def test_a_device_is_chosen_by_name_number_or_preference(
    monkeypatch: pytest.MonkeyPatch, word: int | str | None, chosen: str
) -> None:
    monkeypatch.setattr(opening.onnxruntime, "get_ep_devices", lambda: THERE, raising=False)
    assert opening._choose(PLUG_INS["openvino"], word)[1].name == chosen


@pytest.mark.parametrize("word", ["GPU.2", 4, "GPU"])
def test_a_device_that_is_not_offered_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, word: int | str
) -> None:
    monkeypatch.setattr(opening.onnxruntime, "get_ep_devices", lambda: THERE, raising=False)
    with pytest.raises(
        EngineError, match=r"no device .*; offered: CPU \(Intel Core\), NPU .*, GPU.0 .*, GPU.1 "
    ) as error:
        opening._choose(PLUG_INS["openvino"], word)
    assert error.value.remedy == "it needs an Intel CPU, GPU or NPU"


def test_an_npu_is_taken_by_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors without one offer virtual ones."""
    monkeypatch.setattr(opening.onnxruntime, "get_ep_devices", lambda: [device("NPU", "NPU")], raising=False)
    with pytest.raises(EngineError, match="openvino offers no device here; offered: NPU"):
        opening._choose(PLUG_INS["openvino"], None)


@pytest.mark.parametrize(
    ("backend", "word", "fits"),
    [
        ("openvino", "CPU", True),
        ("openvino", 1, True),
        ("openvino", "GPU-1a2b", False),
        ("cuda", "GPU-1a2b", True),
        ("auto", "0000:65:00.0", True),
        ("cuda", "CPU", False),
        ("tensorrt-rtx", 1, True),
        ("cpu", 0, False),
        ("webgpu", 0, False),
        ("webgpu", "GPU", False),
    ],
)
def test_a_device_is_named_as_its_backend_names_them(backend: Any, word: int | str, fits: bool) -> None:
    config = EngineConfig(name="reach", backend=backend, device=word)
    assert (config.misnamed_device() == "") is fits
    assert config.gpu == (None if backend in ("cpu", "openvino", "webgpu") else word)


class Failing:
    """In place of the session that ONNX Runtime's own class keeps: its provider fails."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *_: object) -> None:
        raise onnxruntime_pybind11_state.EPFail("the device is lost")


@pytest.fixture
def plugged() -> Iterator[tuple[opening.PlugInEngine, Any]]:
    """An engine as a plug-in's, with the session that it runs; the CPU stands for the device."""
    made: list[Any] = []

    def load(graph: bytes, threads: int) -> Any:
        made.append(onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"], **STRICT))
        return made[0]

    with opening.PlugInEngine(read_bundle(shipped_store() / "reach/2"), load=load, backend="openvino") as engine:
        yield engine, made[0]


def test_a_run_that_fails_does_not_go_on_on_the_cpu(
    plugged: tuple[opening.PlugInEngine, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    engine, session = plugged
    working, session._sess = session._sess, Failing(session._sess)
    with pytest.raises(EngineError, match="reach failed to run: the device is lost"):
        engine.run()
    assert isinstance(session._sess, Failing)
    assert capsys.readouterr().out == ""
    session._sess = working
    engine.run()


def test_a_device_that_fails_run_after_run_is_lost(plugged: tuple[opening.PlugInEngine, Any]) -> None:
    """A daemon that held for ever would wait for somebody to restart it; systemd does."""
    engine, session = plugged
    working, failing = session._sess, Failing(session._sess)
    for _ in range(3):  # errors that pass count for nothing
        session._sess = failing
        for _ in range(opening.LOST - 1):
            with pytest.raises(EngineError):
                engine.run()
        session._sess = working
        engine.run()
    session._sess = failing
    for _ in range(opening.LOST - 1):
        with pytest.raises(EngineError):
            engine.run()
    with pytest.raises(MachineryError, match="openvino failed 3 runs in a row: reach failed to run: the device"):
        engine.run()


def test_no_session_goes_on_on_the_cpu_by_itself() -> None:
    folder = Path(opening.__file__).parents[1]
    calls = [
        (path.name, node)
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("InferenceSession")
    ]
    assert len(calls) >= 4
    for name, call in calls:
        assert "STRICT" in {ast.unparse(word.value) for word in call.keywords if word.arg is None}, name
