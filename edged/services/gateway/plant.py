"""Plant: what a plant has to know of one daemon, read from its bus, with what is old left out.

Whoever shows `Facts` shows nothing that is not so now: where the daemon is not heard, `alive` is False and all the rest
is empty. Results are shown for a while only, for the part that they belong to and with the engine that made them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edged.client import Kind, Lost, Message, PartResult, PartResults, RequestError, Stream, Subscription, request
from edged.core.clock import NS_PER_MS, NS_PER_S, Now, boot_id, monotonic_ns, ms

LOOK_NS = NS_PER_S // 2  # between two looks which streams there are
HEALTH_MS = 1500.0  # health comes twice a second
QUIET_MS = 200.0  # of a policy's verdicts
MOST_RESULTS = 1024  # that are fresh, and between two turns
NO_ENGINE = bytes(8)

log = logging.getLogger("edged.gateway")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so at this moment. `good`: the newest verdict is a prediction, and still valid; `reason`: of the Hold,
    else empty. `age_ms`: of its oldest input, None = unknown. `results`: the fresh ones, the newest first; one of a
    verdict has no `line`, its tick as `number`, its sequence number as `entry`, and is stamped when published."""

    alive: bool = False
    good: bool = False
    stop: bool = False
    reason: str = ""
    reason_number: int = 0
    detail: str = ""
    engine: bytes = NO_ENGINE
    seq: int = 0
    age_ms: float | None = None
    valid_ms: float = 0.0
    alarms: tuple[str, ...] = ()
    results: tuple[PartResult, ...] = ()
    health: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """One word: LOST, OK, or the reason of the Hold; EXPIRED for a prediction that is not good any more."""
        if not self.alive:
            return "LOST"
        return self.reason or ("OK" if self.good else "EXPIRED")

    @property
    def running(self) -> Mapping[str, Any]:
        """What its health says of the engine; empty where none runs."""
        engine = self.health.get("engine")
        return engine if isinstance(engine, dict) else {}


class _Reader(Protocol):
    def close(self) -> None: ...


