"""observe: the newest input that belongs together, or a Hold that names the stream that does not and by how much.

The reference time is the capture of the clock camera's newest frame; with the timer clock that of the oldest among
the newest frames; without cameras it is now. Every sensor gives its newest sample *at or before* the reference, so
that an observation never mixes an old image with a state from its future.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from msgspec.structs import force_setattr

from edged.bundle.cell_check import looks_back_ms
from edged.bundle.manifest import Manifest
from edged.config import CameraConfig, Config, SensorConfig
from edged.core.clock import ms, ns
from edged.core.types import NEVER_NS, Frame, Hold, Observation, Reason, Sample

FLOAT32_MAX = 3.4028234663852886e38
"""What an engine's input can hold; a larger value would reach it as infinity."""


class Ring(Protocol):
    """What observe asks of a sensor's history."""

    def at_or_before(self, stamp_ns: int) -> Sample | None: ...

    def newest(self) -> Sample | None: ...

    def trouble(self) -> str: ...


class Camera(Protocol):
    """What observe asks of a camera that has no usable frame: its `state`."""

    def stats(self) -> Mapping[str, Any]: ...


UNREMARKABLE = ("streaming", "starting", "opening", "waiting for the first frame")
NO_CAMERAS: Mapping[str, Camera] = {}


class Stream(msgspec.Struct, frozen=True):
    """A stream that has to be there, how old and how far from the reference time it may be, and how far back from that
    an engine looks."""

    name: str
    max_age_ns: int
    max_skew_ns: int
    names: tuple[str, ...] = ()  # of a sensor's values, in order
    back_ns: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """What one engine in one cell has to see: made once by `wanted()`. `looks_back`: at earlier moments of a stream."""

    cameras: tuple[Stream, ...]  # the clock camera first
    sensors: tuple[Stream, ...]
    clock: str | None  # the clock camera
    gap_ns: int = NEVER_NS  # longer between two observations is a break
    looks_back: bool = False

    def __post_init__(self) -> None:
        force_setattr(self, "looks_back", any(stream.back_ns for stream in (*self.cameras, *self.sensors)))


def wanted(config: Config, manifest: Manifest) -> Wanted:
    """The streams the manifest consumes, plus the clock camera; all are in the config (cell_check.py saw to it).

    Sensors that only the guard or the enable input reads are not among them: theirs are `Hold(ANCHOR)` and
    `Hold(DISABLED)`.
    """
    clock = config.clock_camera
    cameras = dict.fromkeys([clock] if clock is not None else [])
    several = config.execution.cameras
    cameras |= dict.fromkeys(several or [role.source for role in manifest.images.values()])
    sensors = dict.fromkeys(part.sensor for role in manifest.states.values() for part in role.parts)
    back = {name: ns(back_ms) for name, back_ms in looks_back_ms(manifest).items()}

    def stream(kind: str, name: str, one: CameraConfig | SensorConfig, names: tuple[str, ...] = ()) -> Stream:
        return Stream(name, ns(one.max_age_ms), ns(one.max_skew_ms), names, back.get(f"{kind}:{name}", 0))

    return Wanted(
        tuple(stream("camera", name, config.cameras[name]) for name in cameras),
        tuple(stream("sensor", name, config.sensors[name], config.sensors[name].names) for name in sensors),
        clock,
    )


def observe(
    want: Wanted,
    frames: Mapping[str, Frame | None],
    rings: Mapping[str, Ring],
    now_ns: int,
    timed_out: bool = False,
    cameras: Mapping[str, Camera] = NO_CAMERAS,
) -> Observation | Hold:
    """Align `frames` (newest per camera) and `rings` to the reference time; never raises for what a stream does.

    Hold(STARTING) until each stream was received once, naming those still missing; then STALE (too old, a clock camera
    that `timed_out`, or a picture that is frozen, black or saturated), SKEW, or NON_FINITE (also for what float32
    cannot hold), naming stream and amount. NON_FINITE stops, so none of the others hides it where it is what a sensor
    says now. A frame seen in an earlier tick is good while its age is. `captured_ns` is the oldest part's. `cameras`
    are asked for the cause only when one has no usable frame.
    """
    found = _aligned(want, frames, rings, now_ns, timed_out, cameras)
    return found if isinstance(found, Observation) or found.stop else _spoiled(want, rings, now_ns) or found


