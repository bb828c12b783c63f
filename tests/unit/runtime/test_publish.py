"""What goes out: validity, seq and flags of every verdict; sockets that bind, count and are bounded."""

from __future__ import annotations

import contextlib
import itertools
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from edged.client import measures_of
from edged.config.sections import InspectionConfig, RuleConfig
from edged.core.clock import ManualClock, boot_id
from edged.core.errors import EdgedError
from edged.core.quota import Quota
from edged.core.types import ActionChunk, Change, Hold, Instances, Labels, Reason, Tick, Verdict
from edged.inspection.inspect import inspect
from edged.inspection.rules import Judge
from edged.pipeline.schedule import Schedule
from edged.runtime.publish import Outlet, Publisher, Sent
from edged.runtime.sender import Sender
from edged.runtime.verdict_message import CHANGES_LISTED
from edged.wire import Flag, Kind, Message, decode, subscription

MS = 1_000_000
NOW = 10_000 * MS
PERIOD = 20 * MS
TICK = Tick(41, NOW - MS, NOW, skipped=2)
BOOT = boot_id()

Context = zmq.Context[zmq.Socket[bytes]]

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    with zmq.Context() as made:
        yield made


class Bus:
    """A publisher at `NOW` and who hears it."""

    def __init__(self, context: Context, valid_ms: float = 100, topic: str = "pick/action") -> None:
        endpoint = f"inproc://bus-{next(NUMBERS)}"  # never one that is still being let go
        self.outlet = Outlet(context, topic, [endpoint])
        self.listener = context.socket(zmq.SUB)
        self.listener.setsockopt(zmq.SUBSCRIBE, subscription(topic))
        self.listener.connect(endpoint)
        assert self.outlet.count_peers() == 1
        self.publisher = Publisher(self.outlet, Sender("pick", 7, BOOT), round(valid_ms * MS), PERIOD, ManualClock(NOW))

    def send(self, verdict: Verdict, **given: object) -> tuple[Sent, Message]:
        sent = self.publisher.send(TICK, verdict, **given)  # type: ignore[arg-type]
        assert self.listener.poll(5000)
        return sent, decode(self.listener.recv())

    def close(self) -> None:
        self.listener.close(linger=0)
        self.outlet.close()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


SCHEDULE = Schedule(True, 0, PERIOD, PERIOD, 200 * MS, 100 * MS, 100 * MS, 200 * MS)


def chunk(steps: int = 1, age_ms: float = 30, **fields: object) -> ActionChunk:
    actions = np.arange(steps * 2, dtype=np.float32).reshape(steps, 2)
    made = ActionChunk(actions, NOW + 5 * MS, 10 * MS, NOW - round(age_ms * MS), ends=steps > 1)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_an_action_is_good_from_when_it_was_published(context: Context) -> None:
    with Bus(context) as bus:
        meaning = {"names": ["j1", "tool"], "units": ["rad", ""]}
        sent, message = bus.send(chunk(), engine=b"engine08", meaning=meaning, engine_ns=1_500)
    assert message.kind is Kind.ACTION
    assert (message.seq, message.session, message.boot, message.engine) == (1, 7, BOOT, b"engine08")
    assert message.captured_ns == NOW - 30 * MS
    assert message.published_ns == NOW
    assert message.valid_for_ns == 100 * MS
    assert sent == Sent(sent.verdict, NOW, NOW + 100 * MS)
    assert message.header["tick"] == 41
    assert message.header["skipped"] == 2
    assert message.header["engine_us"] == 1.5
    assert message.header["names"] == ["j1", "tool"]
    assert (message.header["t0_ns"], message.header["step_ns"]) == (NOW + 5 * MS, 10 * MS)
    assert message.flags == Flag(0)
    np.testing.assert_array_equal(message.arrays["action"], [[0, 1]])


