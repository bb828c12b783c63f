"""TriggerSender: a line tells a daemon of its parts (WIRE.md, "Parts").

with TriggerSender("ipc:///run/edged/inspect/triggers") as triggers, PartResults(
    "ipc:///run/edged/inspect/results", "inspect/results", "ipc:///run/edged/inspect/triggers") as results:
    number = triggers.send()                  # the light barrier was crossed just now
    triggers.tend(10)                         # repeats what was not acknowledged; call it all the time
    for result in results.receive(10): ...    # each once, none left out; nothing by the deadline = reject the part
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from typing import Any

import msgspec

from edged.client.request import Asker, Reply
from edged.core.clock import NS_PER_MS, Now, boot_id, monotonic_ns, ms
from edged.core.closing import Closing
from edged.core.errors import UNREADABLE, UsageError
from edged.wire.sockets import Context, CurveKeys

AGAIN_MS = 50.0
MOST_WAITING = 256  # parts that are not acknowledged: the daemon takes no more either
COUNTER_BITS = 63
FINAL = ("refused", "usage")  # codes of errors that repeating does not mend


class TriggerSender(Closing):
    """Tells a daemon of parts until it has acknowledged each. For one thread.

    `line`: the name of this session, another one whenever the counter begins again; random unless given. `bits`: 16 or
    32 for a counter that wraps. Raises `UsageError` for an endpoint that means nothing.
    """

    def __init__(
        self,
        endpoint: str,
        line: str = "",
        bits: int = COUNTER_BITS,
        again_ms: float = AGAIN_MS,
        context: Context | None = None,
        keys: CurveKeys | None = None,
        now: Now = monotonic_ns,
    ) -> None:
        self.line = line or secrets.token_hex(8)
        self.refused: deque[tuple[int, str]] = deque(maxlen=MOST_WAITING)  # parts and why, which nobody inspects
        self.last_error = ""  # of the daemon, about a part that is sent again
        self._bits, self._again_ns, self._now = bits, round(again_ms * NS_PER_MS), now
        self._boot = boot_id().hex()
        self._next = 0
        self._waiting: OrderedDict[int, tuple[int, int]] = OrderedDict()  # part -> its stamp, when it was sent last
        self._asker = Asker(endpoint, MOST_WAITING, context, keys)

    def send(self, part: int | None = None, stamp_ns: int | None = None) -> int:
        """Tell of a part that passed the trigger at `stamp_ns` of CLOCK_MONOTONIC here (None = now); its number.

        `part`: as the line counts, None = one more than the last. Raises `UsageError` when too many wait, and for a
        number that waits with another stamp: that would be two parts.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise UsageError(f"{MOST_WAITING} parts are not acknowledged", "stop the line: no daemon takes them")
        now_ns = self._now()
        number = self._next % (1 << self._bits) if part is None else part
        at_ns = now_ns if stamp_ns is None else stamp_ns
        if at_ns > now_ns:
            raise UsageError(f"a trigger {ms(at_ns - now_ns):.0f} ms from now", "stamps are time.monotonic_ns()")
        if self._waiting.get(number, (at_ns, 0))[0] != at_ns:
            raise UsageError(f"part {number} is not acknowledged yet", "count every part; 'tend' repeats by itself")
        self._next = number + 1
        self._waiting[number] = at_ns, now_ns
        self._send(number, at_ns, now_ns)
        return number

    def tend(self, timeout_ms: float = 0.0) -> int:
        """Take acknowledgements for so long, and send again what has none; how many parts still wait for theirs."""
        end_ns = self._now() + round(timeout_ms * NS_PER_MS)
        while True:
            now_ns = self._now()
            for number, (stamp_ns, sent_ns) in list(self._waiting.items()):
                if now_ns - sent_ns >= self._again_ns:
                    self._waiting[number] = stamp_ns, now_ns
                    self._send(number, stamp_ns, now_ns)
            left_ns = min(end_ns - now_ns, self._again_ns)
            while self._asker.socket.poll(max(0, left_ns // NS_PER_MS)):
                self._take(self._asker.socket.recv())
                left_ns = 0
            if self._now() >= end_ns or not self._waiting:
                return len(self._waiting)

    @property
    def waiting(self) -> list[int]:
        """Parts that are not acknowledged: nobody knows whether they will be inspected."""
        return list(self._waiting)

    def _send(self, number: int, stamp_ns: int, now_ns: int) -> None:
        args = {"line": self.line, "part": number, "bits": self._bits, "boot": self._boot}
        args |= {"stamp_ns": stamp_ns, "ago_ns": now_ns - stamp_ns}
        if not self._asker.put(number, "trigger", args):
            self.last_error = "no daemon takes triggers at the endpoint"

    def _take(self, data: bytes) -> None:
        try:
            reply = msgspec.msgpack.decode(data, type=Reply[Any])
        except UNREADABLE:
            return
        number, error = reply.id if isinstance(reply.id, int) else None, reply.error
        if error is not None:
            self.last_error = f"{error.text}; {error.remedy}"
        if number is None or number not in self._waiting:
            return
        if error is None or error.code in FINAL:
            del self._waiting[number]
        if error is not None and error.code in FINAL:
            self.refused.append((number, self.last_error))

    def close(self) -> None:
        """What is not acknowledged is not known to be inspected."""
        self._asker.close()
