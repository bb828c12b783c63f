"""The row of `benchmarks.joins` with real processes and an engine that is really slow: python -m benchmarks.joins_live

`edged demo` with `reach-chunk` at each latency: physics, cameras, daemon and controller are processes, the engine
takes so much longer beside its ticks, and plans are joined as the demo has it (blend, with limits). Prints one JSON
object per row. It takes real time, and wants a machine to itself: a late tick is a later plan.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

LATENCIES_MS = (0, 100, 200)


def row(latency_ms: int, targets: int, seed: int) -> dict[str, object]:
    """What `targets` discs came to; raises `SystemExit` with the demo's own words where it does not run."""
    command = [
        sys.executable, "-m", "edged", "demo", "--json", "--policy", "reach-chunk", f"--delay={latency_ms}",
        f"--targets={targets}", f"--seed={seed}", f"--seconds={60 + 6 * targets}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        said = json.loads(done.stdout)
        tried = said["targets"]
    except (ValueError, KeyError):
        raise SystemExit(f"{' '.join(command[1:])}\n{done.stdout}{done.stderr}") from None
    return {
        "join": "blend", "latency_ms": latency_ms, "limits": True, "processes": True, "episodes": tried["total"],
        "reached": tried["reached"], "seconds_each": round(said["seconds"] / max(1, tried["total"]), 2),
        "holds": said["holds"], "stops": said["stops"], "gap_ms": said["gap_ms"], "skipped": said["skipped"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=50)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--latency", type=int, action="append", help="only these, ms")
    options = parser.parse_args()
    for latency_ms in options.latency or LATENCIES_MS:
        print(json.dumps(row(latency_ms, options.targets, options.seed)), flush=True)


if __name__ == "__main__":
    main()
