"""Engines that take as long as asked for: real work on the CPU, not a sleep, as often as a constant input sets."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from edged.bundle.bundle import Bundle, write_bundle
from edged.bundle.roles import ConstInput
from edged.engine.registry import open_engine

ROUNDS = "rounds"
"""The constant input: how many matrix products of 256 x 256 a run works through, besides its own."""
PROBE_ROUNDS = 40
PROBES = 8


def write_working(bundle: Bundle, store: Path, run_ms: float, version: str) -> Path:
    """`bundle`, which has the input, as a version in `store` that takes about `run_ms` on this machine; 0 = as quick
    as it can be."""
    rounds = max(0, round(run_ms / _round_ms(bundle))) if run_ms else 0
    inputs = {**bundle.manifest.inputs, ROUNDS: ConstInput(value=float(rounds))}
    manifest = msgspec.structs.replace(bundle.manifest, version=version, inputs=inputs)
    return write_bundle(store, manifest, bundle.model, bundle.golden, replace=True)


def _round_ms(bundle: Bundle) -> float:
    """What one round takes of a processor, whatever else it is busy with: the quickest of some."""
    with open_engine(bundle, "cpu", 1) as engine:
        took = {0: 1e9, PROBE_ROUNDS: 1e9}
        for _ in range(PROBES):
            for rounds in took:
                engine.inputs[ROUNDS][...] = rounds
                began = time.thread_time()
                engine.run()
                took[rounds] = min(took[rounds], time.thread_time() - began)
    return max(1e-3, (took[PROBE_ROUNDS] - took[0]) / PROBE_ROUNDS * 1e3)