def test_a_chunk_is_not_good_beyond_its_end(context: Context) -> None:
    with Bus(context) as bus:
        _, message = bus.send(chunk(steps=4))
        assert message.valid_for_ns == 45 * MS  # 5 to its start and 4 steps of 10
        _, message = bus.send(chunk(steps=1, ends=True))
        assert message.valid_for_ns == 15 * MS  # the last step of a chunk ends with it
        _, message = bus.send(chunk(steps=40))
        assert message.valid_for_ns == 100 * MS
        _, message = bus.send(chunk(steps=40, age_ms=30), schedule=replace(SCHEDULE, max_plan_age_ns=80 * MS))
        assert message.valid_for_ns == 50 * MS  # nor beyond the age that ends every plan
        _, message = bus.send(chunk(age_ms=30), schedule=replace(SCHEDULE, max_plan_age_ns=80 * MS))
        assert message.valid_for_ns == 50 * MS


def test_the_number_of_the_motion_and_what_a_plan_waits_for_are_in_the_header(context: Context) -> None:
    with Bus(context) as bus:
        _, moves = bus.send(chunk(), motion=7, waiting=Hold(Reason.STALE, "tool 140 ms > 100 ms"))
        _, masks = bus.send(Labels(np.zeros((2, 2), np.uint8), "line", NOW))
    assert (moves.header["motion"], moves.header["waiting"]) == (7, "STALE")
    assert not {"motion", "waiting"} & set(masks.header)


@pytest.mark.parametrize("late", [chunk(age_ms=200), chunk(age_ms=250), chunk(steps=2, t0_ns=NOW - 20 * MS)])
def test_what_is_over_before_it_is_said_becomes_late(context: Context, late: ActionChunk) -> None:
    with Bus(context) as bus:
        sent, message = bus.send(late, meaning={"names": ["j1"]}, schedule=SCHEDULE)
    assert (message.kind, message.reason) == (Kind.HOLD, Reason.LATE)
    assert not message.stop
    assert message.captured_ns == late.captured_ns
    assert "names" not in message.header
    assert isinstance(sent.verdict, Hold)
    assert "ms before it could be published" in sent.verdict.detail


@pytest.mark.parametrize("reason", list(Reason))
def test_a_hold_lasts_three_periods_or_100_ms_and_says_whether_to_stop(context: Context, reason: Reason) -> None:
    with Bus(context) as bus:
        _, message = bus.send(Hold(reason, "because", 5), meaning={"names": ["j1"]})
    assert (message.kind, message.reason, message.captured_ns) == (Kind.HOLD, reason, 5)
    assert message.valid_for_ns == 100 * MS > 3 * PERIOD
    assert message.stop == (reason not in (Reason.STALE, Reason.SKEW, Reason.LATE, Reason.STARTING, Reason.WAITING))
    assert (message.header["reason"], message.header["detail"]) == (reason.name, "because")
    assert not message.arrays


def test_what_the_guard_changed_is_told_and_bounded(context: Context) -> None:
    changes = tuple(Change("j1", step, "max", 2.0, 1.0) for step in range(CHANGES_LISTED + 8))
    with Bus(context) as bus:
        _, message = bus.send(chunk(changes=changes))
    assert message.flags == Flag.CHANGED
    assert message.header["changed"] == CHANGES_LISTED + 8
    assert message.header["changes"][1] == ["j1", 1, "max", 2.0, 1.0]
    assert len(message.header["changes"]) == CHANGES_LISTED


def test_labels_carry_their_map_and_the_alarms_of_the_moment(context: Context) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with Bus(context, topic="inspect/masks") as bus:
        bus.publisher.set_alarms(["engine"])
        _, message = bus.send(Labels(image, "line", NOW - MS), meaning={"classes": ["plate", "pit"]})
        _, hold = bus.send(Hold(Reason.STALE, ""))
        bus.publisher.set_alarms([])
        _, quiet = bus.send(Labels(image, "line", NOW - MS))
    assert message.kind is Kind.LABELS
    np.testing.assert_array_equal(message.arrays["labels"], image)
    assert message.header["camera"] == "line"
    assert message.header["alarms"] == hold.header["alarms"] == ["engine"]
    assert "alarms" not in quiet.header
    assert [message.seq, hold.seq, quiet.seq] == [1, 2, 3]


