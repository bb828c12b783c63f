"""What a tick sees belongs together and is fresh, or the Hold says which stream is not and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import IMU, JOINTS, MS, NAMES, NOW_NS, Ring, config, frame, image, manifest, sample, state
from hypothesis import given
from hypothesis import strategies as st

from edged.core.types import Frame, Hold, Observation, Reason, Sample
from edged.pipeline.align import Wanted, observe, wanted


def want(cameras: tuple[str, ...] = ("tool",), clock: str = "timer", sensors: Any = NAMES) -> Wanted:
    inputs: dict[str, Any] = {f"image-{name}": image(name) for name in cameras}
    if sensors:
        inputs["state"] = state(**sensors)
    return wanted(config(clock=clock), manifest(inputs))


def rings(joints: float | None = 12, imu: float | None = 12, **values: Any) -> dict[str, Ring]:
    ages = {"joints": joints, "imu": imu}
    return {
        name: Ring([] if age is None else [sample(name, age, values.get(f"{name}_values", (0.1, 0.2, 0.3)))])
        for name, age in ages.items()
    }


def seen(verdict: Observation | Hold) -> Observation:
    assert isinstance(verdict, Observation), verdict
    return verdict


def held(verdict: Observation | Hold) -> Hold:
    assert isinstance(verdict, Hold), verdict
    return verdict


def test_the_sample_at_or_before_the_frame_is_taken_not_the_newest() -> None:
    ring = Ring([sample("joints", age) for age in (31, 21, 11, 1)])
    got = seen(observe(want(), {"tool": frame("tool", 20)}, {"joints": ring, "imu": rings(imu=21)["imu"]}, NOW_NS))
    assert NOW_NS - got.samples["joints"].captured_ns == 21 * MS
    assert got.captured_ns == NOW_NS - 21 * MS
    assert got.reference_ns == NOW_NS - 20 * MS


def test_with_a_timer_the_oldest_of_the_newest_frames_is_the_reference() -> None:
    frames = {"tool": frame("tool", 10), "wrist": frame("wrist", 35)}
    ring = Ring([sample("joints", 36), sample("joints", 11)])
    got = seen(observe(want(("tool", "wrist")), frames, {"joints": ring, "imu": rings(imu=40)["imu"]}, NOW_NS))
    assert NOW_NS - got.samples["joints"].captured_ns == 36 * MS
    assert got.reference_ns == NOW_NS - 35 * MS


def test_with_a_clock_camera_its_frame_is_the_reference() -> None:
    frames = {"tool": frame("tool", 10), "wrist": frame("wrist", 35)}
    ring = Ring([sample("joints", 36), sample("joints", 11)])
    got = seen(observe(want(("tool", "wrist"), "camera:tool"), frames, {"joints": ring, "imu": ring}, NOW_NS))
    assert NOW_NS - got.samples["joints"].captured_ns == 11 * MS


def test_a_clock_camera_the_engine_does_not_use_is_watched_too() -> None:
    plan = want(("wrist",), "camera:tool")
    assert {stream.name for stream in plan.cameras} == {"tool", "wrist"}
    got = held(observe(plan, {"tool": frame("tool", 101), "wrist": frame("wrist", 1)}, rings(102, 102), NOW_NS))
    assert (got.reason, got.detail) == (Reason.STALE, "tool 101 ms > 100 ms")


def test_what_only_the_guard_reads_is_not_waited_for() -> None:
    assert [stream.name for stream in want((), sensors={"imu": IMU}).sensors] == ["imu"]


def test_without_cameras_the_newest_sample_up_to_now_is_taken() -> None:
    got = seen(observe(want(()), {}, rings(9, 25), NOW_NS))
    assert got.captured_ns == NOW_NS - 25 * MS
    assert got.reference_ns == NOW_NS - 9 * MS


def test_starting_names_every_stream_not_heard_yet() -> None:
    got = held(observe(want(("tool", "wrist")), {"tool": frame("tool", 1), "wrist": None}, rings(imu=None), NOW_NS))
    assert got.reason is Reason.STARTING
    assert got.detail == "nothing heard yet from wrist, imu"
    assert not got.stop


def test_starting_tells_what_cannot_be_read_from_silence() -> None:
    garbled = Ring(garbled="537 messages, none readable (537 malformed); check codec, topic, names and unit")
    got = held(observe(want(), {"tool": frame("tool", 1)}, {"joints": garbled, "imu": Ring()}, NOW_NS))
    assert got.reason is Reason.STARTING
    assert got.detail == f"nothing heard yet from imu; joints: {garbled.garbled}"


@pytest.mark.parametrize(("age", "reason"), [(100.0, None), (100.1, Reason.STALE)])
def test_a_frame_is_good_up_to_its_age_although_seen_before(age: float, reason: Reason | None) -> None:
    plan = want(sensors=None)
    got = observe(plan, {"tool": frame("tool", age)}, {}, NOW_NS)
    again = observe(plan, {"tool": frame("tool", age)}, {}, NOW_NS)
    for verdict in (got, again):
        if reason is None:
            seen(verdict)
        else:
            assert held(verdict).detail == "tool 100.1 ms > 100 ms"
            assert held(verdict).captured_ns == NOW_NS - round(100.1 * MS)


def test_a_stale_sensor_is_named() -> None:
    got = held(observe(want(()), {}, rings(joints=51), NOW_NS))
    assert (got.reason, got.detail) == (Reason.STALE, "joints 51 ms > 50 ms")


def test_a_frozen_camera_is_named_as_the_cause() -> None:
    joints = Ring([sample("joints", 61), sample("joints", 1)])
    got = held(observe(want(sensors={"joints": JOINTS}), {"tool": frame("tool", 60)}, {"joints": joints}, NOW_NS))
    assert got.detail == "joints 61 ms > 50 ms beside a frame of tool as old"
    got = held(
        observe(
            want(("wrist", "tool"), sensors=None), {"tool": frame("tool", 101), "wrist": frame("wrist", 1)}, {}, NOW_NS
        )
    )
    assert got.detail == "tool 101 ms > 100 ms"


def test_a_camera_too_far_from_the_reference_is_skew() -> None:
    frames = {"tool": frame("tool", 80), "wrist": frame("wrist", 40)}
    got = held(observe(want(("tool", "wrist"), "camera:tool", None), frames, {}, NOW_NS))
    assert (got.reason, got.detail) == (Reason.SKEW, "wrist 40 ms from tool > 30 ms")


def test_a_sensor_heard_only_after_the_frame_is_skew() -> None:
    got = held(observe(want(), {"tool": frame("tool", 30)}, rings(joints=10), NOW_NS))
    assert got.reason is Reason.SKEW
    assert got.detail == "joints has nothing at or before the reference, its newest is 20 ms later"


def test_stamps_from_the_future_are_not_fresh_for_ever() -> None:
    got = held(observe(want(sensors=None), {"tool": frame("tool", -60_000)}, {}, NOW_NS))
    assert (got.reason, got.detail) == (Reason.SKEW, "tool is stamped 60000 ms ahead of now")


def test_a_clock_camera_that_timed_out_is_stale_although_its_last_frame_is_young() -> None:
    plan = want(clock="camera:tool", sensors=None)
    frames: dict[str, Frame | None] = {"tool": frame("tool", 50)}
    seen(observe(plan, frames, {}, NOW_NS))
    got = held(observe(plan, frames, {}, NOW_NS, timed_out=True))
    assert (got.reason, got.detail) == (Reason.STALE, "tool: no frame, the last one 50 ms ago")
    assert held(observe(plan, {"tool": None}, {}, NOW_NS, timed_out=True)).reason is Reason.STARTING


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -1e300])
def test_a_value_that_is_no_number_is_named(value: float) -> None:
    got = held(observe(want(()), {}, rings(joints_values=(0.0, value, 1.0)), NOW_NS))
    assert got.reason is Reason.NON_FINITE
    assert got.detail == f"joints.j2 is {value:g}"
    assert got.stop


@pytest.mark.parametrize(
    ("tool", "imu", "timed_out", "without"),
    [
        (101, 103, False, Reason.STALE),
        (20, 71, False, Reason.STALE),
        (20, 22, True, Reason.STALE),
        (20, 45, False, Reason.SKEW),
        (20, 12, False, Reason.SKEW),
        (None, 22, False, Reason.STARTING),
        (20, None, False, Reason.STARTING),
    ],
)
def test_no_hold_that_does_not_stop_hides_one_that_does(
    tool: float | None, imu: float | None, timed_out: bool, without: Reason
) -> None:
    frames = {"tool": None if tool is None else frame("tool", tool)}
    plan, nan = want(clock="camera:tool"), (0.0, np.nan, 1.0)
    before = [sample("joints", 103), sample("joints", 22)]

    def look(newest: Sample) -> Hold:
        history = {"joints": Ring([*before, newest]), "imu": rings(imu=imu)["imu"]}
        return held(observe(plan, frames, history, NOW_NS, timed_out))

    assert look(sample("joints", 2)).reason is without
    got = look(sample("joints", 2, nan))
    assert (got.reason, got.detail, got.stop) == (Reason.NON_FINITE, "joints.j2 is nan", True)
    before.pop()
    assert not look(sample("joints", 51, nan)).stop, "that is what it said once"


AGES = st.floats(-20, 200)


@given(
    tool=AGES, wrist=AGES, joints=st.lists(AGES, max_size=6), imu=AGES, clock=st.sampled_from(["timer", "camera:tool"])
)
def test_an_observation_keeps_every_promise(
    tool: float, wrist: float, joints: list[float], imu: float, clock: str
) -> None:
    plan = want(("tool", "wrist"), clock)
    frames = {"tool": frame("tool", tool), "wrist": frame("wrist", wrist)}
    history = {"joints": Ring([sample("joints", age) for age in sorted(joints, reverse=True)]), "imu": Ring()}
    history["imu"].samples.append(sample("imu", imu))
    verdict = observe(plan, frames, history, NOW_NS)
    if isinstance(verdict, Hold):
        assert verdict.detail
        return
    reference = frames["tool"].captured_ns if clock != "timer" else min(f.captured_ns for f in frames.values())
    for streams, parts in ((plan.cameras, verdict.frames), (plan.sensors, verdict.samples)):
        for stream in streams:
            stamp = parts[stream.name].captured_ns
            assert NOW_NS - stamp <= stream.max_age_ns
            assert abs(stamp - reference) <= stream.max_skew_ns
    assert all(s.captured_ns <= reference for s in verdict.samples.values())
    stamps = [part.captured_ns for part in (*verdict.frames.values(), *verdict.samples.values())]
    assert verdict.captured_ns == min(stamps)
    assert verdict.reference_ns == reference


class Faulty:
    """A camera that says what is wrong with it."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.asked = 0

    def stats(self) -> dict[str, str]:
        self.asked += 1
        return {"state": self.state}


