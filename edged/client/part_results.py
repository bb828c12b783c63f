"""PartResults: what the parts of a line came to, each once and none left out (WIRE.md, "Parts").

with PartResults("ipc:///run/edged/inspect/results", "inspect/results",
                 "ipc:///run/edged/inspect/triggers") as results:
    for result in results.receive(10): ...    # nothing by the deadline = reject the part
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edged.client.part_result import PartResult, read_result
from edged.client.request import Asker, Failure, Reply
from edged.client.subscription import Subscription
from edged.core.clock import NS_PER_MS, Now, monotonic_ns
from edged.core.closing import Closing
from edged.core.errors import UNREADABLE
from edged.wire import Kind, Message
from edged.wire.sockets import Context, CurveKeys, on_failure

ASK_MS = 1000.0  # also what was sent while nobody listened is found
AGAIN_MS = 50.0  # before a question is put again that no daemon took
MOST_AT_ONCE = 256  # published messages between two looks at the time
LISTEN_MS = 5.0  # between two looks at what is published, while an answer is waited for


class _Results(msgspec.Struct):
    """A daemon's answer."""

    results: list[dict[str, Any]]
    oldest: int
    newest: int
    ledger: str = ""  # of a daemon from before there was one


class _Catalogue(Asker):
    """Asks a daemon for results by number, and waits for nothing."""

    def __init__(self, endpoint: str, context: Context | None, keys: CurveKeys | None, now: Now) -> None:
        self.after: int | None = None  # what the question that has no answer yet was about
        self.last_error = ""
        self._now, self._asked_ns, self._number = now, 0, 0
        self._read = msgspec.msgpack.Decoder(Reply[_Results])
        super().__init__(endpoint, 1, context, keys)

    def due_ns(self) -> int:
        """When the next question is due if nothing else gives rise to one."""
        return self._asked_ns + round(ASK_MS * NS_PER_MS) if self._asked_ns else 0

    def ask(self, after: int) -> None:
        """The results behind entry `after`; an answer to an earlier question is none any more."""
        now_ns = self._now()
        self._number += 1
        if self.put(self._number, "results", {"after": after}):
            self.after, self._asked_ns = after, now_ns
        else:
            self.last_error = "no daemon takes questions at the endpoint"
            self.after, self._asked_ns = None, now_ns - round((ASK_MS - AGAIN_MS) * NS_PER_MS)

    def answer(self, timeout_ms: float) -> _Results | None:
        """The answer to the last question, if it comes within the time-out."""
        while self.after is not None and self.socket.poll(max(0, int(timeout_ms))):
            try:
                reply = self._read.decode(self.socket.recv_multipart()[-1])
            except UNREADABLE as error:
                self.last_error = f"an answer that is none: {error}"
                continue
            if reply.id != self._number:
                continue
            if reply.result is None:
                told = reply.error or Failure("failed", "")
                self.last_error, self.after = f"{told.text}; {told.remedy}", None
            return reply.result
        return None


