"""Reporter: the thread that reports how the loop is doing.

Twice a second it publishes health, sends systemd the status, and feeds the watchdog, but only if ticks advanced: a
loop that hangs is a daemon that is dead. Events and changes of state go out as they come. It owns the health and
events sockets; no other thread writes to them.
"""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Mapping
from functools import partial
from typing import Any

from edged.core.clock import NS_PER_S, Now, monotonic_ns, ns
from edged.core.duty import Duty
from edged.core.errors import EXIT_FAILED
from edged.core.types import Event
from edged.runtime.cause import Transition
from edged.runtime.episodes import Episodes
from edged.runtime.health import Health, describe_transition, status_line
from edged.runtime.input_log import InputLog
from edged.runtime.journal import Journal
from edged.runtime.logs import NOTICE
from edged.runtime.publish import Outlet
from edged.runtime.recent import Recent
from edged.runtime.sender import Sender
from edged.runtime.systemd import READY, WATCHDOG, is_supervised, notify, status, watchdog_period
from edged.wire import Kind, encode
from edged.wire.bounded import bounded

PERIOD_NS = NS_PER_S // 2
VALID_NS = 2 * NS_PER_S
PATIENCE = 2.5  # periods of a slow loop between two ticks that are still no reason to worry
MOST_LOGGED = 4  # changes of state in one turn
ASKED_FOR = ("OPERATOR", "DISARMED", "DISABLED", "STOPPING")

log = logging.getLogger("edged")


