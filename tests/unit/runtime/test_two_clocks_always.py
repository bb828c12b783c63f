"""Whatever happens around two clocks, each tick has its verdict, no stop is masked and no old plan comes back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from cells import MS
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plain_hermite import followed
from scripted import PERIOD, STEP, STEPS, VELOCITY, ScriptedCell, ScriptedWorker

from edged.core.errors import MachineryError
from edged.core.types import Reason
from edged.wire import Kind, Message

STOPS = frozenset(reason for reason in Reason if reason.stop)


class TwoClocks(RuleBasedStateMachine):
    """Whatever happens in whatever order: what is published is judged by itself, not by what the loop knows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        ScriptedWorker.took_ns = 30 * MS
        self.cell = ScriptedCell(Path(self.folder.name))
        self.held = self.broken = False
        self.stop_ns = 0  # when the last stop was published
        self.motion = 1
        self.plan: Message | None = None  # the first message of the newest plan
        self.follows: Message | None = None  # what controllers follow

    @initialize(engine=st.booleans())
    def begin(self, engine: bool) -> None:
        if engine:
            self.cell.install()

    @rule(run_ms=st.sampled_from([1, 9, 30, 80, 150, 400]))
    def takes(self, run_ms: int) -> None:
        ScriptedWorker.took_ns = run_ms * MS

    @rule(trouble=st.sampled_from(["", "", "fails", "nan"]))
    def breaks(self, trouble: str) -> None:
        for engine in self.cell.engines:
            engine.trouble = trouble

    @rule()
    def pauses(self) -> None:
        self.cell.imu.silent = not self.cell.imu.silent

    @rule()
    def unplugs(self) -> None:
        self.cell.joints.silent = not self.cell.joints.silent

    @rule()
    def swaps(self) -> None:
        if not self.cell.slot.pending:
            self.cell.install()

    @rule()
    def holds(self) -> None:
        self.cell.arming.hold("test")
        self.held = True

    @rule()
    def resumes(self) -> None:
        self.cell.arming.resume("test")
        self.held = False

    @rule()
    def forgets(self) -> None:
        self.cell.motion.ask_to_forget()
        self.plan = self.follows = None

    @rule(milliseconds=st.integers(0, 400))
    def stalls(self, milliseconds: int) -> None:
        """The whole machine stands still."""
        self.cell.clock.advance(milliseconds * MS)

    @precondition(lambda self: not self.broken)
    @rule(count=st.integers(1, 25))
    def ticks(self, count: int) -> None:
        for _ in range(count):
            before = self.cell.outlet.seq
            try:
                message = self.cell.tick()
            except MachineryError:
                self.broken = True  # a run has hung for longer than hang_ms
                return
            assert self.cell.outlet.seq == before + 1, "every tick has its verdict"
            self.judge(message)

    def judge(self, message: Message) -> None:
        now_ns = message.published_ns
        motion = message.header["motion"]
        assert motion in (self.motion, self.motion + 1)
        if self.held:
            assert message.reason == Reason.OPERATOR, "an operator's hold is masked by nothing"
        if message.stop:
            if self.plan is not None or motion != self.motion:
                assert motion == self.motion + 1 or self.stop_ns, "a stop has a number of its own"
            if motion != self.motion:
                self.stop_ns = now_ns
            self.plan = self.follows = None
        else:
            assert motion == self.motion, "the first Hold of a stop carries the new number"
        self.motion = motion
        if message.kind is Kind.ACTION:
            assert message.captured_ns >= self.stop_ns, "what was seen before a stop commands nothing after it"
            soonest = now_ns + self.begins(now_ns)
            assert message.header["t0_ns"] <= soonest, "the knot at now is there, at the start of a motion the next"
            assert now_ns + message.valid_for_ns <= self.end_of(message)
            if self.plan is None or message.captured_ns > self.plan.captured_ns:
                self.plan = message
            assert message.captured_ns == self.plan.captured_ns, "no plan comes back"
            self.judge_speed(message, now_ns)
        elif not message.stop and self.plan is not None:
            left_ns = self.end_of(self.plan) - now_ns
            assert left_ns <= self.begins(now_ns), "a plan that is still good is not dropped for a weaker cause"

    def begins(self, now_ns: int) -> int:
        """From a break on motion begins at the next knot: so much later at most, 0 while commands flow."""
        flows = self.follows is not None and now_ns < self.follows.published_ns + self.follows.valid_for_ns
        return 0 if flows else PERIOD

    def judge_speed(self, message: Message, now_ns: int) -> None:
        """No joint is asked for more than its limit, and it begins where controllers are: on their way, or at rest at
        0, where the cell says that they are."""
        for fine_ns in range(now_ns, now_ns + message.valid_for_ns, 3 * MS):
            where, speed = followed(message, fine_ns)
            assert (np.abs(speed) <= VELOCITY + 2e-5).all()
            assert (np.abs(where) <= 2).all()
        where, speed = followed(message, now_ns)
        before, was = np.zeros(3), np.zeros(3)
        if self.follows is not None and now_ns < self.follows.published_ns + self.follows.valid_for_ns:
            before, was = followed(self.follows, now_ns)
        np.testing.assert_allclose(where, before, atol=1e-6)
        np.testing.assert_allclose(speed, was, atol=2e-5)
        self.follows = message

    def end_of(self, message: Message) -> int:
        """The end of the plan that `message` is of."""
        running = self.cell.slot.running
        assert running is not None
        return message.captured_ns + min((STEPS + 1) * STEP, running.schedule.max_plan_age_ns)

    @invariant()
    def the_numbers_have_no_gap(self) -> None:
        assert [message.seq for message in self.cell.outlet.heard] == list(range(1, self.cell.outlet.seq + 1))

    def teardown(self) -> None:
        self.folder.cleanup()


TestTwoClocks = TwoClocks.TestCase
TestTwoClocks.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