class PartResults(Closing):
    """Every result of a daemon behind entry `after`, each once and in order: what is published, and by request what was
    missed. For one thread, which is never kept longer than it says, whatever the daemon does. `lost`: results that
    the daemon itself does not remember any more. Raises `UsageError` for an endpoint that means nothing.

    Entries count within one `ledger`. Where the daemon has another one by now, or an older one that was brought back,
    `replaced` counts it, `last_error` says it, and its results come from the first one on. Who keeps `entry` over its
    own restarts keeps `ledger` with it and gives both again.
    """

    def __init__(
        self,
        endpoint: str,
        topic: str,
        triggers: str,
        after: int = 0,
        context: Context | None = None,
        keys: CurveKeys | None = None,
        now: Now = monotonic_ns,
        ledger: str = "",
    ) -> None:
        self.entry, self.ledger = after, ledger
        self.lost = self.replaced = 0
        self._now = now
        self._heard = Subscription(endpoint, topic, context=context, now=now, keys=keys)
        with on_failure(self._heard.close):
            self._catalogue = _Catalogue(triggers, context, keys, now)
        self._session = (b"", 0)
        self._writer: tuple[str, int] | None = None  # boot and session that wrote our newest entry, where known
        self._unsure = False  # another run of the daemon is heard: does it have our entry?
        self._asked = after  # our newest entry when the last question was put: an answer knows no later ones

    @property
    def last_error(self) -> str:
        """What a daemon objected to last, that none was there, or that its ledger is another one."""
        return self._catalogue.last_error

    def receive(self, timeout_ms: float = 0.0) -> list[PartResult]:
        """The results that are there, or the first that come within the time-out."""
        end_ns = self._now() + round(timeout_ms * NS_PER_MS)
        while True:
            now_ns = self._now()
            if now_ns >= self._catalogue.due_ns():
                self._ask()
            left_ms = max(0, end_ns - now_ns) / NS_PER_MS
            asking = self._catalogue.after is not None
            found = self._answered(min(left_ms, LISTEN_MS))
            until_ask_ms = max(0, self._catalogue.due_ns() - now_ns) / NS_PER_MS
            wait_ms = 0.0 if found or asking else min(left_ms, until_ask_ms)
            message, count = self._heard.receive(wait_ms), 1
            while message is not None:
                if message.kind is Kind.RESULT and "entry" in message.header:
                    found += self._heard_one(message)
                message = self._heard.receive(0.0) if count < MOST_AT_ONCE else None
                count += 1
            if found or self._now() + NS_PER_MS > end_ns:
                return found

    def _ask(self) -> None:
        """From our own newest entry on: the daemon's word for it shows whether it is the same one."""
        self._asked = self.entry
        self._catalogue.ask(max(0, self.entry - 1))

    def _heard_one(self, message: Message) -> list[PartResult]:
        if (result := read_result(message.header, message)) is None:
            return []  # the daemon is asked for it
        begun = (message.boot, message.session) != self._session
        self._session = message.boot, message.session
        self._unsure = self._unsure or (begun and self._writer is not None)
        if begun or (result.entry > self.entry + 1 and self._catalogue.after is None):
            self._ask()  # an answer of the run before would say nothing of this one
        if self._unsure or result.entry != self.entry + 1 or self._differs(str(message.header.get("ledger") or "")):
            return []  # had already, or found with those before it: it is on disk
        self._take(result, (message.boot.hex(), message.session))
        return [result]

    def _answered(self, wait_ms: float) -> list[PartResult]:
        """What the daemon says lies behind the last entry, a page of it."""
        after = self._catalogue.after
        answer = self._catalogue.answer(wait_ms)
        if answer is None or after is None:
            return []
        self._catalogue.after = None
        if self._is_another(answer):
            self._begin_again(answer)
            return []
        self.ledger, self._unsure = answer.ledger or self.ledger, False
        if answer.oldest > self.entry + 1:
            self.lost += answer.oldest - self.entry - 1
            self.entry = answer.oldest - 1
        found = []
        for one in answer.results:
            if (result := read_result(one)) is None:
                self._catalogue.last_error = "an answer with a result that is none: its entry, line or part is missing"
            elif result.entry > self.entry:
                self.lost += result.entry - self.entry - 1
                self._take(result, _writer(one))
                found.append(result)
        if found and self.entry < answer.newest:
            self._ask()
        return found

    def _take(self, result: PartResult, writer: tuple[str, int] | None) -> None:
        self.entry, self._writer = result.entry, writer

    def _is_another(self, answer: _Results) -> bool:
        """Whether our newest entry is none of this ledger: beyond its end, of another identity, or written by another
        run of the daemon than ours was."""
        if answer.newest < self._asked:
            return True
        if self._differs(answer.ledger):
            return True
        same = next((one for one in answer.results if one.get("entry") == self.entry), None)
        writer = None if same is None else _writer(same)
        return self._writer is not None and writer is not None and writer != self._writer

    def _differs(self, ledger: str) -> bool:
        return bool(self.entry and self.ledger) and ledger not in ("", self.ledger)

    def _begin_again(self, answer: _Results) -> None:
        self.replaced += 1
        self._catalogue.last_error = (
            f"the daemon's ledger of parts is not the one that entry {self.entry} was of (it ends at {answer.newest}); "
            "its results are read from the first one on, reject parts without one: see 'A ledger that was replaced' in "
            "docs/parts.md"
        )
        self.entry, self.ledger, self._writer, self._unsure = 0, answer.ledger, None, False
        self._ask()

    def close(self) -> None:
        self._heard.close()
        self._catalogue.close()


def _writer(header: Mapping[str, Any]) -> tuple[str, int] | None:
    """Which run of the daemon wrote a result that was asked for, if the daemon says it."""
    boot, session = header.get("boot"), header.get("session")
    return (boot, session) if isinstance(boot, str) and isinstance(session, int) else None
