"""A 640x480 frame to another process and an answer back: shared memory against ZeroMQ ipc, in one run.

    python benchmarks/ring.py [--rounds 400] [--dora BIN]

The other process answers with 16 bytes over ZeroMQ ipc each time it has the whole frame in an array that nobody changes
any more, or (the second line) has made an engine's input of 224x224 of it, as a daemon does. What is
compared is the time of a round less that of one with a single byte in place of the frame; rounds of all kinds
alternate, and the medians of each block of 40 give the spread. `--dora`: the `bin` folder of an environment with
dora-rs and dora-rs-cli, which is then measured right after it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zmq

from benchmarks.ring_dora import measure
from edged.bundle.roles import ImageInput
from edged.client import FrameSender
from edged.pipeline.image_writer import ImageWriter
from edged.wire import decode
from edged.wire.shm import RingReader
from edged.wire.shm_writer import RingWriter

SHAPE = (480, 640, 3)
BYTE, BUS, RING, BUS_SEEN, RING_SEEN = KINDS = b"p", b"z", b"r", b"Z", b"R"


def answer(folder: str, name: str) -> None:
    """The other process: one answer to each frame, however it came."""
    context = zmq.Context()
    ping, frames, back = context.socket(zmq.SUB), context.socket(zmq.SUB), context.socket(zmq.PUB)
    for socket, place in ((ping, "ping"), (frames, "frames")):
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(f"ipc://{folder}/{place}")
    back.connect(f"ipc://{folder}/back")
    ring = RingReader(name)
    role = ImageInput(source="camera", size=(224, 224), resize="stretch", interpolation="linear", pad=0)
    writer = ImageWriter("image", role, np.empty((224, 224, 3), np.uint8))
    while True:
        how = ping.recv()[:1]  # says how the next frame comes, except `p`, which is itself the ping
        if how in (BUS, BUS_SEEN):
            image = decode(frames.recv(copy=False).buffer).arrays["image"]
        elif how in (RING, RING_SEEN):
            while (frame := ring.read()) is None:
                ring.wait(1_000_000_000)
            image = frame.image
        if how != BYTE:
            assert image.shape == SHAPE
        if how in (BUS_SEEN, RING_SEEN):
            assert writer.write(image) is None
        back.send(bytes(16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--dora", type=Path, help="bin folder of an environment with dora-rs and dora-rs-cli")
    asked = parser.parse_args()
    rounds = asked.rounds
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    name = f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context, RingWriter(name, 480, 640) as ring:
        context.linger = 0
        frames = FrameSender(f"ipc://{folder}/frames", "frames", context=context)
        ping, back = context.socket(zmq.PUB), context.socket(zmq.SUB)
        back.setsockopt(zmq.SUBSCRIBE, b"")
        ping.bind(f"ipc://{folder}/ping")
        back.bind(f"ipc://{folder}/back")
        other = subprocess.Popen([sys.executable, __file__, "answer", folder, name])
        frames.wait_readers(1, 10_000)
        while not back.poll(50):
            ping.send(b"p")
        while back.poll(200):
            back.recv()
        times: dict[bytes, list[float]] = {how: [] for how in KINDS}
        try:
            for number in range(len(KINDS) * rounds):
                how = KINDS[number % len(KINDS)]
                time.sleep(0.003)
                began = time.monotonic_ns()
                ping.send(how)
                if how in (BUS, BUS_SEEN):
                    frames.send(image)
                elif how in (RING, RING_SEEN):
                    ring.write(image, began)
                assert back.poll(5000), how
                back.recv()
                times[how].append((time.monotonic_ns() - began) / 1000)
        finally:
            other.kill()
            other.wait()
            frames.close()
            ping.close()
            back.close()
    blocks = {how: [float(np.median(part)) for part in np.array_split(us, max(1, rounds // 40))]
              for how, us in times.items()}  # fmt: skip
    one = np.array(blocks[BYTE])
    for what, over_bus, shared in (("has the frame", BUS, RING), ("has seen it", BUS_SEEN, RING_SEEN)):
        bus, ring_took = np.array(blocks[over_bus]), np.array(blocks[shared])
        ratios = (ring_took - one) / (bus - one)
        print(
            f"{what}: one byte {np.median(one):.0f} us, frame over ipc {np.median(bus):.0f} us, through the ring "
            f"{np.median(ring_took):.0f} us; (ring - byte) / (ipc - byte): "
            f"median {np.median(ratios):.2f}, blocks {ratios.min():.2f} to {ratios.max():.2f}"
        )
    if asked.dora is not None:
        dora = {name: float(np.median(took)) for name, took in measure(asked.dora.absolute(), rounds).items()}
        print(
            f"dora-rs: one byte {dora['ping']:.0f} us, frame {dora['image']:.0f} us; "
            f"(frame - byte) / (ipc - byte): {(dora['image'] - dora['ping']) / float(np.median(blocks[BUS] - one)):.2f}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["answer"]:
        answer(*sys.argv[2:])
    main()
