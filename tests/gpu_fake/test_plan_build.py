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
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from gpus import FAKES, pretended_gpu
from models import policy_golden, policy_model, policy_recipe

from edged.bundle.bundle import Bundle, bundle_files, read_bundle, write_files
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EngineError, RefusedError
from edged.core.procfs import children, command
from edged.engine.plan_build.install import Machine, missing_tensorrt, this_machine
from edged.engine.plan_build.start import Degraded, Outcome, Progress, build_plan, plan_for
from edged.engine.plan_cache import BuildOptions, Plan, Plans
from edged.pack import pack

OPTIONS = BuildOptions()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(policy_model(), policy_recipe(), policy_golden(2), tmp_path_factory.mktemp("store")).path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pretended_gpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def gpu(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Processes that are started find a GPU and TensorRT; more of the environment can be set."""
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, machine[name])
    return monkeypatch


def build(path: Path, cache: Path, options: BuildOptions = OPTIONS, **more: object) -> Outcome:
    return build_plan(read_bundle(path), path, cache, options, more.pop("follow", lambda progress: None), **more)


def edged(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "edged", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **environ})


def changed(path: Path, store: Path, change) -> Path:
    """The bundle at `path` with another graph, sealed anew."""
    bundle = read_bundle(path)
    model = onnx.load_from_string(bundle.model)
    change(model.graph)
    if any(node.domain == "com.microsoft" for node in model.graph.node):  # what ONNX Runtime has and TensorRT lacks
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    files = bundle_files(bundle.manifest, model.SerializeToString(), bundle.golden)
    return write_files(store / bundle.name / bundle.version, files)


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


def test_the_command_builds_and_says_what_came_of_it(gpu, packed: Path, tmp_path: Path) -> None:
    done = edged("build", packed, "--cache", tmp_path, "--json")
    assert done.returncode == EXIT_OK, done.stderr
    about = json.loads(done.stdout)
    assert (about["name"], about["found"], about["bytes"] > 0, about["peak_mib"] > 0) == ("reach", False, True, True)
    assert [line.split("s  ")[1] for line in done.stderr.splitlines()] == ["Building Engine", "Serializing"]
    done = edged("build", packed, "--cache", tmp_path)
    assert done.stdout.startswith(f"reach 1: plan {about['key']}, ")
    assert "was there already" in done.stdout


def test_without_tensorrt_the_command_says_what_to_install(packed: Path, tmp_path: Path) -> None:
    done = edged("build", packed, "--cache", tmp_path)
    if done.returncode == EXIT_OK:
        pytest.skip("TensorRT and a GPU are here")
    assert done.returncode == EXIT_FAILED
    assert done.stderr.strip() == f"edged: {'; '.join(missing_tensorrt(this_machine()))}"
    assert not (tmp_path / "plans").exists()


def test_without_a_gpu_tensorrt_alone_is_no_use(packed: Path, tmp_path: Path) -> None:
    done = edged("build", packed, "--cache", tmp_path, PYTHONPATH=str(FAKES), LD_LIBRARY_PATH="")
    if done.returncode == EXIT_OK:
        pytest.skip("a GPU is here")
    assert done.returncode == EXIT_FAILED
    assert "no NVIDIA GPU here" in done.stderr


def test_what_is_no_bundle_is_refused_before_anything_starts(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"\x02\x00\x00\x00{}ftrt")
    assert edged("build", tmp_path / "model.engine").returncode == EXIT_USAGE
    path = changed(packed, tmp_path / "store", lambda graph: None)
    (path / "model.onnx").write_bytes(b"something else")
    assert edged("build", path, "--cache", tmp_path).returncode == EXIT_REFUSED


PC = Machine("x86_64", 0, "", "3.12", "580.65.06", False)
ORIN = Machine("aarch64", 6, "NVIDIA Jetson AGX Orin Developer Kit", "3.10", "540.4.0", False)
THOR = Machine("aarch64", 7, "NVIDIA Jetson AGX Thor Developer Kit", "3.12", "580.00", False)


@pytest.mark.parametrize(
    ("machine", "fact", "remedies"),
    [
        (PC, "not installed on this PC (x86_64)", ["pip install 'edged[gpu]'"]),
        (dataclasses.replace(PC, driver=""), "nor is NVIDIA's driver", ["ubuntu-drivers", "pip install 'edged[gpu]'"]),
        (dataclasses.replace(PC, driver="535.1"), "535.1 is too old", ["update the driver to 580"]),
        (dataclasses.replace(PC, arch="aarch64"), "this server (aarch64)", ["pip install 'edged[gpu]'"]),
        (dataclasses.replace(PC, arch="riscv64"), "no TensorRT for riscv64", ["the CPU runs it"]),
        (ORIN, "this JetPack 6 (NVIDIA Jetson AGX Orin", ["python3-libnvinfer", "python3.10 -m venv --system-site"]),
        (THOR, "this JetPack 7 (NVIDIA Jetson AGX Thor", ["python3-libnvinfer", "python3.12 -m venv --system-site"]),
        (dataclasses.replace(ORIN, apt=True), "this environment does not see it", ["--system-site-packages"]),
        (dataclasses.replace(ORIN, python="3.12"), "is for Python 3.10, this is 3.12", ["python3.10 -m venv"]),
        (dataclasses.replace(ORIN, jetpack=5), "JetPack 5 (NVIDIA", ["flash JetPack 6 or 7"]),
    ],
)
def test_each_machine_gets_its_own_advice(machine: Machine, fact: str, remedies: list[str]) -> None:
    said, remedy = missing_tensorrt(machine)
    assert fact in said
    for wanted in remedies:
        assert wanted in remedy


@pytest.mark.parametrize(
    ("files", "jetpack"),
    [
        ({}, 0),
        ({"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}, 0),
        ({"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1"}, 5),
        ({"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1"}, 6),
        ({"etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1"}, 7),
        ({"etc/nv_tegra_release": "# R39 (release), REVISION: 1.0, GCID: 1"}, 7),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0", "etc/os-release": 'VERSION_ID="22.04"'}, 6),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0", "etc/os-release": 'VERSION_ID="24.04"'}, 7),
        ({"proc/device-tree/model": "NVIDIA Jetson AGX Thor\0"}, 7),
    ],
)
def test_the_machine_is_told_by_its_files(tmp_path: Path, files: dict[str, str], jetpack: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    machine = this_machine(tmp_path)
    assert machine.jetpack == jetpack
    assert "\0" not in machine.model
    assert not machine.apt
    (tmp_path / "usr/lib/python3.10/dist-packages/tensorrt").mkdir(parents=True)
    assert this_machine(tmp_path).apt
