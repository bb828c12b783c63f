"""What no single field can know: references, pairs and addresses. Each finding is (key, value, what is allowed)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Literal

from edged.config.evidence import check_evidence
from edged.config.execution import Finding, check_cameras, check_execution
from edged.config.inspection import check_inspection
from edged.config.schema import Config
from edged.config.sections import NAME_PATTERN, CameraConfig, SensorConfig
from edged.config.trigger import check_trigger
from edged.config.windows import check_windows
from edged.core.endpoint import LONGEST_IPC_PATH, is_loopback, usable
from edged.core.pixels import BAYER, bytes_of, seen_as
from edged.core.quota import MIB, SMALL_BYTES, Quota, divide, least_bytes

PEER = f"tcp://<address>:<port>, or ipc://<path> of at most {LONGEST_IPC_PATH} bytes"

ASKED = ("control", "triggers")  # streams that answer
COMPRESSED = "masks.zstd"  # the masks once more, compressed
TRACE_BYTES = 4096  # of a tick; of the snapshots between them more
LARGEST_FRAME = 64 * 1024 * 1024  # what a message holds
LARGEST_SAMPLE = 1 << 16
LONGEST_STOP_S = 30  # its way is in every message

CameraKind = Literal["device", "rtsp", "path", "gst", "genicam", "bus", "shm", "replay"]
URIS: tuple[tuple[CameraKind, str], ...] = (
    ("device", r"[0-9]{1,9}\Z|/dev/"),
    ("rtsp", r"rtsps?://."),
    ("gst", r"gst:\s*\S"),
    ("genicam", r"genicam:\S"),
    ("bus", r"zmq\+(ipc|tcp)://."),
    ("shm", r"shm:."),
    ("replay", r"replay:."),
)
"""How the URI of each kind begins."""


def camera_kind(uri: str) -> CameraKind | None:
    """What kind of camera a URI names; None = none that edged knows. A path is a video file or an image folder."""
    for kind, begin in URIS:
        if re.match(begin, uri):
            return kind
    return None if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri) else "path"


def streams(config: Config) -> tuple[str, ...]:
    """The streams this daemon publishes or answers on."""
    published = (*config.bus.publish, *(("frames",) if config.shows_frames else ()))
    frames = [f"frames-{camera}" for camera in config.cameras if {"frames", f"frames-{camera}"} & set(published)]
    results = ("results",) if config.inspects else ()
    triggers = ("triggers",) if config.trigger is not None else ()
    masks = tuple(f"masks-{camera}" for camera in config.execution.cameras)
    zstd = (COMPRESSED,) if COMPRESSED in published else ()
    return (config.stream, *masks, *zstd, *results, *triggers, "trace", "health", "events", "control", *frames)


def endpoints(config: Config) -> dict[str, str]:
    """Stream -> the ipc endpoint the daemon binds for it."""
    return {stream: f"ipc://{config.daemon.runtime / stream}" for stream in streams(config)}


def message_sizes(config: Config) -> dict[str, int]:
    """Stream -> about how long its messages are, in bytes."""
    pixels = {name: camera.width * camera.height for name, camera in config.cameras.items()}
    small = {"action": 1024, "control": SMALL_BYTES, "events": SMALL_BYTES, "health": SMALL_BYTES}
    small |= {"results": SMALL_BYTES, "triggers": SMALL_BYTES, "trace": TRACE_BYTES}
    sizes = {}
    for stream in streams(config):
        if stream.startswith("frames-"):
            sizes[stream] = 3 * pixels[stream.removeprefix("frames-")] + 1024
        else:
            sizes[stream] = small.get(stream, max(pixels.values(), default=0) + 1024)
    return sizes


def quotas(config: Config) -> dict[str, Quota]:
    """Stream -> how many may read it, and how much is queued for each."""
    return divide(config.bus.queue_mb * MIB, message_sizes(config))


def cross_checks(config: Config) -> Iterator[Finding]:
    """Everything that is wrong between fields, in the order of the file."""
    yield from _runtime(config)
    yield from _loop(config)
    yield from check_execution(config)
    yield from check_cameras(config)
    for name, camera in config.cameras.items():
        yield from check_camera(f"cameras.{name}", camera)
    for name, sensor in config.sensors.items():
        if name in config.cameras:
            yield f"sensors.{name}", name, "a name that no camera has: Holds say which stream they are about"
        yield from _sensor(f"sensors.{name}", sensor)
    if config.engine.require_signature and config.engine.trusted is None:
        yield "engine.require_signature", True, "engine.trusted, the folder of the public keys to trust"
    if wanted := config.engine.misnamed_device():
        yield "engine.device", config.engine.device, wanted
    if config.engine.backend == "webgpu" and config.swap.during == "live":
        yield "swap.during", "live", "'hold' with webgpu, which crashes where two engines load or run at a time"
    yield from _guard(config)
    yield from check_inspection(config)
    yield from check_evidence(config)
    yield from check_windows(config)
    yield from check_trigger(config)
    yield from _bus(config)


def quoted(written: Any, meant: Any, key: str = "") -> Iterator[Finding]:
    """Numbers and truth values that were `written` as something else than they are `meant`: "30", "yes", 1 for true.

    The schema lets them pass because in the environment everything is a string.
    """
    if isinstance(written, Mapping) and isinstance(meant, Mapping):
        for name, value in written.items():
            yield from quoted(value, meant[name], f"{key}.{name}".removeprefix("."))
    elif isinstance(written, list) and isinstance(meant, tuple):
        for index, (value, number) in enumerate(zip(written, meant, strict=True)):
            yield from quoted(value, number, f"{key}.{index}" if isinstance(value, Mapping) else key)
    elif isinstance(meant, bool) and not isinstance(written, bool):
        yield key, written, "true or false, without quotes"
    elif isinstance(meant, (int, float)) and isinstance(written, (str, bool)) and not isinstance(meant, bool):
        yield key, written, "a number, without quotes"


def _runtime(config: Config) -> Iterator[Finding]:
    longest = max(
        (str(config.daemon.runtime / stream) for stream in streams(config)), key=lambda path: len(path.encode())
    )
    if (size := len(longest.encode())) > LONGEST_IPC_PATH:
        allowed = (
            f"a socket path of at most {LONGEST_IPC_PATH} bytes, {longest} has {size}; "
            "set a shorter [daemon] runtime, such as /run/edged/<name>"
        )
        yield "daemon.runtime", str(config.daemon.runtime), allowed


def _loop(config: Config) -> Iterator[Finding]:
    loop, camera = config.loop, config.clock_camera
    if camera is not None and camera not in config.cameras:
        yield "loop.clock", loop.clock, _one_of("timer", *(f"camera:{name}" for name in config.cameras))
        return
    if camera is not None and "rate_hz" in loop.model_fields_set and loop.rate_hz != config.rate_hz:
        yield (
            "loop.rate_hz",
            loop.rate_hz,
            f"nothing, or cameras.{camera}.fps = {config.rate_hz:g}: that camera is the clock",
        )
    if loop.deadline_ms is not None and config.execution.inference == "async":
        yield "loop.deadline_ms", loop.deadline_ms, 'nothing: with [execution] inference = "async" no tick waits'
    elif loop.deadline_ms is not None and config.deadline_ns > config.period_ns:
        yield "loop.deadline_ms", loop.deadline_ms, f"at most one period, {config.period_ns / 1e6:g} ms"
    if loop.spin_ms and (not loop.fifo or camera is not None or loop.spin_ms * 1e6 >= config.period_ns):
        yield "loop.spin_ms", loop.spin_ms, "0, or less than a period with loop.fifo and the timer as the clock"


def check_camera(key: str, camera: CameraConfig) -> Iterator[Finding]:
    """What is wrong with one camera beyond its single fields."""
    kind = camera_kind(camera.uri)
    if kind is None:
        shared = "zmq+ipc://, zmq+tcp://, shm:<name>"
        allowed = f"an index, a /dev path, rtsp://, a file or folder, gst:<pipeline>, genicam:<id>, {shared}, replay:"
        yield f"{key}.uri", camera.uri, allowed
    elif kind == "bus" and not usable(camera.uri.removeprefix("zmq+").partition("#")[0], "connect"):
        yield f"{key}.uri", camera.uri, f"zmq+{PEER}, and the topic after a #"
    elif kind == "shm" and not re.fullmatch(NAME_PATTERN, camera.uri.removeprefix("shm:")):
        yield f"{key}.uri", camera.uri, "shm:<name>, the name that frames are shared under"
    elif kind in ("shm", "replay") and camera.format in BAYER:
        yield f"{key}.format", camera.format, "bgr8: a mosaic is shared and recorded as the colours it was made into"
    elif kind == "rtsp" and camera.format != "bgr8":
        yield f"{key}.format", camera.format, "bgr8: what RTSP sends is decoded to colours"
    if camera.format == "mono16" and camera.blank == "hold":
        yield f"{key}.blank", "hold", "'off' with mono16: nobody says how many of its 16 bits are light"
    if camera.share and not re.fullmatch(NAME_PATTERN, camera.share):
        yield f"{key}.share", camera.share, "the <name> of shm:<name>, that others read the frames by"
    elif camera.share and kind in ("shm", "replay"):
        yield f"{key}.share", camera.share, "nothing: they are shared already, or not live"
    if camera.latency_ms >= camera.max_age_ms:
        yield f"{key}.latency_ms", camera.latency_ms, f"less than max_age_ms = {camera.max_age_ms:g}"


def _sensor(key: str, sensor: SensorConfig) -> Iterator[Finding]:
    if not sensor.endpoint.startswith("replay:") and not usable(sensor.endpoint, "connect"):
        yield f"{key}.endpoint", sensor.endpoint, PEER
    if sensor.latency_ms >= sensor.max_age_ms:
        yield f"{key}.latency_ms", sensor.latency_ms, f"less than max_age_ms = {sensor.max_age_ms:g}"
    if len(set(sensor.names)) != len(sensor.names):
        twice = sorted({name for name in sensor.names if sensor.names.count(name) > 1})
        yield f"{key}.names", list(sensor.names), f"each name once, {', '.join(twice)} is there twice"
    if len(sensor.units) != len(sensor.names):
        yield f"{key}.unit", list(sensor.units), f"one unit, or one for each of the {len(sensor.names)} names"
    if sensor.history_ms < sensor.max_age_ms:
        yield f"{key}.history_ms", sensor.history_ms, f"at least max_age_ms = {sensor.max_age_ms:g}"
    if sensor.codec.startswith("struct:"):
        yield from _struct(key, sensor)


def _struct(key: str, sensor: SensorConfig) -> Iterator[Finding]:
    layout = sensor.codec.removeprefix("struct:")
    try:
        if (size := struct.calcsize(layout)) > LARGEST_SAMPLE:
            raise struct.error(f"it is of {size} bytes")
        values = struct.unpack(layout, bytes(size))
    except (struct.error, ValueError) as error:  # one of its letters is none of ASCII
        yield (
            f"{key}.codec",
            sensor.codec,
            f"a format of Python's struct module, such as struct:<{len(sensor.names)}d ({error})",
        )
        return
    if any(isinstance(value, bytes) for value in values):
        yield f"{key}.codec", sensor.codec, "numbers only, no s, p or c in the format"
    elif len(values) != len(sensor.names):
        yield (
            f"{key}.codec",
            sensor.codec,
            f"a format of {len(sensor.names)} values, one per name; it has {len(values)}",
        )


def _guard(config: Config) -> Iterator[Finding]:
    guard = config.guard
    known = [f"sensor:{name}" for name in config.sensors]
    for field, reference in (("enable", guard.enable), ("measured", guard.measured)):
        if reference is not None and reference not in known:
            yield f"guard.{field}", reference, _one_of(*known)
    if guard.following_error is not None and guard.measured is None:
        yield "guard.following_error", guard.following_error, "guard.measured = 'sensor:<name>' beside it"
    braking = [axis for axis, limit in guard.limits.items() if limit.acceleration is not None]
    if braking and guard.measured is None and not guard.stop_ms:
        key, value = f"guard.limits.{braking[0]}.acceleration", guard.limits[braking[0]].acceleration
        yield key, value, "guard.stop_ms beside it, the worst braking time and delay: nothing measures when it stops"
    for axis, limit in guard.limits.items():
        if limit.min is not None and limit.max is not None and limit.min >= limit.max:
            yield f"guard.limits.{axis}.min", limit.min, f"less than max = {limit.max:g}"
        if limit.jerk is not None and limit.acceleration is None:
            yield f"guard.limits.{axis}.jerk", limit.jerk, "acceleration beside it: jerk says how quickly that changes"
        for what, change in (("velocity", "acceleration"), ("acceleration", "jerk")):
            most, rate = getattr(limit, what), getattr(limit, change)
            if most is not None and rate is not None and most > LONGEST_STOP_S * rate:
                allowed = f"at least {most / LONGEST_STOP_S:g}: {what} = {most:g} is gone within {LONGEST_STOP_S} s"
                yield f"guard.limits.{axis}.{change}", rate, allowed


def _bus(config: Config) -> Iterator[Finding]:
    bus, known = config.bus, streams(config)
    extra = ("frames", *(f"frames-{camera}" for camera in config.cameras))
    extra = (*extra, COMPRESSED) if config.stream == "masks" else extra
    for published in bus.publish:
        if published not in extra:
            yield "bus.publish", published, _one_of(*extra)
    if COMPRESSED in bus.publish and find_spec("zstandard") is None:
        yield "bus.publish", COMPRESSED, "the package zstandard beside it: pip install 'edged[zstd]'"
    if not set(bus.publish) - set(extra) and (least := least_bytes(message_sizes(config))) > bus.queue_mb * MIB:
        yield "bus.queue_mb", bus.queue_mb, f"at least {-(-least // MIB)}: so much a few messages of each stream take"
    if bus.arm and config.guard.enable is None:
        yield "bus.arm", True, "guard.enable beside it: who arms from afar needs somebody at the machine who agrees"
    for camera, of in config.cameras.items():
        size = bytes_of(seen_as(of.format), of.height, of.width)
        if f"frames-{camera}" in known and size > LARGEST_FRAME:
            allowed = f"cameras of at most {LARGEST_FRAME >> 20} MiB a frame; {camera} has {size >> 20}"
            yield "bus.publish", list(bus.publish), allowed
    if (bus.secret_key is None) != (bus.authorized is None):
        given, absent = ("secret_key", "authorized") if bus.authorized is None else ("authorized", "secret_key")
        yield f"bus.{given}", str(getattr(bus, given)), f"bus.{absent} beside it: keys work in pairs"
    for stream, endpoint in bus.bind.items():
        key, others = f"bus.bind.{stream}", [other for other in bus.bind if other != stream]
        if stream not in known:
            yield key, endpoint, f"a stream of this daemon: {', '.join(known)}"
        elif not usable(endpoint, "bind"):
            yield key, endpoint, PEER
        elif endpoint in (bus.bind[other] for other in others):
            yield key, endpoint, "an endpoint of its own for each stream"
        elif endpoint.startswith("tcp://") and bus.secret_key is None:
            if stream in ASKED:
                yield key, endpoint, f"bus.secret_key and bus.authorized: {stream} over TCP needs keys"
            elif not bus.insecure and not is_loopback(endpoint.removeprefix("tcp://").rpartition(":")[0]):
                yield key, endpoint, "a loopback address, or bus.secret_key and bus.authorized, or insecure = true"


def _one_of(*choices: str) -> str:
    return f"one of {', '.join(choices)}" if choices else "none is configured"
