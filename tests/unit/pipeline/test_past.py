"""What was seen before: against a plain reference over everything that was ever observed."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from cells import MS, frame, image, manifest, state
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from edged.bundle.roles import History
from edged.core.types import Frame, Observation, Sample
from edged.pipeline.align import Stream, Wanted
from edged.pipeline.encode import Encoder
from edged.pipeline.past import Past, nearest

GAP = 300 * MS


def shot(at_ns: int, value: int = 0, camera: str = "tool") -> Frame:
    return Frame(camera, 1, at_ns, np.full((2, 2, 3), value, np.uint8))


def want(back_ns: int, gap_ns: int = GAP) -> Wanted:
    return Wanted((Stream("tool", 0, 0, (), back_ns),), (Stream("joints", 0, 0, (), back_ns),), "camera:tool", gap_ns)


def seen(at_ns: int, late_ns: int = 0) -> Observation:
    sample = Sample("joints", 1, at_ns - late_ns, np.array([float(at_ns)]))
    return Observation({"tool": shot(at_ns)}, {"joints": sample}, at_ns - late_ns, at_ns)


@given(st.lists(st.integers(1, 120), min_size=1, max_size=60), st.integers(2, 6), st.integers(10, 250))
def test_each_moment_is_what_was_captured_nearest_to_it(gaps_ms: list[int], steps: int, spacing_ms: int) -> None:
    past, everything = Past(), []
    for stamp_ms in np.cumsum(gaps_ms).tolist():
        observation = past.extend(seen(stamp_ms * MS), want((steps - 1) * spacing_ms * MS))
        everything.append(stamp_ms)
        for index in range(1, steps):
            when_ms = stamp_ms - index * spacing_ms
            closest = min(everything, key=lambda at: (abs(at - when_ms), at))
            assert nearest(observation.past_frames["tool"], when_ms * MS).captured_ns == closest * MS
            assert nearest(observation.past_samples["joints"], when_ms * MS).captured_ns == closest * MS


@settings(max_examples=60, deadline=None)
@given(
    ticks=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 40), st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2])),
        min_size=20, max_size=60,
    ),
    steps=st.integers(2, 5),
    spacing_ms=st.sampled_from([20, 33, 70]),
)  # fmt: skip
def test_a_stream_of_another_rate_and_lateness_is_looked_back_at_from_the_clock_camera(
    ticks: list[tuple[int, int, int, int]], steps: int, spacing_ms: int
) -> None:
    """A tick each 10 ms: the clock camera skips some and is late, the other one is seldom and may be ahead of it; stops
    and gaps between them. The reference is all that was ever seen since."""
    back_ns = (steps - 1) * spacing_ms * MS
    both = tuple(Stream(name, 0, 0, (), back_ns) for name in ("tool", "wrist"))
    past, wanted_of, now_ns = Past(), Wanted(both, (), "camera:tool", GAP), 1000 * MS
    newest, everything, last_ns = {"tool": 0, "wrist": 0}, {"tool": set[int](), "wrist": set[int]()}, 0
    for skipped, rare, late_ms, event in ticks:
        now_ns += 10 * MS if event != 2 else 2 * GAP
        if event == 1:
            past.interrupt()
        stamps = now_ns - late_ms * MS if not skipped else 0, now_ns if not rare else 0
        newest = {name: max(newest[name], stamp) for name, stamp in zip(newest, stamps, strict=True)}
        if not all(newest.values()):
            continue
        oldest_ns = min(newest.values())
        if event == 1 or (last_ns and oldest_ns - last_ns > GAP):
            everything = {"tool": set(), "wrist": set()}
        last_ns = max(last_ns, oldest_ns)
        for name, stamp in newest.items():
            everything[name].add(stamp)
        frames = {name: shot(stamp, camera=name) for name, stamp in newest.items()}
        observation = past.extend(Observation(frames, {}, oldest_ns, newest["tool"]), wanted_of)
        for name in newest:
            for index in range(1, steps):
                when_ns = newest["tool"] - index * spacing_ms * MS
                closest = min(everything[name], key=lambda at: (abs(at - when_ns), at))
                assert nearest(observation.past_frames[name], when_ns).captured_ns == closest


def test_no_more_is_kept_than_anybody_looks_back_at() -> None:
    past = Past()
    for number in range(100):
        observation = past.extend(seen(number * 10 * MS), want(95 * MS))
    kept = [one.captured_ns // (10 * MS) for one in observation.past_frames["tool"]]
    assert kept == list(range(89, 100))
    assert past.extend(seen(1000 * MS), want(0)).past_frames == {}


def test_a_gap_and_an_interruption_end_a_stretch() -> None:
    past = Past()
    first = [past.extend(seen(at * MS), want(200 * MS)) for at in (0, 100, 400)]
    assert [one.stretch for one in first] == [1, 1, 1]
    assert [len(one.past_frames["tool"]) for one in first] == [1, 2, 2]  # 200 ms back from 400 lies after 100
    after_gap = past.extend(seen(701 * MS), want(200 * MS))
    assert (after_gap.stretch, len(after_gap.past_frames["tool"])) == (2, 1)
    past.interrupt()
    after_stop = past.extend(seen(710 * MS), want(200 * MS))
    assert (after_stop.stretch, len(after_stop.past_samples["joints"])) == (3, 1)
    assert len(after_gap.past_frames["tool"]) == 1, "what was handed out stays what it was"


def test_a_frame_that_is_seen_again_is_one_moment() -> None:
    past = Past()
    for _ in range(3):
        observation = past.extend(seen(100 * MS), want(200 * MS))
    assert len(observation.past_frames["tool"]) == 1


def test_a_second_engine_looks_further_back() -> None:
    past = Past()
    for at in range(0, 300, 10):
        observation = past.extend(seen(at * MS), want(0), want(200 * MS))
    assert len(observation.past_frames["tool"]) == 21


def encoder(history: History) -> tuple[Encoder, dict[str, NDArray[Any]]]:
    roles = {"image": image(size=(2, 2)), "state": state(joints=("j1",))}
    made = {name: _with(role, history) for name, role in roles.items()}
    steps = history.steps
    arrays: dict[str, NDArray[Any]] = {
        "image": np.zeros((1, steps, 2, 2, 3), np.uint8),
        "state": np.zeros((1, steps, 1), np.float32),
    }
    return Encoder(manifest(made), arrays, {}, {"joints": ("j1",)}), arrays


def _with(role: Any, history: History) -> Any:
    import msgspec

    return msgspec.structs.replace(role, history=history)


def test_a_tensor_of_several_moments_is_filled_oldest_first() -> None:
    reader, arrays = encoder(History(steps=3, spacing_ms=100.0))
    frames = tuple(shot(at * MS, at // 10) for at in (0, 50, 110, 160, 210))
    samples = tuple(Sample("joints", 1, at * MS, np.array([float(at)])) for at in (0, 90, 205))
    observation = Observation(
        {"tool": frames[-1]}, {"joints": samples[-1]}, 205 * MS, 210 * MS, 1,
        {"tool": frames}, {"joints": samples},
    )  # fmt: skip
    assert reader.encode(observation) is None
    assert arrays["image"][0, :, 0, 0, 0].tolist() == [0, 11, 21]  # nearest to 10, 110, 210 ms
    assert arrays["state"][0, :, 0].tolist() == [0.0, 90.0, 205.0]


@pytest.mark.parametrize("past", [{}, {"tool": (shot(210 * MS, 21),)}])
def test_the_first_moment_is_repeated_where_nothing_goes_further_back(past: dict[str, tuple[Frame, ...]]) -> None:
    reader, arrays = encoder(History(steps=3, spacing_ms=100.0))
    sample = Sample("joints", 1, 210 * MS, np.array([0.5]))
    alone = Observation({"tool": shot(210 * MS, 21)}, {"joints": sample}, 210 * MS, past_frames=past)
    assert reader.encode(alone) is None
    assert arrays["image"][0, :, 0, 0, 0].tolist() == [21, 21, 21]
    assert arrays["state"][0, :, 0].tolist() == [0.5, 0.5, 0.5]


def test_a_past_of_another_frame_size_is_fitted_in_like_any_other() -> None:
    reader, arrays = encoder(History(steps=2, spacing_ms=100.0))
    large = replace(frame("tool", 0, (8, 8)), captured_ns=0)
    observation = Observation(
        {"tool": shot(100 * MS, 7)}, {"joints": Sample("joints", 1, 100 * MS, np.zeros(1))}, 100 * MS, 100 * MS, 1,
        {"tool": (large, shot(100 * MS, 7))},
    )  # fmt: skip
    assert reader.encode(observation) is None
    assert arrays["image"][0, :, 0, 0, 0].tolist() == [0, 7]


@settings(max_examples=10, deadline=None)
@given(
    st.integers(2, 4),
    st.lists(st.integers(-3, 3), min_size=200, max_size=200),
    st.sets(st.integers(1, 199), max_size=3),
)
def test_it_equals_a_queue_that_is_filled_with_the_first(steps: int, jitter: list[int], stops: set[int]) -> None:
    """LeRobot's way: a queue of the last n observations, filled with the first one after each reset, one per period of
    the rig. Captures that jitter by a seventh of the period give the same, two cameras and a state."""
    period = 20 * MS
    past, queue = Past(), deque[int](maxlen=steps)
    back = (steps - 1) * period
    streams = tuple(Stream(name, 0, 0, (), back) for name in ("left", "right"))
    looks = Wanted(streams, (Stream("joints", 0, 0, (), back),), "camera:left", GAP)
    for number in range(200):
        if number in stops:
            past.interrupt()
            queue.clear()
        at = (number + 10) * period + jitter[number] * MS
        frames = {"left": shot(at, number, "left"), "right": shot(at - 3 * MS, number, "right")}
        joints = Sample("joints", 1, at - MS, np.array([float(number)]))
        seen_now = Observation(frames, {"joints": joints}, at - 3 * MS, at)
        observation = past.extend(seen_now, looks)
        queue.extend([number] * (steps if not queue else 1))
        for index, wanted in enumerate(queue):
            when = at - (steps - 1 - index) * period
            if index == steps - 1:
                continue  # the newest is the observation's own part
            for name in ("left", "right"):
                assert nearest(observation.past_frames[name], when).image[0, 0, 0] == wanted
            assert nearest(observation.past_samples["joints"], when).values[0] == wanted


@pytest.mark.parametrize("looks", ["camera", "sensor", "shadow's sensor", "nothing"])
def test_who_looks_back_at_one_stream_alone_gets_its_past(looks: str) -> None:
    back = GAP // 2
    nothing = Wanted((Stream("tool", 0, 0),), (Stream("joints", 0, 0),), "camera:tool", GAP)
    camera = Wanted((Stream("tool", 0, 0, (), back),), (Stream("joints", 0, 0),), "camera:tool", GAP)
    sensor = Wanted((Stream("tool", 0, 0),), (Stream("joints", 0, 0, (), back),), "camera:tool", GAP)
    past, last = Past(), seen(MS)
    for number in range(1, 5):
        wants = {"camera": (camera,), "sensor": (sensor,), "shadow's sensor": (nothing, sensor), "nothing": (nothing,)}
        last = past.extend(seen(number * 20 * MS), *wants[looks])
    assert [len(kept) for kept in last.past_frames.values()] == ([4] if looks == "camera" else [])
    assert [len(kept) for kept in last.past_samples.values()] == ([4] if "sensor" in looks else [])


def test_a_look_at_an_older_moment_makes_no_gap() -> None:
    past, wanted = Past(), want(0)
    first = past.extend(seen(1000 * MS), wanted)
    older = past.extend(seen(1000 * MS - GAP), wanted)
    newer = past.extend(seen(1000 * MS + GAP), wanted)
    assert first.stretch == older.stretch == newer.stretch
