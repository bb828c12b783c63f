"""Spans cost nothing without a profiler, and name the steps to one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edged.core.profiling import VARIABLE, span

NVTX = """
class annotate:
    def __init__(self, name, domain): self.name, self.domain = name, domain
    def __enter__(self): print("push", self.domain, self.name)
    def __exit__(self, *_): print("pop", self.domain, self.name)
"""


def under_profiler(code: str, folder: Path) -> list[str]:
    """What a profiler hears of it."""
    (folder / "nvtx.py").write_text(NVTX)
    environ = {"PYTHONPATH": str(folder), VARIABLE: "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    return done.stdout.splitlines()


def test_without_the_variable_a_function_with_a_span_is_that_function() -> None:
    def step() -> None: ...

    assert span("observe", environ={})(step) is step


def test_with_it_the_profiler_hears_every_step(tmp_path: Path) -> None:
    code = """
from edged.core.profiling import span

class Loop:
    @span("a")
    def one(self, by, *, more):
        "of one"
        return self.other(by) + more

    @span("b")
    def other(self, by):
        if not by: raise ValueError
        return by

print(Loop().one(2, more=3), Loop.one.__doc__)
try: Loop().other(0)
except ValueError: print("passed on")
"""
    heard = ["push edged a", "push edged b", "pop edged b", "pop edged a", "5 of one"]
    assert under_profiler(code, tmp_path) == [*heard, "push edged b", "pop edged b", "passed on"]


def test_a_tick_has_the_spans_that_the_docs_name(tmp_path: Path) -> None:
    code = """
from edged.engine.ort_cpu import OrtEngine
from edged.engine.gpu import GpuEngine
from edged.engine.stream_graph import StreamGraph
from edged.guard.limits import guard
from edged.pipeline.encode import Encoder
from edged.pipeline.inference import Inference
from edged.runtime.inputs import Inputs
from edged.runtime.loop import publish
from edged.runtime.overlap import Overlap
steps = Inputs.observe, Encoder.encode, OrtEngine.run, GpuEngine.run, Inference.decode, Overlap.decode, guard, publish
inner = StreamGraph._upload, StreamGraph._launch, StreamGraph._download, StreamGraph._synchronise
for step in (*steps, *inner):
    try: step()
    except TypeError: pass
"""
    steps = ["observe", "encode", "engine", "engine", "decode", "decode", "guard", "publish"]
    names = [*steps, "upload", "launch", "download", "synchronise"]
    heard = under_profiler(code, tmp_path)
    assert [line for line in heard if line.startswith("push")] == [f"push edged {name}" for name in names]
    gpu = (Path(__file__).parents[3] / "docs" / "gpu.md").read_text()
    (told,) = (line for line in gpu.splitlines() if "Spans are" in line)
    assert all(f"`{name}`" in told for name in names)


def test_without_the_package_it_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvtx", None)

    def step() -> None: ...

    assert span("observe", environ={VARIABLE: "1"})(step) is step
