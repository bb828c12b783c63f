"""bus_ratio: a frame over ZeroMQ to an action at a subscriber, against the least that could do the same.

The other side is a bare pyzmq process: SUB, the same ONNX Runtime session on the received bytes, PUB. No config, no
alignment, no guard, no verdicts. Rounds alternate, and the ratio is taken round by round.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zmq

from edged.bench import ENGINES, Row, quantiles
from edged.bench.cell import camera_toml, child, must_live, scratch, write_config
from edged.client import FrameSender
from edged.core.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError
from edged.runtime.realtime import keep_freed_memory
from edged.wire import Kind, decode
from edged.wire.sockets import READER, Context, bind, connect, open_context

ROUNDS = 80
FRAMES = 8  # in a round of one side
WARM_UP = 5
GAP_S = 0.0005
FPS = 40.0

BARE = """
import sys, numpy as np, onnxruntime, zmq
model, frames, actions = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
context = zmq.Context()
source, sink = context.socket(zmq.SUB), context.socket(zmq.PUB)
source.setsockopt(zmq.SUBSCRIBE, b"")
source.connect(frames)
sink.bind(actions)
while True:
    image = np.frombuffer(source.recv(), np.uint8).reshape(1, 480, 640, 3)
    sink.send(session.run(None, {"image": image})[0].tobytes())
"""


def bus_ratio() -> Row:
    """Median over rounds of edged / bare."""
    keep_freed_memory()  # page faults of the sender are not what is measured
    with scratch() as folder:
        uri = f"zmq+ipc://{folder}/frames#frames"
        path = write_config(folder, "bench-native", camera_toml(uri, FPS), "camera:camera")
        model = ENGINES / "bench-native" / "1" / "model.onnx"
        bare = ("-c", BARE, str(model), f"ipc://{folder}/bare-frames", f"ipc://{folder}/bare-actions")
        with child("-m", "edged", "run", str(path)) as daemon, child(*bare) as other, open_context() as context:
            rounds = _Rounds(context, folder)
            try:
                ours, theirs = _alternate(rounds, [daemon, other])
            finally:
                rounds.close()
    ratio = float(np.median(np.array(ours) / np.array(theirs)))
    apart = float(np.median(np.array(ours) - np.array(theirs)))
    note = f"edged {np.median(ours):.0f} us, bare {np.median(theirs):.0f}, {apart:.0f} apart"
    figures = quantiles(np.array(ours) / np.array(theirs))
    return Row("bus_ratio", round(ratio, 3), "x", 1.2, **figures, ok=ratio <= 1.2, note=note)


def _alternate(rounds: _Rounds, processes: list[subprocess.Popen[bytes]]) -> tuple[list[float], list[float]]:
    """Microseconds of each round of both sides."""
    deadline = monotonic_ns() + 30 * NS_PER_S
    while rounds.ours(0.1) is None or rounds.theirs(0.1) is None:
        for process in processes:
            must_live(process, "a process")
        if monotonic_ns() > deadline:
            raise EdgedError("no action within 30 s", "run 'edged run FILE' by hand and see why")
        time.sleep(GAP_S)
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS + WARM_UP):
        first, second = _round(rounds.ours), _round(rounds.theirs)
        if number >= WARM_UP and first is not None and second is not None:
            ours.append(first)
            theirs.append(second)
    if len(ours) < ROUNDS // 2:
        raise EdgedError(f"only {len(ours)} of {ROUNDS} rounds were answered", "is the machine overloaded?")
    return ours, theirs


def _round(ask: Callable[[float], float | None]) -> float | None:
    """The median of some frames in a row: a daemon serves one cell, its caches are not another program's in between."""
    answers = []
    for _ in range(FRAMES):
        answers.append(ask(1.0))
        time.sleep(GAP_S)
    answered = [answer for answer in answers if answer is not None]
    return float(np.median(answered)) if answered else None


class _Rounds:
    """Sends a frame to one side and waits for its action."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._image = np.random.default_rng(3).integers(0, 256, (480, 640, 3), np.uint8)
        self._raw = self._image.tobytes()
        options = {**READER, zmq.SUBSCRIBE: b""}
        self._frames = FrameSender(f"ipc://{folder}/frames", "frames", "camera", context=context)
        self._bare_frames = bind(context, zmq.PUB, f"ipc://{folder}/bare-frames", "remove what lies there")
        self._actions = connect(context, zmq.SUB, f"ipc://{folder}/run/action", options)
        self._bare_actions = connect(context, zmq.SUB, f"ipc://{folder}/bare-actions", options)

    def ours(self, patience_s: float) -> float | None:
        """Microseconds until the action made from this very frame was here."""
        captured_ns = monotonic_ns()
        data = self._frames.message(self._image, captured_ns)
        began = monotonic_ns()
        self._frames.send_bytes(data)
        until_ns = began + round(patience_s * NS_PER_S)  # Holds keep coming, so silence is not what ends a round
        while (left_ns := until_ns - monotonic_ns()) > 0 and self._actions.poll(left_ns // NS_PER_MS):
            received = self._actions.recv()
            arrived = monotonic_ns()
            message = decode(received)
            if message.kind is Kind.ACTION and message.captured_ns == captured_ns:
                return (arrived - began) / 1000
        return None

    def theirs(self, patience_s: float) -> float | None:
        while self._bare_actions.poll(0):
            self._bare_actions.recv()
        began = monotonic_ns()
        self._bare_frames.send(self._raw)
        if not self._bare_actions.poll(round(patience_s * 1000)):
            return None
        self._bare_actions.recv()
        return (monotonic_ns() - began) / 1000

    def close(self) -> None:
        for socket in (self._frames, self._actions, self._bare_frames, self._bare_actions):
            socket.close()
