"""Engines that take as long as asked for: real work on the CPU, not a sleep.

`bench-slow` (a policy: chunks of 50 steps of 20 ms that hold the joints where they are) and `bench-slow-masks` (a
segmenter) multiply 256 x 256 matrices as often as their constant input `rounds` sets.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from edged.bench import ENGINES
from edged.bundle.bundle import Bundle, read_bundle, write_bundle
from edged.bundle.roles import ConstInput
from edged.engine.registry import open_engine

PROBE_ROUNDS = 8
PROBES = 5


def write_slow(store: Path, name: str, run_ms: float, version: str = "1", step_ms: float | None = None) -> Path:
    """`name` as a version in `store` that takes about `run_ms` on this machine; 0 = as quick as it can be. `step_ms`:
    between the steps of its chunks, None = as shipped."""
    bundle = read_bundle(ENGINES / name / "1")
    rounds = max(0, round(run_ms / _round_ms(bundle))) if run_ms else 0
    inputs = {**bundle.manifest.inputs, "rounds": ConstInput(value=float(rounds))}
    outputs = dict(bundle.manifest.outputs)
    if step_ms is not None and bundle.manifest.action is not None:
        tensor, role = bundle.manifest.action
        outputs[tensor] = msgspec.structs.replace(role, step_ms=step_ms)
    manifest = msgspec.structs.replace(bundle.manifest, version=version, inputs=inputs, outputs=outputs)
    return write_bundle(store, manifest, bundle.model, bundle.golden, replace=True)


def _round_ms(bundle: Bundle) -> float:
    """What one round takes: the quickest of some, which is what nothing else disturbed."""
    with open_engine(bundle, "cpu", 1) as engine:
        took = {0: 1e9, PROBE_ROUNDS: 1e9}
        for _ in range(PROBES):
            for rounds in took:
                engine.inputs["rounds"][...] = rounds
                began = time.perf_counter()
                engine.run()
                took[rounds] = min(took[rounds], time.perf_counter() - began)
    return max(1e-3, (took[PROBE_ROUNDS] - took[0]) / PROBE_ROUNDS * 1e3)
