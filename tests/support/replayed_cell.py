"""A whole recording as the sources of a cell, on any clock: with a `ManualClock` a replay is exact."""

from __future__ import annotations

from collections.abc import Mapping

from edged.core.clock import NS_PER_S, ManualClock, Now, monotonic_ns, sleep_until
from edged.source.recording import Recording, Track
from edged.source.replay import Cursor, ReplayCamera, ReplaySensor


class Replay:
    """All cameras and sensors of one recording, its first capture placed at `origin_ns` (now, if not given).

    `loop` begins again after the longest stream, stamps going on. `history_ns` is for all sensors.
    """

    def __init__(
        self,
        recording: Recording,
        now: Now = monotonic_ns,
        origin_ns: int | None = None,
        loop: bool = False,
        history_ns: int = NS_PER_S,
    ) -> None:
        sleep = now.sleep_until if isinstance(now, ManualClock) else sleep_until
        origin_ns = now() if origin_ns is None else origin_ns
        turn_ns = recording.span_ns if loop else None

        def cursor(track: Track) -> Cursor:
            return Cursor(track, recording.start_ns, origin_ns, turn_ns)

        self.cameras: Mapping[str, ReplayCamera] = {
            name: ReplayCamera(name, cursor(track), now, sleep) for name, track in recording.cameras.items()
        }
        self.sensors: Mapping[str, ReplaySensor] = {
            name: ReplaySensor(name, cursor(track), history_ns) for name, track in recording.sensors.items()
        }
