"""Order, validity and age: the rules by which every reader decides whether a message counts.

`Order` is the one implementation of "Order and validity" in WIRE.md; whoever reads messages asks it.
"""

from __future__ import annotations

from typing import Literal

from edged.wire.message import Message, Preamble

MOST_TOPICS = 256  # remembered by one reader, so that a babbler cannot fill the memory

Refusal = Literal["", "old", "future"]
_Place = tuple[bytes, int, int]  # boot, session and seq


class Order:
    """The place in time of the newest message of each topic that a reader whose own boot is `boot` has accepted; the
    message itself would keep its picture alive."""

    def __init__(self, boot: bytes) -> None:
        self._boot = boot
        self._newest: dict[str, _Place] = {}

    def refusal(self, message: Message, now_ns: int) -> Refusal:
        """Why `message` does not count; "" when it does, and then it is remembered.

        `future`: of our own clock, but made later than now, or by a sender started later than now: refused, for
        everything after it would look old. `old`: not newer than what was accepted before.
        """
        if message.boot == self._boot and (message.published_ns > now_ns or message.session > now_ns):
            return "future"
        place, last = _place(message), self._newest.get(message.topic)
        if last is None:
            if len(self._newest) >= MOST_TOPICS:
                return "old"
        elif not _is_newer(place, last):
            return "old"
        self._newest[message.topic] = place
        return ""


def newer(candidate: Preamble, last: Preamble | None) -> bool:
    """Another boot; or the same boot and a greater session; or the same session and a greater seq."""
    return last is None or _is_newer(_place(candidate), _place(last))


def _place(message: Preamble) -> _Place:
    return message.boot, message.session, message.seq


def _is_newer(place: _Place, last: _Place) -> bool:
    return place[0] != last[0] or place > last


def good_until(message: Preamble, boot: bytes, received_ns: int, lag_ns: int = 0) -> int:
    """When `message` stops being good, on the clock of a reader whose own boot is `boot`.

    `received_ns` and `lag_ns` (`clock.Lag` of published_ns) matter only when the sender is of another boot.
    """
    if message.boot == boot:
        return message.published_ns + message.valid_for_ns
    return received_ns + message.valid_for_ns - lag_ns


def age_ns(message: Preamble, boot: bytes, now_ns: int, received_ns: int, lag_ns: int = 0) -> int | None:
    """How long ago the oldest input was captured, as the reader sees it; None = no input yet."""
    if not message.captured_ns:
        return None
    if message.boot == boot:
        return now_ns - message.captured_ns
    return message.published_ns - message.captured_ns + lag_ns + now_ns - received_ns
