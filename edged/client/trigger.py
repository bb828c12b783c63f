"""TriggerSender and PartResults: a line's side of triggered parts (WIRE.md, "Parts").

with TriggerSender("ipc:///run/edged/inspect/triggers") as triggers, PartResults(
    "ipc:///run/edged/inspect/results", "inspect/results", "ipc:///run/edged/inspect/triggers") as results:
    number = triggers.send()                  # the light barrier was crossed just now
    triggers.tend(10)                         # repeats what was not acknowledged; call it all the time
    for result in results.receive(10): ...    # each once, none left out; nothing by the deadline = reject the part
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import zmq

from edged.client.request import MAX_REPLY, RequestError, request
from edged.client.subscription import Subscription
from edged.core.clock import NS_PER_MS, Now, boot_id, monotonic_ns, ms
from edged.core.errors import UsageError
from edged.wire import Kind, Message
from edged.wire.sockets import READER, Context, CurveKeys, connect, open_context

AGAIN_MS = 50.0
MOST_WAITING = 256  # parts that are not acknowledged: the daemon takes no more either
COUNTER_BITS = 63


@dataclass(frozen=True, slots=True)
class PartResult:
    """What a part came to. `result`: PASS, FAIL or NOT_INSPECTED, and why; `entry`: its number among all results of the
    daemon; `digest`: of the rules; `engine`: its first 8 bytes, 0 where none
    looked at the part; `message`: as it was published, None where it was asked for later."""

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

    @property
    def passed(self) -> bool:
        """Whether the part is good: nothing else may be taken for it."""
        return self.result == "PASS"


class TriggerSender:
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
        self._own = open_context() if context is None else None
        # IMMEDIATE: nothing is queued for a daemon that is not there, to reach the next one too late
        options = {**READER, zmq.IMMEDIATE: 1, zmq.MAXMSGSIZE: MAX_REPLY, zmq.SNDHWM: MOST_WAITING}
        self._socket = connect(context or self._own, zmq.DEALER, endpoint, options, keys)  # type: ignore[arg-type]

    def send(self, part: int | None = None, stamp_ns: int | None = None) -> int:
        """Tell of a part that passed the trigger at `stamp_ns` of CLOCK_MONOTONIC here (None = now); its number.

        `part`: as the line counts, None = one more than the last. Raises `UsageError` when too many wait.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise UsageError(f"{MOST_WAITING} parts are not acknowledged", "stop the line: no daemon takes them")
        now_ns = self._now()
        number = self._next % (1 << self._bits) if part is None else part
        at_ns = now_ns if stamp_ns is None else stamp_ns
        if at_ns > now_ns:
            raise UsageError(f"a trigger {ms(at_ns - now_ns):.0f} ms from now", "stamps are time.monotonic_ns()")
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
            while self._socket.poll(max(0, left_ns // NS_PER_MS)):
                self._take(self._socket.recv())
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
        try:
            self._socket.send(
                msgspec.msgpack.encode({"v": 1, "id": number, "op": "trigger", "args": args}), zmq.NOBLOCK
            )
        except zmq.Again:
            self.last_error = "no daemon takes triggers at the endpoint"

    def _take(self, data: bytes) -> None:
        try:
            reply = msgspec.msgpack.decode(data)
            number, error = reply["id"], reply.get("error")
        except (msgspec.DecodeError, KeyError, AttributeError, TypeError):
            return
        if error is None and number in self._waiting:
            del self._waiting[number]
        elif error is not None:
            self.last_error = f"{error.get('text', '')}; {error.get('remedy', '')}"
            if error.get("code") in ("refused", "usage") and number in self._waiting:
                del self._waiting[number]
                self.refused.append((number, self.last_error))

    def close(self) -> None:
        """What is not acknowledged is not known to be inspected."""
        self._socket.close(linger=0)
        if self._own is not None:
            self._own.term()
            self._own = None

    def __enter__(self) -> TriggerSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PartResults:
    """Every result of a daemon behind entry `after`, each once and in order: what is published, and by request what was
    missed. For one thread. `lost`: results that the daemon itself does not remember any more."""

    def __init__(
        self,
        endpoint: str,
        topic: str,
        triggers: str,
        after: int = 0,
        context: Context | None = None,
        keys: CurveKeys | None = None,
        now: Now = monotonic_ns,
    ) -> None:
        self.entry = after
        self.lost = 0
        self._triggers, self._keys, self._context, self._now = triggers, keys, context, now
        self._heard = Subscription(endpoint, topic, context=context, now=now, keys=keys)
        self._asked_ns: int | None = None
        self._session = (b"", 0)

    def receive(self, timeout_ms: float = 0.0) -> list[PartResult]:
        """The results that are there, or the first that come within the time-out."""
        found: list[PartResult] = []
        if self._asked_ns is None or self._now() - self._asked_ns > 1000 * NS_PER_MS:
            found += self._catch_up()  # also what was sent while nobody listened
        message = self._heard.receive(0.0 if found else timeout_ms)
        while message is not None:
            if message.kind is Kind.RESULT and "entry" in message.header:
                found += self._heard_one(message)
            message = self._heard.receive(0.0)
        return found

    def _heard_one(self, message: Message) -> list[PartResult]:
        result, found = _result(message.header, message), []
        if (message.boot, message.session) != self._session:
            self._session = message.boot, message.session
            found += self._catch_up()
        elif result.entry > self.entry + 1:
            found += self._catch_up()
        if result.entry == self.entry + 1:
            self.entry = result.entry
            found.append(result)
        return found

    def _catch_up(self) -> list[PartResult]:
        """What lies behind the last entry; nothing while no daemon answers."""
        found: list[PartResult] = []
        self._asked_ns = self._now()
        while True:
            try:
                answer: Mapping[str, Any] = request(
                    self._triggers, "results", {"after": self.entry}, 1000.0, self._context, self._keys
                )
            except RequestError:
                return found
            if answer["newest"] < self.entry:  # the daemon has another ledger than before
                self.entry = 0
                continue
            if answer["oldest"] > self.entry + 1:
                self.lost += answer["oldest"] - self.entry - 1
            for one in answer["results"]:
                found.append(_result(one))
                self.entry = found[-1].entry
            if not answer["results"] or self.entry >= answer["newest"]:
                return found

    def close(self) -> None:
        self._heard.close()

    def __enter__(self) -> PartResults:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _result(header: Mapping[str, Any], message: Message | None = None) -> PartResult:
    return PartResult(
        str(header["line"]), int(header["part"]), int(header["number"]), int(header["entry"]), str(header["result"]),
        str(header.get("why") or ""), tuple(header.get("decided") or ()), str(header["digest"]),
        int(header["stamp_ns"]), _engine(header) if message is None else message.engine, message,
    )  # fmt: skip


def _engine(header: Mapping[str, Any]) -> bytes:
    """Of a result that was asked for; a daemon from before it was in the answer gives none."""
    try:
        return bytes.fromhex(header.get("engine") or "").ljust(8, b"\0")[:8]
    except (ValueError, TypeError):
        return bytes(8)