def test_instances_come_apart_again(context: Context) -> None:
    masks = (np.eye(3, 4, dtype=bool), np.ones((2, 5), bool))
    found = Instances(
        np.array([[1, 2, 5, 5], [0, 0, 5, 2]], np.float32),
        np.array([0.9, 0.4], np.float32),
        np.array([1, 2], np.uint16),
        masks,
        (48, 64),
        "line",
        NOW - MS,
    )
    with Bus(context, topic="inspect/masks") as bus:
        _, message = bus.send(found)
    assert message.kind is Kind.INSTANCES
    assert message.header["size"] == [48, 64]
    assert message.arrays["mask_shape"].tolist() == [[3, 4], [2, 5]]
    bits = message.arrays["mask_bits"]
    np.testing.assert_array_equal(np.unpackbits(bits[:2])[:12].reshape(3, 4), masks[0])
    np.testing.assert_array_equal(np.unpackbits(bits[2:])[:10].reshape(2, 5), masks[1])


def test_measures_go_along_a_row_per_object_and_those_left_out_take_theirs_away(context: Context) -> None:
    found = Instances(
        np.array([[4, 4, 12, 10], [20.5, 4, 30, 44], [0, 30, 6, 36]], np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.array([2, 0, 2], np.uint16),
        (np.ones((6, 8), bool), np.ones((40, 10), bool), np.ones((6, 6), bool)),
        (48, 64),
        "line",
        NOW - MS,
        truncated=3,
    )
    with Bus(context, topic="inspect/masks") as bus:
        _, message = bus.send(found, inspection=inspect(found, ("a", "b", "c")))
        measured = measures_of(message)
        assert measured["area"].tolist() == [48, 400, 36]
        assert measured["centroid"].tolist() == [[8, 7], [25, 24], [3, 33]]
        assert measured["at_edge"].tolist() == [False, False, True]
        assert message.arrays["counts"].tolist() == [1, 0, 2]
        assert message.arrays["class_area"].tolist() == [400, 0, 84]
        assert message.header["truncated"] == 3
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edged.runtime.verdict_message.MOST_INSTANCES", 2)
            _, fewer = bus.send(found, inspection=inspect(found, ("a", "b", "c")))
        assert measures_of(fewer)["area"].tolist() == [48, 400]
        assert fewer.header["truncated"] == 4
        image = np.zeros((48, 64), np.uint8)
        image[4:10, 4:12] = image[30:32, :3] = 1
        labels = Labels(image, "line", NOW - MS)
        parts = bus.send(labels, inspection=inspect(labels, ("a", "b")))[1].arrays
        assert parts["part_area"].tolist() == [48, 6]
        assert parts["part_xyxy"].tolist() == [[4, 4, 12, 10], [0, 30, 3, 32]]
        assert parts["class_area"].tolist() == [48 * 64 - 54, 54]


def test_each_verdict_has_one_result_with_its_reasons(context: Context) -> None:
    mask = np.ones((4, 4), bool)
    found = Instances(
        np.array([[4, 4, 8, 8]], np.float32), np.ones(1, np.float32), np.ones(1, np.uint16), (mask,), (48, 64),
        "line", NOW,
    )  # fmt: skip
    rule = RuleConfig(name="scratches", classes=("scratch",), max_count=0)
    endpoint = f"inproc://results-{next(NUMBERS)}"
    meaning = {"classes": ["background", "scratch"]}
    with (
        Bus(context, topic="line/masks") as bus,
        contextlib.closing(Outlet(context, "line/results", [endpoint])) as out,
    ):
        heard = context.socket(zmq.SUB)
        heard.setsockopt(zmq.SUBSCRIBE, subscription("line/results"))
        heard.connect(endpoint)
        assert out.count_peers() == 1
        judge = Judge(InspectionConfig(rules=(rule,)))
        publisher = Publisher(bus.outlet, Sender("line", 7, BOOT), MS, PERIOD, ManualClock(NOW), out, judge)
        nothing = replace(found, xyxy=found.xyxy[:0], score=found.score[:0], class_id=found.class_id[:0], masks=())
        told = []
        for verdict, alarms in ((found, ()), (nothing, ()), (nothing, ("swap",)), (Hold(Reason.STALE, "line"), ())):
            publisher.set_alarms(alarms)
            inspection = None if isinstance(verdict, Hold) else inspect(verdict, meaning["classes"])
            publisher.send(TICK, verdict, b"engine08", meaning, inspection=inspection)
            masks, result = decode(bus.listener.recv()), decode(heard.recv())
            assert result.kind is Kind.RESULT
            assert (result.header["tick"], result.engine) == (TICK.seq, b"engine08")
            assert result.captured_ns == masks.captured_ns
            for key in ("result", "decided", "digest"):
                assert masks.header[key] == result.header[key]
            told.append((result.header["result"], result.header.get("why", ""), result.header["decided"]))
        heard.close(linger=0)
    assert told == [
        ("FAIL", "", ["scratches"]),
        ("PASS", "", []),
        ("NOT_INSPECTED", "ALARM", []),
        ("NOT_INSPECTED", "STALE", []),
    ]


def test_instances_that_a_message_cannot_hold_are_left_out_the_lowest_scores_first(context: Context) -> None:
    count, mask = 70, np.ones((4320, 2048), bool)  # 1.1 MB each as bits
    found = Instances(
        np.tile(np.array([0, 0, 2048, 4320], np.float32), (count, 1)),
        np.linspace(0.1, 0.9, count, dtype=np.float32),
        np.arange(count, dtype=np.uint16),
        (mask,) * count,
        (4320, 7680),
        "line",
        NOW - MS,
    )
    with Bus(context, topic="inspect/masks") as bus:
        _, message = bus.send(found)
    assert message.kind is Kind.INSTANCES
    assert message.header["truncated"] == count - len(message.arrays["score"]) > 0
    assert message.arrays["class_id"].tolist() == list(range(count))[message.header["truncated"] :]
    assert message.arrays["mask_bits"].nbytes == len(message.arrays["score"]) * mask.size // 8


def test_a_text_of_any_length_is_cut_and_what_cannot_be_sent_is_a_hold(context: Context) -> None:
    with Bus(context) as bus:
        _, hold = bus.send(Hold(Reason.ENGINE, "x" * 300_000))
        sent, refused = bus.send(chunk(), meaning={"names": ["j" * 300_000]})
        _, good = bus.send(chunk(), meaning={"names": ["j1"]})
    assert hold.header["detail"].endswith("(300000 characters)")
    assert (refused.kind, refused.reason, refused.stop) == (Kind.HOLD, Reason.ENGINE, True)
    assert isinstance(sent.verdict, Hold)
    assert "it cannot be sent" in refused.header["detail"]
    assert "names" not in refused.header
    assert good.kind is Kind.ACTION
    assert [hold.seq, refused.seq, good.seq] == [1, 2, 3]


def test_what_cannot_be_sent_is_counted_as_what_was_sent_instead(context: Context) -> None:
    """It was a FAIL as it was found: neither that nor its place among the last ones counts any more."""
    rule = RuleConfig(name="any", max_area=0, violations=2, of_last=2)
    labels = Labels(np.ones((4, 4), np.uint8), "line", NOW)
    with Bus(context, topic="inspect/masks") as bus:
        judge = bus.publisher.judge = Judge(InspectionConfig(rules=(rule,)), (4, 4))
        found = inspect(labels, ["background", "any"])
        sent, refused = bus.send(labels, meaning={"classes": ["background", "j" * 300_000]}, inspection=found)
        assert refused.kind is Kind.HOLD
        assert sent.result is not None
        assert sent.result.status == "NOT_INSPECTED"
        assert +judge.counts == {"NOT_INSPECTED": 1}
        sent, _ = bus.send(labels, meaning={"classes": ["background", "any"]}, inspection=found)
    assert sent.result is not None
    assert sent.result.status == "PASS", "one of two"
    assert +judge.counts == {"NOT_INSPECTED": 1, "PASS": 1}


@given(
    age_ns=st.integers(0, 500 * MS),
    valid_ms=st.floats(0.001, 1000),
    plan_ms=st.integers(1, 1000),
    steps=st.integers(1, 20),
    start_ns=st.integers(-300 * MS, 300 * MS),
)
def test_no_action_is_ever_good_for_longer_than_its_plan_or_its_end(
    context: Context, age_ns: int, valid_ms: float, plan_ms: int, steps: int, start_ns: int
) -> None:
    schedule = replace(SCHEDULE, valid_ns=round(valid_ms * MS), max_plan_age_ns=plan_ms * MS)
    with Bus(context) as bus:
        sent, message = bus.send(chunk(steps, captured_ns=NOW - age_ns, t0_ns=NOW + start_ns), schedule=schedule)
    if message.kind is Kind.HOLD:
        assert message.reason == Reason.LATE
        return
    until_ns = message.published_ns + message.valid_for_ns
    assert sent.until_ns == until_ns > NOW
    assert until_ns <= NOW + round(valid_ms * MS)
    assert until_ns <= NOW - age_ns + plan_ms * MS
    if steps > 1:
        assert until_ns <= NOW + start_ns + steps * 10 * MS


def test_an_ipc_endpoint_is_for_owner_and_group_alone(context: Context, tmp_path: Path) -> None:
    outlet = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"])
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    outlet.close()


def test_an_endpoint_that_cannot_be_bound_names_the_remedy_and_leaves_no_socket(
    context: Context, tmp_path: Path
) -> None:
    with pytest.raises(EdgedError, match=r"cannot bind ipc:///.*change \[bus\] bind"):
        Outlet(context, "a/b", [f"ipc://{tmp_path}/s", f"ipc://{tmp_path}/nowhere/s"])
    again = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"])  # the first was let go
    again.close()


def test_peers_are_counted_as_they_come_and_go(context: Context, tmp_path: Path) -> None:
    outlet = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"])
    listeners = []
    for count in (1, 2):
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.SUBSCRIBE, subscription("a/b"))
        socket.connect(f"ipc://{tmp_path}/s")
        listeners.append(socket)
        until(lambda: outlet.count_peers() == count)  # noqa: B023 - called at once
    for count, socket in enumerate(listeners):
        socket.close(linger=0)
        until(lambda: outlet.count_peers() == 1 - count)  # noqa: B023
    outlet.close()


