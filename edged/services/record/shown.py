"""Messages of the wire as Foxglove's schemas, so that pictures, masks, joints and holds show as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.JointStates_pb2 import JointStates
from foxglove_schemas_protobuf.Log_pb2 import Log
from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edged.client import Kind, Message
from edged.core.pixels import SeenFormat, dtype_of, for_eyes, shape_of

GREEN, RED = (0.1, 0.9, 0.2, 1.0), (0.95, 0.15, 0.1, 1.0)
CLEAR, SHADE = (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.6)  # what is not filled, and what text stands on
PICTURE = "foxglove.RawImage"
LABELS = "8UC1"  # class numbers


class Shown(NamedTuple):
    """One message for viewers. `sequence`: of a picture the number of its frame."""

    topic: str
    proto: Any
    sequence: int = 0


def picture(message: Message, at_ns: int, lossless: bool, quality: int) -> Shown:
    """A frame: without loss, or as JPEG."""
    camera, number = str(message.header.get("camera", "")), int(message.header.get("frame", message.seq))
    image = message.arrays["image"]
    if lossless:
        made = _raw(camera, image, str(message.header.get("format", "bgr8")))
        return Shown(f"/{camera}/image", _at(made, at_ns), number)
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(for_eyes(image)), [cv2.IMWRITE_JPEG_QUALITY, quality])
    made = CompressedImage(frame_id=camera, format="jpeg", data=data.tobytes())
    return Shown(f"/{camera}/image/jpeg", _at(made, at_ns), number)


def read_picture(data: bytes) -> tuple[str, NDArray[Any]]:
    """Camera and pixels of a lossless frame, read-only. Raises `ValueError` for what recorders do not write."""
    try:
        image = RawImage.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    if image.encoding not in get_args(SeenFormat):
        raise ValueError(f"a picture of format {image.encoding!r}")
    flat = np.frombuffer(image.data, dtype_of(image.encoding))
    return image.frame_id, flat.reshape(shape_of(image.encoding, image.height, image.width))


def verdict(message: Message, daemon: str, at_ns: int) -> Iterator[Shown]:
    """An action as joints, labels as a picture of class numbers, instances as annotations, a Hold as a log line."""
    header = message.header
    match message.kind:
        case Kind.ACTION:
            names = [str(name) for name in header.get("names", ())]
            positions, speeds = message.arrays["action"][0], message.arrays.get("velocity")
            yield _joints(f"/{daemon}/action", names, positions, None if speeds is None else speeds[0], at_ns)
        case Kind.LABELS:
            made = _raw(str(header.get("camera", "")), message.arrays["labels"], LABELS)
            yield Shown(f"/{daemon}/masks", _at(made, at_ns))
        case Kind.INSTANCES:
            yield Shown(f"/{daemon}/objects", _objects(message, at_ns))
        case Kind.HOLD:
            level = Log.Level.ERROR if message.stop else Log.Level.WARNING
            yield _log(daemon, level, f"{header.get('reason', message.reason)}: {header.get('detail', '')}", at_ns)


def told(message: Message, daemon: str, at_ns: int) -> Shown:
    """A result or an event as a log line."""
    header = message.header
    if message.kind is Kind.RESULT:
        good = header.get("result") == "PASS"
        why = ", ".join([*header.get("decided", ()), *([header["why"]] if header.get("why") else [])])
        text = f"{header.get('result', '?')}{': ' * bool(why)}{why}"
        return _log(daemon, Log.Level.INFO if good else Log.Level.ERROR, text, at_ns, "results")
    alarm = header.get("event") == "alarm"
    facts = ", ".join(f"{key} {value}" for key, value in header.items() if key != "event")
    return _log(
        daemon, Log.Level.ERROR if alarm else Log.Level.INFO, f"{header.get('event')}: {facts}", at_ns, "events"
    )


def samples(
    look: Mapping[str, Any], names: Mapping[str, list[str]], daemon: str, unix: Callable[[int], int]
) -> Iterator[tuple[int, Shown]]:
    """What sensors sent, from a look in a trace, with the time of each: `unix` tells it from its stamp."""
    for sensor, some in look.get("samples", {}).items():
        for _, captured_ns, values in some:
            known = names.get(sensor, [])
            called = [known[at] if at < len(known) else str(at) for at in range(len(values))]
            at_ns = unix(captured_ns)
            yield at_ns, _joints(f"/{daemon}/{sensor}", called, np.array(values), None, at_ns)


def said(daemon: str, text: str, at_ns: int) -> Shown:
    """What the recorder itself has to say."""
    return _log(daemon, Log.Level.WARNING, text, at_ns, "recorder")


def _raw(camera: str, image: NDArray[Any], encoding: str) -> RawImage:
    height, width = image.shape[:2]
    step, data = image.nbytes // max(1, height), image.tobytes()
    return RawImage(frame_id=camera, width=width, height=height, encoding=encoding, step=step, data=data)


def _joints(topic: str, names: list[str], positions: Any, speeds: Any, at_ns: int) -> Shown:
    made = JointStates()
    for at, name in enumerate(names[: len(positions)]):
        joint = made.joints.add(name=name, position=float(positions[at]))
        if speeds is not None:
            joint.velocity = float(speeds[at])
    return Shown(topic, _at(made, at_ns))


def _objects(message: Message, at_ns: int) -> ImageAnnotations:
    made, classes = ImageAnnotations(), [str(name) for name in message.header.get("classes", ())]
    boxes, numbers, scores = (message.arrays[name].tolist() for name in ("xyxy", "class_id", "score"))
    for (x1, y1, x2, y2), number, score in zip(boxes, numbers, scores, strict=True):
        box = made.points.add(type=PointsAnnotation.Type.LINE_LOOP, thickness=2.0)
        _at(box, at_ns)
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
            box.points.add(x=x, y=y)
        _paint(box.outline_color, GREEN)
        _paint(box.fill_color, CLEAR)
        name = classes[number] if number < len(classes) else str(number)
        label = made.texts.add(text=f"{name} {score:.2f}", font_size=12.0)
        _at(label, at_ns)
        label.position.x, label.position.y = x1, y1
        _paint(label.text_color, RED)
        _paint(label.background_color, SHADE)
    return made


def _paint(color: Any, rgba: tuple[float, float, float, float]) -> None:
    color.r, color.g, color.b, color.a = rgba


def _log(daemon: str, level: Any, text: str, at_ns: int, topic: str = "holds") -> Shown:
    return Shown(f"/{daemon}/{topic}", _at(Log(level=level, message=text, name=daemon), at_ns))


def _at(made: Any, at_ns: int) -> Any:
    made.timestamp.seconds, made.timestamp.nanos = divmod(at_ns, 1_000_000_000)
    return made
