"""The fake TensorRT is as strict as the real one, where being lenient would hide a mistake of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from gpus import FAKES
from models import make
from onnx import helper
from trt_bindings import Said, bind, double, opened, parsed, planned, said, trt

__all__ = ["said", "trt"]


def test_a_plan_runs_on_host_memory(trt: Any, said: Said) -> None:
    engine, context = opened(trt, said, double())
    x, y = np.array([[1, 2, 3]], np.float32), np.zeros((1, 3), np.float32)
    bind(context, x, y)
    assert context.execute_async_v3(1)
    assert y.tolist() == [[2, 4, 6]]
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert [engine.get_tensor_mode(name) for name in names] == [trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT]
    assert engine.get_tensor_dtype("x") == trt.DataType.FLOAT


def test_shapes_within_the_profile_only(trt: Any, said: Said) -> None:
    engine, context = opened(trt, said, double("N"), ((1, 3), (2, 3), (4, 3)))
    assert engine.get_tensor_shape("x") == (-1, 3)
    assert engine.get_tensor_profile_shape("x", 0) == [(1, 3), (2, 3), (4, 3)]
    assert context.infer_shapes() == ["x"]
    for wrong in ((5, 3), (0, 3), (2, 4), (2,)):
        assert not context.set_input_shape("x", wrong)
    assert context.set_input_shape("x", (4, 3))
    assert context.infer_shapes() == []
    assert context.get_tensor_shape("y") == (4, 3)
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32)
    bind(context, x, y)
    assert context.execute_async_v3(1)
    assert (y == 2).all()


def test_executing_too_early_is_false_and_says_why(trt: Any, said: Said) -> None:
    _, context = opened(trt, said, double("N"), ((1, 3), (2, 3), (4, 3)))
    x = np.zeros((1, 3), np.float32)
    assert context.set_tensor_address("x", x.ctypes.data)
    assert not context.execute_async_v3(1)
    assert "Address is not set for y" in said.messages[-1]
    assert context.set_tensor_address("y", x.ctypes.data)
    assert not context.execute_async_v3(1)
    assert "not all shapes" in said.messages[-1]


def test_the_default_stream_is_refused(trt: Any, said: Said) -> None:
    _, context = opened(trt, said, double())
    assert not context.execute_async_v3(0)
    assert "default stream" in said.messages[-1]


def test_addresses_are_numbers_of_known_tensors(trt: Any, said: Said) -> None:
    _, context = opened(trt, said, double())
    for wrong in ("0x1000", 1.5, None):
        with pytest.raises(TypeError, match="not an int"):
            context.set_tensor_address("x", wrong)
    with pytest.raises(TypeError, match="not an int"):
        context.execute_async_v3(None)
    assert not context.set_tensor_address("z", 4096)


def found(extents: list[int | str]) -> bytes:
    """y: where x is not 0, as many as there are."""
    return make([helper.make_node("Compress", ["x", "keep"], ["y"], axis=1)], {"x": [1, 3]}, {"y": extents}, KEEP)


KEEP = {"keep": np.array([True, False, True])}


def allocator(trt: Any, address: int) -> Any:
    class Allocator(trt.IOutputAllocator):  # type: ignore[name-defined, misc]
        shape: tuple[int, ...] = ()

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return address

        def notify_shape(self, name: str, shape: tuple[int, ...]) -> None:
            self.shape = shape

    return Allocator()


def test_an_output_whose_shape_depends_on_data_needs_an_allocator(trt: Any, said: Said) -> None:
    _, context = opened(trt, said, found([1, "found"]))
    x, y = np.array([[1, 2, 3]], np.float32), np.zeros(1024, np.float32)
    bind(context, x, y)
    assert context.infer_shapes() == []
    assert context.get_tensor_shape("y") == (1, -1)
    assert context.get_max_output_size("y") == 4096
    assert context.get_max_output_size("x") == -1
    assert not context.execute_async_v3(1)
    assert "no output allocator" in said.messages[-1]
    assert not context.set_output_allocator("x", allocator(trt, 0))
    assert context.set_output_allocator("y", allocator(trt, 0))
    assert not context.execute_async_v3(1)
    assert "gave nothing" in said.messages[-1]
    giving = allocator(trt, y.ctypes.data)
    assert context.set_output_allocator("y", giving)
    assert context.execute_async_v3(1)
    assert (giving.shape, y[:2].tolist()) == ((1, 2), [1, 3])


@pytest.mark.parametrize("damage", [b"", b"fake plan\n", b"fake plan\n{not json\n", b"ftrt" + bytes(64)])
def test_what_is_no_plan_gives_none_and_a_message(trt: Any, said: Said, damage: bytes) -> None:
    assert trt.Runtime(said.log).deserialize_cuda_engine(damage) is None
    assert "Magic tag" in said.messages[-1]


def test_a_plan_of_another_version_gives_none(trt: Any, said: Said) -> None:
    plan = planned(trt, said, double())
    other = plan.replace(f'"{trt.__version__}"'.encode(), b'"9.9.9"')
    assert other != plan
    recorded = []

    class Recorder(trt.IErrorRecorder):  # type: ignore[name-defined, misc]
        def report_error(self, val: Any, desc: str) -> bool:
            recorded.append(desc)
            return False

    runtime = trt.Runtime(said.log)
    runtime.error_recorder = Recorder()
    assert runtime.deserialize_cuda_engine(other) is None
    assert "Serialized Engine Version: 9.9.9" in recorded[0]


def test_a_portable_plan_needs_permission_to_run_host_code(trt: Any, said: Said) -> None:
    builder, network, config = parsed(trt, said, double())
    config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    plan = bytes(builder.build_serialized_network(network, config))
    runtime = trt.Runtime(said.log)
    assert runtime.deserialize_cuda_engine(plan) is None
    runtime.engine_host_code_allowed = True
    assert runtime.deserialize_cuda_engine(plan) is not None


def test_a_member_is_not_a_flag(trt: Any, said: Said) -> None:
    """`create_network(int(flag))` without the shift makes a weakly typed network: nothing is built from it."""
    builder = trt.Builder(said.log)
    network = builder.create_network(int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, said.log).parse(double())
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert "weakly typed" in said.messages[-1]


def test_a_parser_raises_nothing_and_returns_false(trt: Any, said: Said) -> None:
    builder = trt.Builder(said.log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said.log)
    assert not parser.parse(b"not a model")
    assert parser.num_errors == 1
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert "at least one output" in said.messages[-1]
    with pytest.raises(TypeError):
        parser.parse("a/path.onnx")


def test_an_unknown_operator_is_named_with_its_node(trt: Any, said: Said) -> None:
    model = onnx.load_from_string(double())
    model.graph.node[0].domain, model.graph.node[0].name = "com.acme", "head/scale"
    network = trt.Builder(said.log).create_network(0)
    parser = trt.OnnxParser(network, said.log)
    assert not parser.parse(model.SerializeToString())
    error = parser.get_error(0)
    assert (error.node_name(), error.node_operator()) == ("head/scale", "Mul")
    assert "No importer registered for op: Mul" in error.desc()


def test_open_axes_without_a_fitting_profile_build_nothing(trt: Any, said: Said) -> None:
    builder, network, config = parsed(trt, said, double("N"))
    assert builder.build_serialized_network(network, config) is None
    assert "no optimization profile" in said.messages[-1]
    profile = builder.create_optimization_profile()
    assert config.add_optimization_profile(profile) == -1
    profile.set_shape("z", (1, 3), (1, 3), (1, 3))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is None
    assert "x is missing" in said.messages[-1]
    config = builder.create_builder_config()
    profile.set_shape("x", (1, 3), (2, 3), (2, 4))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is None
    assert "do not match" in said.messages[-1]


def test_a_profile_out_of_order_is_a_value_error(trt: Any, said: Said) -> None:
    profile = trt.Builder(said.log).create_optimization_profile()
    for shapes in (((2, 3), (1, 3), (4, 3)), ((1, 3), (2, 3), (1, 3)), ((1,), (1, 3), (1, 3)), ((-1, 3),) * 3):
        with pytest.raises(ValueError, match="inconsistent dimensions"):
            profile.set_shape("x", *shapes)


def monitor(trt: Any, answer: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        seen: list[tuple[str, ...]] = []  # noqa: RUF012 - a class of its own for each call

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.seen.append(("start", phase_name, str(parent_phase)))

        def step_complete(self, phase_name: str, step: int) -> Any:
            return answer

        def phase_finish(self, phase_name: str) -> None:
            self.seen.append(("finish", phase_name))

    return Monitor()


def test_a_monitor_sees_nested_phases_and_can_end_the_build(trt: Any, said: Said) -> None:
    builder, network, config = parsed(trt, said, double())
    config.progress_monitor = watching = monitor(trt, True)
    assert builder.build_serialized_network(network, config) is not None
    inner = [("start", "Selecting Tactics", "Building Engine"), ("finish", "Selecting Tactics")]
    outer = [("start", "Building Engine", "None"), *inner, ("finish", "Building Engine")]
    assert watching.seen == [*outer, ("start", "Serializing", "None"), ("finish", "Serializing")]
    config.progress_monitor = ending = monitor(trt, False)
    assert builder.build_serialized_network(network, config) is None
    assert ending.seen == [("start", "Building Engine", "None"), ("finish", "Building Engine")]
    assert "cancelled" in said.messages[-1]


def test_a_monitor_that_forgets_to_answer_is_told(trt: Any, said: Said) -> None:
    builder, network, config = parsed(trt, said, double())
    config.progress_monitor = monitor(trt, None)
    with pytest.raises(RuntimeError, match="Unable to cast"):
        builder.build_serialized_network(network, config)


def test_objects_whose_base_was_not_initialised_are_refused(trt: Any, said: Said) -> None:
    class Log(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            pass

        def log(self, severity: Any, msg: str) -> None: ...

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            pass

    for kind in (trt.Builder, trt.Runtime):
        with pytest.raises(TypeError, match="must be called"):
            kind(Log())
        with pytest.raises(TypeError, match="incompatible"):
            kind("stderr")
    with pytest.raises(TypeError, match="must be called"):
        trt.Builder(said.log).create_builder_config().progress_monitor = Monitor()


def test_a_timing_cache_of_another_version_does_not_fit(trt: Any, said: Said) -> None:
    config = trt.Builder(said.log).create_builder_config()
    other = config.create_timing_cache(json.dumps({"tensorrt": "9.9.9", "builds": 3}).encode())
    assert not config.set_timing_cache(other, ignore_mismatch=False)
    assert config.get_timing_cache() is None
    assert config.set_timing_cache(other, ignore_mismatch=True)
    assert config.create_timing_cache(b"nonsense") is None


def test_settings_take_members_and_not_numbers(trt: Any, said: Said) -> None:
    config = trt.Builder(said.log).create_builder_config()
    assert config.get_flag(trt.BuilderFlag.TF32), "on by default"
    for wrong in (lambda: config.set_flag(1), lambda: config.set_memory_pool_limit(0, 1 << 20)):
        with pytest.raises(TypeError, match="incompatible"):
            wrong()
    with pytest.raises(TypeError, match="incompatible"):
        config.hardware_compatibility_level = 1


def test_a_broken_installation_gives_null_pointers(trt: Any, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_BROKEN", "1")
    for kind in (trt.Builder, trt.Runtime):
        with pytest.raises(TypeError, match="nullptr"):
            kind(said.log)


def test_it_says_which_version_it_is() -> None:
    code = "import tensorrt; print(tensorrt.__version__)"
    environ = {"PYTHONPATH": str(FAKES), "FAKE_TENSORRT_VERSION": "11.4.0"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "11.4.0"
