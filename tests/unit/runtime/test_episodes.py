"""Episodes: begin and end of each cause, from the loop's changes and from the ages of inputs."""

from __future__ import annotations

from typing import Any

import pytest

from edged.core.clock import NS_PER_MS, NS_PER_S
from edged.core.types import Hold, Reason
from edged.runtime.cause import Course, Transition
from edged.runtime.episodes import CAUSES, MOST, NAMED, Episodes

MS = NS_PER_MS


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def put(self, kind: str, at_ns: int, **facts: Any) -> None:
        self.lines.append({"kind": kind, "at": at_ns, **facts})

    def stretches(self) -> list[tuple[str, str, int, int]]:
        ends = {line["id"]: line["at"] for line in self.lines if line["kind"] == "end"}
        begun = [line for line in self.lines if line["kind"] == "begin"]
        return [(line["what"], line["cause"], line["at"], ends.get(line["id"], -1)) for line in begun]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def episodes(kept: Kept) -> Episodes:
    return Episodes(kept, {("camera", "tool"): 100 * MS, ("sensor", "force"): 50 * MS})  # type: ignore[arg-type]


def test_a_change_of_cause_within_a_reason_is_a_new_episode(episodes: Episodes, kept: Kept) -> None:
    course = Course(0, "none")
    told = [(10, "joints 57.3 ms > 50 ms"), (11, "joints 58 ms > 50 ms"), (12, "force 60 ms > 50 ms"), (20, None)]
    for at_ns, detail in told:
        hold = Hold(Reason.STALE, detail) if detail is not None else None
        if change := course.follow(hold, at_ns, False, b""):
            episodes.note(change)
    assert kept.stretches() == [
        ("hold", "STALE joints N ms > N ms", 10, 12),
        ("hold", "STALE force N ms > N ms", 12, 20),
    ]
    assert [line["ms"] for line in kept.lines if line["kind"] == "end"] == [0.0, 0.0]


def test_what_delays_the_next_plan_is_an_episode_beside_the_verdict(episodes: Episodes, kept: Kept) -> None:
    verdict, wait = Course(0, "none"), Course(0, "ok")
    for at_ns, hold in ((1, Hold(Reason.STALE, "tool lost")), (9, None)):
        for course, waits in ((verdict, False), (wait, True)):
            if change := course.follow(hold if waits else None, at_ns, waits, b""):
                episodes.note(change)
    assert kept.stretches() == [("wait", "STALE tool lost", 1, 9)]


def snapshot(tool_ns: int, force_ns: int, **more: Any) -> dict[str, Any]:
    return {"cameras": {"tool": {"captured_ns": tool_ns, "state": "no frame"}},
            "sensors": {"force": {"captured_ns": force_ns, "trouble": "its publisher has gone"}}, **more}  # fmt: skip


def test_a_lost_input_begins_when_its_newest_capture_became_too_old(episodes: Episodes, kept: Kept) -> None:
    second = NS_PER_S
    episodes.look(snapshot(0, 0), second)  # never heard: no loss
    episodes.look(snapshot(second, second), second + 40 * MS)
    episodes.look(snapshot(second, second), second + 90 * MS)
    episodes.look(snapshot(second, second), second + 500 * MS)
    episodes.look(snapshot(second, 2 * second), 2 * second + 10 * MS)
    assert kept.stretches() == [
        ("sensor", "sensor force lost", second + 50 * MS, 2 * second),
        ("camera", "camera tool lost", second + 100 * MS, -1),
    ]
    assert "its publisher has gone" in kept.lines[0]["detail"]
    episodes.close(3 * second)
    assert kept.stretches()[1][3] == 3 * second


def test_a_camera_that_a_trigger_fires_is_not_lost_between_two_parts(kept: Kept) -> None:
    """Each part of a slow line began a loss, with an fsync of its own: history had hours of a camera that was well."""
    episodes = Episodes(kept, {("camera", "line"): 100 * MS}, triggered=True)  # type: ignore[arg-type]

    def look(state: str, at_ns: int) -> None:
        episodes.look({"cameras": {"line": {"captured_ns": NS_PER_S, "state": state}}}, at_ns)

    look("streaming", 2 * NS_PER_S)
    look("no frame for 3 s", 4 * NS_PER_S)
    assert kept.lines == []
    look("its publisher has gone; start it", 5 * NS_PER_S)
    assert kept.stretches() == [("camera", "camera line lost", 5 * NS_PER_S, -1)]


def test_the_engine_has_its_name_once_it_is_known(episodes: Episodes, kept: Kept) -> None:
    engine = {"loaded": True, "identity": "65", "name": "reach", "version": "2"}
    episodes.look(snapshot(0, 0, engine=engine, guard={"arming": "armed"}), 5)
    change = Course(0, "none").follow(Hold(Reason.LATE, ""), 1, False, b"e")
    assert change is not None
    episodes.note(change)
    assert kept.lines[0] == {"kind": "arming", "at": 5, "state": "armed", "before": ""}
    assert kept.lines[1]["engine"] == "reach 2 65"


def test_a_loop_that_flaps_is_counted_not_written(episodes: Episodes, kept: Kept) -> None:
    course = Course(0, "none")
    for tick in range(2 * 500):
        hold = Hold(Reason.LATE, f"{tick} ms") if tick % 2 else None
        if change := course.follow(hold, tick * 2 * MS, False, b""):
            episodes.note(change)
    assert len(kept.stretches()) == MOST
    change = course.follow(Hold(Reason.LATE, "1 ms"), 120 * NS_PER_S, False, b"")
    if change is None:  # it held already
        course.follow(None, 119 * NS_PER_S, False, b"")
        change = course.follow(Hold(Reason.LATE, "1 ms"), 120 * NS_PER_S, False, b"")
    assert change is not None
    episodes.note(change)
    assert kept.lines[-1]["unrecorded"] == 500 - MOST


def test_what_it_remembers_is_bounded(episodes: Episodes, kept: Kept) -> None:
    """However many engines came and went, and however many causes there were."""
    for number in range(1000):
        at_ns = number * NS_PER_S
        identity = number.to_bytes(8, "big")
        engine = {"loaded": True, "identity": identity.hex(), "name": "reach", "version": str(number)}
        episodes.look({"engine": engine}, at_ns)
        for begun in range(MOST + 2):
            episodes.note(Transition(at_ns + begun, "ok", "STALE", "", 0, f"cause {number}", engine=identity))
    assert len(episodes._named) <= NAMED
    assert len(episodes._begun) <= 61, "of a minute"
    assert len(episodes._uncounted) <= CAUSES
    assert kept.lines[-2]["engine"] == f"reach 999 {identity.hex()}"


def test_the_engine_that_always_comes_back_keeps_its_name(episodes: Episodes, kept: Kept) -> None:
    """Each of a hundred others is tried, and rolled back to the first one."""
    known = (1).to_bytes(8, "big")

    def runs(identity: bytes, version: str) -> None:
        engine = {"loaded": True, "identity": identity.hex(), "name": "reach", "version": version}
        episodes.look({"engine": engine}, NS_PER_S)

    for number in range(2, NAMED * 2):
        runs(known, "1")
        runs(number.to_bytes(8, "big"), str(number))
        episodes.note(Transition(number, "ok", "STALE", "", 0, f"cause {number}", engine=known))
        assert kept.lines[-1]["engine"] == f"reach 1 {known.hex()}"
