"""What the rules of `edged demo --line` make of its trays, by the shipped engine and without a daemon, camera or haste.

    python -m benchmarks.trays [--trays 3000] [--seed 2026] [--cracked 1] [--processes 2]

Each tray is rendered, looked at and judged by the config that the demo writes; those judged wrongly are named. It fails
where fewer than 99 in 100 of the bad trays of a kind are rejected, or more than 1 in 100 of the good ones. What the
demo rejects besides has no result by its own picture in time, which depends on the machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from edged.bundle.bundle import Bundle, read_bundle
from edged.config import load_config
from edged.core.types import Instances
from edged.demo.sorting import FOUND, LOST, sort_toml
from edged.demo.trays import SHARES, make_tray
from edged.engine.registry import open_engine
from edged.evaluation.infer import infer
from edged.inspection.inspect import inspect
from edged.inspection.rules import make_judge
from edged.pipeline.decode_instance import above, least_scores

ENGINE = Path(__file__).parent.parent / "engines" / "parts" / "1"
_running: dict[str, Any] = {}  # of a process that judges


def rejected(engine: Path, trays: int, seed: int, cracked: int | None, processes: int) -> dict[str, tuple[int, int]]:
    """Of the first `trays` of `seed`, by kind: how many were rejected, and how many there were. Prints what was judged
    wrongly. `cracked`: parts of a tray that has cracks; None: as the demo draws them."""
    came: Counter[tuple[str, bool]] = Counter()
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=(engine,)) as pool:
        judged = pool.map(partial(_judged, seed, cracked), range(trays), chunksize=8)
        for number, (kind, passed, why) in enumerate(judged):
            came[kind, passed] += 1
            if passed != (kind == "good"):
                print(f"tray {number}: {kind}, {why or 'passed'}", flush=True)
    return {kind: (came[kind, False], came[kind, False] + came[kind, True]) for kind in SHARES}


def held(came: dict[str, tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """What is said of each kind, and whether that holds."""
    for kind, (out, count) in came.items():
        enough = out <= LOST * count if kind == "good" else out >= FOUND * count
        wanted = f"at most {LOST:.0%}" if kind == "good" else f"at least {FOUND:.0%}"
        yield f"{kind:<8} {out} of {count} rejected, {wanted} wanted", enough and count > 0


def _begin(path: Path) -> None:
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        config = Path(folder) / "line.toml"
        config.write_text(sort_toml(Path(folder)), encoding="utf-8")
        _running["config"] = load_config(config)
    bundle: Bundle = read_bundle(path)
    _running.update(bundle=bundle, judge=make_judge(_running["config"]), engine=open_engine(bundle, threads=1))


def _judged(seed: int, cracked: int | None, number: int) -> tuple[str, bool, str]:
    """What is wrong with a tray, whether it passed, and the rules that failed it."""
    kind, image = make_tray(seed, number, cracked)
    bundle: Bundle = _running["bundle"]
    seen, classes = infer(_running["engine"], bundle, image).found, bundle.manifest.classes
    assert isinstance(seen, Instances), "it finds objects"
    found = above(seen, least_scores(_running["config"].inspection.thresholds, classes))
    result = _running["judge"].judge(found, inspect(found, classes), classes, found.truncated)
    return kind, result.status == "PASS", " ".join(result.decided)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", type=Path, default=ENGINE, help="the folder of an engine `parts`")
    parser.add_argument("--trays", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--cracked", type=int, help="parts with cracks in a tray that has some, else 1 to 3")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    ok = True
    for said, holds in held(rejected(args.engine, args.trays, args.seed, args.cracked, args.processes)):
        print(f"{'ok  ' if holds else 'FAIL'} {said}")
        ok = ok and holds
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
