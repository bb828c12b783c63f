"""The part of `edged check` about cameras and sensors: what is there to be looked at is looked at, the rest is named.

Files and recordings are read. Devices, pipelines and network streams are not: beside a running daemon that
would disturb, and proves nothing about later.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from edged.cli.finding import Finding, fault, split, untried, warning
from edged.cli.output import exists
from edged.config import CameraConfig, Config, SensorConfig, camera_kind
from edged.core.clock import monotonic_ns
from edged.core.errors import EdgedError, in_words
from edged.core.redact import shown
from edged.source.capture import device_path
from edged.source.files import FileGrabber
from edged.source.grabber import Ended
from edged.source.open import REPLAY, open_camera, replay_sensor
from edged.wire.shm import RingReader


def check_inputs(config: Config) -> Iterator[Finding]:
    """A finding or more for each camera and each sensor, in the order of the file."""
    for name, camera in config.cameras.items():
        yield from _camera(name, camera)
    for name, sensor in config.sensors.items():
        yield from _sensor(name, sensor)


def _camera(name: str, camera: CameraConfig) -> Iterator[Finding]:
    subject, size = f"cameras.{name}", f"{camera.width}x{camera.height}"
    match camera_kind(camera.uri):
        case "device":
            yield _device(subject, device_path(camera.uri), size)
        case "path":
            yield _file(subject, camera)
        case "replay":
            yield _recording(subject, lambda: open_camera(name, camera).close(), size)
        case "gst" if shutil.which("gst-launch-1.0") is None:
            yield fault(subject, "gst-launch-1.0 is not installed", "install gstreamer1.0-tools")
        case "gst":
            yield untried(subject, f"the pipeline was not run; it has to give {size}")
            if "jpegdec" in camera.uri and "jpegparse" not in camera.uri:
                fact = "jpegdec shows pictures that were cut off as if they were whole, in silence"
                yield warning(subject, fact, "write jpegparse before it, which ends the pipeline there and begins anew")
        case "genicam":
            yield untried(subject, f"the camera was not opened; it has to give {size}, see 'edged check --live FILE'")
        case "bus":
            yield _peer(subject, camera.uri.removeprefix("zmq+").partition("#")[0])
        case "shm":
            ring = RingReader(camera.uri.removeprefix("shm:"))
            frame = ring.read()
            if ring.trouble:
                yield fault(subject, *split(ring.trouble))
            elif frame is not None and frame.image.shape[:2] != (camera.height, camera.width):
                theirs = f"{frame.image.shape[1]}x{frame.image.shape[0]}"
                yield fault(subject, f"the shared frames are {theirs}, the config says {size}", "set width and height")
            else:
                yield Finding("ok", subject, f"frames are shared as {camera.uri.removeprefix('shm:')}")
        case _:
            yield untried(subject, f"nobody was called; whether it answers and gives {size} the daemon's log tells")


def _device(subject: str, path: Path, size: str) -> Finding:
    if not exists(path):
        return fault(subject, f"there is no device {path}", "plug it in, or correct its uri")
    if not os.access(path, os.R_OK | os.W_OK):
        return fault(subject, f"{path} may not be opened", "join its group, usually video")
    return untried(subject, f"{path} is there and was not opened; it has to give {size}")


def _file(subject: str, camera: CameraConfig) -> Finding:
    """Read the first picture of a video or folder as the daemon would."""
    path = Path(camera.uri)
    if not exists(path):
        return fault(subject, f"there is no file or folder {path}", "correct its uri")
    if not os.access(path, os.R_OK):
        return fault(subject, f"{path} may not be read", "check its owner")
    try:
        grabber = FileGrabber(camera, monotonic_ns, threading.Event())
        try:
            height, width = grabber.read().image.shape[:2]
        finally:
            grabber.close()
    except EdgedError as error:
        return fault(subject, error.fact, error.remedy or "replace it, or correct the uri")
    except (OSError, Ended) as error:
        return fault(
            subject, f"{path} gives no pictures ({in_words(error)})", "give a video file or a folder of images"
        )
    if (width, height) != (camera.width, camera.height):
        fact = f"the first picture of {path} is {width}x{height}, the config says {camera.width}x{camera.height}"
        return fault(subject, fact, f"set width = {width} and height = {height}")
    return Finding("ok", subject, f"the first picture of {path} is {width}x{height}")


def _sensor(name: str, sensor: SensorConfig) -> Iterator[Finding]:
    subject = f"sensors.{name}"
    if sensor.endpoint.startswith(REPLAY):
        yield _recording(subject, lambda: replay_sensor(name, sensor), f"{len(sensor.names)} values")
    else:
        yield _peer(subject, sensor.endpoint)


def _recording(subject: str, read: Callable[[], object], of: str) -> Finding:
    """Read it as the daemon would."""
    try:
        read()
    except EdgedError as error:
        return fault(subject, error.fact, error.remedy)
    return Finding("ok", subject, f"a recording of {of}")


def _peer(subject: str, endpoint: str) -> Finding:
    """An ipc endpoint that is not bound yet; the peer is known only after listening."""
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and not path.startswith("@") and not exists(Path(path)):
        return warning(
            subject, f"nobody publishes at {shown(endpoint)} yet", "start its publisher, or correct the endpoint"
        )
    return untried(subject, f"nobody listened to {shown(endpoint)}")
