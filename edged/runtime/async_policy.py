"""A policy whose inference takes longer than a tick: the tick supervises and publishes, and never waits for the model.

Each tick publishes what is left of the newest plan. Causes that do not stop forbid the next inference, not the running
plan; a stop ends the plan at once, and what was inferred for an older motion is thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from edged.core.clock import ms
from edged.core.stopwatch import Stopwatch
from edged.core.types import ActionChunk, Ahead, Hold, Observation, Reason, Tick
from edged.guard import Anchor, guard
from edged.guard.path import Trajectory
from edged.guard.precedence import strongest
from edged.pipeline.pipeline import Answer, Motion, Pipeline
from edged.pipeline.plan import Plan
from edged.pipeline.timeline import Timeline, begin_timeline
from edged.runtime.inference_thread import Done, InferenceThread, Job
from edged.runtime.inputs import Inputs
from edged.runtime.motion import MotionState
from edged.runtime.turn import Turn, answered, spoken
from edged.runtime.turnaround import Turnaround

SPARE_STEPS = 2  # of a plan, when the next one takes over: for those runs that take longer than any before


class AsyncPolicy:
    """The loop's alone."""

    def __init__(self, inputs: Inputs, motion: MotionState) -> None:
        self._inputs, self._motion = inputs, motion
        self._plan: Plan | None = None  # None after any stop
        self._plan_by: Pipeline | None = None
        self._ended: tuple[int, int] | None = None  # capture and end of the plan that ran out
        self._inferred_ns = -1  # capture of the newest observation that was given to an engine
        self._turnaround = Turnaround()
        self._timeline: Timeline | None = None  # of the plans of this motion, for an engine that continues them
        self._next: tuple[InferenceThread, Job] | None = None  # what this tick decided to infer

    def memory(self) -> dict[str, Any]:
        """What is remembered from tick to tick."""
        by = None if self._plan_by is None else self._plan_by.engine.identity
        took = self._turnaround.memory(self._plan_by)
        return {
            "plan": self._plan, "by": by, "ended": self._ended, "inferred_ns": self._inferred_ns, "took_ns": took,
            "timeline": self._timeline,
        }  # fmt: skip

    def recall(self, memory: Mapping[str, Any], by: Pipeline | None) -> None:
        """Go on from there; `by`: the engine that the plan is of."""
        self._plan, self._plan_by = memory["plan"], by
        self._ended, self._inferred_ns = memory["ended"], memory["inferred_ns"]
        self._timeline = memory["timeline"]
        if by is not None:
            self._turnaround.recall(by, memory["took_ns"])

    def drop(self) -> None:
        """There is no engine: nothing follows what was published last."""
        self._plan = self._timeline = self._ended = None

    def turn(self, running: Pipeline, worker: InferenceThread, tick: Tick, watch: Stopwatch, more: bool) -> Turn:
        """The verdict of this tick. `more`: another inference may begin."""
        now_ns, motion = watch.started_ns, self._motion
        self._inputs.drain(now_ns)
        measured = self._inputs.measured()
        held = motion.check(now_ns, self._inputs.enable(), self._inputs.explain_enable, running, measured)
        if motion.command is None:  # never published, or a stop, another engine or an operator ended it
            self._plan = self._timeline = None
        done = self._current(worker)
        observation = self._inputs.observe(running.want, tick, now_ns)
        watch.lap("observe")
        counts = done is not None and running.inference.counts
        moving = motion.now(measured, done.job.observation.captured_ns if done is not None and counts else None)
        if held is not None:
            self._plan = self._ended = None
            seen = observation if isinstance(observation, Observation) else None
            return Turn(replace(held, captured_ns=observation.captured_ns), None, seen, moving)
        waiting = observation if isinstance(observation, Hold) else None
        if waiting is not None and waiting.stop:
            self._plan = self._ended = None
            return Turn(running.unseen(waiting, moving, now_ns), None, None, moving)
        turn = None
        if done is not None:
            turn = self._hand_over(running, worker, done, tick, watch, moving)
            if isinstance(turn.verdict, Hold):
                if turn.verdict.stop:
                    return turn
                waiting = strongest((waiting, turn.verdict))
        if more and isinstance(observation, Observation) and self._is_due(running, now_ns):
            self._decide(running, worker, observation, now_ns)
        if turn is not None and not isinstance(turn.verdict, Hold):
            return replace(turn, waiting=waiting)
        planned = self._planned(running, worker, tick, moving, waiting)
        if turn is None:
            return replace(planned, observation=_unanswered(worker, observation), motion=moving)
        return replace(planned, observation=turn.observation, motion=turn.motion, prediction=turn.prediction)

    def _current(self, worker: InferenceThread) -> Done | None:
        """The result that has just come, if it belongs to the motion that goes on."""
        done = worker.take()
        if done is not None and done.job.motion != self._motion.number:
            worker.discard()
            return None
        return done

    def _is_due(self, running: Pipeline, now_ns: int) -> bool:
        """Whether an inference that begins now ends when the running plan is to be replaced: when as many of its steps
        as configured were executed, and two before its end at the latest."""
        schedule, plan = running.schedule, self._plan
        if not schedule.replan or plan is None or self._plan_by is not running:
            return True
        step_ns = plan.chunk.step_ns
        wanted_ns = plan.chunk.t0_ns + (schedule.replan - 1) * step_ns
        latest_ns = plan.end_ns - SPARE_STEPS * step_ns
        return now_ns + self._turnaround.forecast_ns(running) >= min(wanted_ns, latest_ns)

    def begin(self) -> None:
        """Start the inference that this tick decided on, now that its verdict is out: what the engine's thread does
        before it computes would take the interpreter from the loop. A stop that came meanwhile forbids it."""
        begins, self._next = self._next, None
        if begins is not None and begins[1].motion == self._motion.number:
            begins[0].submit(begins[1])

    def _decide(self, running: Pipeline, worker: InferenceThread, observation: Observation, now_ns: int) -> None:
        """Give the engine the newest observation, unless it has one, or had that one, or it is of an older motion."""
        captured_ns = observation.captured_ns
        if not worker.busy and captured_ns > self._inferred_ns and captured_ns >= self._motion.since_ns:
            self._inferred_ns = captured_ns
            if running.schedule.continues and self._plan is not None and self._timeline is not None:
                observation = replace(observation, ahead=self._ahead(running, observation, now_ns))
            self._next = worker, Job(observation, self._motion.number, now_ns)

    def _ahead(self, running: Pipeline, observation: Observation, now_ns: int) -> Ahead:
        """What the running plan is going to command while this inference runs."""
        assert self._timeline is not None
        taken_over_ns = now_ns + self._turnaround.forecast_ns(running)
        before = self._motion.commanded(observation.captured_ns) if running.inference.counts else None
        return self._timeline.ahead(taken_over_ns, before)

    def _hand_over(
        self, running: Pipeline, worker: InferenceThread, done: Done, tick: Tick, watch: Stopwatch, moving: Motion
    ) -> Turn:
        """Make the newest result the plan, and the verdict of this tick."""
        observation, ready_ns = done.job.observation, watch.ended_ns["observe"]
        watch.adopt(done.watch)
        if done.failed is not None:
            return Turn(done.failed, None, observation, moving, done.failed)
        answer = running.conclude(observation, moving, tick, watch, ready_ns)
        turn = answered(running, answer, tick.due_ns, watch.ended_ns["guard"], observation, moving)
        if isinstance(turn.verdict, Hold):
            return replace(turn, verdict=self._inputs.explained(turn.verdict))
        self._plan, self._plan_by = answer.plan, running
        if answer.start is not None:
            if answer.start.previous is not None:  # the first plan of a motion begins at once
                self._turnaround.record(running, answer.start.at_ns - done.job.begin_ns)
            self._remember(running, answer, answer.start)
        if answer.late:
            worker.bridge()
        return turn

    def _remember(self, running: Pipeline, answer: Answer, start: Anchor) -> None:
        """What the plans ask for, as long as an engine continues them."""
        if not running.schedule.continues or answer.joined is None:
            self._timeline = None
        elif self._timeline is None or start.previous is None:
            self._timeline = begin_timeline(answer.joined, running.rule.binary, start.at_ns, start.values)
        else:
            self._timeline = self._timeline.joined(answer.joined, start.at_ns, answer.bridge_ns)

    def _planned(
        self, running: Pipeline, worker: InferenceThread, tick: Tick, moving: Motion, waiting: Hold | None
    ) -> Turn:
        """What is due of the plan while that is good; else what keeps a new one away."""
        plan, by, now_ns = self._plan, self._plan_by, tick.started_ns
        if plan is None or by is None:
            return Turn(waiting or self._nothing(worker, now_ns))
        followed = moving.command.path if moving.command is not None else None
        said = plan.publish(tick.due_ns, now_ns)
        if said is None and isinstance(followed, Trajectory):
            said = plan.ramp(followed, tick.due_ns, now_ns)
        if said is None:
            self._plan, self._ended = None, (plan.chunk.captured_ns, plan.end_ns)
            return Turn(waiting or self._nothing(worker, now_ns))
        place = running.anchor(moving, tick.due_ns, now_ns)
        if isinstance(place, Hold):
            return Turn(self._inputs.explained(replace(place, captured_ns=plan.chunk.captured_ns)))
        missed = place.previous is None or now_ns >= place.previous.cut_ns
        if missed and not said.chunk.ramping:  # controllers gave up: the plan begins again from where they are
            rest = plan.rest(place.at_ns)
            guarded = None if rest is None else guard(rest, by.rule, place, tick, now_ns, True)
            if not isinstance(guarded, ActionChunk):
                return Turn(guarded or Hold(Reason.LATE, "the plan has ended", plan.chunk.captured_ns))
            self._plan = plan = by.plan(guarded, place, tick.due_ns)
            said = plan.publish(tick.due_ns, now_ns)
        return replace(spoken(plan, said), waiting=waiting, by=by)

    def _nothing(self, worker: InferenceThread, now_ns: int) -> Hold:
        """No plan, and nothing is wrong with the input."""
        spent_ms, usual_ms = ms(worker.spent_ns(now_ns)), ms(worker.pipeline.schedule.run_ns)
        if self._ended is None:
            return Hold(Reason.STARTING, f"the first inference has been running for {spent_ms:.0f} ms")
        captured_ns, end_ns = self._ended
        why = f"the plan ended {ms(end_ns - captured_ns):.0f} ms after its capture"
        running = f"the next inference has been running for {spent_ms:.0f} ms" if spent_ms else "no inference runs"
        running += f", one took {usual_ms:.0f} ms when loaded"
        remedy = "use a faster engine or longer chunks, or raise [execution] max_plan_age_ms"
        return Hold(Reason.LATE, f"{why}, {running}; {remedy}", captured_ns)


def _unanswered(worker: InferenceThread, observation: Observation | Hold) -> Observation | None:
    """What the shadow of a swap is shown while no inference ends: the input that a run which hangs keeps waiting."""
    return observation if worker.hangs and isinstance(observation, Observation) else None
