"""Building plans in a process of its own, with the fake TensorRT of tests/fakes and a pretended GPU."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnx
import pytest
from plan_builds import OPTIONS, build, changed, gpu, machine, packed

from edged.bundle.bundle import Bundle, read_bundle
from edged.core.errors import EngineError, RefusedError
from edged.core.procfs import children, command
from edged.engine.plan_build.start import Degraded, Outcome, Progress, build_plan, plan_for
from edged.engine.plan_cache import BuildOptions, Plan, Plans

__all__ = ["gpu", "machine", "packed"]


def settings(plan: Plan) -> dict[str, object]:
    """What the fake notes in a plan about how it was built."""
    return json.loads(plan.data.splitlines()[1])["settings"]


def loaded(outcome: Outcome, cache: Path) -> Plan:
    plan = Plans(cache / "plans").load(outcome.about["parts"])
    assert plan is not None
    return plan


def test_a_plan_is_built_once_and_then_found(gpu, packed: Path, tmp_path: Path) -> None:
    first, second = build(packed, tmp_path), build(packed, tmp_path)
    assert (first.found, second.found) == (False, True)
    assert first.about == second.about
    plan = loaded(first, tmp_path)
    assert plan.about["activation_bytes"] == 4096
    assert plan.data.endswith(read_bundle(packed).model)
    assert first.about["parts"]["device"]["name"] == "NVIDIA Pretend 1"
    assert first.about["parts"]["tensorrt"] == "10.3.0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAKE_TENSORRT_VERSION", "10.16.1"),
        ("FAKE_TENSORRT_VERSION", "11.4.0"),
        ("FAKE_CUDA_SMS", "8"),
        ("FAKE_CUDA_MIB", "4096"),
    ],
)
def test_another_tensorrt_or_gpu_never_loads_the_old_plan(gpu, packed: Path, tmp_path: Path, name, value) -> None:
    first = build(packed, tmp_path)
    gpu.setenv(name, value)
    second = build(packed, tmp_path)
    assert not second.found
    assert second.about["key"] != first.about["key"]


def test_options_reach_the_builder(gpu, packed: Path, tmp_path: Path) -> None:
    plain = settings(loaded(build(packed, tmp_path), tmp_path))
    assert plain == {"level": 3, "tf32": False, "workspace": 1024 << 20, "hardware": "NONE"}
    options = BuildOptions(5, 0, hardware_compatible=True, version_compatible=True, tf32=True)
    other = settings(loaded(build(packed, tmp_path, options), tmp_path))
    assert other == {"level": 5, "tf32": True, "workspace": None, "hardware": "AMPERE_PLUS"}


def test_the_timing_cache_is_kept_and_one_of_another_version_is_no_harm(gpu, packed: Path, tmp_path: Path) -> None:
    for number, level in enumerate((1, 2), 1):
        build(packed, tmp_path, BuildOptions(level))
        (timing,) = (tmp_path / "plans").glob("timing-*")
        assert json.loads(timing.read_text())["builds"] == number
    for content in ('{"tensorrt": "9", "builds": 7}', "not a timing cache"):
        timing.write_text(content)
        build(packed, tmp_path, BuildOptions(4 + (content[0] == "n")))
        assert json.loads(timing.read_text())["builds"] == 1


def test_a_damaged_plan_is_built_again(gpu, packed: Path, tmp_path: Path) -> None:
    plan = loaded(build(packed, tmp_path), tmp_path)
    path = tmp_path / "plans" / f"{plan.key}.plan"
    path.write_bytes(plan.data[:-1] + b"!")
    assert not build(packed, tmp_path).found
    assert path.read_bytes() == plan.data


def test_progress_says_phase_step_and_time(gpu, packed: Path, tmp_path: Path) -> None:
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0.1")
    heard: list[Progress] = []
    build(packed, tmp_path, follow=heard.append)
    outer = list(dict.fromkeys(item.phase for item in heard if item.depth == 0))
    assert outer == ["Building Engine", "Serializing"]
    assert {item.phase for item in heard if item.depth == 1} == {"Selecting Tactics"}
    assert [item.elapsed_s for item in heard] == sorted(item.elapsed_s for item in heard)
    assert heard[-1].step == heard[-1].steps == 1


def test_a_node_that_tensorrt_does_not_know_is_named(gpu, packed: Path, tmp_path: Path) -> None:
    def strange(graph) -> None:
        node = next(node for node in graph.node if node.op_type == "Tanh")
        node.domain, node.op_type, node.name = "com.microsoft", "Gelu", "head/gelu"

    path = changed(packed, tmp_path / "store", strange)
    with pytest.raises(RefusedError, match=r"node 'head/gelu' \(Gelu\): No importer registered for op: Gelu"):
        build(path, tmp_path)
    assert not list((tmp_path / "plans").glob("*.plan"))


def test_open_axes_get_a_profile_from_the_golden_samples(gpu, packed: Path, tmp_path: Path) -> None:
    def open_batch(graph) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"

    path = changed(packed, tmp_path / "store", open_batch)
    plan = loaded(build(path, tmp_path), tmp_path)
    (profile,) = json.loads(plan.data.splitlines()[1])["profiles"]
    name = onnx.load_from_string(read_bundle(path).model).graph.input[0].name
    shape = next(list(a.shape) for key, a in read_bundle(path).golden.items() if key == f"000/in/{name}")
    assert profile == {name: [shape, shape, shape]}


def test_two_builders_of_one_plan_do_not_race(gpu, packed: Path, tmp_path: Path) -> None:
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0.1")
    outcomes: list[Outcome] = []
    heard: list[Progress] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(build(packed, tmp_path, follow=heard.append))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.found for outcome in outcomes) == [False, True, True]
    assert any(item.phase == "waiting for another build of this plan" for item in heard)
    (timing,) = (tmp_path / "plans").glob("timing-*")
    assert json.loads(timing.read_text())["builds"] == 1


def test_a_build_can_be_cancelled_between_steps(gpu, packed: Path, tmp_path: Path) -> None:
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0.2")
    cancel = threading.Event()
    with pytest.raises(EngineError, match="cancelled"):
        build(packed, tmp_path, follow=lambda progress: cancel.set(), cancel=cancel)
    assert not list((tmp_path / "plans").glob("*.plan"))
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0")
    assert not build(packed, tmp_path).found, "and it can be built after that: the lock is free"


def test_one_that_does_not_listen_is_killed(gpu, packed: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edged.core.child.GRACE_S", 0.2)
    gpu.setenv("FAKE_TENSORRT_STEP_S", "60")
    cancel = threading.Event()
    started = time.monotonic()
    with pytest.raises(EngineError, match="cancelled"):
        build(packed, tmp_path, follow=lambda progress: cancel.set(), cancel=cancel)
    assert time.monotonic() - started < 30


def test_a_parent_that_dies_takes_the_build_along(gpu, packed: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no time to say goodbye: the process ends itself when its leash goes slack."""
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0.2")
    parent = subprocess.Popen(
        [sys.executable, "-m", "edged", "build", str(packed), "--cache", str(tmp_path)], stderr=subprocess.PIPE
    )
    with parent:
        assert parent.stderr is not None
        parent.stderr.readline()  # the first phase
        (child,) = children(parent.pid)
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.05)
    assert not list((tmp_path / "plans").glob("*.plan"))


