"""Which call disturbs a tick, and where a spread comes from, by the GPU benchmark (not run on a GPU)."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from plugged_gpu import PLUGGED

from benchmarks.gpu.__main__ import run_parts
from benchmarks.gpu.blame import PHASES, Call, blame
from benchmarks.gpu.disturbance import disturbance
from benchmarks.gpu.parts import OF_MPS, PARTS, Given
from benchmarks.gpu.spread import spread
from benchmarks.gpu.table import table
from benchmarks.gpu.ticks import Tick
from edged.core.histogram import Histogram

ROOT = Path(__file__).parents[3]
MS = 1_000_000


class Stub:
    """An engine of which only `run` is of interest. `compute_ns`: what its GPU says of each run."""

    def __init__(self, run: Callable[[], object] = lambda: None, compute_ns: int = 0) -> None:
        self._run, self._compute_ns = run, compute_ns
        self.timings: Mapping[str, Histogram] = {}
        if compute_ns:
            self.timings = {stage: Histogram() for stage in ("upload", "compute", "download", "wait")}

    def run(self) -> None:
        self._run()
        for timing in self.timings.values():
            timing.record(self._compute_ns)

    def hand_over(self, live: bool) -> None:
        pass

    def close(self) -> None:
        pass


def disturbed(running: Stub, work: Callable[[], object]) -> dict[str, Any]:
    def load() -> Any:
        work()
        return Stub()

    return disturbance(running, load, 0.1)  # type: ignore[arg-type]


def test_a_call_that_keeps_the_interpreter_is_named() -> None:
    found = disturbed(Stub(), lambda: sum(range(4_000_000)))
    worst = found["worst"][0]
    assert (worst["what"], worst["during"]) == ("late", "sum in C")
    assert worst["late_ms"] > 15  # over the slots that it passed, too
    assert worst["share"] > 0.5
    assert found["worst_ms"] > 15  # of the load that was left alone
    assert found["quiet"]["ticks"] > 20
    assert len(found["phases_ms"]) == 1  # of two loads one was traced


def test_a_call_that_keeps_a_lock_of_the_driver_is_named() -> None:
    driver = threading.Lock()

    def run() -> None:
        with driver:
            pass

    def load() -> None:
        with driver:
            time.sleep(0.05)

    worst = disturbed(Stub(run, compute_ns=2000), load)["worst"][0]
    assert (worst["what"], worst["during"]) == ("long", "sleep in C")
    assert worst["run_ms"] > 20
    assert worst["gpu_ms"] == 0.002  # the GPU had nothing to do with it


def test_a_load_that_fails_is_no_figure() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        disturbed(Stub(), fail)


def test_the_innermost_call_is_blamed_and_the_phase_told() -> None:
    calls = [
        Call(0, 100 * MS, 0, "OrtEngine.run"),
        Call(10 * MS, 90 * MS, 1, "run"),
        Call(30 * MS, 80 * MS, 2, "run_with_iobinding in C"),
        Call(200 * MS, 260 * MS, 0, "OrtEngine.close"),
    ]
    ticks = [
        Tick(20 * MS, 20 * MS, 60 * MS),  # ran long
        Tick(30 * MS, 61 * MS, 62 * MS),  # began as soon as the one before was over
        Tick(200 * MS, 240 * MS, 241 * MS),  # began late
        Tick(300 * MS, 302 * MS, 303 * MS),  # beside nothing
    ]
    rows = [(row["what"], row["during"], row["phase"], row["share"]) for row in blame(ticks, calls, 1.0)]
    assert rows == [
        ("late", "OrtEngine.close", "close", 1.0),
        ("long", "run_with_iobinding in C", "run", 0.75),
        ("late", "", "", 0.0),
        ("late", "run_with_iobinding in C", "run", 1.0),
    ]


def test_the_phases_are_functions_that_there_are() -> None:
    sources = {path.stem: path.read_text() for path in (ROOT / "edged" / "engine").glob("*.py")}
    everything = "\n".join(sources.values())
    for name in PHASES:
        owner, _, function = name.partition(".")
        if owner in sources:
            assert f"\ndef {function}(" in sources[owner], name
        else:
            assert re.search(rf"\nclass {owner}\b(?:(?!\nclass ).)*\n    def {function}\(", everything, re.DOTALL), name


def test_the_spread_is_told_by_where_it_is() -> None:
    numbers = iter(range(10**9))

    def run() -> None:
        until = time.perf_counter() + (0.02 if next(numbers) % 50 == 0 else 0.0002)
        while time.perf_counter() < until:
            pass

    found = spread(Stub(run, compute_ns=100_000), None, 1.0)  # type: ignore[arg-type]
    assert found["us"]["compute"] == {"p50": 100.0, "p99": 100.0, "p999": 100.0}
    assert found["p99_to_p50"]["compute"] == 1.0
    assert found["p99_to_p50"]["run"] > 10
    assert not found["ok"]
    assert found["slowest_us"]["gpu"] == 0
    assert found["slowest_us"]["besides"] == found["slowest_us"]["run"] > 1000
    assert found["us"]["handover"]["p50"] > 0
    assert found["sm_mhz"] is None
    (ratios, slowest) = rows_of("spread", found)
    assert "GPU's compute 1.00 (100 / 100 us)" in ratios
    assert "run <= 1.2: NOT MET" in ratios
    assert "on the GPU 0" not in slowest
    assert "of it 0 on the GPU and " in slowest


def test_the_clocks_meanwhile_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter([1980, 345, 1700, *[1800] * 1000])
    monkeypatch.setattr("benchmarks.gpu.spread.LOOK_S", 0.01)
    monkeypatch.setattr("benchmarks.gpu.spread.read_gpu", lambda pci: {"clocks_mhz": {"sm": next(clocks)}})
    slow = Stub(lambda: time.sleep(0.004), compute_ns=5000)  # no run is left to count where every look comes too soon
    found = spread(slow, "0000:01:00.0", 0.4)  # type: ignore[arg-type]
    assert found["sm_mhz"] == [345, 1980]
    assert rows_of("spread", found)[1].count("SM at 345 to 1980 MHz") == 1


def rows_of(part: str, found: dict[str, Any]) -> list[str]:
    results = {"device": "a GPU", "date": "2026-01-01", "versions": {}, "parts": {"cuda": {part: found}}}
    return [line for line in table(results).splitlines() if line.startswith(f"| {part} ")]


def test_the_table_says_what_disturbed() -> None:
    found = disturbed(Stub(), lambda: None)
    late = {
        "what": "late",
        "lost_ms": 9.1,
        "late_ms": 9.1,
        "run_ms": 0.2,
        "gpu_ms": None,
        "during": "f in C",
        "share": 0.93,
    }
    long = {
        "what": "long",
        "lost_ms": 9.2,
        "late_ms": 0.1,
        "run_ms": 9.4,
        "gpu_ms": 0.1,
        "during": "",
        "share": 0.0,
        "phase": "",
    }
    found |= {"worst": [late | {"phase": "session"}, long] * 2, "phases_ms": [[("session", 31.2), ("close", 2.0)]]}
    found |= {"multiprocessors": "40 of 132"}
    text = "\n".join(rows_of("swap-green", found))
    assert "| loading on 40 of 132 multiprocessors: run p50 " in text
    assert "| a traced load: session 31.2, close 2.0 ms |" in text
    told = "began 9.1 ms late, 93% beside f in C (of session)"
    assert f"| worst while traced: {told}; ran 9.4 ms (the GPU 0.1), beside no call of 0.2 ms; {told} |" in text
    found["worst"] = [late | {"phase": "", "lost_ms": 0.4}]
    assert "| worst while traced: none lost 0.5 ms |" in "\n".join(rows_of("swap", found))


@contextmanager
def mps_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A control program that writes down that it was asked, and nothing else."""
    asked = folder / "asked"
    script = folder / "nvidia-cuda-mps-control"
    script.write_text(f'#!/bin/sh\necho "$@ $(cat </dev/stdin 2>/dev/null)" >> {asked}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    yield asked


def test_the_parts_are_tried_without_a_gpu(tmp_path: Path) -> None:
    new = ("spread", "swap-green", "two-mps-half", "two-mps-green")
    found = {part: run_parts(["cpu"], 1.2, tmp_path, [part], say=print)["cpu"][part] for part in new}
    assert not [part for part in found.values() if "not_run" in part], found
    assert all(found[part]["p99_ratio"] > 0 for part in new if part.startswith("two"))


def test_the_process_beside_is_told_what_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    for name in OF_MPS:
        monkeypatch.setattr("benchmarks.gpu.parts.two", lambda *given, at=name: told.update({at: given}))
        PARTS[name][1](Given("cpu", None, 1.0, Path()))
    assert {name: (given[3][-1], given[5]) for name, given in told.items()} == {
        "two-mps": ("1.0", {}),
        "two-mps-below": ("1.0", {"CUDA_MPS_CLIENT_PRIORITY": "1"}),
        "two-mps-half": ("1.0", {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50"}),
        "two-mps-green": ("0.5", {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "100"}),
    }


def test_on_a_pretended_gpu_the_parts_of_mps_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time on a real GPU is not spent on typing errors; it has no multiprocessors to be divided."""
    for name, value in PLUGGED.items():
        monkeypatch.setenv(name, os.pathsep.join((value, str(ROOT))))
    with mps_in(tmp_path, monkeypatch) as asked:
        found = run_parts(["tensorrt"], 8.0, tmp_path, ["spread", "swap", "swap-green"], say=print)["tensorrt"]
        for part in ("two-mps-below", "two-mps-green"):
            found |= run_parts(["tensorrt"], 3.0, tmp_path, [part], say=print)["tensorrt"]
        assert asked.read_text().split() == ["-d", "quit"] * 2
    assert found["spread"]["p99_to_p50"].keys() == {"run", "handover", "compute", "wait"}
    assert {phase for phase, _ in found["swap"]["phases_ms"][0]} <= {"plan", "memory", "run", "capture", "close"}
    assert found["two-mps-below"]["beside"]["ticks"] > 0
    for part in ("swap-green", "two-mps-green"):
        assert "no part of the GPU" in found[part]["not_run"]