def _aligned(
    want: Wanted,
    frames: Mapping[str, Frame | None],
    rings: Mapping[str, Ring],
    now_ns: int,
    timed_out: bool,
    cameras: Mapping[str, Camera],
) -> Observation | Hold:
    """What belongs together, or the first thing that is wrong."""
    seen: dict[str, Frame] = {}
    stamps: list[int] = []
    reference: Frame | Sample | None = None
    for stream in want.cameras:
        frame = frames.get(stream.name)
        if frame is None:
            return _starting(want, frames, rings, cameras)
        seen[stream.name] = frame
        stamps.append(frame.captured_ns)
        if reference is None or frame.captured_ns < reference.captured_ns:
            reference = frame
    if want.clock is not None:
        reference = seen[want.clock]
    reference_ns = now_ns if reference is None else reference.captured_ns

    samples: dict[str, Sample] = {}
    newest: Sample | None = None
    for stream in want.sensors:
        sample = rings[stream.name].at_or_before(reference_ns)
        if sample is None:
            return _unmatched(want, frames, rings, stream, reference_ns, cameras)
        samples[stream.name] = sample
        if newest is None or sample.captured_ns > newest.captured_ns:
            newest = sample
        stamps.append(sample.captured_ns)
    if reference is None:  # nothing but sensors: they only have to agree with each other
        reference = newest

    if timed_out and want.clock is not None:
        age_ns = now_ns - reference_ns
        detail = f"{want.clock}: no frame, the last one {_text(age_ns)} ago{_camera_trouble(want.clock, cameras)}"
        return Hold(Reason.STALE, detail, reference_ns)
    trouble = _trouble(want, seen, samples, reference, now_ns, rings, cameras)
    if trouble is not None:
        return trouble
    if reference is None:  # an engine of constants
        return Observation(seen, samples, now_ns, now_ns)
    return Observation(seen, samples, min(stamps), reference.captured_ns)


def _trouble(
    want: Wanted,
    frames: Mapping[str, Frame],
    samples: Mapping[str, Sample],
    reference: Frame | Sample | None,
    now_ns: int,
    rings: Mapping[str, Ring],
    cameras: Mapping[str, Camera],
) -> Hold | None:
    """The Hold for the first part that is too old, then too far off, then not a number. Age goes first: what is frozen
    also drags the others away from the reference, and the Hold should name the cause."""
    for stream in want.cameras:
        stamp_ns = frames[stream.name].captured_ns
        if now_ns - stamp_ns > stream.max_age_ns:
            return _stale(stream, stamp_ns, now_ns, _camera_trouble(stream.name, cameras))
        if flaw := frames[stream.name].flaw:
            return Hold(Reason.STALE, f"{stream.name} {flaw}", stamp_ns)
        if stamp_ns - now_ns > stream.max_skew_ns:
            return Hold(Reason.SKEW, f"{stream.name} is stamped {_text(stamp_ns - now_ns)} ahead of now", stamp_ns)
    for stream in want.sensors:
        stamp_ns = samples[stream.name].captured_ns
        if now_ns - stamp_ns > stream.max_age_ns:
            newest = rings[stream.name].newest()
            if newest is not None and now_ns - newest.captured_ns <= stream.max_age_ns and isinstance(reference, Frame):
                return _stale(stream, stamp_ns, now_ns, f" beside a frame of {reference.camera} as old")
            trouble = rings[stream.name].trouble()
            return _stale(stream, stamp_ns, now_ns, f" ({trouble})" if trouble else "")
    if reference is None:
        return None
    reference_ns = reference.captured_ns
    parts: Mapping[str, Frame | Sample]
    several = len(frames) + len(samples) > 1  # else it is the reference itself
    for streams, parts in ((want.cameras, frames), (want.sensors, samples)) if several else ():
        for stream in streams:
            apart_ns = abs(parts[stream.name].captured_ns - reference_ns)
            if apart_ns > stream.max_skew_ns:
                other = reference.camera if isinstance(reference, Frame) else reference.sensor
                detail = f"{stream.name} {_text(apart_ns)} from {other} > {_text(stream.max_skew_ns)}"
                return Hold(Reason.SKEW, detail, min(parts[stream.name].captured_ns, reference_ns))
    for stream in want.sensors:
        if not _is_finite(sample := samples[stream.name]):
            return Hold(Reason.NON_FINITE, _not_finite(stream, sample), sample.captured_ns)
    return None