class Reporter(Duty):
    """Start it before the loop, `close()` it after the last verdict. `emit(event)` works from any thread."""

    def __init__(
        self,
        health: Health,
        sender: Sender,
        health_outlet: Outlet,
        events_outlet: Outlet,
        now: Now = monotonic_ns,
        journal: Journal | None = None,
        episodes: Episodes | None = None,
    ) -> None:
        super().__init__("reporter", now)
        self._journal, self._episodes = journal, episodes
        self._health = health
        self._sender = sender
        self._health_outlet = health_outlet
        self._events_outlet = events_outlet
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._input_log = InputLog()
        self._recent = Recent(health, now())
        health.section("recent", lambda: self._recent.since(self._now()))
        self._alarms: dict[str, Any] = {"count": 0}
        health.section("alarms", self._alarms.copy)
        self._ready = False
        self._fed_ticks = 0
        self._ticked_ns = now()
        period_s = watchdog_period()
        self._feed_ns = round(period_s * NS_PER_S / 3) if period_s else 0
        self._alone_ns = 0 if is_supervised() else 3 * self._feed_ns  # nobody but we would end a loop that hangs

    def emit(self, event: Event) -> None:
        """Publish an event and log it; returns at once."""
        if event.name == "alarm":
            self._alarms.update(count=self._alarms["count"] + 1, newest=dict(event.facts))
        self._events.put(event)

    def work(self) -> None:
        due_ns = self._now()
        while True:
            step_ns = min(PERIOD_NS, self._feed_ns) if self._feed_ns else PERIOD_NS
            try:
                event = self._next_event(max(0.0, (due_ns - self._now()) / NS_PER_S))
                if event is None:
                    break
                self.item(f"event {event.name}", partial(self._publish_event, event))
            except queue.Empty:
                due_ns = max(due_ns + step_ns, self._now())
                self.item("health", self._turn)
        self.item("the last health", self._turn)

    def _next_event(self, timeout_s: float) -> Event | None:
        """The next event, None to end; `queue.Empty` when it is time for a turn."""
        if not self._ready and self._events.empty():
            self._health.first_verdict.wait(timeout_s)  # READY follows it at once
            timeout_s = 0.0
        return self._events.get(timeout=timeout_s) if timeout_s > 0 else self._events.get_nowait()

    def close(self) -> None:
        """Send what is queued and one last health message, then end the thread and close its sockets."""
        self.stopping.set()
        self._events.put(None)
        super().close()
        self._health_outlet.close()
        self._events_outlet.close()

    def _turn(self) -> None:
        self._recent.note(self._now())
        snapshot = self._health.snapshot(buckets=True)
        if self._episodes is not None:
            self._episodes.look(snapshot, self._now())
        self._log_transitions()
        self._input_log.note(snapshot, self._now())
        self._publish(self._health_outlet, Kind.HEALTH, snapshot, VALID_NS)
        self._health_outlet.count_peers()
        self._events_outlet.count_peers()
        line = status_line(snapshot)
        if not self._ready and self._health.first_verdict.is_set():
            self._ready = True
            notify(READY, status(line))
            log.info("ready: %s", line)
        else:
            notify(status(line))
        self._feed(_period_ns(snapshot))

    def _feed(self, period_ns: int) -> None:
        """Feed systemd's watchdog if the loop turned since last time, or is slow and its next tick is not overdue."""
        ticks, now_ns = self._health.ticks, self._now()
        if ticks != self._fed_ticks:
            self._fed_ticks, self._ticked_ns = ticks, now_ns
        elif not ticks or now_ns - self._ticked_ns > PATIENCE * period_ns:
            if ticks and 0 < self._alone_ns < now_ns - self._ticked_ns:
                self._end_process()
            return
        if self._feed_ns:
            notify(WATCHDOG)

    def _end_process(self) -> None:
        """The watchdog of a container: whoever started us starts us again."""
        log.critical("the loop stands still for %.1f s: ending", (self._now() - self._ticked_ns) / NS_PER_S)
        if self._journal is not None:
            self._journal.put("stop", why="the loop stood still")
            self._journal.close()
        logging.shutdown()
        os._exit(EXIT_FAILED)

    def _log_transitions(self) -> None:
        transitions = self._health.transitions
        logged = 0
        while transitions:
            transition = transitions.popleft()
            if self._episodes is not None:
                self._episodes.note(transition)
            logged += 1
            if logged > MOST_LOGGED:  # a loop that flaps must not flood the log
                continue
            facts = {"before": transition.before, "after": transition.after, "cause": transition.cause}
            facts["detail"] = transition.detail
            extra = {"at_ns": transition.at_ns, "facts": facts}
            log.log(_level(transition), "%s", describe_transition(transition), extra=extra)
            if not transition.waits:
                self._publish_event(Event("state", {**facts, "at_ns": transition.at_ns}))
        if logged > MOST_LOGGED:
            log.warning("and %d more changes within half a second", logged - MOST_LOGGED)

    def _publish_event(self, event: Event) -> None:
        if event.name != "state":
            line = " ".join(f"{key}={value}" for key, value in event.facts.items())
            level = logging.ERROR if event.name == "alarm" else NOTICE
            log.log(level, "%s %s", event.name, line, extra={"facts": {"event": event.name, **event.facts}})
            if self._journal is not None:
                self._journal.put("event", self._now(), event=event.name, **_free(event.facts))
        self._publish(self._events_outlet, Kind.EVENT, {"event": event.name, **event.facts}, 0)

    def _publish(self, outlet: Outlet, kind: Kind, header: dict[str, Any], valid_ns: int) -> None:
        now_ns = self._now()
        preamble = self._sender.preamble(kind, outlet.seq + 1, 0, now_ns, valid_ns)
        outlet.send(encode(outlet.topic, preamble, bounded(header)))


def _level(transition: Transition) -> int:
    """Ready or going on is information, what somebody asked for a notice, the rest a warning."""
    if transition.after in ("ok", "STARTING", "WAITING") and not transition.waits:
        return logging.INFO
    return NOTICE if transition.after in ASKED_FOR else logging.WARNING


def _free(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts whose names are not those of the journal's own fields."""
    return {key if key not in ("kind", "wall", "mono_ns", "boot", "session", "event", "at_ns") else f"{key}_": value
            for key, value in facts.items()}  # fmt: skip


def _period_ns(snapshot: Mapping[str, Any]) -> int:
    """How far apart two ticks are: by the clock, or by a segmenter that takes longer; 0 = not known."""
    rate_hz = snapshot.get("daemon", {}).get("rate_hz", 0.0)
    result_ms = snapshot.get("engine", {}).get("execution", {}).get("period_ms", 0.0)
    return max(round(NS_PER_S / rate_hz) if rate_hz else 0, ns(result_ms))
