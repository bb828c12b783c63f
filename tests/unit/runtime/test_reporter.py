"""The reporter: health twice a second, events as they come, and a watchdog that is fed only while the loop turns."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from waiting import until

from edged.core.clock import boot_id
from edged.core.stopwatch import Stopwatch
from edged.core.types import Event, Hold, Reason, Tick
from edged.runtime.health import Health
from edged.runtime.publish import Outlet
from edged.runtime.reporter import Reporter
from edged.runtime.sender import Sender
from edged.wire import Kind, decode


class Supervisor:
    """What systemd would hear."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.said: list[str] = []

    def hear(self) -> list[str]:
        while True:
            try:
                self.said.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.said


def stopwatch(started_ns: int, published_ns: int) -> Stopwatch:
    """The readings of a tick that only published."""
    watch = Stopwatch()
    watch.restart(started_ns)
    watch.ended_ns["publish"] = published_ns
    return watch


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A reporter that is fed and heard: `health`, `reporter`, `supervisor`, `heard()`."""
    supervisor = Supervisor(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with zmq.Context() as context:
        health_outlet = Outlet(context, "pick/health", ["inproc://health"])
        events_outlet = Outlet(context, "pick/events", ["inproc://events"])
        listener = context.socket(zmq.SUB)
        listener.setsockopt(zmq.SUBSCRIBE, b"")
        for name in ("health", "events"):
            listener.connect(f"inproc://{name}")
        health = Health()
        reporter = Reporter(health, Sender("pick", 1, boot_id()), health_outlet, events_outlet)
        messages: list[Any] = []

        def heard() -> list[Any]:
            while listener.poll(0):
                messages.append(decode(listener.recv()))
            return messages

        try:
            yield SimpleNamespace(health=health, reporter=reporter, supervisor=supervisor, heard=heard)
        finally:
            reporter.close()
            listener.close(linger=0)
            supervisor.socket.close()


def turn(health: Health) -> None:
    tick = Tick(health.ticks + 1, 1, 1)
    health.record(tick, Hold(Reason.STALE, "tool 140 ms > 100 ms"), stopwatch(1, 2))


def fed(supervisor: Supervisor) -> int:
    return supervisor.hear().count("WATCHDOG=1")


def ready(supervisor: Supervisor) -> bool:
    return any(line.startswith("READY=1") for line in supervisor.hear())


def test_ready_follows_the_first_verdict(desk: Any) -> None:
    desk.reporter.start()
    until(lambda: len(desk.supervisor.hear()) >= 4)
    assert not ready(desk.supervisor)
    assert fed(desk.supervisor) == 0
    turn(desk.health)
    until(lambda: ready(desk.supervisor))
    (line,) = (line for line in desk.supervisor.said if line.startswith("READY=1"))
    assert line == "READY=1\nSTATUS=STALE (tool 140 ms > 100 ms); 1 ticks, 0 skipped; holds STALE:1"


def test_the_watchdog_is_fed_only_while_ticks_advance(desk: Any) -> None:
    desk.reporter.start()
    turn(desk.health)
    until(lambda: ready(desk.supervisor))
    for _ in range(3):
        before = fed(desk.supervisor)
        turn(desk.health)
        until(lambda: fed(desk.supervisor) > before)  # noqa: B023 - called at once
    before, reports = fed(desk.supervisor), len(desk.supervisor.said)
    until(lambda: len(desk.supervisor.hear()) >= reports + 6)  # it goes on reporting
    assert fed(desk.supervisor) == before  # of a loop that stands still


@pytest.mark.parametrize(("rate_hz", "engine"), [(2.0, {}), (100.0, {"execution": {"period_ms": 500.0}})])
def test_a_slow_loop_is_not_taken_for_a_dead_one(desk: Any, rate_hz: float, engine: dict[str, Any]) -> None:
    """Its period, or that of a segmenter's results, is many watchdog periods long; but 2.5 of its own without a tick
    are too many."""
    desk.health.section("daemon", lambda: {"rate_hz": rate_hz})
    desk.health.section("engine", lambda: engine)
    turn(desk.health)
    desk.reporter.start()
    until(lambda: fed(desk.supervisor) >= 6)
    until(lambda: fed(desk.supervisor) == fed(desk.supervisor) and overdue(desk.supervisor), 10)


def test_where_nobody_supervises_a_loop_that_stands_still_ends_the_process(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr("edged.runtime.reporter.os._exit", ended.append)
    monkeypatch.setattr("edged.runtime.reporter.logging.shutdown", lambda: None)
    turn(desk.health)
    desk.reporter.start()
    until(lambda: len(desk.supervisor.hear()) >= 6)
    assert ended == []  # systemd would end it
    monkeypatch.delenv("NOTIFY_SOCKET")
    alone = Reporter(desk.health, Sender("pick", 1, boot_id()), Quiet(), Quiet())
    alone.start()
    try:
        for _ in range(5):  # as long as it turns
            turn(desk.health)
            time.sleep(0.05)
        assert ended == []
        until(lambda: ended)
        assert ended[0] == 1
    finally:
        alone.close()


class Quiet:
    """An outlet that nobody reads."""

    topic, seq = "pick/health", 0

    def send(self, message: object) -> None:
        """To nobody."""

    def count_peers(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""


def overdue(supervisor: Supervisor) -> bool:
    """Whether the last reports came without a feed."""
    return len(supervisor.hear()) > 6 and "WATCHDOG=1" not in supervisor.said[-6:]


def test_health_goes_out_with_its_histograms(desk: Any) -> None:
    desk.health.section("daemon", lambda: {"name": "pick"})
    turn(desk.health)
    desk.reporter.start()
    until(lambda: sum(m.kind is Kind.HEALTH for m in desk.heard()) >= 3)
    messages = [m for m in desk.heard() if m.kind is Kind.HEALTH]
    assert [m.seq for m in messages] == list(range(1, len(messages) + 1))
    assert messages[-1].header["daemon"] == {"name": "pick"}
    assert messages[-1].header["holds"] == {"STALE": 1}
    assert messages[-1].header["histograms"]
    assert messages[-1].valid_for_ns == 2_000_000_000


def test_events_are_heard_at_once_and_changes_of_state_are_events(desk: Any) -> None:
    turn(desk.health)
    desk.reporter.start()
    desk.reporter.emit(Event("loaded", {"name": "reach", "version": "2"}))
    until(lambda: {"loaded", "state"} <= {m.header.get("event") for m in desk.heard()})
    by_name = {m.header["event"]: m for m in desk.heard() if m.kind is Kind.EVENT}
    assert by_name["loaded"].header == {"event": "loaded", "name": "reach", "version": "2"}
    assert by_name["loaded"].valid_for_ns == 0
    assert by_name["state"].header == {
        "event": "state",
        "before": "none",
        "after": "STALE",
        "detail": "tool 140 ms > 100 ms",
        "cause": "STALE tool N ms > N ms",
        "at_ns": 2,
    }


def test_closing_says_what_is_left(desk: Any) -> None:
    turn(desk.health)
    desk.reporter.start()
    until(lambda: ready(desk.supervisor))
    for number in range(50):
        desk.reporter.emit(Event("swapped", {"number": number}))
    turn(desk.health)
    desk.reporter.close()
    events = [m.header["number"] for m in desk.heard() if m.header.get("event") == "swapped"]
    assert events == list(range(50))
    assert [m for m in desk.heard() if m.kind is Kind.HEALTH][-1].header["ticks"] == 2
    desk.reporter.close()  # twice is fine
