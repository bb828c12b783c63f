"""The steps of a swap by themselves: what counts on probation, agreement, contract, the join."""

from __future__ import annotations

from typing import Any

import cells
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.bundle.compatibility import changes
from edged.bundle.roles import ImageInput, LabelsOutput, Rotation, StateInput, StatePart
from edged.config import SwapConfig
from edged.core.clock import ManualClock
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Change, Hold, Instances, Labels, Reason
from edged.guard import Command
from edged.guard.path import Line
from edged.pipeline.join import Join
from edged.pipeline.tally import Tally, is_breach
from edged.swap.agreement import Agreement, Variation
from edged.swap.probation import Baseline, baseline, breach, run_probation

MS = 1_000_000
DEADLINE = 20 * MS


def tally(
    predictions: int = 0, work_ms: float = 1.0, changed: int = 0, ticks: int = 0, **breaches: int
) -> Tally:  # fmt: skip
    made, watch = Tally(), Stopwatch()
    for number in range(predictions):
        watch.restart(0)
        watch.took_ns |= {"encode": 1, "engine": 1, "publish": round(work_ms * MS) - 2}
        listed = (Change("j1", 0, "max", 2.0, 1.0),) if number < changed else ()
        made.record(ActionChunk(np.zeros((1, 3), np.float32), 0, MS, 1, listed), watch, DEADLINE)
    for reason, count in breaches.items():
        for _ in range(count):
            watch.restart(0)
            watch.took_ns |= {"encode": MS, "engine": DEADLINE}
            made.record(Hold(Reason[reason], ""), watch, DEADLINE)
    made.ticks += ticks
    return made


