"""Parts: requests for parts come in here, are brought to disk, acknowledged, and get exactly one result.

One thread owns the `triggers` socket, the ledger on disk and the `results` stream. What came in and what is over since
its last turn is one group of lines with one fsync; only then are requests acknowledged and results published. What
cannot be written is neither: requests are refused, results are tried again. The loop gives results by `conclude`, edges
and lines of this machine are requests by `trigger`; neither waits.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from edged.core.clock import NS_PER_MS, Now, monotonic_ns, wall_time
from edged.core.duty import Duty
from edged.core.errors import EdgedError, RefusedError
from edged.inspection.doubled import Doubled
from edged.inspection.ledger import LONGEST_LINE, check_repeat
from edged.inspection.part import Outcome, Part, not_inspected
from edged.inspection.triggers import Matcher
from edged.runtime.control import ROLE_REMEDY, Request, failure, parse_request
from edged.runtime.door import Asked, Door
from edged.runtime.ledger_file import LedgerFile
from edged.runtime.publish import Outlet
from edged.runtime.result_message import part_result
from edged.runtime.sender import Sender
from edged.wire import Kind, encode

LOOK_MS = 250
MOST_AT_ONCE = 256  # requests for one fsync
MOST_LISTED = 256  # results in one answer
LISTED = (
    "entry", "line", "part", "number", "result", "why", "decided", "digest", "stamp_ns", "captured_ns", "wall",
    "engine", "boot", "session",
)  # fmt: skip
PAUSE_S = 0.2  # before what could not be written is tried again
LONGEST_AGO_NS = 3600 * 1_000_000_000

log = logging.getLogger("edged")

Fresh = dict[tuple[str, int], tuple[Part, dict[str, Any]]]


class TriggerArgs(msgspec.Struct, forbid_unknown_fields=True):
    """`ago_ns`: how long ago it was when this was sent; `boot`, `stamp_ns`: when, for whoever shares our clock."""

    line: str
    part: int
    ago_ns: int
    bits: int = 63
    boot: str = ""
    stamp_ns: int = 0


class ResultsArgs(msgspec.Struct, forbid_unknown_fields=True):
    """`after`: an entry's number."""

    after: int
    most: int = MOST_LISTED


