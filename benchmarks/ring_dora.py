"""What benchmarks/ring.py measures, through dora-rs: a 640x480 frame to another process and an answer back.

dora-rs and dora-rs-cli from PyPI, in an environment of their own; `measure` is called with its `bin` folder. This file
is also the two nodes of the dataflow: `camera ROUNDS` sends a frame and waits for the answer, `answer` gives 16 bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPE = (480, 640, 3)
WARM = 20
GAP_S = 0.003

DATAFLOW = """\
nodes:
  - id: camera
    path: {python}
    args: {file} camera {rounds}
    inputs: {{back: answer/back}}
    outputs: [image, ping]
  - id: answer
    path: {python}
    args: {file} answer
    inputs: {{image: camera/image, ping: camera/ping}}
    outputs: [back]
"""


def measure(bin_folder: Path, rounds: int) -> dict[str, list[float]]:
    """Times of rounds in us: `image` and `ping`, a single byte in place of the frame; they alternate."""
    with tempfile.TemporaryDirectory() as folder:
        flow = Path(folder, "flow.yml")
        words = {"python": bin_folder / "python", "file": Path(__file__).resolve(), "rounds": rounds}
        flow.write_text(DATAFLOW.format(**words), encoding="utf-8")
        environ = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "TIMES": f"{folder}/times.json"}
        command = [str(bin_folder / "dora"), "run", str(flow)]
        done = subprocess.run(
            command, env=environ, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        times = Path(folder, "times.json")
        if not times.exists():
            raise SystemExit(f"dora: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        found: dict[str, list[float]] = json.loads(times.read_text(encoding="utf-8"))
        return found


def camera(rounds: int) -> None:
    import numpy as np
    import pyarrow as pa
    from dora import Node

    node = Node()
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8).ravel()
    time.sleep(1.0)
    times: dict[str, list[float]] = {"image": [], "ping": []}
    for number in range(2 * (rounds + WARM)):
        what = ("image", "ping")[number % 2]
        time.sleep(GAP_S)
        began = time.monotonic_ns()
        node.send_output(what, pa.array(image if what == "image" else image[:1]))
        while (event := node.next()) is not None and event["type"] != "INPUT":
            pass
        times[what].append((time.monotonic_ns() - began) / 1000)
    Path(os.environ["TIMES"]).write_text(json.dumps({name: took[WARM:] for name, took in times.items()}))


def answer() -> None:
    import numpy as np
    import pyarrow as pa
    from dora import Node

    node, back = Node(), pa.array(np.zeros(16, np.uint8))
    for event in node:
        if event["type"] == "INPUT":
            seen = event["value"].to_numpy()
            assert seen.size in (1, 640 * 480 * 3)
            node.send_output("back", back)


if __name__ == "__main__":
    camera(int(sys.argv[2])) if sys.argv[1] == "camera" else answer()
