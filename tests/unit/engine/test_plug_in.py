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
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from real_tensorrt import RTX
from wheels import folder_of, install

from edged.bundle.bundle import read_bundle
from edged.bundle.store import shipped_store
from edged.config.engine import EngineConfig
from edged.core.errors import EngineError
from edged.engine.placement import left_to_cpu
from edged.engine.plug_in import PLUG_INS
from edged.engine.plug_in import open as opening
from edged.engine.plug_in.provider import Offered

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
    hardware = SimpleNamespace(type=f"OrtHardwareDeviceType.{kind}", vendor="Intel", vendor_id=0x8086)
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


@pytest.mark.parametrize(("maker", "said"), [(0x1002, "AMD GPU"), (0x10DE, "NVIDIA GPU"), (0x5143, "0x5143 GPU")])
def test_a_gpus_maker_is_told_where_onnx_runtime_knows_its_number_alone(
    monkeypatch: pytest.MonkeyPatch, maker: int, said: str
) -> None:
    gpu, cpu = (device("", kind, "WebGpuExecutionProvider") for kind in ("GPU", "CPU"))
    gpu.device.vendor, gpu.device.vendor_id = "", maker
    monkeypatch.setattr(opening.onnxruntime, "get_ep_devices", lambda: [cpu, gpu], raising=False)
    assert opening._choose(PLUG_INS["webgpu"], None)[1] == Offered("Vulkan", "GPU", said)


def test_of_several_gpus_the_strongest_is_asked_for() -> None:
    options = PLUG_INS["webgpu"].options(1, Offered("Vulkan", "GPU", ""), lambda: pytest.fail("it keeps nothing"))
    assert options == {"enableInt64": "1", "powerPreference": "high-performance"}


def test_a_package_without_its_facts_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied, and not installed."""
    monkeypatch.setattr(opening, "_register", lambda plug_in: None)
    monkeypatch.setattr(opening, "_choose", lambda plug_in, word: (None, Offered("CPU", "CPU", "")))
    monkeypatch.setattr(opening.metadata, "version", Mock(side_effect=opening.metadata.PackageNotFoundError))
    with pytest.raises(EngineError, match="onnxruntime-ep-openvino was not installed by pip; pip install"):
        opening.open_plug_in(read_bundle(shipped_store() / "reach/2"), PLUG_INS["openvino"], 0, None, Path())


def test_a_plug_in_that_does_not_load_names_the_onnx_runtime_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(get_library_path=lambda: "libwebgpu.so")
    monkeypatch.setattr(opening, "find_spec", lambda name: name)
    monkeypatch.setattr(opening, "import_module", lambda name: library)
    too_old = Mock(side_effect=RuntimeError('ORT runtime version "1.23.2" is below the minimum'))
    monkeypatch.setattr(opening.onnxruntime, "register_execution_provider_library", too_old, raising=False)
    with pytest.raises(EngineError, match=r"does not load: ORT runtime .* is below.*onnxruntime 1.24.4 or newer"):
        opening._register(PLUG_INS["webgpu"])


def test_a_session_that_is_another_providers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_register", lambda plug_in: None)
    monkeypatch.setattr(opening, "_version", lambda plug_in: "0.4.0")
    monkeypatch.setattr(opening, "_choose", lambda plug_in, word: (None, Offered("Vulkan", "GPU", "")))
    monkeypatch.setattr(opening, "session_options", lambda *given, **more: Mock())
    of_the_cpu = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(opening.onnxruntime, "InferenceSession", lambda *given, **more: of_the_cpu)
    with pytest.raises(EngineError, match="ONNX Runtime gave CPUExecutionProvider for WebGpuExecutionProvider"):
        opening.open_plug_in(read_bundle(shipped_store() / "plate/1"), PLUG_INS["webgpu"], 0, None, Path())


@pytest.mark.parametrize(
    ("subgraphs", "said"),
    [
        ([], ""),
        ([("Other", ["Conv a"])], ""),
        ([("CPU", ["Cast a", "Cast b"]), ("Other", ["Conv c"]), ("CPU", ["Add d"])], "Cast a, Cast b, Add d"),
        ([("CPU", [f"Cast {name}" for name in "abcde"])], "Cast a, Cast b, Cast c and 2 more"),
    ],
)
def test_nodes_that_are_left_to_the_cpu_are_told(subgraphs: list[tuple[str, list[str]]], said: str) -> None:
    def subgraph(name: str, nodes: list[str]) -> SimpleNamespace:
        made = [SimpleNamespace(op_type=text.split()[0], name=text.split()[1]) for text in nodes]
        return SimpleNamespace(ep_name=f"{name}ExecutionProvider", get_nodes=lambda: made)

    info = [subgraph(*each) for each in subgraphs]
    assert left_to_cpu(SimpleNamespace(get_provider_graph_assignment_info=lambda: info)) == said
    assert left_to_cpu(SimpleNamespace()) is None  # before ONNX Runtime 1.24


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
