"""Backlog: what waits in a sensor's socket, the newest of it, for a bounded share of the tick.

Old data never commands, so what is too much is left out at the old end: the newest messages alone are kept to be
decoded, and a socket that cannot be emptied is reopened, which drops all that waits in it, in the kernel and at its
sender. Whatever a sender does costs the loop one budget of bytes and one of time a tick.
"""

from __future__ import annotations

from collections import deque

import msgspec
import zmq

from edged.core.clock import NS_PER_MS, NS_PER_S, Now
from edged.wire.link import Link, receive
from edged.wire.sockets import is_readable

LEAST = 64  # messages of a tick that are taken whatever time it is: the machine may have been busy with others
MOST = 256  # messages of a tick that are decoded
MOST_BYTES = 1 << 20  # of them
SHARE = 8  # of the time since the tick before goes to one socket, at most
LEAST_NS, MOST_NS = NS_PER_MS // 5, 50 * NS_PER_MS
VAIN = 2  # ticks in a row that did not empty the socket
PAUSE_NS = NS_PER_S  # between two times that it is reopened for that


class Found(msgspec.Struct, frozen=True):
    """What one look found. `messages`: parts of each, oldest first; `count`: with those that were left out (`overrun`);
    `emptied`: no more waited, and none can have been lost before; `endless`: a message with too many parts came."""

    messages: tuple[list[bytes], ...]
    count: int
    overrun: int
    emptied: bool
    endless: bool
    until_ns: int


class Backlog:
    """The waiting messages of `link`, whose socket queues `queue` of them; for one thread.

    `floods`: how often the connection was reopened because its sender is faster than can be read.
    """

    def __init__(self, link: Link, queue: int, now: Now) -> None:
        self.floods = 0
        self._link, self._queue, self._now = link, queue, now
        self._looked_ns = self._opened_ns = now()
        self._vain = 0
        self._comes = False  # whether the look before found something

    def take(self) -> Found:
        """Read what is there, without waiting. `until_ns`: when whoever decodes it should have ended."""
        began_ns = self._now()
        budget_ns = max(LEAST_NS, min(MOST_NS, (began_ns - self._looked_ns) // SHARE))
        self._looked_ns = began_ns
        kept: deque[list[bytes]] = deque()
        held = count = 0
        is_empty = endless = False
        while count < LEAST or count % 16 or self._now() - began_ns < budget_ns:
            # a look is cheaper than the exception of a vain recv, but where each tick finds something it is in vain
            if (count or not self._comes) and not is_readable(self._link.socket):
                is_empty = True
                break
            try:
                parts = receive(self._link.socket, zmq.NOBLOCK)
            except zmq.Again:
                is_empty = True
                break
            if parts is None:
                endless = True
                self._link.reopen()
                break
            count += 1
            kept.append(parts)
            held += sum(map(len, parts))
            while len(kept) > MOST or (held > MOST_BYTES and len(kept) > 1):
                held -= sum(map(len, kept.popleft()))
        self._comes = count > 0
        self._judge(is_empty or endless, began_ns)
        emptied = is_empty and count < self._queue
        return Found(tuple(kept), count, count - len(kept), emptied, endless, self._now() + budget_ns)

    def _judge(self, is_empty: bool, now_ns: int) -> None:
        """Reopen the connection when ticks pass and it cannot be emptied: what is read then gets older and older."""
        self._vain = 0 if is_empty else self._vain + 1
        if self._vain >= VAIN and now_ns - self._opened_ns >= PAUSE_NS:
            self._vain, self._opened_ns = 0, now_ns
            self.floods += 1
            self._link.reopen()
