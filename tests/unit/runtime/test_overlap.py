"""A result is decoded while its engine runs on the next frame: the same results, in order, each once, each its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traced
import traced_engines
from cells import MS
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from seeing import SeeingEngine, picture, seeing_pipeline
from traced import LateWorker, TracedCell

from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import MachineryError
from edged.core.stopwatch import Stopwatch
from edged.core.types import Frame, Hold, Labels, Observation
from edged.pipeline.decode_semantic import SemanticDecoder
from edged.runtime.inference_thread import Done, InferenceThread, Job
from edged.wire import Kind, Message

PATIENCE_S = 20.0


def begin(worker: InferenceThread, number: int) -> None:
    worker.submit(Job(picture(number), 0, monotonic_ns()))


def ended(worker: InferenceThread) -> Done:
    assert worker.wait(round(PATIENCE_S * NS_PER_S))
    done = worker.take()
    assert done is not None
    return done


def conclude(done: Done) -> int:
    """The class that the whole picture has."""
    watch = Stopwatch()
    watch.restart(monotonic_ns())
    found, known_ns = done.conclude(watch)
    assert isinstance(found, Labels), found
    assert known_ns >= watch.started_ns
    (only,) = np.unique(found.image)
    assert found.captured_ns == only
    return int(only)


@pytest.fixture
def engine() -> SeeingEngine:
    return SeeingEngine()


@pytest.fixture
def worker(engine: SeeingEngine) -> Iterator[InferenceThread]:
    made = InferenceThread(seeing_pipeline(engine, overlap=True), monotonic_ns, 60 * NS_PER_S)
    made.start()
    yield made
    assert made.close()


def test_the_next_run_comes_and_goes_while_a_result_is_decoded(
    engine: SeeingEngine, worker: InferenceThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = SemanticDecoder.decode

    def after_the_next_run(decoder: SemanticDecoder, outputs: Any, observation: Observation) -> Labels | Hold:
        with engine.changed:
            assert engine.changed.wait_for(lambda: engine.ended > observation.captured_ns, PATIENCE_S)
        assert outputs["labels"] is not engine.outputs["labels"]
        return decode(decoder, outputs, observation)

    monkeypatch.setattr(SemanticDecoder, "decode", after_the_next_run)
    begin(worker, 1)
    for number in range(1, 30):
        done = ended(worker)
        begin(worker, number + 1)
        assert conclude(done) == number
        assert engine.began <= number + 1, "one run and one decoding, whichever is the slower"
    told = worker.describe()["overlap"]
    assert set(told) == {"waited_ms", "decode_ms"}
    assert told["decode_ms"] > 0


def test_an_engine_that_is_freed_takes_nothing_from_what_is_being_decoded(
    engine: SeeingEngine, worker: InferenceThread
) -> None:
    begin(worker, 7)
    done = ended(worker)
    worker.release()
    worker.join(PATIENCE_S)
    engine.close()
    assert conclude(done) == 7


def test_a_run_that_failed_is_its_hold(engine: SeeingEngine, worker: InferenceThread) -> None:
    begin(worker, 3)
    assert conclude(ended(worker)) == 3
    unfit = Frame("line", 4, 4, np.zeros((4, 6, 4), np.uint8))
    worker.submit(Job(Observation({"line": unfit}, {}, 4), 0, monotonic_ns()))
    found, _ = ended(worker).conclude(Stopwatch())
    assert isinstance(found, Hold), "no prediction of the frame before it"
    assert found.captured_ns == 4


def test_what_it_costs_is_counted_to_its_own_step(
    engine: SeeingEngine, worker: InferenceThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, begun = [0], []
    monkeypatch.setattr(worker, "_now", lambda: clock[0])
    decode = SemanticDecoder.decode

    def slow(*given: Any) -> Labels | Hold:
        begun.append(clock[0])
        clock[0] += 7 * MS
        return decode(*given)

    monkeypatch.setattr(SemanticDecoder, "decode", slow)
    watch = Stopwatch(lambda: clock[0])
    worker.submit(Job(picture(1), 0, 0))
    done = ended(worker)
    clock[0] += 2 * MS  # the loop had something else to do
    watch.restart(clock[0])
    _, known_ns = done.conclude(watch)
    watch.lap("guard")
    assert begun == [2 * MS]
    assert (watch.took_ns["decode"], watch.took_ns["guard"], known_ns) == (7 * MS, 0, 9 * MS)
    told = worker.describe()["overlap"]
    assert told["waited_ms"] == pytest.approx(2, rel=0.1)
    assert told["decode_ms"] == pytest.approx(7, rel=0.1)


def test_without_it_the_thread_decodes_as_before(engine: SeeingEngine) -> None:
    worker = InferenceThread(seeing_pipeline(engine), monotonic_ns, 60 * NS_PER_S)
    worker.start()
    begin(worker, 5)
    done = ended(worker)
    assert (done.overlap, "overlap" in worker.describe()) == (None, False)
    assert isinstance(done.prediction, Labels)
    assert conclude(done) == 5
    assert worker.close()


def test_no_tick_waits_for_an_engine_that_overlaps(engine: SeeingEngine) -> None:
    pipeline = seeing_pipeline(engine, inference="auto", overlap=True)
    assert (pipeline.schedule.inline, pipeline.schedule.overlap) == (False, True)
    assert seeing_pipeline(SeeingEngine(), inference="auto").schedule.inline
    without = replace(pipeline.schedule, overlap=False)
    assert without.describe() == pipeline.schedule.describe()


class CountingWorker(LateWorker):
    """Knows what it was given."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.given: list[int] = []

    def submit(self, job: Job) -> None:
        self.given.append(job.observation.captured_ns)
        super().submit(job)


