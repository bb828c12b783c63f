"""Engines that take as long as asked for: `bench-slow` (a policy, chunks of 50 steps of 20 ms that hold joints where
they are) and `bench-slow-masks` (a segmenter)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from edged.bench import ENGINES
from edged.bundle.bundle import read_bundle
from edged.engine.work import write_working


def write_slow(store: Path, name: str, run_ms: float, version: str = "1", step_ms: float | None = None) -> Path:
    """`name` as a version in `store` that takes about `run_ms` on this machine; 0 = as quick as it can be. `step_ms`:
    between the steps of its chunks, None = as shipped."""
    bundle = read_bundle(ENGINES / name / "1")
    if step_ms is not None and bundle.manifest.action is not None:
        tensor, role = bundle.manifest.action
        outputs = {**bundle.manifest.outputs, tensor: msgspec.structs.replace(role, step_ms=step_ms)}
        bundle = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, outputs=outputs))
    return write_working(bundle, store, run_ms, version)