def test_it_steps_back_behind_everything_else(gpu, packed: Path, tmp_path: Path) -> None:
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0.2")
    seen: list[tuple[int, int, str, bool]] = []

    def look(progress: Progress) -> None:
        for pid in children(os.getpid()):
            if "edged.engine.plan_build" in command(pid) and not seen:
                scores = Path(f"/proc/{pid}/oom_score_adj").read_text()
                policy, own_group = os.sched_getscheduler(pid), os.getpgid(pid) == pid
                seen.append((os.getpriority(os.PRIO_PROCESS, pid), policy, scores.strip(), own_group))

    build(packed, tmp_path, follow=look)
    assert seen == [(19, os.SCHED_IDLE, "1000", True)]


def test_one_that_takes_too_much_memory_is_ended(gpu, packed: Path, tmp_path: Path) -> None:
    gpu.setenv("FAKE_TENSORRT_ALLOCATE_MB", "400")
    gpu.setenv("FAKE_TENSORRT_STEP_S", "0.5")
    with pytest.raises(EngineError, match="took more than 300 MiB of memory"):
        build(packed, tmp_path, memory_bytes=300 << 20)
    assert not list((tmp_path / "plans").glob("*.plan"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crash_is_told_and_leaves_nothing(gpu, packed: Path, tmp_path: Path, number: signal.Signals) -> None:
    gpu.setenv("FAKE_TENSORRT_CRASH", str(int(number)))
    with pytest.raises(EngineError, match=f"it ended with signal {int(number)}"):
        build(packed, tmp_path)
    assert not list((tmp_path / "plans").glob("*.plan"))


def test_a_broken_tensorrt_is_told_from_a_missing_one(gpu, packed: Path, tmp_path: Path) -> None:
    gpu.setenv("FAKE_TENSORRT_BROKEN", "1")
    with pytest.raises(EngineError, match=r"installed and does not work: .*nullptr"):
        build(packed, tmp_path)


def test_an_engine_that_was_replaced_meanwhile_is_refused(gpu, packed: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(read_bundle(packed), digest=bytes(32))
    with pytest.raises(RefusedError, match="not the engine that was asked for"):
        build_plan(other, packed, tmp_path, OPTIONS, lambda progress: None)


def test_the_daemons_hook_gives_a_plan_or_the_reason_for_none(gpu, packed: Path, tmp_path: Path) -> None:
    bundle: Bundle = read_bundle(packed)
    plan = plan_for(bundle, packed, tmp_path, OPTIONS, lambda progress: None)
    assert isinstance(plan, Plan)
    assert plan.about["name"] == "reach"
    gpu.setenv("FAKE_TENSORRT_CRASH", str(int(signal.SIGKILL)))
    gpu.setenv("FAKE_CUDA_SMS", "4")
    degraded = plan_for(bundle, packed, tmp_path, OPTIONS, lambda progress: None)
    assert isinstance(degraded, Degraded)
    assert degraded.why.startswith("no TensorRT plan of reach 1: building the plan failed: it ended with signal 9")
