"""Order, validity and age: the rules by which every reader decides whether a message counts."""

from __future__ import annotations

from edged.wire.message import Preamble


def newer(candidate: Preamble, last: Preamble | None) -> bool:
    """Another boot; or the same boot and a greater session; or the same session and a greater seq."""
    if last is None or candidate.boot != last.boot:
        return True
    return (candidate.session, candidate.seq) > (last.session, last.seq)


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
