"""python -m benchmarks.chaos"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from benchmarks.chaos import __doc__ as purpose
from benchmarks.chaos.judge import judge
from benchmarks.chaos.report import place, report
from benchmarks.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=str(purpose).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=900.0, help="how long (default: 900)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--report", type=Path, help="where to (default: benchmarks/results/DATE-chaos.md; an earlier one stays)"
    )
    parser.add_argument("--leak", type=float, default=0.0, help="MB an hour that the daemon shall leak: is it found?")
    parser.add_argument("--log", type=Path, help="keep the daemon's log here")
    parser.add_argument("--held", type=Path, help="keep here what both daemons held, as JSON")
    asked = parser.parse_args()
    wild, calm = run(asked.seconds, asked.seed, asked.leak)
    if asked.log:
        asked.log.write_text(wild.log, encoding="utf-8")
    if asked.held:
        asked.held.write_bytes(msgspec.json.encode({"chaos": wild.watch.used, "control": calm.watch.used}))
    verdicts = judge(wild, calm)
    command = f"python -m benchmarks.chaos --seconds {asked.seconds:g} --seed {asked.seed}"
    command += f" --leak {asked.leak:g}" * bool(asked.leak)
    text = report(command, wild, calm, verdicts)
    path = asked.report or place()
    path.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.ok is False for one in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
