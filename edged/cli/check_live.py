"""The part of `edged check --live` that listens: two seconds to every input, side by side, and what came of it.

Each input is read by what the daemon itself reads it with. Of a sensor's endpoint all topics are heard besides, so that
a topic, a codec or names that differ are told by what is sent. A device that a running daemon owns is left alone.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import zmq

from edged.cli.check_trigger import check_trigger_live
from edged.cli.finding import Finding, fault, split, untried, warning
from edged.config import CameraConfig, Config, SensorConfig, camera_kind
from edged.core.clock import boot_id, monotonic_ns, ms
from edged.core.errors import EdgedError, legible
from edged.core.redact import shown
from edged.core.types import Frame
from edged.source.mailbox import Tap
from edged.source.open import REPLAY, Camera, Samples, open_camera, open_sensor
from edged.wire import Message, decode
from edged.wire.link import Link, receive
from edged.wire.sockets import INPUT, Context, open_context

LISTEN_S = 2.0
TURN_S = 0.005
MOST_TOPICS = 32
MOST_TURN = 256  # messages of one endpoint in a turn
SHOWN = 5
OWNED = ("device", "gst", "genicam")  # one process at a time has them
LATE = 1.5  # periods: a frame that is older has no next one
ENDED = "ended"  # the state of a file or folder that is not looped, after its last picture
OFF = 0.2  # a rate this much off the nominal one is told


@dataclass(slots=True)
class _Heard:
    """What one endpoint said: messages and bytes by topic, and the newest that is one of edged's."""

    link: Link
    count: Counter[str] = field(default_factory=Counter)
    size: dict[str, int] = field(default_factory=dict)
    message: dict[str, Message] = field(default_factory=dict)
    age_ns: dict[str, int] = field(default_factory=dict)

    def listen(self) -> None:
        self.link.tend(monotonic_ns())
        for _ in range(MOST_TURN):
            if not self.link.socket.poll(0):
                return
            parts = receive(self.link.socket)
            if parts is None:
                self.link.reopen()
                return
            self._note(parts)

    def _note(self, parts: list[bytes]) -> None:
        topic, message = legible(parts[0].decode(errors="replace"), 80) if len(parts) > 1 else "", None
        with contextlib.suppress(EdgedError):
            message = decode(parts[-1])
            topic = message.topic
        if topic not in self.count and len(self.count) >= MOST_TOPICS:
            return
        self.count[topic] += 1
        self.size[topic] = len(parts[-1])
        if message is not None:
            self.message[topic], self.age_ns[topic] = message, monotonic_ns() - message.captured_ns


def check_live(config: Config, is_running: bool, seconds: float = LISTEN_S) -> Iterator[Finding]:
    """A finding or more for each camera and each sensor. `is_running`: the daemon itself, which owns its devices."""
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(open_context())
        stamps: list[int] = []
        cameras, sensors, heard = _open(config, context, is_running, stack, stamps)
        newest: dict[str, Frame | None] = dict.fromkeys(cameras)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for sensor in sensors.values():
                sensor.drain(monotonic_ns())
            for endpoint in heard.values():
                endpoint.listen()
            for name, camera in cameras.items():
                newest[name] = camera.mailbox.newest()
            time.sleep(TURN_S)
        for name, of in config.cameras.items():
            if not (config.triggered and not stamps and name in cameras and _patient(cameras[name])):
                yield _camera(name, of, cameras.get(name), newest.get(name), not config.triggered)
            if config.trigger is not None and name in cameras:
                yield from check_trigger_live(config.trigger, name, stamps)
        for name, said in config.sensors.items():
            yield from _sensor(name, said, sensors[name], heard.get(said.endpoint), seconds)


def _open(
    config: Config, context: Context, is_running: bool, stack: contextlib.ExitStack, stamps: list[int]
) -> tuple[dict[str, Camera], dict[str, Samples], dict[str, _Heard]]:
    """What is listened to; with [trigger] the capture of each frame goes into `stamps`."""
    cameras: dict[str, Camera] = {}
    tap = None
    if config.trigger is not None:
        tap = Tap(lambda frame: stamps.append(frame.captured_ns), not config.triggered)
    for name, camera in config.cameras.items():
        if not (is_running and camera_kind(camera.uri) in OWNED):
            cameras[name] = open_camera(name, camera, context=context, tap=tap)
            stack.callback(cameras[name].close)
            cameras[name].start()
    sensors: dict[str, Samples] = {}
    heard: dict[str, _Heard] = {}
    for name, sensor in config.sensors.items():
        sensors[name] = open_sensor(name, sensor, context)
        stack.callback(sensors[name].close)
        if not sensor.endpoint.startswith(REPLAY) and sensor.endpoint not in heard:
            options = {**INPUT, zmq.RCVHWM: 1000, zmq.SUBSCRIBE: b""}
            heard[sensor.endpoint] = _Heard(Link(context, zmq.SUB, sensor.endpoint, options, resolve=True))
            stack.callback(heard[sensor.endpoint].link.close)
    return cameras, sensors, heard


def _patient(camera: Camera) -> bool:
    """Whether it only waits for a trigger."""
    return str(camera.stats()["state"]).startswith(("starting", "opening", "waiting", "no frame for"))


