"""What the rules of `edged demo --line` make of its trays, by the shipped engine and without a daemon, camera or haste.

    python benchmarks/trays.py [--trays 2000] [--seed 2026] [--cracked 2]

Each tray is rendered, looked at and judged by the config that the demo writes; those judged wrongly are named.
What the demo rejects besides has no result by its own picture in time, which depends on the machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from edged.bundle.bundle import read_bundle  # noqa: E402
from edged.config import load_config  # noqa: E402
from edged.demo.sorting import sort_toml  # noqa: E402
from edged.demo.trays import CRACKED, make_tray  # noqa: E402
from edged.engine.registry import open_engine  # noqa: E402
from edged.evaluation.infer import infer  # noqa: E402
from edged.inspection.inspect import inspect  # noqa: E402
from edged.inspection.rules import make_judge  # noqa: E402
from edged.pipeline.decode_instance import above, least_scores  # noqa: E402

ENGINE = ROOT / "engines" / "parts" / "1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trays", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--cracked", type=int, default=CRACKED, help="parts of a tray with cracks")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "line.toml"
        path.write_text(sort_toml(Path(folder)), encoding="utf-8")
        config = load_config(path)
    bundle, judge, came = read_bundle(ENGINE), make_judge(config), Counter[tuple[str, str]]()
    classes = bundle.manifest.classes
    least = least_scores(config.inspection.thresholds, classes)
    assert judge is not None, "the demo has rules"
    with open_engine(bundle) as engine:
        for number in range(args.trays):
            kind, image = make_tray(args.seed, number, args.cracked)
            seen = infer(engine, bundle, image).instances
            assert seen is not None, "it finds objects"
            found = above(seen, least)
            result = judge.judge(found, inspect(found, classes), classes, found.truncated)
            came[kind, result.status] += 1
            if (result.status == "PASS") != (kind == "good"):
                print(f"tray {number}: {kind}, {result.status} {' '.join(result.decided)}", flush=True)
    for kind in ("good", "cracked", "short"):
        every = sum(count for (one, _), count in came.items() if one == kind)
        print(f"{kind:<8} {every - came[kind, 'PASS']} of {every} rejected")


if __name__ == "__main__":
    main()
