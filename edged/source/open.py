"""Sources by config: the real ones, or a recording's where the address is `replay:<file.npz>#<name>`.

The name may be left out if it is the same in the recording. All replayed sources of a process share one origin of
time and begin again at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from edged.config import CameraConfig, SensorConfig, camera_kind
from edged.core.clock import NS_PER_S, monotonic_ns, ms, ns, sleep_until
from edged.core.pixels import dtype_of, shape_of
from edged.core.redact import shown
from edged.core.types import Sample
from edged.source.bus import BusCamera
from edged.source.camera import CameraThread
from edged.source.grabber import SourceError
from edged.source.mailbox import Mailbox, Tap
from edged.source.replay import Cursor, ReplayCamera, ReplaySensor, shared_recording
from edged.source.sensor import Sensor
from edged.wire.sockets import Context

REPLAY = "replay:"
MOST_RATE = 20_000  # frames or samples a second; what is denser could not be replayed in time


class Camera(Protocol):
    """Where frames come from."""

    @property
    def mailbox(self) -> Mailbox: ...

    def start(self) -> None: ...

    def close(self) -> None: ...

    def stats(self) -> dict[str, Any]: ...


class Samples(Protocol):
    """Where a sensor's samples come from."""

    def drain(self, now_ns: int) -> int: ...

    def at_or_before(self, stamp_ns: int) -> Sample | None: ...

    def newest(self) -> Sample | None: ...

    def since(self, seq: int) -> list[Sample]:
        """What came after the sample with that number, the oldest first, as far as it is kept."""
        ...

    def trouble(self) -> str: ...

    def stats(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


def open_camera(
    name: str,
    config: CameraConfig,
    context: Context | None = None,
    shared: bool = False,
    tap: Tap | None = None,
) -> Camera:
    """The camera `config.uri` names, not yet started; a real one may come later. `shared`: its mailbox has readers
    on other threads than the loop's, or the loop does not wait for it; `tap`: who is shown every frame.

    Raises `SourceError` for a recording that is not there or has other geometry.
    """
    if not config.uri.startswith(REPLAY):
        if camera_kind(config.uri) in ("bus", "shm") and not shared and tap is None:
            return BusCamera(name, config, monotonic_ns, context)
        return CameraThread(name, config, context=context, tap=tap)
    cursor, shape, dtype = _replayed("cameras", name, config.uri)
    if shape != shape_of(config.format, config.height, config.width) or dtype != dtype_of(config.format):
        fact = f"{shown(config.uri)} holds frames of {shape[1]}x{shape[0]}, {dtype}{' BGR' * (len(shape) == 3)}"
        says = f"cameras.{name} says {config.width}x{config.height} {config.format}"
        raise SourceError(f"{fact}, {says}", "set width, height and format")
    return ReplayCamera(name, cursor, monotonic_ns, sleep_until)


def open_sensor(
    name: str, config: SensorConfig, context: Context, tap: Callable[[Sample], None] | None = None
) -> Samples:
    """The sensor at `config.endpoint`; a real one may come later. `tap`: who is shown every sample.

    Raises `SourceError` for a recording that is not there or has another number of values.
    """
    if not config.endpoint.startswith(REPLAY):
        return Sensor(name, config, context, tap=tap)
    return replay_sensor(name, config)


def replay_sensor(name: str, config: SensorConfig) -> ReplaySensor:
    """The sensor at `replay:<file.npz>`. Raises `SourceError` as `open_sensor` does."""
    cursor, shape, _ = _replayed("sensors", name, config.endpoint)
    if shape != (len(config.names),):
        fact = f"{shown(config.endpoint)} holds {shape[0]} values a sample"
        raise SourceError(f"{fact}, sensors.{name} names {len(config.names)}", "correct names")
    return ReplaySensor(name, cursor, ns(config.history_ms))


def _replayed(
    kind: Literal["cameras", "sensors"], name: str, address: str
) -> tuple[Cursor, tuple[int, ...], np.dtype[Any]]:
    """Where to read one stream of a recording, and shape and type of one value."""
    path, _, given = address.removeprefix(REPLAY).partition("#")
    recording, origin_ns = shared_recording(Path(path))
    tracks = recording.cameras if kind == "cameras" else recording.sensors
    if (track := tracks.get(given or name)) is None:
        raise SourceError(f"{path} holds no {kind}/{given or name}", f"name one of {', '.join(tracks) or 'none'}")
    if (count := len(track.captured_ns)) * NS_PER_S > MOST_RATE * recording.span_ns:
        fact = f"{path} holds {count} of {kind}/{given or name}, and begins again after {ms(recording.span_ns):g} ms"
        raise SourceError(fact, f"stamp two moments at least, in nanoseconds, and at most {MOST_RATE:,} a second")
    cursor = Cursor(track, recording.start_ns, origin_ns, recording.span_ns)
    return cursor, track.values.shape[1:], track.values.dtype