def test_a_hold_quotes_the_camera_that_it_is_about() -> None:
    cameras = {"tool": Faulty("ended"), "wrist": Faulty("no such device /dev/video9")}
    plan = want(("tool", "wrist"), sensors=None)
    got = held(observe(plan, {"tool": frame("tool", 1), "wrist": None}, {}, NOW_NS, cameras=cameras))
    assert got.detail == "nothing heard yet from wrist (no such device /dev/video9)"
    frames = {"tool": frame("tool", 500), "wrist": frame("wrist", 1)}
    got = held(observe(plan, frames, {}, NOW_NS, cameras=cameras))
    assert got.detail == "tool 500 ms > 100 ms (ended)"
    clocked = want(("tool",), "camera:tool", None)
    got = held(observe(clocked, {"tool": frame("tool", 20)}, {}, NOW_NS, True, cameras))
    assert got.detail == "tool: no frame, the last one 20 ms ago (ended)"


def test_a_camera_is_asked_only_when_something_is_wrong_and_quoted_only_if_it_knows_what() -> None:
    cameras = {"tool": Faulty("streaming")}
    plan = want(sensors=None)
    seen(observe(plan, {"tool": frame("tool", 1)}, {}, NOW_NS, cameras=cameras))
    assert cameras["tool"].asked == 0
    got = held(observe(plan, {"tool": frame("tool", 500)}, {}, NOW_NS, cameras=cameras))
    assert got.detail == "tool 500 ms > 100 ms"
    assert cameras["tool"].asked == 1
