"""Live: the newest picture and verdict of a daemon, read only while somebody looks, as one message for the browser.

`view` gives `u32 length | JSON | parts`: the JSON lists the parts, which follow it without gaps. Pictures are JPEG;
masks are the bus's own bytes, drawn by the browser.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from edged.client import Kind, Lost, Message, Stream, Subscription
from edged.core.clock import NS_PER_MS, monotonic_ns
from edged.core.pixels import for_eyes

IDLE_S = 3.0  # a stream that nobody asked for so long is not read any more
PACE_S = 0.08  # pictures a second: what is in between is overtaken
WAIT_MS = 250
SILENT_MS = 1500.0
WIDEST = 960  # pixels of a picture that is sent
QUALITY = 80
MOST_READERS = 32
KEPT = 12  # frames, until the verdict about one of them is there
MOST_OBJECTS = 500
TOLD = (
    "reason", "detail", "classes", "camera", "names", "units", "alarms", "waiting", "result", "why", "size",
    "truncated",
)  # fmt: skip

log = logging.getLogger("edged.services")


class Reader(threading.Thread):
    """The newest message of one stream, and of a camera's the last few. Ends itself when nobody asks for a while."""

    def __init__(self, endpoint: str, topic: str, is_camera: bool) -> None:
        super().__init__(name=f"read {topic}", daemon=True)
        self._place = endpoint, topic
        self._is_camera = is_camera
        self._kept: deque[Message] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._asked_s = time.monotonic()
        self.newest: Message | Lost | None = None
        self.number = 0

    def run(self) -> None:
        try:
            self._watch() if self._is_camera else self._follow()
        except Exception:  # of one stream; the others and the page go on
            log.exception("reading %s failed", self._place[1])

    def _follow(self) -> None:
        with Stream(*self._place, timeout_ms=SILENT_MS) as stream:
            while time.monotonic() - self._asked_s < IDLE_S:
                stream.wait(WAIT_MS)
                if (newest := stream.latest()) is not None:
                    self._put(newest)
                time.sleep(PACE_S)

    def _watch(self) -> None:
        """Every frame: which of them a verdict is about is known only when it comes."""
        with Subscription(*self._place, queue=KEPT) as subscription:
            while time.monotonic() - self._asked_s < IDLE_S:
                if (frame := subscription.receive(WAIT_MS)) is not None:
                    self._kept.append(frame)
                    self._put(frame)

    def frame_of(self, verdict: Message | None) -> tuple[Message | None, bool]:
        """The frame that a verdict was made of, and True; the newest one and False where it is not there any more."""
        self._asked_s = time.monotonic()
        kept = list(self._kept)
        for frame in reversed(kept):
            if verdict is not None and frame.captured_ns == verdict.captured_ns:
                return frame, True
        return (kept[-1] if kept else None), False

    def _put(self, newest: Message | Lost) -> None:
        with self._changed:
            if isinstance(newest, Lost) and isinstance(self.newest, Lost):
                return
            self.newest, self.number = newest, self.number + 1
            self._changed.notify_all()

    def after(self, number: int, timeout_s: float) -> tuple[int, Message | Lost | None]:
        """The newest once it is another than `number`, or whatever there is at the end of the time."""
        self._asked_s = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self.number != number, timeout_s)
            return self.number, self.newest


class Live:
    """Readers by daemon and stream, begun when asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[tuple[Path, str], Reader] = {}

    def reader(self, folder: Path, daemon: str, stream: str) -> Reader | None:
        """The one of that stream; None where the daemon has no such stream, or too many are read already."""
        if not (folder / stream).exists():
            return None
        with self._lock:
            self._readers = {key: reader for key, reader in self._readers.items() if reader.is_alive()}
            reader = self._readers.get((folder, stream))
            if reader is None and len(self._readers) < MOST_READERS:
                reader = self._readers[folder, stream] = Reader(
                    f"ipc://{folder / stream}", f"{daemon}/{stream}", stream.startswith("frames-")
                )
                reader.start()
            return reader


def view(frame: Message | None, verdict: Message | Lost | None, number: int, exact: bool = False) -> bytes:
    """What the browser draws. `exact`: the verdict was made of this frame. Every part of a message that is not as
    WIRE.md has it is left out, not guessed."""
    about: dict[str, Any] = {"number": number, "parts": []}
    parts: list[bytes] = []

    def put(name: str, data: bytes) -> None:
        about["parts"].append([name, len(data)])
        parts.append(data)

    if frame is not None and frame.kind in (Kind.FRAME, Kind.PICTURE):
        image = for_eyes(frame.arrays["image"])
        about["frame"] = {**_stamps(frame), "size": [image.shape[1], image.shape[0]],
                          "camera": str(frame.header.get("camera", "")), "exact": exact}  # fmt: skip
        put("jpeg", _jpeg(image))
    if isinstance(verdict, Lost):
        about["lost"] = verdict.detail
    elif verdict is not None:
        about["verdict"] = _stamps(verdict) | _facts(verdict.header)
        about["verdict"]["kind"] = verdict.kind.name
        if verdict.kind is Kind.ACTION:
            about["verdict"]["action"] = _rounded(verdict.arrays["action"][:1])[0]
        elif verdict.kind is Kind.LABELS:
            labels = verdict.arrays["labels"]
            about["verdict"]["shape"] = list(labels.shape)
            put("labels", zlib.compress(labels.tobytes(), 1))
        elif verdict.kind is Kind.INSTANCES:
            _instances(verdict, about["verdict"], put)
    head = msgspec.json.encode(about, enc_hook=str)
    return b"".join((struct.pack("<I", len(head)), head, *parts))


def _stamps(message: Message) -> dict[str, Any]:
    age_ns = monotonic_ns() - message.captured_ns if message.captured_ns else 0
    return {"seq": message.seq, "age_ms": round(age_ns / NS_PER_MS, 1), "stop": message.stop,
            "engine": message.engine.hex()}  # fmt: skip


def _facts(header: Mapping[str, Any]) -> dict[str, Any]:
    return {key: header[key] for key in TOLD if key in header}


def _instances(message: Message, about: dict[str, Any], put: Any) -> None:
    arrays = message.arrays
    boxes = arrays["xyxy"]
    about["count"] = len(boxes)
    for name in ("score", "class_id"):
        if name in arrays and len(arrays[name]) == len(boxes):
            about[name] = _rounded(arrays[name][:MOST_OBJECTS])
    about["xyxy"] = _rounded(boxes[:MOST_OBJECTS])
    if {"mask_shape", "mask_bits"} <= set(arrays) and arrays["mask_shape"].shape == (len(boxes), 2):
        about["mask_shape"] = arrays["mask_shape"][:MOST_OBJECTS].tolist()
        put("bits", zlib.compress(arrays["mask_bits"].tobytes(), 1))


def _rounded(array: Any) -> Any:
    """Numbers for JSON, which has no nan."""
    return np.nan_to_num(np.round(np.asarray(array, np.float64), 4), posinf=0.0, neginf=0.0).tolist()


def _jpeg(image: Any) -> bytes:
    height, width = image.shape[:2]
    if width > WIDEST:
        image = cv2.resize(image, (WIDEST, max(1, height * WIDEST // width)), interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes() if good else b""
