"""The topic at the front of a message: bytes, one NUL, and more NULs up to a multiple of eight."""

from __future__ import annotations

from functools import lru_cache

from edged.core.errors import WireError
from edged.wire.arrays import align

MAX_TOPIC = 255


def subscription(topic: str) -> bytes:
    """What to SUBSCRIBE to for exactly this topic: without the NUL, `cell/act` would also match `cell/action`."""
    return topic_bytes(topic).rstrip(b"\0") + b"\0"


@lru_cache(maxsize=256)
def topic_bytes(topic: str) -> bytes:
    """The topic, one NUL, and more up to a multiple of 8."""
    try:
        name = topic.encode()
    except UnicodeEncodeError:
        name = b""
    if not 0 < len(name) <= MAX_TOPIC or b"\0" in name:
        raise WireError(f"topic {topic!r}", f"1 to {MAX_TOPIC} bytes of UTF-8 without NUL")
    return name + bytes(align(len(name) + 1) - len(name))


def readdressed(data: bytes, topic: str, seq: int) -> bytes:
    """A whole message once more, on another topic under another number: what it says stays where it is."""
    preamble = data.index(0) // 8 * 8 + 8  # behind the topic's NULs
    number = preamble + 24
    return b"".join((topic_bytes(topic), data[preamble:number], seq.to_bytes(8, "little"), data[number + 8 :]))


@lru_cache(maxsize=256)
def _read_start(start: bytes) -> str:
    name = start.rstrip(b"\0")
    if b"\0" in name:
        raise WireError("padding after the topic is not zero")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise WireError("the topic is not UTF-8") from None


def read_topic(raw: bytes | memoryview) -> tuple[str, int]:
    """The topic and where the preamble begins."""
    start = bytes(raw[: align(MAX_TOPIC + 1)])
    end = start.find(b"\0", 0, MAX_TOPIC + 1)
    if end < 1:
        raise WireError("no topic", "a message begins with 1 to 255 bytes and a NUL")
    at = align(end + 1)
    return _read_start(start[:at]), at
