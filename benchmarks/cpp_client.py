"""What the C++ client costs on this machine: its player at 1 kHz, and one way of an action against bare libzmq.

    python benchmarks/cpp_client.py [--rounds 2000] [--seconds 5]

One way: this process stamps, encodes and sends an action of 256 bytes; the other has it decoded, checked and judged by
an `edged::Stream`. Encoding is also given alone: after a sleep it takes Python many times what it takes in a row.
Bare: the same number of bytes with a stamp in front, through a PUB and a SUB socket of the same two processes. They
alternate, each 2 ms after the last one was heard. Needs a C++ compiler and libzmq's headers.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import zmq

from edged.core.clock import boot_id
from edged.demo.cpp import sources
from edged.wire import Flag, Kind, Preamble, encode

SIZE = 256
GAP_S = 0.002
WARM = 100  # rounds that do not count
AXES = [f"j{number}" for number in range(1, 7)]


def build(folder: str) -> Path:
    program = Path(folder, "cpp_client")
    source = Path(__file__).with_suffix(".cpp")
    options = ["-std=c++17", "-O2", f"-I{sources()}/include", str(source), "-o", str(program), "-lzmq"]
    subprocess.run(["c++", *options], check=True)
    return program


def action(seq: int, session: int, boot: bytes) -> bytes:
    now_ns = time.monotonic_ns()
    preamble = Preamble(Kind.ACTION, 0, Flag(0), session, seq, now_ns, now_ns, 10**9, boot, bytes(8))
    header = {"motion": 1, "names": AXES, "t0_ns": now_ns, "step_ns": 10**7}
    return encode("cell/action", preamble, header, [("action", np.zeros((1, len(AXES)), np.float32))])


def one_way(program: Path, folder: str, rounds: int) -> dict[str, np.ndarray]:
    places = [f"ipc://{folder}/actions", f"ipc://{folder}/bare"]
    with zmq.Context() as context:
        context.linger = 0
        actions, bare = context.socket(zmq.XPUB), context.socket(zmq.XPUB)
        for socket, place in zip((actions, bare), places, strict=True):
            socket.bind(place)
        command = [program, "one-way", *places, str(rounds + WARM)]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for socket in (actions, bare):
            if not socket.poll(10_000):
                raise SystemExit("the reader did not connect")
            socket.recv()
        session, boot, padding = time.monotonic_ns(), boot_id(), bytes(SIZE - 8)
        assert reader.stdout is not None
        encoded: list[int] = []
        for seq in range(1, rounds + WARM + 1):
            time.sleep(GAP_S)
            bare.send(time.monotonic_ns().to_bytes(8, "little") + padding)
            reader.stdout.readline()
            time.sleep(GAP_S)
            message = action(seq, session, boot)
            encoded.append(time.monotonic_ns() - int.from_bytes(message[56:64], "little"))
            actions.send(message)
            reader.stdout.readline()
        lines, _ = reader.communicate(timeout=60)
    if reader.returncode:
        raise SystemExit(f"the reader ended with {reader.returncode}")
    found = (line.split() for line in lines.splitlines())
    times = {name: np.array(times, np.float64)[WARM:] / 1e3 for name, *times in found}
    return {**times, "encoding, in Python": np.array(encoded, np.float64)[WARM:] / 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the player")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder)
        subprocess.run([program, "player", str(given.seconds)], check=True)
        found = one_way(program, folder, given.rounds)
    print(f"an action of {len(action(1, 1, bytes(8)))} bytes, us:")
    for name, times in found.items():
        print(f"{name:28} p50 {np.median(times):.1f} p99 {np.percentile(times, 99):.1f} us of {len(times)}")
    bare = np.median(found["bare"])
    sent = np.median(found["stream"] - found["encoding, in Python"]) / bare
    stamped = np.median(found["stream"]) / bare
    print(f"one way / bare: {sent:.2f} from sending on (budget 1.3), {stamped:.2f} from the stamp on")


if __name__ == "__main__":
    main()
