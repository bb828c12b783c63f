"""The thread of parts: on disk, then acknowledged; on disk, then published; once each, whatever fails."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import msgspec
import pytest
import zmq
from parts_thread import TIMING, Line, line
from waiting import until

from edged.client import PartResults, RequestError, TriggerSender, request
from edged.core.clock import boot_id, monotonic_ns
from edged.core.errors import UsageError
from edged.inspection import doubled, triggers
from edged.runtime.journal import encode_line, write_lines

__all__ = ["line"]

MS = 1_000_000


def test_an_acknowledged_part_is_on_disk_and_a_repeat_is_the_same_part(line: Line) -> None:
    first = line.trigger(1)
    assert [one["number"] for one in line.lines("part")] == [1]
    again = line.trigger(1)
    assert (first["known"], again["known"], again["stamp_ns"]) == (False, True, first["stamp_ns"])
    until(lambda: line.parts.conclude(monotonic_ns()) or line.lines("result"), 10)
    assert line.trigger(1)["entry"] == 1
    assert len(line.lines("part")) == len(line.lines("result")) == 1


def test_a_disk_that_is_full_acknowledges_and_publishes_nothing_until_there_is_room(line: Line) -> None:
    with PartResults(line.results, "line/results", line.triggers, context=line.context) as heard:
        line.trigger(1)
        line.full = True
        with pytest.raises(RequestError, match="cannot be brought to disk"):
            line.trigger(2)
        until(lambda: line.parts.conclude(monotonic_ns()) or line.parts._unwritten, 10)
        assert heard.receive(300) == []
        assert line.parts.is_alive()
        line.full = False
        assert line.trigger(2)["known"] is False, "what was not acknowledged is accepted when it comes again"
        found: list[Any] = []
        until(lambda: line.parts.conclude(monotonic_ns()) or found.extend(heard.receive(20)) or len(found) == 2, 10)
    assert [(one.part, one.entry, one.why) for one in found] == [(1, 1, "NO_FRAME"), (2, 2, "NO_FRAME")]


def test_a_part_that_the_disk_took_after_all_had_forgotten_it_has_a_result(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full for a minute: what is acknowledged then has one, too."""
    monkeypatch.setattr(triggers, "FORGOTTEN_NS", 0)
    line.full = True
    with pytest.raises(RequestError, match="cannot be brought to disk"):
        line.trigger(1)
    time.sleep(2 * TIMING.deadline_ns / 1e9)
    with pytest.raises(RequestError, match="cannot be brought to disk"):
        line.trigger(2)
    line.full = False
    assert line.trigger(1)["known"] is False
    until(lambda: line.parts.conclude(monotonic_ns()) or line.lines("result"), 10)
    assert [(one["part"], one["result"], one["why"]) for one in line.lines("result")] == [
        (1, "NOT_INSPECTED", "DEADLINE")
    ]


