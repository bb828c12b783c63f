"""What an inspection found, as a message: labels, instances, their measures and what the rules make of them."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import zmq
from msgspec.structs import replace
from published import BOOT, MS, NOW, NUMBERS, PERIOD, TICK, Bus, Context, context

from edged.client import measures_of
from edged.config.sections import InspectionConfig, RuleConfig
from edged.core.clock import ManualClock
from edged.core.types import Hold, Instances, Labels, Reason
from edged.inspection.inspect import inspect
from edged.inspection.rules import Judge
from edged.runtime.publish import Outlet, Publisher
from edged.runtime.sender import Sender
from edged.wire import Kind, decode, subscription

__all__ = ["context"]


def test_labels_carry_their_map_and_the_alarms_of_the_moment(context: Context) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with Bus(context, topic="inspect/masks") as bus:
        bus.publisher.alarms = ("engine",)
        _, message = bus.send(Labels(image, "line", NOW - MS), meaning={"classes": ["plate", "pit"]})
        _, hold = bus.send(Hold(Reason.STALE, ""))
        bus.publisher.alarms = ()
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
            publisher.alarms = alarms
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
