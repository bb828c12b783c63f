"""overlap: results per second with `[execution] overlap`, against the same loop without it, and what a result takes.

The shipped engine `parts` on a pile of parts, one thread, its camera faster than it. Both take turns in short blocks on
one engine of one process, as in the row `perception`, and the median pair counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edged.bench import Row
from edged.bench.cell import scratch
from edged.bench.perception import Results, fed, run_loop
from edged.bundle.samples import split_samples
from edged.bundle.store import Store, shipped_store
from edged.pipeline.pipeline import Pipeline

ENGINE = "parts"
BUDGET = 0.95
CONFIG = """[daemon]
store = '{folder}/engines'
runtime = '{folder}/run'
[loop]
clock = 'camera:line'
[engine]
name = 'parts'
[cameras.line]
uri = '0'
width = 320
height = 320
fps = 240
max_age_ms = 1000
"""


def overlap() -> Row:
    """Ratio of results per second."""
    return compare(pairs=40, block_s=0.5)


def compare(pairs: int, block_s: float) -> Row:
    """With it at least 0.95 of the rate without; what a result takes from capture to bus is printed beside it."""
    bundle = Store(shipped_store()).read(ENGINE)
    image = split_samples(bundle.golden)[0][0]["image"][0].copy()
    blocks: dict[bool, list[Results]] = {False: [], True: []}
    with scratch() as folder, fed(folder, CONFIG.format(folder=folder), bundle, image) as (inputs, make):
        for number in range(2 * pairs):
            way = number % 4 in (0, 3)
            blocks[way].append(run_loop(folder, inputs, _made(make, way), block_s))
    beside = list(zip(blocks[True], blocks[False], strict=True))
    ratio = float(np.median([mine.hz / theirs.hz for mine, theirs in beside]))
    later_ms = float(np.median([mine.p50_ms - theirs.p50_ms for mine, theirs in beside]))
    hz, plain_hz = (np.median([block.hz for block in blocks[way]]) for way in (True, False))
    p50_ms, plain_ms = (np.median([block.p50_ms for block in blocks[way]]) for way in (True, False))
    note = (
        f"{hz:.1f} results a second, {plain_hz:.1f} without; capture to bus p50 {p50_ms:.1f} ms, {plain_ms:.1f} "
        f"without; {later_ms:+.1f} ms in the median of {pairs} pairs"
    )
    return Row("overlap", round(ratio, 3), "x", BUDGET, ok=ratio >= BUDGET, note=note)


def _made(make: Callable[[], Pipeline], overlap: bool) -> Pipeline:
    pipeline = make()
    return replace(pipeline, schedule=replace(pipeline.schedule, inline=False, overlap=overlap))
