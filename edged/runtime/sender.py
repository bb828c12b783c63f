"""Who sends: what all messages of a process have in common."""

from __future__ import annotations

from dataclasses import dataclass

from edged.wire import Flag, Kind, Preamble

NO_ENGINE = bytes(8)
NO_FLAGS = Flag(0)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the same in every message of one process. `session`: CLOCK_MONOTONIC ns at process start."""

    daemon: str
    session: int
    boot: bytes

    def preamble(
        self,
        kind: Kind,
        seq: int,
        captured_ns: int,
        published_ns: int,
        valid_for_ns: int,
        *,
        reason: int = 0,
        flags: Flag = NO_FLAGS,
        engine: bytes = NO_ENGINE,
    ) -> Preamble:
        return Preamble(
            kind, reason, flags, self.session, seq, captured_ns, published_ns, valid_for_ns, self.boot, engine
        )