def _spoiled(want: Wanted, rings: Mapping[str, Ring], now_ns: int) -> Hold | None:
    """The Hold for the first sensor that says no number now."""
    for stream in want.sensors:
        newest = rings[stream.name].newest()
        if newest is not None and now_ns - newest.captured_ns <= stream.max_age_ns and not _is_finite(newest):
            return Hold(Reason.NON_FINITE, _not_finite(stream, newest), newest.captured_ns)
    return None


def _is_finite(sample: Sample) -> bool:
    """Also as float32."""
    # hypot neither overflows nor warns, and is below the bound for neither nan nor infinity
    return math.hypot(*sample.values.tolist()) < FLOAT32_MAX


def _stale(stream: Stream, stamp_ns: int, now_ns: int, why: str = "") -> Hold:
    detail = f"{stream.name} {_text(now_ns - stamp_ns)} > {_text(stream.max_age_ns)}{why}"
    return Hold(Reason.STALE, detail, stamp_ns)


def _camera_trouble(name: str, cameras: Mapping[str, Camera]) -> str:
    """What a camera reports as wrong with it, in brackets; nothing when it reports nothing."""
    state = cameras[name].stats()["state"] if name in cameras else "streaming"
    return "" if state in UNREMARKABLE else f" ({state})"


def _starting(
    want: Wanted, frames: Mapping[str, Frame | None], rings: Mapping[str, Ring], cameras: Mapping[str, Camera]
) -> Hold:
    """The Hold that names every stream not received yet."""
    silent = [f"{s.name}{_camera_trouble(s.name, cameras)}" for s in want.cameras if frames.get(s.name) is None]
    garbled = []
    for stream in want.sensors:
        if rings[stream.name].newest() is None:
            if trouble := rings[stream.name].trouble():
                garbled.append(f"{stream.name}: {trouble}")
            else:
                silent.append(stream.name)
    detail = "; ".join([*([f"nothing heard yet from {', '.join(silent)}"] if silent else []), *garbled])
    captured = [frame.captured_ns for frame in frames.values() if frame is not None]
    return Hold(Reason.STARTING, detail, min(captured, default=0))


def _unmatched(
    want: Wanted,
    frames: Mapping[str, Frame | None],
    rings: Mapping[str, Ring],
    stream: Stream,
    reference_ns: int,
    cameras: Mapping[str, Camera],
) -> Hold:
    """Why `stream` has no sample at or before the reference: none ever came, or only later ones."""
    newest = rings[stream.name].newest()
    if newest is None:
        return _starting(want, frames, rings, cameras)
    later = _text(newest.captured_ns - reference_ns)
    detail = f"{stream.name} has nothing at or before the reference, its newest is {later} later"
    return Hold(Reason.SKEW, detail, reference_ns)


def _not_finite(stream: Stream, sample: Sample) -> str:
    """Names the first value that is nan, infinite or beyond float32 (or all of them together are)."""
    for name, value in zip(stream.names, sample.values.tolist(), strict=False):
        if not abs(value) < FLOAT32_MAX:
            return f"{stream.name}.{name} is {value:g}"
    return f"{stream.name} is beyond float32"


def _text(nanoseconds: int) -> str:
    """Milliseconds for people: 140 ms, 16.7 ms."""
    value = ms(nanoseconds)
    return f"{value:.0f} ms" if abs(value) >= 1000 else f"{round(value, 1):g} ms"