def _camera(
    name: str, config: CameraConfig, camera: Camera | None, newest: Frame | None, steady: bool = True
) -> Finding:
    subject = f"cameras.{name}"
    if camera is None:
        return untried(subject, "the running daemon owns it: 'edged status' has its rate and age")
    stats = camera.stats()
    if newest is None:
        return fault(subject, f"no frame came: {stats['state']}", f"look at {shown(config.uri)}")
    height, width = newest.image.shape[:2]
    rate, age = float(stats.get("fps", 0.0)), ms(monotonic_ns() - newest.captured_ns)
    fact = f"{width}x{height} at {rate:.3g} fps, the newest {age:.0f} ms old"
    if age > config.max_age_ms:
        remedy = remedy_of_age(config, str(stats["state"]) == ENDED, rate if steady else 0.0, age)
        return warning(subject, f"{fact}, and max_age_ms is {config.max_age_ms:g}", remedy)
    if steady and rate and abs(rate - config.fps) > OFF * config.fps:
        return warning(subject, f"{fact}; the config says {config.fps:g} fps", f"set fps = {round(rate) or 1}")
    return Finding("ok", subject, fact)


def remedy_of_age(config: CameraConfig, has_ended: bool, rate: float, age_ms: float) -> str:
    """What to do about a frame that is too old. `rate`: measured, until now; 0 where that is none."""
    found = []
    if has_ended and not config.loop:
        found.append("the file or folder has ended: set loop = true")
    is_as_said = has_ended or not rate or abs(rate - config.fps) <= OFF * config.fps
    period_ms = 1000 / (config.fps if is_as_said else rate)
    oldest_ms = period_ms + config.latency_ms  # when the next one comes
    if oldest_ms > config.max_age_ms and (has_ended or age_ms <= LATE * oldest_ms):
        found.append(f"set max_age_ms above {math.ceil(oldest_ms)}: a frame comes every {period_ms:.0f} ms")
    return "; ".join(found) or "look whether it goes on"


def _sensor(
    name: str, config: SensorConfig, sensor: Samples, heard: _Heard | None, seconds: float
) -> Iterator[Finding]:
    subject = f"sensors.{name}"
    samples = int(sensor.stats().get("samples", 0))
    if heard is None:
        yield Finding("ok", subject, f"a recording, {samples / seconds:.3g} samples a second")
        return
    topic = _topic(config, heard)
    message = heard.message.get(topic)
    claims = [] if message is None else list(_claims(subject, config, message))
    if not samples:
        yield from claims or [_silent(subject, config, sensor, heard, topic)]
        return
    fact = f"{samples / seconds:.4g} Hz, {heard.size.get(topic, 0)} bytes"
    fact = (f"topic {topic!r}, " if topic else "no topic, ") + fact
    fact += f", {len(config.names)} values ({', '.join(config.names[:SHOWN])}{', ...' * (len(config.names) > SHOWN)})"
    yield Finding("ok", subject, f"{fact}, {_stamps(heard, topic)}")
    if trouble := sensor.trouble():
        yield warning(subject, *split(trouble))
    yield from claims


def _topic(config: SensorConfig, heard: _Heard) -> str:
    """The topic that the samples came with, as far as the endpoint tells."""
    for topic in heard.count:
        if topic == config.topic or (config.codec != "edged" and topic.startswith(config.topic)):
            return topic
    return next(iter(heard.count), "") if not config.topic else config.topic


def _silent(subject: str, config: SensorConfig, sensor: Samples, heard: _Heard, topic: str) -> Finding:
    if not heard.count:
        return fault(subject, sensor.trouble() or f"nobody said anything at {shown(config.endpoint)}",
                     "start its publisher, or correct the endpoint")  # fmt: skip
    if config.topic and topic not in heard.count:
        there = ", ".join(f"{other!r}" for other in list(heard.count)[:SHOWN] if other) or "messages without a topic"
        return fault(subject, f"nobody says {config.topic!r} there; heard were {there}", f"correct {subject}.topic")
    return fault(subject, sensor.trouble() or f"{heard.count[topic]} messages, none could be read",
                 f"correct {subject}.codec and names")  # fmt: skip


def _stamps(heard: _Heard, topic: str) -> str:
    message = heard.message.get(topic)
    if message is None:
        return "stamped on arrival" if not heard.count[topic] else "stamps of its codec, if any"
    if message.boot == boot_id():
        return f"stamps of this machine, {ms(heard.age_ns[topic]):.1f} ms old on arrival"
    return "stamps of another machine's clock: their age counts from the quickest arrival"


def _claims(subject: str, config: SensorConfig, message: Message) -> Iterator[Finding]:
    """What the sender says of its values, where the codec has words for that."""
    names, unit = message.header.get("names"), message.header.get("unit")
    if isinstance(names, list) and tuple(names) != config.names:
        yield fault(subject, f"the sender's names are {', '.join(map(str, names))}", f"correct {subject}.names")
    said = tuple(unit) if isinstance(unit, list) else (unit,) * len(config.names)
    if unit and said != config.units:
        yield fault(subject, f"the sender says {unit}, the config {config.unit}", f"correct {subject}.unit")
