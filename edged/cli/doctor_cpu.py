"""The part of `edged doctor` about time and processors: what makes a loop late, and what to do about it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from edged.cli.finding import Finding, fault, warning
from edged.core.procfs import text_of

QUICK_SOURCES = ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page", "xen", "riscv_clocksource")
SLOW_READ_NS = 1000
READS, BATCHES = 400, 10
SLEEPS = 200
SLEEP_S = 0.001
LATE_NS = 2_000_000  # a wake-up that is later than this is a missed tick at 500 Hz
DEEP_US = 200  # an idle state that takes longer to leave makes the first tick after it late
CPU = Path("sys/devices/system/cpu")


def check_clock(root: Path) -> Iterator[Finding]:
    """The kernel's clock source, what a reading costs, and how late this user's process wakes up at the moment."""
    source = text_of(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    cost_ns = min(_reading_ns() for _ in range(BATCHES))
    said = f"{source or 'unknown'}, {cost_ns:.0f} ns a reading"
    if source and source not in QUICK_SOURCES:
        remedy = (
            "look why the kernel left the better one (dmesg | grep -i clocksource); boot with tsc=reliable if it may"
        )
        yield warning("clock", f"{said}: {source} is slow and may jump", remedy)
    elif cost_ns > SLOW_READ_NS:
        yield warning("clock", f"{said}: every reading is a system call", "run without the tracer or sandbox")
    else:
        yield Finding("ok", "clock", said)
    yield _wakeups()


def _reading_ns() -> float:
    """What a reading costs; the least of several counts, for others may want the processor too."""
    began_ns = time.perf_counter_ns()
    for _ in range(READS):
        time.monotonic_ns()
    return (time.perf_counter_ns() - began_ns) / READS


def _wakeups() -> Finding:
    late_ns = []
    for _ in range(SLEEPS):
        due_ns = time.monotonic_ns() + round(SLEEP_S * 1e9)
        time.sleep(SLEEP_S)
        late_ns.append(time.monotonic_ns() - due_ns)
    late_ns.sort()
    p50, p99 = late_ns[SLEEPS // 2], late_ns[SLEEPS * 99 // 100]
    said = f"late by p50 {p50 / 1000:.0f} us, p99 {p99 / 1000:.0f} us over {SLEEPS} sleeps, unprivileged"
    if p99 > LATE_NS:
        return warning("wake-up", said, "free the processors, or set [loop] fifo and cpus")
    return Finding("ok", "wake-up", said)


def check_cpus(cpus: tuple[int, ...], fifo: int, root: Path) -> Iterator[Finding]:
    """Governor, idle states, heat, kernel, isolation and interrupts. `cpus`, `fifo`: what [loop] asks for."""
    yield from _governor(root)
    yield from _idle(root)
    yield from _quota(root)
    yield from _kernel(fifo, root)
    yield from _isolation(cpus, root)
    if cpus:
        yield from _interrupts(cpus, root)


def _governor(root: Path) -> Iterator[Finding]:
    folders = sorted((root / CPU).glob("cpu[0-9]*"), key=lambda path: int(path.name[3:]))
    found = {path.name: text_of(path / "cpufreq/scaling_governor").strip() for path in folders}
    if not any(found.values()):
        yield Finding("ok", "governor", "none: firmware or a hypervisor sets the clocks")
    elif slow := {name: governor for name, governor in found.items() if governor not in ("", "performance")}:
        kinds = ", ".join(sorted(set(slow.values())))
        fact = f"{kinds} on {len(slow)} of {len(found)} CPUs: clocks rise only after work has begun"
        yield warning(
            "governor", fact, "cpupower frequency-set -g performance, or tuned-adm profile latency-performance"
        )
    else:
        yield Finding("ok", "governor", "performance")
    if hot := sum(_number(path / "thermal_throttle/core_throttle_count") for path in folders):
        yield warning("heat", f"CPUs were slowed down by heat {hot} times since boot", "improve the cooling")


def _idle(root: Path) -> Iterator[Finding]:
    deep = set()
    for state in (root / CPU).glob("cpu[0-9]*/cpuidle/state*"):
        if _number(state / "latency") > DEEP_US and text_of(state / "disable").strip() == "0":
            deep.add(f"{text_of(state / 'name').strip()} ({_number(state / 'latency')} us)")
    if deep:
        fact = f"idle states that take long to leave: {', '.join(sorted(deep))}"
        yield warning("idle", fact, f"cpupower idle-set -D {DEEP_US}, or hold /dev/cpu_dma_latency open")


def _quota(root: Path) -> Iterator[Finding]:
    """A container's share of the processors: when it is used up, the kernel stops the loop until the next period."""
    group = text_of(root / "proc/self/cgroup").strip().rpartition("::")[2].strip("/")
    for folder in dict.fromkeys((root / "sys/fs/cgroup" / group, root / "sys/fs/cgroup")):
        words = text_of(folder / "cpu.max").split()
        if words and words[0] != "max":
            stopped = re.search(r"nr_throttled (\d+)", text_of(folder / "cpu.stat"))
            often = f", so far {stopped[1]} times" if stopped else ""
            fact = f"at most {words[0]} us of {words[1]} us: beyond it the kernel stops the loop{often}"
            yield warning("cpu quota", fact, "give CPUs instead of a quota (cpuset; in Kubernetes requests = limits)")
            return