class Overlapping(RuleBasedStateMachine):
    """Slow engines, slow decoders, swaps and hangs in any order, against one line: what an engine says of a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.decode_ns = 0
        decode = SemanticDecoder.decode

        def slow(*given: Any) -> Labels | Hold:
            self.cell.clock.advance(self.decode_ns)
            return decode(*given)

        self.patch.setattr(SemanticDecoder, "decode", slow)
        LateWorker.took_ns = staticmethod(lambda: self.run_ns)
        self.run_ns = 30 * MS
        self.thresholds: dict[bytes, float] = {}
        self.workers: list[CountingWorker] = []
        self.captured_ns, self.engine = 0, -1
        self.told: set[int] = set()
        self.broken = False

    @initialize(timer=st.booleans())
    def begin(self, timer: bool) -> None:
        given = {"cameras": {"line": {"uri": "0", "width": 32, "height": 24, "fps": 30.0, "max_age_ms": 120}}}
        way = {"inference": "async", "overlap": True, "max_plan_age_ms": 400}
        config = traced.inspection_config("async", "timer" if timer else "camera:line", execution=way, **given)
        recording = traced.picture_recording(60, 3)
        self.cell = TracedCell(Path(self.folder.name), config, recording)
        self.cell.slot._make_worker = self.make
        track = recording.cameras["line"]
        stamps = track.captured_ns - recording.start_ns + traced.START
        self.pictures = dict(zip(stamps.tolist(), track.values, strict=True))
        self.install(200.0)

    def make(self, *given: Any) -> CountingWorker:
        self.workers.append(CountingWorker(*given))
        return self.workers[-1]

    def install(self, threshold: float) -> None:
        bundle = traced_engines.segmenter(str(len(self.thresholds) + 1), threshold)
        self.thresholds[bundle.identity] = threshold
        self.cell.install(bundle, 30.0)

    @rule(run_ms=st.sampled_from([1, 10, 30, 80]), decode_ms=st.sampled_from([0, 5, 40, 120]))
    def takes(self, run_ms: int, decode_ms: int) -> None:
        self.run_ns, self.decode_ns = run_ms * MS, decode_ms * MS

    @rule(threshold=st.sampled_from([60.0, 100.0, 170.0]))
    def swaps(self, threshold: float) -> None:
        if not self.cell.slot.pending and not self.broken:
            self.install(threshold)

    @rule()
    def hangs(self) -> None:
        """The next run does; a swap does not wait for it."""
        self.run_ns = 6_000 * MS

    @rule(milliseconds=st.integers(0, 200))
    def stalls(self, milliseconds: int) -> None:
        self.cell.clock.advance(milliseconds * MS)

    @precondition(lambda self: not self.broken)
    @rule(count=st.integers(1, 15))
    def ticks(self, count: int) -> None:
        for _ in range(count):
            before = self.cell.verdicts.seq
            try:
                message = self.cell.tick()
            except MachineryError:
                self.broken = True
                return
            assert self.cell.verdicts.seq == before + 1
            self.told.add(message.captured_ns)
            if message.kind is Kind.LABELS:
                self.judge(message)
            self.none_is_lost()

    def judge(self, message: Message) -> None:
        """Against what the engine in whose name it is says of the frame whose capture it has."""
        number = list(self.thresholds).index(message.engine)
        assert number >= self.engine, "nothing of an engine before"
        assert message.captured_ns > self.captured_ns, "in order, and each once"
        self.engine, self.captured_ns = number, message.captured_ns
        expected = self.pictures[message.captured_ns][..., 0] > self.thresholds[message.engine]
        np.testing.assert_array_equal(message.arrays["labels"], expected)
        assert message.published_ns - message.captured_ns < 400 * MS + 2 * MS, "its age counts to when it was known"
        assert message.header["result"] in ("PASS", "FAIL")

    def none_is_lost(self) -> None:
        """Of the engine that runs, all but the last; of one before, all but a run that hung."""
        for worker in self.workers:
            assert set(worker.given[:-1]) <= self.told
            if worker is self.cell.slot.worker and worker.given and not worker.busy:
                assert worker.given[-1] in self.told

    def teardown(self) -> None:
        self.patch.undo()
        LateWorker.took_ns = staticmethod(lambda: 30 * MS)
        if hasattr(self, "cell"):
            self.cell.close()
        self.folder.cleanup()


TestOverlapping = Overlapping.TestCase
TestOverlapping.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
