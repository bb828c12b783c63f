"""Messages of one daemon for a recorder on a clock of the test's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.core.types import Reason
from edged.services.record.recorder import RecordConfig, Recorder
from edged.services.record.ring import Heard
from edged.wire import Flag, Kind, Message, Preamble, decode, encode

S = 1_000_000_000
WALL = 1_700_000_000 * S


class Bus:
    """Messages of one daemon, numbered by stream."""

    def __init__(self) -> None:
        self.now_ns = 100 * S
        self._seq: dict[str, int] = {}

    def message(self, stream: str, kind: Kind, number: int = 0, lost: int = 0, image: NDArray[np.uint8] | None = None,
                **header: object) -> Heard:  # fmt: skip
        seq = self._seq[stream] = self._seq.get(stream, 0) + 1 + lost
        stops = Flag.STOP if number >= 16 else Flag(0)
        made = Preamble(kind, number, stops, 7, seq, self.now_ns, self.now_ns, 0, bytes(8), bytes(8))
        arrays = ()
        if kind is Kind.ACTION:
            header |= {"t0_ns": self.now_ns, "step_ns": 1, "names": ["j1"]}
            arrays = (("action", np.ones((1, 1), np.float32)),)
        if kind is Kind.FRAME:
            arrays = (("image", np.full((48, 64, 3), seq % 256, np.uint8) if image is None else image),)
        message: Message = decode(encode(f"pick/{stream}", made, header, arrays))  # type: ignore[arg-type]
        return Heard(stream, message, self.now_ns)


def made(folder: Path, **config: object) -> Recorder:
    given = {"before_s": 4, "after_s": 2, **config}
    return Recorder("pick", RecordConfig(**given), folder, lambda at_ns: WALL + at_ns)  # type: ignore[arg-type]


def go(recorder: Recorder, bus: Bus, seconds: float, action: bool = True) -> None:
    """So many seconds of actions at 10 Hz and pictures at 10 Hz, each second one inferred on."""
    for _ in range(round(seconds * 10)):
        bus.now_ns += S // 10
        if action:
            recorder.hear(bus.message("action", Kind.ACTION))
        frame = bus.message("frames-tool", Kind.FRAME, camera="tool", frame=bus._seq.get("frames-tool", 0) + 1)
        recorder.hear(frame)
        number = frame.message.seq
        if number % 2:
            told = {"frames": {"tool": number}}
            recorder.hear(bus.message("trace", Kind.TRACE, trace="tick", tick=number, inference=told, looks=[]))
        recorder.tend(bus.now_ns)


def hold(bus: Bus) -> Heard:
    return bus.message("action", Kind.HOLD, int(Reason.OPERATOR), reason="OPERATOR", detail="held by ann")
