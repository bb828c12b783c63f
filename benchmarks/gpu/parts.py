"""The parts of the benchmark, each of which runs in a process of its own: python -m benchmarks.gpu.parts NAME ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gpu.beside import beside
from benchmarks.gpu.disturbance import disturbance
from benchmarks.gpu.engines import DRY, PARITY_SAMPLES, native, open_backend, open_driver, opener, prepared, unavailable
from benchmarks.gpu.green import part_of
from benchmarks.gpu.measures import BOUND, alone, parity, run_until_told, soak, two
from benchmarks.gpu.spread import spread
from edged.bench.gpu import run_loops, shipped
from edged.bundle.bundle import Bundle
from edged.core.errors import EdgedError
from edged.engine.cuda import Cuda

SHORT_S, FEW_SAMPLES = 10.0, 10  # a part that has so little time is being tried itself, and takes fewer


@dataclass(frozen=True, slots=True)
class Given:
    """What a part works with. `seconds`: what it may take in all, opening included."""

    backend: str
    cuda: Cuda | None
    seconds: float
    engines: Path


def _engine(name: str) -> Bundle:
    return next(bundle for bundle in shipped() if bundle.name == name)


def _parity(given: Given) -> dict[str, Any]:
    # In half precision an object near the least score comes or goes: of those, pack's own proof is the judge.
    rows = [
        parity(bundle, given.backend, precision, given.cuda, PARITY_SAMPLES if given.seconds > SHORT_S else FEW_SAMPLES)
        for bundle in shipped()
        for precision in (BOUND if bundle.manifest.task != "instance" else ["fp32"])
    ]
    return {"rows": rows, "ok": all(row["ok"] for row in rows)}


def _alone(given: Given) -> dict[str, Any]:
    found = [*shipped(), native()]
    return {"rows": [alone(one, given.backend, given.cuda, 0.6 * given.seconds / len(found)) for one in found]}


def _loop(given: Given) -> dict[str, Any]:
    loops = run_loops(0.2 * given.seconds, lambda bundle: open_backend(bundle, given.backend, given.cuda))
    return {"rows": [looped.values() for looped in loops], "ok": all(looped.ok for looped in loops)}


def _act(given: Given) -> dict[str, Any]:
    return alone(prepared(given.engines, "act"), given.backend, given.cuda, 0.5 * given.seconds)


def _mask_rcnn(given: Given) -> dict[str, Any]:
    return alone(prepared(given.engines, "mask-rcnn"), given.backend, given.cuda, 0.5 * given.seconds)


def _spread(given: Given) -> dict[str, Any]:
    with open_backend(native(), given.backend, given.cuda) as engine:
        return spread(engine, given.cuda.about.get("pci", "") if given.cuda else None, 0.6 * given.seconds)


def _swap(given: Given, share: float = 1.0) -> dict[str, Any]:
    """`share`: of the GPU, for the engine that is loaded."""
    opened = opener(native(), given.backend)
    with part_of(given.cuda, share) as part, opened(given.cuda) as engine:
        found = disturbance(engine, lambda: opened(part), 0.7 * given.seconds)
    return {**found, "multiprocessors": part.about.get("multiprocessors", "") if part else ""}


def _two(given: Given, share: float = 1.0, **environ: str) -> dict[str, Any]:
    """`share`, `environ`: of the GPU, and variables, for the process beside."""
    busy = [sys.executable, "-m", "benchmarks.gpu.parts", "busy", "--backend", given.backend, "--share", str(share)]
    return two(_engine("reach"), given.backend, given.cuda, busy, 0.6 * given.seconds, environ)


PARTS: dict[str, tuple[float, Callable[[Given], dict[str, Any]]]] = {
    "parity": (1.5, _parity),
    "alone": (1.0, _alone),
    "loop": (1.0, _loop),
    "spread": (0.5, _spread),
    "swap": (0.7, _swap),
    "swap-green": (0.7, partial(_swap, share=0.25)),
    "swap-lazy": (0.7, _swap),
    "two": (0.7, _two),
    "two-mps": (0.7, _two),
    "two-mps-below": (0.7, partial(_two, CUDA_MPS_CLIENT_PRIORITY="1")),
    "two-mps-half": (0.7, partial(_two, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="50")),
    "two-mps-green": (0.7, partial(_two, share=0.5, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="100")),
    "act": (0.7, _act),
    "mask-rcnn": (0.8, _mask_rcnn),
    "torch-act": (1.0, lambda given: beside("act", given.backend == DRY, 0.5 * given.seconds)),
    "torch-mask-rcnn": (1.0, lambda given: beside("mask-rcnn", given.backend == DRY, 0.5 * given.seconds)),
    "soak": (1.2, lambda given: soak(native(), given.backend, given.cuda, 0.8 * given.seconds)),
}
"""Share of the time, and what is done with it. In this order: what matters most comes first. Below 100, a percentage of
MPS is said to overrule green contexts."""

EAGER = {"CUDA_MODULE_LOADING": "EAGER"}
ENVIRON = {"swap": EAGER, "swap-green": EAGER, "swap-lazy": {"CUDA_MODULE_LOADING": "LAZY"}}
"""What a part's process is told: as a daemon with `[swap] during = "live"`, and as one without."""

OF_TORCH = ("torch-act", "torch-mask-rcnn")
OF_MPS = tuple(name for name in PARTS if name.startswith("two-mps"))


def play(name: str, backend: str, seconds: float, engines: Path) -> dict[str, Any]:
    """What the part found, or {"not_run": why}."""
    try:
        if name not in OF_TORCH and (why := unavailable(backend)):
            return {"not_run": why}
        cuda = None if name in OF_TORCH else open_driver(backend)
        return PARTS[name][1](Given(backend, cuda, seconds, engines))
    except (EdgedError, ImportError) as error:
        return {"not_run": str(error)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=[*PARTS, "busy"])
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--share", type=float, default=1.0, help="of the GPU, for busy")
    parser.add_argument("--engines", type=Path, default=Path("engines"))
    parser.add_argument("--result", type=Path)
    given = parser.parse_args()
    if given.part == "busy":
        run_until_told(_engine("plate"), given.backend, open_driver(given.backend), given.share)
        return
    found = msgspec.json.encode(play(given.part, given.backend, given.seconds, given.engines))
    if given.result is None:
        print(found.decode())
    else:
        given.result.write_bytes(found)


if __name__ == "__main__":
    main()
