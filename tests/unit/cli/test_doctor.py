"""`edged doctor`: what a machine lacks is found in its files, with the remedy; what it has is called well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_daemon import Machine, as_outsider, edged, machine

from edged.cli.doctor import doctor
from edged.cli.doctor_cpu import check_clock, check_cpus, parse_cpus
from edged.cli.doctor_system import check_disk, check_gpu, check_limits, check_memory, check_mps
from edged.cli.finding import Finding
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE

__all__ = ["machine"]

CPU = "sys/devices/system/cpu"
INTERRUPTS = """      CPU0 CPU1 CPU2 CPU3
 25:  9 0 0 0  PCI-MSI  eth0
 26:  1 0 0 0  nvme0q0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of a machine that is well: four CPUs, the last two the loop's own."""
    for number in range(4):
        lay(tmp_path, f"{CPU}/cpu{number}/cpufreq/scaling_governor", "performance\n")
        lay(tmp_path, f"{CPU}/cpu{number}/topology/thread_siblings_list", f"{number}\n")
        lay(tmp_path, f"{CPU}/cpu{number}/cpuidle/state1/latency", "2\n")
        lay(tmp_path, f"{CPU}/cpu{number}/cpuidle/state1/disable", "0\n")
    lay(tmp_path, f"{CPU}/online", "0-3\n")
    lay(tmp_path, f"{CPU}/isolated", "2-3\n")
    lay(tmp_path, f"{CPU}/nohz_full", "2-3\n")
    lay(tmp_path, "proc/version", "Linux version 6.1.0-rt (x) #1 SMP PREEMPT_RT Debian\n")
    lay(tmp_path, "proc/sys/kernel/sched_rt_runtime_us", "950000\n")
    lay(
        tmp_path, "proc/interrupts", "      CPU0 CPU1 CPU2 CPU3\n 25:  9 0 0 0  PCI-MSI  eth0\n 26:  1 0 0 0  nvme0q0\n"
    )
    lay(tmp_path, "proc/irq/25/smp_affinity_list", "0-1\n")
    lay(tmp_path, "proc/irq/26/effective_affinity_list", "0\n")
    lay(tmp_path, "proc/irq/26/smp_affinity_list", "0-3\n")
    lay(tmp_path, "sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
    return tmp_path


def lay(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def wrong(findings: list[Finding]) -> list[str]:
    return [f"{one.level} {one.subject}" for one in findings if one.level not in ("ok", "untried")]


def test_a_machine_that_is_well(root: Path) -> None:
    findings = list(check_cpus((2, 3), 50, root))
    assert wrong(findings) == []
    assert any("PREEMPT_RT" in finding.fact for finding in findings)
    assert any("CPUs 2,3 are the loop's alone" in finding.fact for finding in findings)


@pytest.mark.parametrize(
    ("name", "text", "subject", "fact", "remedy"),
    [
        (f"{CPU}/cpu1/cpufreq/scaling_governor", "powersave", "governor", "powersave on 1 of 4", "cpupower"),
        (f"{CPU}/cpu0/cpuidle/state1/latency", "350", "idle", "350 us", "cpupower idle-set"),
        (f"{CPU}/cpu3/thermal_throttle/core_throttle_count", "7", "heat", "7 times", "cooling"),
        (f"{CPU}/isolated", "3", "isolation", "CPUs 2 of", "isolcpus=managed_irq,domain,2,3"),
        (
            f"{CPU}/cpu3/topology/thread_siblings_list",
            "1,3",
            "isolation",
            "CPUs 1 are the other",
            "cpu1/online",
        ),
        ("proc/irq/25/smp_affinity_list", "0-2", "interrupts", "25 (eth0)", "irqaffinity"),
        ("sys/fs/cgroup/cpu.max", "150000 100000", "cpu quota", "at most 150000 us of 100000 us", "cpuset"),
    ],
)
def test_what_makes_a_loop_late_is_found(
    root: Path, name: str, text: str, subject: str, fact: str, remedy: str
) -> None:
    lay(root, name, text + "\n")
    findings = list(check_cpus((2, 3), 50, root))
    assert wrong(findings) == [f"warning {subject}"]
    (found,) = [one for one in findings if one.level == "warning"]
    assert fact in found.fact
    assert remedy in found.remedy


def test_what_keeps_a_loop_from_starting_is_an_error(root: Path) -> None:
    lay(root, f"{CPU}/online", "0-2\n")
    lay(root, "proc/sys/kernel/sched_rt_runtime_us", "0\n")
    assert wrong(list(check_cpus((2, 3), 50, root))) == ["error kernel", "error isolation"]
    assert wrong(list(check_cpus((), 0, root))) == ["warning kernel"]


def test_a_slow_clock_is_found(root: Path) -> None:
    assert next(iter(check_clock(root))).level == "ok"
    lay(root, "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
    found = next(iter(check_clock(root)))
    assert (found.level, "hpet is slow" in found.fact, "tsc=reliable" in found.remedy) == ("warning", True, True)


def test_memory(root: Path, tmp_path: Path) -> None:
    lay(root, "proc/swaps", "Filename Type\n/dev/sda2 partition\n")
    lay(root, "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
    (root / "dev/shm").mkdir(parents=True)
    assert [one.fact.partition(":")[0] for one in check_memory(False, root)] == [
        "there is swap",
        "transparent huge pages are always on",
    ]
    assert [one.fact.partition(":")[0] for one in check_memory(True, root)] == ["transparent huge pages are always on"]
    (root / "dev/shm").rmdir()
    assert "shm_size" in list(check_memory(True, root))[-1].remedy


@pytest.mark.parametrize(("kind", "says"), [("tmpfs", "forgotten at reboot"), ("nfs4", "on the network")])
def test_a_store_that_is_not_kept_or_far_away(root: Path, kind: str, says: str) -> None:
    lay(root, "proc/self/mounts", f"/dev/sda1 / ext4 rw 0 0\nx {root} {kind} rw 0 0\n")
    findings = [one for one in check_disk(root / "deep" / "store", root, root) if one.subject == "store"]
    assert says in findings[0].fact
    assert f"{kind}, " in findings[-1].fact
    assert list(root.glob(".edged-doctor*")) == []


def test_a_store_that_is_closed_to_us_is_one_finding_of_many(machine: Machine) -> None:
    (machine.state / "deep").mkdir(parents=True)
    file = machine.folder / "pick.toml"
    file.write_text(f"[daemon]\nstore = '{machine.state / 'deep' / 'store'}'\n[engine]\nname = 'plate'\n"
                    "[cameras.line]\nuri = '0'\nwidth = 64\nheight = 48\n")  # fmt: skip
    (done,) = as_outsider(machine, [["doctor", str(file)]])
    assert "error   store: " in done.out, done.err
    assert "versions: edged" in done.out, "what comes after it"
    assert done.code == EXIT_FAILED


def test_a_gpu_is_an_error_only_where_one_is_insisted_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.cli.doctor_system.read_device", lambda root: None)
    assert wrong(list(check_gpu("auto", None, root))) == []
    assert wrong(list(check_gpu("tensorrt", None, root))) == ["error gpu"]
    monkeypatch.setattr("edged.cli.doctor_system.choose_gpu", lambda word, root: "")
    assert wrong(list(check_gpu("auto", "65:00.0", root))) == ["error gpu"]


def test_a_plug_in_is_looked_for_in_place_of_nvidias_driver(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(backend: str) -> list[tuple[str, str]]:
        return [(one.level, one.fact) for one in check_gpu(backend, None, root)]

    monkeypatch.setattr("edged.cli.doctor_system.read_device", lambda root: None)
    monkeypatch.setattr("edged.cli.doctor_system._version", lambda name: "")
    missing = "[engine] backend is webgpu, and onnxruntime-ep-webgpu is not installed"
    assert told("webgpu") == [("error", missing)]
    monkeypatch.setattr("edged.cli.doctor_system._version", lambda name: "0.4.0")
    ok = ("ok", "onnxruntime-ep-webgpu 0.4.0; 'edged check FILE' tries the engine on it")
    assert told("webgpu") == [ok, ("warning", "there is no GPU in /dev/dri")]
    assert [level for level, _ in told("openvino")] == ["ok"]  # it runs on a CPU too
    assert [level for level, _ in told("tensorrt-rtx")] == ["ok", "error"]  # NVIDIA's driver
    lay(root, "dev/dri/renderD128", "")
    node = root / "dev/dri/renderD128"
    assert told("webgpu") == [ok]
    monkeypatch.setattr("os.access", lambda path, mode: path != node)
    assert told("webgpu") == [ok, ("warning", f"{node} may not be opened")]


def test_a_gpu_for_several_without_mps_is_warned_of(root: Path) -> None:
    def found(processes: int, **environ: str) -> list[tuple[str, str]]:
        return [(one.level, one.fact) for one in check_mps(processes, root, environ)]

    assert found(0) == found(1) == []
    assert "2 processes compute on the GPU" in found(2)[0][1]
    ((level, fact),) = found(1, CUDA_MPS_PIPE_DIRECTORY="/run/mine")
    assert (level, "/run/mine" in fact, "in silence" in fact) == ("warning", True, True)
    (root / "run/edged-mps").mkdir(parents=True)  # what a unit that failed leaves with RuntimeDirectoryPreserve=
    assert found(1)[0][0] == "warning"
    lay(root, "proc/77/comm", "nvidia-cuda-mps\n")
    assert found(3) == [("ok", "NVIDIA's MPS runs, for those who find it in /run/edged-mps")]


def test_limits_of_a_user_and_of_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(
        resource, "getrlimit", lambda which: (0, 0) if which == resource.RLIMIT_RTPRIO else (65536, 65536)
    )
    (short,) = check_limits(50, False, False, True)
    assert (short.level, "rtprio 95" in short.remedy) == ("warning", True)
    assert [one.level for one in check_limits(0, False, False, True)] == ["ok"]
    assert [one.level for one in check_limits(50, True, True, True)] == ["ok"]
    assert "memlock" in list(check_limits(50, True, False, True))[-1].remedy


def test_lists_of_cpus() -> None:
    assert parse_cpus("0-2,5\n") == {0, 1, 2, 5}
    assert parse_cpus("") == parse_cpus("(null)\n") == set()


def test_from_the_command_line(tmp_path: Path) -> None:
    done = edged("doctor", "--json")
    assert done.code in (EXIT_OK, 1)
    said = json.loads(done.out)
    assert {"clock", "wake-up", "kernel", "store", "versions"} <= {one["subject"] for one in said["findings"]}
    assert all(one["remedy"] for one in said["findings"] if one["level"] in ("warning", "error"))
    (tmp_path / "bad.toml").write_text("[loop]\nrate_hz = -1\n", encoding="utf-8")
    assert edged("doctor", tmp_path / "bad.toml").code == EXIT_USAGE
    assert doctor(tmp_path / "bad.toml")[0].subject == "config"