class Plant:
    """One daemon by its runtime folder, or those in which it may be started yet. For one thread; where parts are
    triggered it has another one inside.

    `result_ms`: how long a result is shown after its part's trigger or its verdict. `quiet_ms`: silence of a policy
    that counts as loss (None = 200); an inspection is lost after 1.5 s without health.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        name: str,
        result_ms: float = 2000.0,
        quiet_ms: float | None = None,
        now: Now = monotonic_ns,
    ) -> None:
        self.name = name
        self._folders = [folder.absolute() for folder in folders]
        self.runtime = self._folders[0]
        self.verdict: Message | Lost | None = None  # what the last `turn` heard, for a player
        self._result_ns, self._quiet_ms, self._now = round(result_ms * NS_PER_MS), quiet_ms or QUIET_MS, now
        self._boot = boot_id()
        self._looked_ns = now() - LOOK_NS
        self._streams: dict[str, Stream] = {}  # action or masks, and health
        self._published: Subscription | None = None
        self._parts: _Parts | None = None
        self._newest: Message | None = None
        self._health: Mapping[str, Any] = {}
        self._results: deque[PartResult] = deque(maxlen=MOST_RESULTS)
        self._late = 0  # results that were over when they came

    @property
    def stream(self) -> str:
        """`action`, `masks`, or empty while the daemon was never there."""
        return next((name for name in ("action", "masks") if name in self._streams), "")

    def turn(self) -> Facts:
        """Take in what has come; what is so now. Never waits."""
        if self._now() - self._looked_ns >= LOOK_NS:
            self._looked_ns = self._now()
            self._look()
        self.verdict = None
        if self.stream:
            self.verdict = self._streams[self.stream].latest()
            if isinstance(self.verdict, Message):
                self._newest = self.verdict
        if "health" in self._streams and isinstance(health := self._streams["health"].latest(), Message):
            self._health = dict(health.header)
        self._take_results()
        return self._facts(self._now())

    def _facts(self, now_ns: int) -> Facts:
        heard = self._streams.get("action") or self._streams.get("health")
        if heard is None or not heard.health.alive:
            self._results.clear()  # of an edged that is gone: nothing of it may be taken for a part that comes
            return Facts()
        while self._results and self._is_over(self._results[0], now_ns):
            self._results.popleft()
        fresh = [one for one in self._results if not self._is_over(one, now_ns)]
        facts: dict[str, Any] = {"alive": True, "results": tuple(reversed(fresh)), "health": self._health}
        if (newest := self._newest) is not None:
            facts |= self._of_verdict(newest, now_ns)
        return Facts(**facts)

    def _of_verdict(self, newest: Message, now_ns: int) -> dict[str, Any]:
        until_ns = self._streams[self.stream].good_until(newest)
        good = newest.kind is not Kind.HOLD and now_ns < until_ns
        alarms = tuple(newest.header.get("alarms") or ())
        facts: dict[str, Any] = {"good": good, "seq": newest.seq, "alarms": alarms}
        facts["valid_ms"] = max(0.0, ms(until_ns - now_ns))
        if newest.boot == self._boot and newest.captured_ns:
            facts["age_ms"] = ms(now_ns - newest.captured_ns)
        if newest.kind is Kind.HOLD:
            reason = str(newest.header.get("reason") or f"REASON_{newest.reason}")
            facts |= {"stop": newest.stop, "reason": reason, "reason_number": newest.reason}
            facts["detail"] = str(newest.header.get("detail") or "")
        if good or newest.kind is Kind.HOLD:
            facts["engine"] = newest.engine
        return facts

    def _look(self) -> None:
        """Open what is there by now; a daemon that is started again is followed by itself."""
        if not self._streams:
            self.runtime = next((one for one in self._folders if (one / "health").exists()), self._folders[0])
        for name in ("action", "masks", "health"):
            if name not in self._streams and (self.runtime / name).exists():
                timeout_ms = self._quiet_ms if name == "action" else HEALTH_MS
                self._streams[name] = Stream(self._at(name), f"{self.name}/{name}", timeout_ms, now=self._now)
        if self._parts is None and (self.runtime / "results").exists():
            if (self.runtime / "triggers").exists():  # which comes after the other, when a daemon starts
                if self._published is not None:
                    self._published.close()
                    self._published = None
                    self._results.clear()
                self._parts = _Parts(self._at("results"), f"{self.name}/results", self._at("triggers"))
            elif self._published is None:
                self._published = Subscription(self._at("results"), f"{self.name}/results")

    def _at(self, stream: str) -> str:
        return f"ipc://{self.runtime / stream}"

    def _take_results(self) -> None:
        if self._parts is not None:
            for one in self._parts.take():
                if one.boot in (self._boot, b"") and one.stamp_ns <= self._now():  # else it is of another clock
                    self._results.append(one)
                    self._note_late(one)
        if self._published is None:
            return
        for _ in range(MOST_RESULTS):
            if (message := self._published.receive(0.0)) is None:
                return
            if message.kind is Kind.RESULT and message.boot == self._boot:
                self._results.append(_of_verdict(message))

    def _is_over(self, one: PartResult, now_ns: int) -> bool:
        return now_ns - one.stamp_ns >= self._result_ns

    def _note_late(self, one: PartResult) -> None:
        """Nobody is shown a result that is over when it comes: a line whose parts all take so long has to hear why."""
        now_ns = self._now()
        if one.why == "RESTART" or not self._is_over(one, now_ns):  # nobody waits for the parts of before a crash
            return
        self._late += 1
        if self._late in (1, 10, 100, 1000):
            log.warning(
                "part %d of %s: its result came %.0f ms after its trigger, and is not shown; such were %d so far; "
                "raise --result-ms (%.0f) where the deadline_ms of [trigger] is longer, else see what held it up",
                one.part, one.line, ms(now_ns - one.stamp_ns), self._late, ms(self._result_ns),
            )  # fmt: skip

    def close(self) -> None:
        """Close all sockets."""
        readers: list[_Reader | None] = [*self._streams.values(), self._published, self._parts]
        for reader in readers:
            if reader is not None:
                reader.close()


def _of_verdict(message: Message) -> PartResult:
    header = message.header
    return PartResult(
        "", 0, int(header.get("tick") or 0), message.seq, str(header.get("result") or "NOT_INSPECTED"),
        str(header.get("why") or ""), tuple(header.get("decided") or ()), str(header.get("digest") or ""),
        message.published_ns, message.engine,
    )  # fmt: skip


class _Parts(threading.Thread):
    """Hears the results of parts. A thread, since asking for what was missed may wait for a daemon that is gone.

    It begins behind the newest entry there is: a result from before this process is nobody's any more, and whoever
    waits for it rejects its part.
    """

    def __init__(self, endpoint: str, topic: str, triggers: str) -> None:
        super().__init__(name="parts", daemon=True)
        self._endpoint, self._topic, self._triggers = endpoint, topic, triggers
        self._heard: deque[PartResult] = deque(maxlen=MOST_RESULTS)
        self._ended = threading.Event()
        self.start()

    def take(self) -> list[PartResult]:
        """What came since the last call."""
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def run(self) -> None:
        after, ledger = self._first()
        while not self._ended.is_set():
            try:
                with PartResults(self._endpoint, self._topic, self._triggers, after, ledger=ledger) as results:
                    replaced = 0
                    while not self._ended.is_set():
                        self._heard.extend(results.receive(100.0))
                        after, ledger = results.entry, results.ledger
                        if results.replaced > replaced:
                            replaced = results.replaced
                            log.warning("%s", results.last_error)
            except Exception:  # whatever a daemon says: the gateway goes on, and shows no result
                log.exception("reading results failed; it goes on")
                self._ended.wait(1.0)

    def _first(self) -> tuple[int, str]:
        """The newest entry, and of which ledger."""
        while not self._ended.is_set():
            try:
                told = request(self._triggers, "results", {"after": 1 << 62, "most": 1}, 1000.0)
                return int(told["newest"]), str(told.get("ledger", ""))
            except (RequestError, KeyError, TypeError, ValueError):
                self._ended.wait(0.2)
        return 0, ""

    def close(self) -> None:
        self._ended.set()
        self.join(5.0)
