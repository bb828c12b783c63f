"""The shadow goes the loop's way: on the same tick the same engine gives the verdict that the loop gave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import make
from onnx import helper
from turned import troubled

from edged.bundle.bundle import Bundle
from edged.core.clock import ManualClock
from edged.core.errors import RefusedError
from edged.core.stopwatch import STEPS, Replayed, Stopwatch
from edged.core.types import ActionChunk, Hold, Reason, Sample, Tick, Verdict
from edged.engine.registry import open_engine
from edged.guard.arming import Arming
from edged.pipeline.pipeline import AT_REST, Pipeline, make_pipeline
from edged.runtime.inputs import Inputs, Seen, SeenMailbox
from edged.runtime.loop import take_turn
from edged.runtime.motion import MotionState
from edged.runtime.publish import Sent
from edged.runtime.turn import answered
from edged.swap.shadow import Shadow

MS = 1_000_000
PERIOD = 20 * MS


def chunks() -> bytes:
    """Three steps from the joints on, NaN where `ay` is negative, a failed run where `az` is beyond 1."""
    nodes, constants = troubled("first")
    nodes += [
        helper.make_node("Unsqueeze", ["first", "one"], ["row"]),
        helper.make_node("Add", ["row", "ramp"], ["action"]),
    ]
    ramp = np.linspace(0, 0.2, 3, dtype=np.float32).reshape(1, 3, 1)
    constants["ramp"] = ramp
    return make(nodes, {"state": [1, 6]}, {"action": [1, 3, 3]}, constants)  # type: ignore[no-any-return]


class Rings(cells.Ring):
    """A ring that is drained."""

    def drain(self, now_ns: int) -> int:
        return 0


@dataclass
class Bench:
    """Two pipelines of one engine: what runs, and the candidate."""

    running: Pipeline
    candidate: Pipeline
    hold_file: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    limits = {name: {"velocity": 2.0, "min": -1.5, "max": 1.5, "on": "limit"} for name in cells.JOINTS}
    config = cells.config(
        guard={"measured": "sensor:joints", "start": "armed", "following_error": 1.0, "limits": limits}
    )
    bundle = Bundle("reach", "1", cells.manifest(), bytes(range(32)), chunks(), {}, b"")
    with open_engine(bundle, "cpu") as one, open_engine(bundle, "cpu") as other:
        yield Bench(make_pipeline(one, config), make_pipeline(other, config), tmp_path_factory.mktemp("hold") / "hold")


joint = st.floats(-2, 2, width=32)
tick_inputs = st.tuples(
    st.tuples(joint, joint, joint),  # where the robot is
    st.sampled_from([0.0, 0.0, 0.0, -1.0]),  # ay: a root of it is not a number
    st.sampled_from([0.0, 0.0, 0.0, 7.0]),  # az: a run that fails
    st.integers(0, 120),  # ms of age
    st.integers(0, 30),  # ms that inference takes
    st.sampled_from(["go", "go", "go", "swap", "forget", "hold", "resume", "jump"]),
)


def same(one: Verdict, other: Verdict) -> bool:
    if isinstance(one, ActionChunk) and isinstance(other, ActionChunk):
        facts = (one.t0_ns, one.step_ns, one.captured_ns, one.changes)
        return facts == (other.t0_ns, other.step_ns, other.captured_ns, other.changes) and np.array_equal(
            one.actions, other.actions, equal_nan=True
        )
    return isinstance(one, Hold) and one == other


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(tick_inputs, min_size=1, max_size=12))
def test_the_shadow_gives_the_verdict_that_the_loop_gave(bench: Bench, steps: list[Any]) -> None:
    clock = ManualClock(10_000 * MS)
    rings = {"joints": Rings(), "imu": Rings()}
    bench.hold_file.unlink(missing_ok=True)
    motion = MotionState(Arming(bench.hold_file, "armed"))
    inputs = Inputs({}, rings, "joints")  # type: ignore[arg-type]
    running: Pipeline | None = bench.running
    before: Pipeline | None = None
    spent = {"ms": 0}
    watch = Stopwatch(lambda: clock() + spent["ms"] * MS)
    for seq, (joints, ay, az, age_ms, inference_ms, act) in enumerate(steps, 1):
        clock.sleep_until(clock() + PERIOD)
        stamp_ns = clock() - age_ms * MS
        rings["joints"].samples = [Sample("joints", seq, stamp_ns, np.array(joints))]
        rings["imu"].samples = [Sample("imu", seq, stamp_ns, np.array([0.0, ay, az]))]
        if act == "swap":
            running = None if running is not None else bench.running
        elif act == "forget":
            motion.ask_to_forget()
        elif act == "hold" and motion.arming is not None:
            motion.arming.hold("test")
        elif act == "resume" and motion.arming is not None:
            motion.arming.resume("test")
        tick = Tick(seq, clock(), clock())
        watch.restart(clock())
        motion.turn_over(before, running, clock())
        before = running
        spent["ms"] = inference_ms
        turn = take_turn(inputs, motion, running, Hold(Reason.STARTING, "none"), tick, watch)
        if turn.prediction is not None and turn.observation is not None:
            again = Replayed(watch.readings())
            answer = bench.candidate.answer(turn.observation, turn.motion, tick, again)
            said = answered(bench.candidate, answer, tick.due_ns, again.ended_ns["guard"], None, turn.motion)
            assert same(answer.prediction, turn.prediction)
            assert same(said.verdict, turn.verdict)
            assert (said.path is None) == (turn.path is None)
        watch.lap("publish")
        published_ns = watch.ended_ns["publish"]
        verdict = motion.last_look(turn.verdict, clock())
        motion.follow(Sent(verdict, published_ns, published_ns + 100 * MS), turn.path)
        spent["ms"] = 0


def test_a_failed_run_in_the_shadow_is_the_hold_that_the_loop_would_have_given(bench: Bench) -> None:
    now_ns = cells.NOW_NS
    rings = {"joints": cells.sample("joints", 1), "imu": cells.sample("imu", 1, (0, 0, 7))}
    inputs = Inputs({}, {name: Rings([sample]) for name, sample in rings.items()}, "joints")  # type: ignore[arg-type]
    tick, watch = Tick(1, now_ns, now_ns), Stopwatch(lambda: now_ns)
    watch.restart(now_ns)
    turn = take_turn(inputs, MotionState(None), bench.running, Hold(Reason.STARTING, ""), tick, watch)
    assert isinstance(turn.verdict, Hold)
    assert turn.verdict.reason is Reason.ENGINE
    assert turn.observation is not None
    seen = Seen(tick, watch.readings(), turn.observation, turn.motion, turn.prediction, turn.verdict)
    with pytest.raises(RefusedError, match=r"in the shadow it gives Hold\(ENGINE\)"):
        Shadow(bench.candidate).look(seen)


def test_what_is_no_number_is_refused_in_the_shadow_where_motion_could_not_start_either(bench: Bench) -> None:
    now_ns = cells.NOW_NS
    rings = {"joints": cells.sample("joints", 1), "imu": cells.sample("imu", 1, (0, -1, 0))}
    inputs = Inputs({}, {name: Rings([sample]) for name, sample in rings.items()}, "joints")  # type: ignore[arg-type]
    tick, watch = Tick(1, now_ns, now_ns), Stopwatch(lambda: now_ns)
    watch.restart(now_ns)
    observation = inputs.observe(bench.running.want, tick, now_ns)
    assert not isinstance(observation, Hold)
    seen = Seen(tick, watch.readings(), observation, AT_REST, None, Hold(Reason.DISARMED, "not armed"))
    answer = bench.candidate.answer(observation, AT_REST, tick, Replayed(watch.readings()))
    assert isinstance(answer.verdict, Hold)
    assert answer.verdict.reason is Reason.ANCHOR
    with pytest.raises(RefusedError, match=r"in the shadow it gives Hold\(NON_FINITE\)"):
        Shadow(bench.candidate).look(seen)


def test_a_replayed_stopwatch_gives_the_readings_again_and_the_last_one_for_what_did_not_run() -> None:
    times = iter(range(100, 200))
    watch = Stopwatch(lambda: next(times))
    watch.restart(50)
    for step in STEPS[:3]:
        watch.lap(step)
    again = Replayed(watch.readings())
    assert again.started_ns == 50
    assert [again.lap(step) for step in STEPS] == [100, 101, *[102] * (len(STEPS) - 2)]


def test_the_mailbox_keeps_the_newest_and_nothing_after_it_was_left() -> None:
    mailbox = SeenMailbox()
    assert not mailbox.watched
    with mailbox:
        assert mailbox.watched
        mailbox.put("one")  # type: ignore[arg-type]
        mailbox.put("two")  # type: ignore[arg-type]
        assert mailbox.take() == "two"
        assert mailbox.take() is None
        mailbox.put("three")  # type: ignore[arg-type]
    assert not mailbox.watched
    assert mailbox.take() is None


def test_a_shadow_that_hung_does_not_close_the_mailbox_of_the_next_one() -> None:
    mailbox = SeenMailbox()
    hangs, watches = threading.Event(), threading.Event()

    def old() -> None:
        with mailbox:
            watches.set()
            hangs.wait(60)

    thread = threading.Thread(target=old)
    thread.start()
    watches.wait(60)
    with mailbox:
        hangs.set()
        thread.join(60)
        assert mailbox.watched
        mailbox.put("one")  # type: ignore[arg-type]
        assert mailbox.take() == "one"
    assert not mailbox.watched