class Parts(Duty):
    """`file`: the ledger; `digest`: of the rules; `camera`: whose frames they are."""

    def __init__(
        self,
        matcher: Matcher,
        door: Door,
        outlet: Outlet,
        sender: Sender,
        file: LedgerFile,
        digest: str,
        camera: str,
        valid_ns: int,
        now: Now = monotonic_ns,
        wall_ns: Now = time.time_ns,
    ) -> None:
        super().__init__("parts", now)
        self.matcher = matcher
        self._door, self._outlet, self._sender = door, outlet, sender
        self._digest, self._camera, self._valid_ns = digest, camera, valid_ns
        self._wall_ns = wall_ns
        self._file, self._ledger = file, file.ledger
        self._loaded = False
        self._over: deque[tuple[Part, Outcome]] = deque()  # from the loop
        self._edges: deque[TriggerArgs] = deque(maxlen=MOST_AT_ONCE)  # of this machine
        self._unwritten: list[tuple[Part, Outcome]] = []
        self._unaccepted: dict[tuple[str, int], Part] = {}
        self.counts: Counter[str] = Counter()
        self._doubled = Doubled()

    def conclude(self, now_ns: int) -> None:
        """What is over at this moment, on its way to disk. By the loop, each turn."""
        if over := self.matcher.conclude(now_ns):
            self._over.extend(over)
            self._door.wake()

    def trigger(self, line: str, part: int, stamp_ns: int) -> None:
        """A request of this machine, which nobody repeats. Any thread may call it."""
        self.counts["edges_lost"] += len(self._edges) == self._edges.maxlen  # the oldest, as the disk takes none
        self._edges.append(TriggerArgs(line, part, 0, 63, self._sender.boot.hex(), stamp_ns))
        self._door.wake()

    def work(self) -> None:
        if not self._loaded:
            self._load()
        while not self.stopping.is_set():
            asked = [self._door.receive(router) for router in self._door.wait(LOOK_MS)]
            while asked and len(asked) < MOST_AT_ONCE and (more := self._door.wait(0)):
                asked += [self._door.receive(router) for router in more]
            self._turn(asked)
            self._outlet.count_peers()
            if self._unwritten:
                self.stopping.wait(PAUSE_S)
        self._over.extend(self.matcher.end("STOPPING"))
        self._turn([])
        self._file.note()

    def close(self) -> None:
        """All that are open are NOT_INSPECTED(STOPPING); when the loop has ended."""
        self.stopping.set()
        self._door.wake()
        super().close()
        self._door.close()

    def describe_parts(self) -> dict[str, Any]:
        """For health: what parts came to since the start, and what is on its way."""
        seen = self.matcher.describe()
        return {**seen, **self.counts, "entry": self._ledger.newest, "unwritten": len(self._unwritten)}

    def _load(self) -> None:
        """What is on disk; parts that a crash left open are over."""
        self._file.load()
        for line, number, known in list(self._ledger.open()):
            part = Part(line, known.part, number, known.stamp_ns, self.matcher.timing, accepted=True)
            self._unwritten.append((part, not_inspected("RESTART")))
        self._loaded = True
        self._turn([])

    def _turn(self, asked: list[Asked]) -> None:
        """One group: all that came in and all that is over."""
        fresh: Fresh = {}
        replies: list[tuple[Asked, bytes, Part | None]] = []
        edges: list[TriggerArgs] = []
        for edge in [self._edges.popleft() for _ in range(len(self._edges))]:
            if self.item("an edge", partial(self._accept, edge, fresh)):
                edges.append(edge)
            else:
                self.counts["edges_lost"] += 1
        for one in asked:
            replies.append((one, *self._answer(one, fresh)))
        while self._over:
            self._unwritten.append(self._over.popleft())
        written = not fresh and not self._unwritten
        if not written:
            written = self.item("bringing parts to disk", partial(self._commit, fresh))
        if not written:
            self._again(edges)
        for one, reply, part in replies:
            if part is not None and not written:
                reply = failure(None, "failed", "it cannot be brought to disk", "look at the daemon's disk and log")
            self._door.reply(one, reply)

    def _again(self, edges: list[TriggerArgs]) -> None:
        """Edges that are not on disk, which nobody else repeats, before those that came meanwhile."""
        came = [self._edges.popleft() for _ in range(len(self._edges))]
        self.counts["edges_lost"] += max(0, len(edges) + len(came) - MOST_AT_ONCE)
        self._edges.extend([*edges, *came])

    def _answer(self, asked: Asked, fresh: Fresh) -> tuple[bytes, Part | None]:
        """The reply to one request, and the part that it holds good for only once that is on disk."""
        request: Request | None = None
        try:
            if not asked.known:
                raise RefusedError("your key is not known any more", "ask who runs the daemon")
            request = parse_request(asked.data)
            if request.op == "results":
                result, part = self._results(msgspec.convert(request.args, ResultsArgs)), None
            elif request.op == "trigger":
                if asked.client is not None and asked.client.role != "operate":
                    raise RefusedError(f"the key {asked.client.name} may read, not trigger", ROLE_REMEDY)
                args = msgspec.convert(request.args, TriggerArgs)
                self._refuse_doubled(args.line, asked)
                result, part = self._accept(args, fresh)
            else:
                raise EdgedError(f"unknown operation {request.op!r}", "known are: results, trigger")
            return msgspec.msgpack.encode({"v": 1, "id": request.id, "ok": True, "result": result}), part
        except EdgedError as error:
            return failure(request, error.code, error.fact, error.remedy), None
        except msgspec.ValidationError as error:
            return failure(request, "usage", str(error), "see 'Parts' in WIRE.md"), None
        except Exception as error:  # the thread must outlive a bug, and whoever asked must learn of it
            self.failures += 1
            self.failed("a request", error)
            return failure(request, "internal", f"{type(error).__name__}: {error}", "see the daemon's log"), None

    def _refuse_doubled(self, line: str, asked: Asked) -> None:
        if len(line) > LONGEST_LINE or not self._doubled.refuses(
            line, (id(asked.router), *asked.envelope), self._now()
        ):
            return
        self.counts["doubled"] += 1
        if self._doubled.is_news(line):
            log.error("two senders tell of parts of line %r, the second is refused: give each a name of its own", line)
        raise RefusedError(f"another sender tells of the line {line!r} as well", "give each a line session of its own")

    def _accept(self, args: TriggerArgs, fresh: Fresh) -> tuple[dict[str, Any], Part | None]:
        """What a trigger is answered, and the part that has to be on disk before."""
        now_ns = self._now()
        if not 0 <= args.ago_ns <= LONGEST_AGO_NS:
            raise EdgedError(f"a trigger {args.ago_ns} ns ago", "ago_ns is 0 to an hour")
        same_clock = args.boot == self._sender.boot.hex()
        stamp_ns = args.stamp_ns if same_clock else now_ns - args.ago_ns
        if not now_ns - LONGEST_AGO_NS <= stamp_ns <= now_ns:
            raise EdgedError("the trigger's stamp is not of this hour", "stamp_ns is CLOCK_MONOTONIC when it happened")
        wall_ns = self._wall_ns() - (now_ns - stamp_ns)
        number = self._ledger.number(args.line, args.part, args.bits)
        key = (args.line, number)
        facts: dict[str, Any] = {"line": args.line, "part": args.part, "number": number, "stamp_ns": stamp_ns}
        if (known := self._ledger.find(args.line, number, stamp_ns, wall_ns)) is not None:
            self.counts["repeats"] += 1
            self.matcher.repeat(*key, stamp_ns)
            return {**facts, "stamp_ns": known.stamp_ns, "known": True, "entry": known.entry}, None
        part = fresh[key][0] if key in fresh else self._unaccepted.get(key)
        if part is None:
            part = self.matcher.claim(args.line, args.part, number, stamp_ns, now_ns)
            if part is None:
                raise EdgedError("too many parts have no result yet", "send it again; see why results take so long")
        check_repeat(*key, stamp_ns - part.stamp_ns)
        self.matcher.repeat(*key, stamp_ns)
        self._unaccepted[key] = part
        self._ledger.count(args.line, number)
        fresh[key] = part, self._ledger.accepted(part, wall_ns)
        return {**facts, "stamp_ns": part.stamp_ns, "known": False, "entry": None}, part

    def _results(self, args: ResultsArgs) -> dict[str, Any]:
        self._file.asked(args.after)
        listed, oldest = self._ledger.after(args.after, max(1, min(args.most, MOST_LISTED)))
        results = [{key: one.get(key) for key in LISTED} for one in listed]
        told = {"oldest": oldest, "newest": self._ledger.newest, "ledger": self._ledger.identity}
        return {"results": results, **told}

    def _commit(self, fresh: Fresh) -> None:
        """To disk; then accepted parts are known, and results published."""
        at_ns = self._now()
        lines = [self._line("part", at_ns, facts) for _, facts in fresh.values()]
        ended = [
            (part, outcome, self._line("result", at_ns, self._ledger.result(part, outcome, self._digest, index)))
            for index, (part, outcome) in enumerate(self._unwritten)
        ]
        lines += [line for _, _, line in ended]
        self._file.add(lines)
        self._unwritten.clear()
        for key, (part, _) in fresh.items():
            self._unaccepted.pop(key, None)
            if not self.matcher.accept(part):
                self._over.append((part, not_inspected("DEADLINE")))
        self.counts["accepted"] += len(fresh)
        self._forget(at_ns)
        for _, outcome, line in ended:
            self.item("publishing a result", partial(self._publish, outcome, line))

    def _line(self, kind: str, at_ns: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        return self._file.line(kind, {"wall": wall_time(at_ns), "mono_ns": at_ns, **facts})

    def _publish(self, outcome: Outcome, line: Mapping[str, Any]) -> None:
        outlet = self._outlet
        made = self._sender.preamble(
            Kind.RESULT, outlet.seq + 1, outcome.captured_ns, self._now(), self._valid_ns, engine=outcome.engine
        )
        outlet.send(encode(outlet.topic, made, part_result(outcome, line, self._camera)))
        outlet.tend()

    def _forget(self, now_ns: int) -> None:
        """Parts that could not be written down for so long that nobody asks for them any more."""
        old = [key for key, part in self._unaccepted.items() if now_ns > part.deadline_ns + 60_000 * NS_PER_MS]
        for key in old:
            del self._unaccepted[key]