class TestProbation:
    usual = Baseline(changed=200, predictions=10_000, work_ns=MS)

    @pytest.mark.parametrize("reason", ["NON_FINITE", "BOUNDS", "ENGINE"])
    def test_one_of_these_is_enough(self, reason: str) -> None:
        assert breach(tally(50, **{reason: 1}), self.usual, DEADLINE) == f"1 Hold({reason}) on probation"

    @pytest.mark.parametrize("reason", ["STALE", "SKEW", "OPERATOR", "DISARMED", "DISABLED", "TRACKING", "ANCHOR"])
    def test_what_is_not_its_doing_counts_nothing(self, reason: str) -> None:
        assert breach(tally(50, **{reason: 50}), self.usual, DEADLINE) is None

    def test_input_that_is_not_finite_never_reached_the_engine(self) -> None:
        assert not is_breach(Reason.NON_FINITE, 0, DEADLINE)
        assert is_breach(Reason.NON_FINITE, 1, DEADLINE)

    def test_late_counts_when_inference_took_most_of_the_time(self) -> None:
        assert not is_breach(Reason.LATE, DEADLINE // 2, DEADLINE)
        assert is_breach(Reason.LATE, DEADLINE // 2 + 1, DEADLINE)
        assert breach(tally(50, LATE=2), self.usual, DEADLINE) is None
        assert breach(tally(50, LATE=3), self.usual, DEADLINE) == "3 of 53 answers late by inference"
        assert breach(tally(50, LATE=3, ticks=1000), self.usual, DEADLINE) is None

    def test_twice_the_interventions_of_before(self) -> None:
        never = Baseline(0, 10_000, MS)
        assert breach(tally(100, changed=4), never, DEADLINE) is None
        assert breach(tally(100, changed=5), never, DEADLINE) == "the guard changed 5.0% of its answers, 0.0% before"
        assert breach(tally(100, changed=5), never, DEADLINE, floor=0.05) is None
        assert breach(tally(1000, changed=50), self.usual, DEADLINE) is None, "2.5 times may be chance"
        told = breach(tally(1000, changed=65), self.usual, DEADLINE)
        assert told == "the guard changed 6.5% of its answers, 2.0% before"
        assert breach(tally(100, changed=10), Baseline(1, 60, MS), DEADLINE) is None, "so little was seen before"

    def test_a_slower_median(self) -> None:
        assert breach(tally(20, work_ms=1.9), self.usual, DEADLINE) is None, "less than a twentieth of the deadline"
        assert breach(tally(19, work_ms=5), self.usual, DEADLINE) is None
        assert breach(tally(20, work_ms=5), self.usual, DEADLINE, predictions=1000) is None
        assert "median tick" in str(breach(tally(20, work_ms=5), self.usual, DEADLINE))
        assert breach(tally(20, work_ms=5), Baseline(), DEADLINE) is None, "nothing ran before"

    def test_a_machine_that_is_busy_for_a_moment_is_no_slow_engine(self) -> None:
        def seen(slow: int) -> Tally:
            made = tally(200 - slow)
            for _ in range(slow):
                made.work.record(5 * MS)
            made.predictions = 200
            return made

        assert breach(seen(120), self.usual, DEADLINE, predictions=1000) is None
        assert "median tick" in str(breach(seen(160), self.usual, DEADLINE, predictions=1000))
        assert "median tick" in str(breach(seen(120), self.usual, DEADLINE, predictions=200)), "all has been seen"

    def test_it_ends_after_predictions_and_seconds(self) -> None:
        config = SwapConfig(probation_predictions=30, probation_seconds=2)
        clock, counted = ManualClock(), tally(29)
        told: list[float] = []

        def nap(seconds: float) -> None:
            clock.advance(round(seconds * 1e9))
            if clock() > 5_000_000_000:
                counted.predictions = 30

        began = clock()
        assert run_probation(counted, self.usual, DEADLINE, config, lambda: None, lambda share, _: told.append(share),
                             clock, nap) is None  # fmt: skip
        assert clock() - began >= 4 * 1_000_000_000, "the seconds alone did not end it"
        assert told == sorted(told)
        assert told[-1] == 1.0

    def test_somebody_ends_it(self) -> None:
        config = SwapConfig(probation_predictions=30, probation_seconds=2)
        assert run_probation(tally(), self.usual, DEADLINE, config, lambda: "by ann", lambda *_: None) == "by ann"

    def test_the_baseline_is_the_engine_before(self) -> None:
        made = baseline(tally(100, work_ms=2.0, changed=10))
        assert (made.changed, made.predictions) == (10, 100)
        assert made.work_ns == pytest.approx(2 * MS, rel=0.1)
        assert baseline(None) == baseline(tally(0)) == Baseline()


class TestAgreement:
    manifest = cells.manifest()

    def chunk(self, *values: float) -> ActionChunk:
        return ActionChunk(np.array([values], np.float32), 0, MS, 0)

    def test_actions_in_their_own_units(self) -> None:
        agreement = Agreement(self.manifest)
        agreement.add(self.chunk(0, 0, 0), self.chunk(0.6, 0, 0))
        agreement.add(self.chunk(0, 0, 0), self.chunk(0, 0, 0))
        told = agreement.describe()
        assert told["pairs"] == 2
        assert told["off"] == {"j1 rad": 0.3, "j2 rad": 0.0, "j3 rad": 0.0}
        assert told["score"] == pytest.approx(1 - 0.1 / 2, abs=1e-3), "that of j1: two that agree make up for nothing"

    def test_plans_by_all_steps_that_both_have(self) -> None:
        """An engine that begins alike and goes elsewhere does not agree."""
        ours = ActionChunk(np.zeros((4, 3), np.float32), 0, MS, 0)
        theirs = ActionChunk(np.array([[0, 0, 0], [0, 0, 0], [6, 0, 0]], np.float32), 0, MS, 0)
        agreement = Agreement(self.manifest)
        agreement.add(ours, theirs)
        assert agreement.describe()["off"]["j1 rad"] == 2.0
        assert (agreement.score, agreement.of) == (pytest.approx(1 - 1 / 3), "j1 rad")

    def test_plans_of_other_steps_at_the_times_that_both_have(self) -> None:
        """The same motion, said in steps twice as long."""
        ours = ActionChunk(np.arange(8, dtype=np.float32).repeat(3).reshape(8, 3), 10 * MS, 10 * MS, 0)
        theirs = ActionChunk(ours.actions[1::2].copy(), 20 * MS, 20 * MS, 0)
        agreement = Agreement(self.manifest)
        agreement.add(ours, theirs)
        assert agreement.score == 1.0

    @pytest.mark.parametrize(
        ("fields", "form", "ours", "theirs", "off"),
        [
            ({"kind": "angle", "unit": "deg", "range": (-180.0, 180.0)}, None, [[179.0]], [[-179.0]], 2.0),
            ({"kind": "angle", "unit": "deg", "range": (-180.0, 180.0)}, None, [[179.0]], [[539.0]], 0.0),
            ({"range": (-1.0, 1.0)}, "wxyz", [[0, 0, 0.8, 0.6]], [[0, 0, -0.8, -0.6]], 0.0),
            ({"range": (-1.0, 1.0)}, "xyzw", [[0, 1, 0, 0], [0, 0, 1, 0]], [[0, -1, 0, 0], [0, 0, 1, 0]], 0.0),
            ({"mode": "delta_previous", "range": (-0.1, 0.1)}, None, [[0.0]] * 20, [[0.01 * n] for n in range(1, 21)],
             0.01),
        ],
        ids=["angle", "another turn", "wxyz", "xyzw", "delta"],
    )  # fmt: skip
    def test_what_means_the_same_is_the_same(
        self, fields: dict[str, Any], form: Any, ours: list[list[float]], theirs: list[list[float]], off: float
    ) -> None:
        """Angles come in turns, quaternions in two signs, and what is added in each step adds up."""
        names = tuple(f"a{number}" for number in range(len(ours[0])))
        role = cells.action(*(cells.axis(name, **fields) for name in names))
        if form:
            role = msgspec.structs.replace(role, rotations=(Rotation(form=form, axes=names),))
        agreement = Agreement(cells.manifest(outputs={"action": role}))
        agreement.add(*(ActionChunk(np.array(one, np.float32), 0, MS, 0) for one in (ours, theirs)))
        assert max(agreement.describe()["off"].values()) == pytest.approx(off, abs=1e-6)

    def test_maps_by_mean_iou(self) -> None:
        ours = np.array([[0, 1], [1, 2]], np.uint8)
        theirs = np.array([[0, 1], [2, 2]], np.uint8)
        agreement = Agreement(self.manifest)
        agreement.add(Labels(ours, "line", 0), Labels(theirs, "line", 0))
        agreement.add(Labels(ours, "line", 0), self.chunk(0, 0, 0))
        assert agreement.describe() == {"pairs": 1, "score": 0.6667}
        agreement.add(Labels(ours, "line", 0), Labels(ours[:1], "line", 0))
        assert agreement.describe() == {"pairs": 2, "score": round((1 / 3 + 1 / 5 + 1 / 3) / 3, 4)}

    def test_objects_by_mask_iou(self) -> None:
        one = Instances(
            np.array([[0, 0, 2, 2]], np.float32), np.array([0.9], np.float32), np.array([1], np.uint16),
            (np.ones((2, 2), bool),), (8, 8), "line", 0,
        )  # fmt: skip
        agreement = Agreement(self.manifest)
        agreement.add(one, one)
        assert (agreement.score, agreement.of) == (1.0, "mean IoU of objects")

    def test_nothing_to_compare(self) -> None:
        assert Agreement(self.manifest).describe() == {"pairs": 0}

    def test_variation(self) -> None:
        moving, still = Variation(self.manifest), Variation(self.manifest)
        for value in (0.0, 0.3, 0.1):
            moving.add(self.chunk(value, 0, 0))
            still.add(self.chunk(0.5, 0.5, 0.5))
        assert moving.share == pytest.approx(0.05)
        assert still.share == 0.0
        maps = Variation(cells.manifest(outputs={"labels": LabelsOutput()}))
        for value in (0, 0, 1):
            assert maps.share == 0.0
            maps.add(Labels(np.full((2, 2), value, np.uint8), "line", 0))
        assert maps.share == 1.0


class TestContract:
    before = cells.manifest()

    def test_what_may_change(self) -> None:
        other = cells.manifest(outputs={"other": cells.action(step_ms=50.0)}, precision="fp16", version="2")
        assert changes(self.before, other) == []

    def test_a_unit_of_the_state(self) -> None:
        part = StatePart(sensor="joints", names=("j1",), unit="deg")
        changed = cells.manifest(inputs={"state": StateInput(parts=(part,))})
        gone, new = changes(self.before, changed)
        assert "no longer takes state value" in gone
        assert new == "it also needs state value joints.j1 in deg"

    def test_cameras_axes_classes_and_task(self) -> None:
        with_camera = cells.manifest(inputs={**self.before.inputs, "image": cells.image("tool")})
        assert changes(self.before, with_camera) == ["it also needs camera tool"]
        reordered = cells.action(*(cells.axis(name) for name in ("j2", "j1", "j3")))
        (axes,) = changes(self.before, cells.manifest(outputs={"action": reordered}))
        assert axes.startswith("the axes from j1 (continuous, rad), j2")
        image: ImageInput = cells.image("line")
        labels = cells.manifest({"image": image}, {"labels": LabelsOutput()}, task="semantic", classes=("a", "b"))
        other = msgspec.structs.replace(labels, classes=("a", "c"))
        assert changes(labels, other) == ["the classes from a, b to a, c"]
        assert changes(self.before, labels) == ["the task from policy to semantic"]


class TestJoin:
    """The old chunk holds 10 at every step until 100 ms; the swap is at 0; the new one wants 0."""

    def left(self, blend: bool) -> Join:
        still = np.full(2, 10.0)
        command = Command(Line(still, 0, still, 100 * MS, np.array([1])), 0, 100 * MS)
        return Join(command, 0, 100 * MS, blend, np.array([False, True]))

    def new(self, t0_ms: float, steps: int = 5) -> ActionChunk:
        return ActionChunk(np.zeros((steps, 2), np.float32), round(t0_ms * MS), 25 * MS, 0)

    def test_finish_walks_the_old_chunk_to_its_end(self) -> None:
        joined = self.left(blend=False).join(self.new(10))
        assert joined.actions.tolist() == [[10, 10]] * 4 + [[0, 0]]

    def test_blend_goes_over_and_switches_half_way(self) -> None:
        joined = self.left(blend=True).join(self.new(0))
        assert joined.actions[:, 0].tolist() == [10, 7.5, 5, 2.5, 0]
        assert joined.actions[:, 1].tolist() == [10, 10, 0, 0, 0]

    def test_beyond_the_end_the_new_chunk_is_passed_on(self) -> None:
        chunk = self.new(100)
        assert self.left(blend=True).join(chunk) is chunk

    @given(st.floats(0, 90), st.integers(1, 20), st.booleans())
    def test_it_stays_between_the_two(self, t0_ms: float, steps: int, blend: bool) -> None:
        joined = self.left(blend).join(self.new(t0_ms, steps))
        assert ((joined.actions >= 0) & (joined.actions <= 10)).all()
        assert (np.diff(joined.actions, axis=0) <= 0).all()
