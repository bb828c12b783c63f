"""What a gateway knows of a daemon: what is so now, and nothing of before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from shown_plant import ENGINE, MS, plant
from waiting import until

from edged.client import Kind, PartResult
from edged.core.clock import boot_id, monotonic_ns
from edged.services.gateway.datagram import Facts
from edged.services.gateway.plant import Plant
from edged.wire import Flag, Preamble, encode

__all__ = ["plant"]


class Daemon:
    """The streams of an inspection, sent when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.context = zmq.Context()
        self.context.linger = 0
        self.sockets = {name: self.context.socket(zmq.XPUB) for name in ("masks", "health", "results")}
        for name, outlet in self.sockets.items():
            outlet.bind(f"ipc://{folder}/{name}")
        self.session, self.seq = monotonic_ns(), 0

    def send(
        self,
        stream: str,
        kind: Kind,
        header: Any,
        arrays: Any = (),
        reason: int = 0,
        flags: int = 0,
        valid_ms: int = 300,
    ) -> None:
        self.seq += 1
        now_ns = monotonic_ns()
        preamble = Preamble(
            kind, reason, Flag(flags), self.session, self.seq, now_ns - MS, now_ns, valid_ms * MS, boot_id(), ENGINE
        )
        self.sockets[stream].send(encode(f"line/{stream}", preamble, header, arrays))

    def masks(self, **header: Any) -> None:
        self.send("masks", Kind.LABELS, {"classes": ["a"], **header}, [("labels", np.zeros((2, 2), np.uint8))])

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.close()


def alive(daemon: Daemon, plant: Plant) -> Facts:
    """After health and masks were heard."""

    def heard() -> Facts | None:
        daemon.send("health", Kind.HEALTH, {"daemon": {"name": "line"}}, valid_ms=2000)
        daemon.masks(alarms=["shift"])
        facts = plant.turn()
        return facts if facts.good else None

    found: Facts = until(heard, 10)
    return found


def test_without_a_daemon_all_is_empty(plant: Plant) -> None:
    assert plant.turn() == Facts()
    assert plant.turn().state == "LOST"


def test_what_a_daemon_says_is_told_with_its_engine_and_alarms(daemon: Daemon, plant: Plant) -> None:
    facts = alive(daemon, plant)
    assert (facts.state, facts.engine, facts.alarms) == ("OK", ENGINE, ("shift",))
    assert facts.age_ms is not None
    assert 0 < facts.age_ms < 1000
    until(lambda: plant.turn().state == "EXPIRED", 5)
    assert plant.turn().engine == bytes(8), "the engine of a result that nobody has any more"


def test_a_hold_says_why(daemon: Daemon, plant: Plant) -> None:
    alive(daemon, plant)
    daemon.send("masks", Kind.HOLD, {"reason": "ENGINE", "detail": "it hangs"}, (), 18, 2)
    facts = until(lambda: (now := plant.turn()).reason and now, 5)
    assert (facts.state, facts.reason_number, facts.detail, facts.stop, facts.good) == (
        "ENGINE", 18, "it hangs", True, False,
    )  # fmt: skip


def test_a_result_is_shown_for_its_time_and_not_after_the_daemon_went(daemon: Daemon, plant: Plant) -> None:
    alive(daemon, plant)

    def passed() -> Any:
        daemon.send("results", Kind.RESULT, {"result": "PASS", "tick": 41, "digest": "0" * 16})
        daemon.send("health", Kind.HEALTH, {}, valid_ms=2000)
        return plant.turn().results

    shown = until(passed, 10)[0]
    assert (shown.result, shown.number, shown.engine, shown.line) == ("PASS", 41, ENGINE, "")
    until(lambda: plant.turn().results == () and plant.turn().alive, 5)
    until(passed, 10)
    until(lambda: not plant.turn().alive, 10)
    assert plant.turn() == Facts()


def test_a_gateway_that_looks_while_the_daemon_starts_still_reads_its_parts(
    daemon: Daemon, plant: Plant, tmp_path: Path
) -> None:
    """`results` is bound before `triggers`."""
    alive(daemon, plant)
    assert plant._published is not None
    (plant.runtime / "triggers").touch()
    until(lambda: plant.turn() and plant._parts is not None)
    assert plant._published is None


def test_what_is_no_health_or_of_the_future_is_passed_over(daemon: Daemon, plant: Plant) -> None:
    alive(daemon, plant)
    for stream in daemon.sockets:
        daemon.sockets[stream].send(f"line/{stream}".encode() + b"\0rubbish")
    daemon.send("results", Kind.EVENT, {"event": "x"})
    daemon.send("results", Kind.RESULT, {})  # without a word it is not good
    found = until(lambda: plant.turn().results, 5)
    assert [one.result for one in found] == ["NOT_INSPECTED"]


class Results:
    """The results of parts, as the plant's thread hands them over."""

    def __init__(self) -> None:
        self.come: list[PartResult] = []

    def tell(self, count: int, ago_ms: float, why: str = "") -> None:
        at_ns, word = monotonic_ns() - round(ago_ms * MS), "NOT_INSPECTED" if why else "PASS"
        self.come = [PartResult("udp-7", n, n, n, word, why, (), "", at_ns) for n in range(1, count + 1)]

    def take(self) -> list[PartResult]:
        come, self.come = self.come, []
        return come

    def close(self) -> None:
        pass


def test_many_results_are_all_shown_while_they_are_fresh(daemon: Daemon, plant: Plant) -> None:
    """A fast line whose SCADA looks each few seconds, and what a daemon that stops says of all its open parts."""
    alive(daemon, plant)
    plant._parts = parts = Results()  # type: ignore[assignment]
    parts.tell(300, 0)
    assert [one.part for one in plant.turn().results] == [*range(300, 0, -1)]
    until(lambda: not plant.turn().results, 5)
    assert not plant._results, "what is over is kept"


def test_a_result_that_is_over_when_it_comes_is_told_in_the_log(
    daemon: Daemon, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    """Every part of a line that takes longer than that would be rejected, and nobody be told why."""
    alive(daemon, plant)
    plant._parts = parts = Results()  # type: ignore[assignment]
    parts.tell(1, 5000, "RESTART")
    plant.turn()
    assert not caplog.messages
    parts.tell(12, 5000)
    assert plant.turn().results == ()
    assert len(caplog.messages) == 2, "the first and the tenth"
    assert "part 1 of udp-7: its result came 5" in caplog.messages[0]
    assert "raise --result-ms (400) where the deadline_ms of [trigger] is longer" in caplog.messages[0]
    assert "see what held it up" in caplog.messages[0], "a disk that was full meanwhile"