def test_a_second_sender_under_the_name_of_a_line_is_refused_and_told(
    line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both count for themselves: a number of one would be taken for that of the other."""
    monkeypatch.setattr(doubled, "APART_NS", 0)
    monkeypatch.setattr(logging.getLogger("edged"), "propagate", True)
    with (
        TriggerSender(line.triggers, "belt", context=line.context) as first,
        TriggerSender(line.triggers, "belt", context=line.context) as second,
    ):
        for _ in range(doubled.RETURNS + 2):
            for one in (first, second):
                one.send()
                until(lambda: one.tend(20) == 0, 10)  # noqa: B023
    assert not first.refused
    assert [number for number, _ in second.refused] == [doubled.RETURNS, doubled.RETURNS + 1]
    assert "another sender tells of the line 'belt' as well; give each a line" in second.refused[0][1]
    assert line.parts.describe_parts()["doubled"] == 2
    assert caplog.text.count("two senders tell of parts of line 'belt'") == 1


def test_after_a_crash_open_parts_are_over_and_a_client_that_was_away_finds_all(line: Line) -> None:
    for part in (1, 2, 3):
        line.trigger(part)
    line.end(die=True)
    assert line.lines("result") == []
    line.start()
    with PartResults(line.results, "line/results", line.triggers, context=line.context) as away:
        found: list[Any] = []
        until(lambda: found.extend(away.receive(20)) or len(found) == 3, 10)
    assert [(one.part, one.why) for one in found] == [(1, "RESTART"), (2, "RESTART"), (3, "RESTART")]
    assert line.trigger(2)["entry"] == 2, "a repeat from before the crash"
    line.end()
    line.start()
    line.trigger(4)
    assert len(line.lines("result")) == 3, "once"


def test_an_orderly_end_says_so(line: Line) -> None:
    line.trigger(1)
    line.end()
    assert [(one["result"], one["why"]) for one in line.lines("result")] == [("NOT_INSPECTED", "STOPPING")]
    line.start()


def test_the_sender_repeats_until_somebody_is_there(line: Line) -> None:
    line.end()
    with TriggerSender(line.triggers, "a", bits=16, again_ms=20, context=line.context) as sender:
        sender._next = 65_535
        assert [sender.send(), sender.send()] == [65_535, 0]
        assert sender.tend(100) == 2
        line.start()
        until(lambda: sender.tend(20) == 0, 10)
        assert list(sender.refused) == []
    assert [(one["part"], one["number"]) for one in line.lines("part")] == [(65_535, 65_535), (0, 65_536)]
    until(lambda: line.parts.conclude(monotonic_ns()) or len(line.lines("result")) == 2, 10)
    assert {one["why"] for one in line.lines("result")} <= {"LATE", "NO_FRAME"}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"part": "seven"}, "usage"),
        ({"part": 70_000, "bits": 16}, "usage"),
        ({"part": 1, "ago_ns": -5}, "failed"),
        ({"part": 1, "line": ""}, "usage"),
        ({"part": 1, "boot": boot_id().hex(), "stamp_ns": 1 << 61}, "failed"),
        ({"part": 1, "more": 1}, "usage"),
    ],
)
def test_a_bad_request_is_answered_and_nothing_is_written(line: Line, args: dict[str, Any], code: str) -> None:
    with pytest.raises(RequestError) as caught:
        request(line.triggers, "trigger", {"line": "a", "ago_ns": 0, **args}, 5000, line.context)
    assert caught.value.code == code
    assert line.lines("part") == []
    assert line.trigger(1)["known"] is False


def test_bytes_of_any_kind_end_nothing(line: Line) -> None:
    with contextlib.closing(line.context.socket(zmq.DEALER)) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(line.triggers)
        for data in (b"", b"\xff" * 70_000, msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"v": 1, "id": 1})):
            socket.send(data)
            assert socket.poll(5000)
            assert msgspec.msgpack.decode(socket.recv())["ok"] is False
        socket.send_multipart([b"a", b"b", b"c"])
    assert line.trigger(1)["known"] is False


def test_a_foreign_clock_is_what_it_says_it_is_ago(line: Line) -> None:
    before_ns = monotonic_ns()
    told = line.trigger(1, boot="ab" * 8, stamp_ns=5, ago_ns=400 * MS)
    assert before_ns - 400 * MS <= told["stamp_ns"] <= monotonic_ns() - 400 * MS
    stamp_ns = monotonic_ns()
    assert line.trigger(2, boot=boot_id().hex(), stamp_ns=stamp_ns)["stamp_ns"] == stamp_ns


def test_an_edge_is_kept_until_it_is_on_disk(line: Line) -> None:
    line.full = True
    line.parts.trigger("edges-1", 1, monotonic_ns())
    until(lambda: line.parts.failures > 1, 10)
    line.full = False
    until(lambda: line.lines("part"), 10)
    assert [(one["line"], one["part"]) for one in line.lines("part")] == [("edges-1", 1)]


def test_edges_that_no_disk_takes_are_counted_when_they_are_too_many(line: Line) -> None:
    line.full = True
    for part in range(300):
        line.parts.trigger("edges-1", part + 1, monotonic_ns())
    until(lambda: line.parts.failures > 2, 10)
    line.full = False
    until(lambda: line.lines("part"), 10)
    lost = line.parts.describe_parts()["edges_lost"]
    until(lambda: len(line.lines("part")) == 300 - lost, 10)
    assert 300 - 256 <= lost < 300


def test_an_edge_that_cannot_be_a_part_is_counted(line: Line) -> None:
    line.parts.trigger("edges-1", 1, monotonic_ns() - 4000 * 1000 * MS)
    line.parts.trigger("edges-1", 2, monotonic_ns())
    until(lambda: line.lines("part"), 10)
    assert line.parts.describe_parts()["edges_lost"] == 1


def test_a_number_that_returns_before_it_is_on_disk_is_another_part_too(line: Line) -> None:
    line.full = True
    for ago_ns in (0, 6000 * MS):
        with pytest.raises(RequestError, match="brought to disk" if not ago_ns else "triggered already, 6.0 s apart"):
            line.trigger(1, ago_ns=ago_ns)
    line.full = False
    assert line.trigger(1)["known"] is False
    line.trigger(1, ago_ns=3000 * MS)  # the first one was under way for so long
    until(lambda: line.parts.conclude(monotonic_ns()) or line.lines("result"), 10)
    assert [one["why"] for one in line.lines("result")] == ["AMBIGUOUS"]


def test_who_reads_results_is_kept_no_longer_than_it_asked_for(line: Line) -> None:
    """A line ejects by its own deadline, also while the daemon is frozen or gone."""
    frozen = line.context.socket(zmq.ROUTER)
    frozen.bind(f"{line.triggers}-frozen")
    with contextlib.closing(frozen):
        for triggers in (f"{line.triggers}-frozen", f"{line.triggers}-none"):
            with PartResults(line.results, "line/results", triggers, context=line.context) as heard:
                began = time.monotonic()
                assert [heard.receive(5.0) for _ in range(10)] == [[]] * 10
                assert time.monotonic() - began < 0.9, "nothing waits for an answer that does not come"


def test_many_that_were_missed_come_in_pages_between_those_that_are_published(line: Line) -> None:
    line.end()
    origin = {"wall": 0.0, "mono_ns": 1, "boot": boot_id().hex(), "session": 1, "line": "old", "stamp_ns": 1}
    facts = {"result": "FAIL", "why": "", "digest": "d", "decided": ["a"], "captured_ns": 1, "engine": "00" * 8}
    lines = []
    for number in range(1, 701):
        known = {**origin, "number": number, "part": number}
        lines += [{"kind": "part", "wall_ns": 1, **known}, {"kind": "result", "entry": number, **known, **facts}]
    write_lines(line.folder / "parts", b"\n".join(encode_line(one) for one in lines))
    line.start()
    with PartResults(line.results, "line/results", line.triggers, after=10, context=line.context) as away:
        found: list[Any] = []
        until(lambda: found.extend(away.receive(20)) or found, 10)
        line.trigger(1)
        until(lambda: line.parts.conclude(monotonic_ns()) or found.extend(away.receive(20)) or len(found) > 690, 10)
        assert [one.entry for one in found] == list(range(11, 702))
        assert (found[-1].part, found[-1].why, away.lost) == (1, "NO_FRAME", 0)
        line.end()
        for old in (line.folder / "parts").iterdir():
            old.unlink()
        line.start()  # another ledger: its entries begin again
        line.trigger(2)
        until(lambda: line.parts.conclude(monotonic_ns()) or found.extend(away.receive(20)) or len(found) > 691, 10)
        assert (found[-1].part, found[-1].entry) == (2, 1)


def test_a_number_that_waits_is_not_given_to_another_part(line: Line) -> None:
    line.end()
    with TriggerSender(line.triggers, "a", context=line.context) as sender:
        stamp_ns = monotonic_ns()
        assert [sender.send(7, stamp_ns), sender.send(7, stamp_ns)] == [7, 7]
        with pytest.raises(UsageError, match="part 7 is not acknowledged yet"):
            sender.send(7, stamp_ns + 1)
        assert sender.waiting == [7]
    line.start()
