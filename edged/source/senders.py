"""Which machine sends a sensor: another one may take over, but two by turns are two robots."""

from __future__ import annotations

from collections import deque

from edged.core.clock import NS_PER_S

ALONE_NS = 10 * NS_PER_S  # so long after the newer one was heard the older one may be heard again
RECENT_NS = 10 * NS_PER_S


class Senders:
    """The boot ids of those who sent, of which the one that came last is read."""

    def __init__(self) -> None:
        self._boot: bytes | None = None
        self._heard_ns = 0
        self._left: deque[bytes] = deque(maxlen=8)
        self._both_ns: int | None = None

    def refuses(self, boot: bytes, now_ns: int) -> bool:
        """Whether a message comes from a machine that another one has replaced, and which still sends."""
        if boot != self._boot:
            if boot in self._left and now_ns - self._heard_ns < ALONE_NS:
                self._both_ns = now_ns
                return True
            if self._boot is not None:
                self._left.append(self._boot)
            self._boot = boot
        self._heard_ns = now_ns
        return False

    def trouble(self, now_ns: int) -> str:
        """That two of them send, and the remedy; empty when one does."""
        if self._both_ns is None or now_ns - self._both_ns > RECENT_NS:
            return ""
        return "two machines send it by turns, and the one that came last is read; stop the other one"
