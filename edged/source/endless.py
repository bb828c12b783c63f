"""Endless: a connection that brings bytes and never a message.

libzmq delivers a message when its last part is there, bounds the size of a part but not their number, and counts what
is not delivered in no queue. A sender that never ends one fills the memory, at 400 MB a second where it is fast. What
a socket holds of it is free again when it is closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edged.core.clock import NS_PER_MS, NS_PER_S
from edged.core.procfs import resident_bytes
from edged.wire.link import Link

HITS, WITHIN_NS = 4, 2 * NS_PER_S  # looks that found bytes waiting; a silent sender's heartbeats come once a second
BUSY_NS = 100 * NS_PER_MS  # a message of ours takes some ms
SILENT_NS = 300 * NS_PER_MS
LOOK_NS = 100 * NS_PER_MS  # between two at our memory
GROWTH_BYTES = 16 << 20
PAUSES_NS = (0, NS_PER_S, 2 * NS_PER_S, 4 * NS_PER_S, 8 * NS_PER_S)  # for who does it again within
AGAIN_NS = 20 * NS_PER_S


class Endless:
    """Looks at `link` once a tick. `bytes_held`: of this process. `message_bytes`: of a message so long that its bytes
    may wait on the way, and take memory while they come; 0 = messages are short."""

    def __init__(self, link: Link, bytes_held: Callable[[], int] = resident_bytes, message_bytes: int = 0) -> None:
        self._link, self._held, self._message_bytes = link, bytes_held, message_bytes
        self._hits: deque[int] = deque(maxlen=HITS)
        self._silent_ns = self._look_ns = 0
        self._reopened_ns, self._times = -AGAIN_NS, 0
        self._before: int | None = None

    def look(self, is_silent: bool, now_ns: int) -> str:
        """Reopen the link where that is due, and return why, "" = it was not. "parts": bytes waited at several looks
        and no message came. "silent": our memory grew in a silence; that may have been something else, and a silent
        connection loses little by being made again. `is_silent`: no message came since the look before."""
        why = ""
        if not is_silent or not self._link.is_connected:
            self._begin(now_ns)
        elif self._waits(now_ns):
            why = "parts"
        elif now_ns - self._look_ns >= LOOK_NS and self._has_grown(now_ns):
            why = "silent"
        if why:
            self._begin(now_ns)
            is_again = now_ns - self._reopened_ns < AGAIN_NS
            self._times = min(self._times + 1, len(PAUSES_NS) - 1) if is_again else 0
            self._reopened_ns = now_ns
            self._link.reopen(now_ns + PAUSES_NS[self._times] if self._times else 0)
        return why

    def trouble(self, now_ns: int) -> str:
        """What has to be repaired, where it happened again and again of late."""
        if self._times < len(PAUSES_NS) - 2 or now_ns - self._reopened_ns >= AGAIN_NS:
            return ""
        fact = "bytes without end come and no message, it is connected anew after ever longer pauses"
        return f"{fact}; find out what sends at this endpoint"

    def _waits(self, now_ns: int) -> bool:
        if self._message_bytes or not self._link.bytes_waiting():
            return False
        self._hits.append(now_ns)
        return len(self._hits) == HITS and BUSY_NS <= now_ns - self._hits[0] <= WITHIN_NS

    def _has_grown(self, now_ns: int) -> bool:
        self._look_ns, held = now_ns, self._held()
        self._before = held if self._before is None else min(held, self._before)
        return now_ns - self._silent_ns >= SILENT_NS and held - self._before >= GROWTH_BYTES + 2 * self._message_bytes

    def _begin(self, now_ns: int) -> None:
        self._hits.clear()
        self._before, self._silent_ns = None, now_ns
