"""chaos: everything that may go wrong around a daemon, at random and at once, and what it cost.

    python -m benchmarks.chaos [--seconds 900] [--seed N] [--report FILE]

A real daemon with a camera, two sensors, recorders and a store. From a seed, in four lanes at a time: sources are
killed, frozen and talk nonsense, readers come by the hundred, subscribe by the thousand or never read, bad engines are
dropped, engines are swapped, operators hold and resume, children are killed, the daemon itself is stopped and goes on.
Beside it, at the same time, runs a cell without faults: whatever else the machine does, both find it. `judge.py` says
what has to hold.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"
sys.path += [str(ROOT / "tests"), str(ROOT / "tests/support")]