def _kernel(fifo: int, root: Path) -> Iterator[Finding]:
    version = text_of(root / "proc/version")
    release = next(iter(re.findall(r"Linux version (\S+)", version)), os.uname().release)
    flavour = next((word for word in ("PREEMPT_RT", "PREEMPT_DYNAMIC", "PREEMPT") if word in version), "no preemption")
    if text_of(root / "sys/kernel/realtime").strip() == "1":
        flavour = "PREEMPT_RT"
    yield Finding("ok", "kernel", f"{release}, {flavour}")
    runtime = text_of(root / "proc/sys/kernel/sched_rt_runtime_us").strip()
    if runtime == "0":
        say = fault if fifo else warning
        yield say("kernel", "real-time scheduling is switched off", "sysctl kernel.sched_rt_runtime_us=950000")


def _isolation(cpus: tuple[int, ...], root: Path) -> Iterator[Finding]:
    isolated = parse_cpus(text_of(root / CPU / "isolated"))
    quiet = parse_cpus(text_of(root / CPU / "nohz_full"))
    if not cpus:
        said = f"CPUs {_listed(isolated)} are isolated" if isolated else "no CPU is isolated"
        yield Finding("ok", "isolation", f"{said}; [loop] cpus asks for none")
        return
    offline = set(cpus) - parse_cpus(text_of(root / CPU / "online")) if (root / CPU / "online").exists() else set()
    if offline:
        yield fault("isolation", f"CPUs {_listed(offline)} of [loop] cpus are not online", "correct loop.cpus")
    wanted = _listed(set(cpus))
    if shared := set(cpus) - isolated:
        fact = f"CPUs {_listed(shared)} of [loop] cpus are also given to others"
        yield warning("isolation", fact, f"boot with isolcpus=managed_irq,domain,{wanted} rcu_nocbs={wanted}")
    else:
        tick = "" if set(cpus) <= quiet else "; the kernel's own tick goes on there"
        yield Finding("ok", "isolation", f"CPUs {wanted} are the loop's alone{tick}")
    siblings = {
        cpu: parse_cpus(text_of(root / CPU / f"cpu{cpu}/topology/thread_siblings_list")) - {cpu} - set(cpus)
        for cpu in cpus
    }
    if twins := set().union(*siblings.values()) - isolated:
        fact = f"CPUs {_listed(twins)} are the other threads of the loop's cores, and busy"
        yield warning(
            "isolation", fact, f"isolate them too, or echo 0 > /sys/devices/system/cpu/cpu{min(twins)}/online"
        )


def _interrupts(cpus: tuple[int, ...], root: Path) -> Iterator[Finding]:
    """Interrupts that may come to the loop's CPUs and did come at all, by their names in /proc/interrupts."""
    rows = {}
    for line in text_of(root / "proc/interrupts").splitlines():
        if found := re.match(r"\s*(\d+):((?:\s+\d+)+)\s+(.*)", line):
            rows[found[1]] = sum(map(int, found[2].split())), found[3].split()[-1]
    there = []
    for number, (count, name) in rows.items():
        folder = root / "proc/irq" / number
        allowed = parse_cpus(text_of(folder / "effective_affinity_list") or text_of(folder / "smp_affinity_list"))
        if count and allowed & set(cpus):
            there.append(f"{number} ({name})")
    if not there:
        yield Finding("ok", "interrupts", "none on the loop's CPUs")
        return
    shown = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
    others = "IRQBALANCE_BANNED_CPULIST for irqbalance"
    remedy = f"boot with irqaffinity=<the other CPUs>, and set {others}"
    yield warning("interrupts", f"{shown} come to the loop's CPUs", remedy)


def parse_cpus(text: str) -> set[int]:
    """The numbers of a kernel's list such as `0-3,8`; what is no list is empty."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if first.isdigit() and (not dash or last.isdigit()):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def _listed(cpus: set[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


def _number(path: Path) -> int:
    text = text_of(path).strip()
    return int(text) if text.isdigit() else 0
