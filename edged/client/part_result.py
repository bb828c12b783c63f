"""PartResult: what one part came to, as it was published or as a daemon answers later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edged.wire import Message


@dataclass(frozen=True, slots=True)
class PartResult:
    """What a part came to. `result`: PASS, FAIL or NOT_INSPECTED, and why; `entry`: its number among all results of the
    daemon; `digest`: of the rules; `engine`: its first 8 bytes, 0 where none
    looked at the part; `message`: as it was published, None where it was asked for later; `boot`: which clock the stamp
    is of, empty where a daemon does not say."""

    line: str
    part: int
    number: int
    entry: int
    result: str
    why: str
    decided: tuple[str, ...]
    digest: str
    stamp_ns: int
    engine: bytes = bytes(8)
    message: Message | None = None
    boot: bytes = b""

    @property
    def passed(self) -> bool:
        """Whether the part is good: nothing else may be taken for it."""
        return self.result == "PASS"


class _Told(msgspec.Struct):
    """What a result says, published or in an answer."""

    line: str
    part: int
    number: int
    entry: int
    stamp_ns: int
    result: str = ""
    why: str | None = None
    decided: list[str] | None = None
    digest: str | None = None


def read_result(header: Mapping[str, Any], message: Message | None = None) -> PartResult | None:
    """None where it does not say of which part it is: every key may be missing, and an answer may hold anything."""
    try:
        told = msgspec.convert(header, _Told)
    except msgspec.ValidationError:
        return None
    engine, boot = (_engine(header), _bytes(header.get("boot"))) if message is None else (message.engine, message.boot)
    return PartResult(
        told.line, told.part, told.number, told.entry, told.result, told.why or "", tuple(told.decided or ()),
        told.digest or "", told.stamp_ns, engine, message, boot,
    )  # fmt: skip


def _engine(header: Mapping[str, Any]) -> bytes:
    """Of a result that was asked for; a daemon from before it was in the answer gives none."""
    return _bytes(header.get("engine")).ljust(8, b"\0")[:8]


def _bytes(text: Any) -> bytes:
    """Of hex; empty for what is none."""
    try:
        return bytes.fromhex(text or "")
    except (ValueError, TypeError):
        return b""
