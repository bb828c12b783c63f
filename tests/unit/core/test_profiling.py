"""Spans cost next to nothing without a profiler, and name the steps to one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edged.core.profiling import VARIABLE, spans

NVTX = """
class annotate:
    def __init__(self, name, domain): self.name, self.domain = name, domain
    def __enter__(self): print("push", self.domain, self.name)
    def __exit__(self, *_): print("pop", self.domain, self.name)
"""


def test_without_the_variable_a_span_is_one_object_that_does_nothing() -> None:
    one, other = spans("observe", "encode", environ={})
    assert one is other
    with one, one:
        pass


def test_with_it_the_profiler_hears_every_step(tmp_path: Path) -> None:
    (tmp_path / "nvtx.py").write_text(NVTX)
    code = "from edged.core.profiling import spans\na, b = spans('a', 'b')\nwith a:\n    with b: pass"
    environ = {"PYTHONPATH": str(tmp_path), VARIABLE: "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.split("\n")[:-1] == ["push edged a", "push edged b", "pop edged b", "pop edged a"]


def test_without_the_package_it_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvtx", None)
    (span,) = spans("observe", environ={VARIABLE: "1"})
    with span:
        pass