def test_a_sleeping_peer_loses_messages_and_never_the_sender(context: Context, tmp_path: Path) -> None:
    size = 1_000_000
    outlet = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"], Quota(size, 4, 16))
    asleep = context.socket(zmq.SUB)
    asleep.setsockopt(zmq.RCVHWM, 1)
    asleep.setsockopt(zmq.RCVBUF, 65536)
    asleep.setsockopt(zmq.SUBSCRIBE, b"")
    asleep.connect(f"ipc://{tmp_path}/s")
    until(lambda: outlet.count_peers() == 1)
    for number in range(200):
        outlet.send(bytes([number]) * size)
    heard = []
    while asleep.poll(300):
        heard.append(asleep.recv()[0])
    assert outlet.seq == 200
    assert heard == sorted(heard)
    assert heard[0] == 0  # the queue keeps the oldest; a reader gates on order and validity
    assert len(heard) < 40
    asleep.close(linger=0)
    outlet.close()


def test_a_peer_that_talks_to_us_is_cut_off(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/a"
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        outlet = Outlet(context, "t", [endpoint])
        stack.callback(outlet.close)
        peer = stack.enter_context(context.socket(zmq.XSUB))
        peer.setsockopt(zmq.RECONNECT_IVL, -1)
        peer.connect(endpoint)
        peer.send(b"\1t")
        until(lambda: outlet.count_peers() == 1)
        peer.send(b"\2" + bytes(200_000))
        until(lambda: outlet.count_peers() == 0)
