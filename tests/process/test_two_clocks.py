"""A tick never waits for a model: real daemons whose engine takes longer than a tick."""

from __future__ import annotations

import time
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from rig import Rig, camera_toml, limits_toml, rig, state_cell, state_toml
from slow_cells import ASYNC, MEASURED, hanging, is_action, policy_cell
from swap_engines import counting, golden

from edged.bench.slow import write_slow
from edged.bundle.bundle import read_bundle, write_bundle
from edged.bundle.roles import ImageInput
from edged.core.types import Reason
from edged.wire import Kind, Message

__all__ = ["rig"]


def test_a_policy_slower_than_its_tick_speaks_at_every_tick(rig: Rig) -> None:
    rig.feed("state", np.zeros(15), rate_hz=200.0)
    daemon = rig.daemon(rig.config(**policy_cell(rig, 40)))
    actions = daemon.listen()
    actions.wait(is_action)
    mark = actions.mark()
    actions.wait_count(150, mark)
    heard = actions.since(mark)
    assert all(map(is_action, heard)), [m.header.get("detail") for m in heard if not is_action(m)]
    assert all(later.seq == earlier.seq + 1 for earlier, later in pairwise(heard))
    captures = {message.captured_ns for message in heard}
    assert 3 <= len(captures) <= 75, "a new plan with each inference, and each is spoken of until the next"
    for message in heard:
        ages = message.published_ns - message.captured_ns
        assert message.header["t0_ns"] >= message.published_ns - 200_000_000
        assert message.valid_for_ns <= 100_000_000
        assert ages > 0
    status = daemon.status()
    execution = status["engine"]["execution"]
    assert execution["inference"] == "async"
    assert execution["run_ms"] > 10
    assert status["holds"].get("LATE", 0) == 0
    assert "engine" in status["steps"]


@pytest.mark.parametrize("run_ms", [0, 60])
def test_after_a_hold_is_answered_nothing_moves_and_a_resume_starts_a_new_motion(rig: Rig, run_ms: float) -> None:
    rig.feed("state", np.zeros(15), rate_hz=200.0)
    daemon = rig.daemon(rig.config(**policy_cell(rig, run_ms, 50.0)))
    actions = daemon.listen()
    first = actions.wait(is_action)
    for _ in range(3):
        mark = actions.mark()
        assert daemon.ask("hold", who="test") == {"state": "held", "published": True}
        answered_ns = time.monotonic_ns()
        held = actions.wait(lambda message: message.reason == Reason.OPERATOR, mark)
        time.sleep(0.3)
        after = [message for message in actions.since(mark) if message.published_ns > answered_ns]
        assert after
        assert all(message.stop for message in after)
        assert held.header["motion"] == first.header["motion"] + 1
        mark = actions.mark()
        daemon.ask("resume", who="test")
        first = actions.wait(is_action, mark)
        assert first.header["motion"] == held.header["motion"]
        assert first.captured_ns > answered_ns - 100_000_000, "what was seen before the stop commands nothing"


def test_a_sensor_that_ends_stops_the_next_inference_and_not_the_running_plan(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15), rate_hz=200.0)
    inputs = state_toml(rig).replace("max_age_ms = 1000", "max_age_ms = 100")
    cell = policy_cell(rig, 60, 100.0, inputs=inputs, guard=f"start = 'armed'\n{limits_toml()}")
    daemon = rig.daemon(rig.config(**{**cell, "execution": "max_plan_age_ms = 700"}))
    actions = daemon.listen()
    actions.wait(is_action)
    actions.wait_count(30, actions.mark())
    feed.silent = True
    stale = actions.wait(lambda message: message.reason == Reason.STALE, actions.mark())
    waiting = [m for m in actions.messages if is_action(m) and m.header.get("waiting") == "STALE"]
    assert len(waiting) > 10, "the plan goes on, and says what it waits for"
    newest = waiting[-1]
    assert newest.published_ns - newest.captured_ns <= 700_000_000
    assert all(m.published_ns + m.valid_for_ns <= m.captured_ns + 700_000_000 for m in waiting)
    assert "state" in stale.header["detail"]
    assert stale.header["motion"] == newest.header["motion"], "a gap is no stop"
    feed.silent = False
    back = actions.wait(is_action, actions.mark())
    assert back.header["motion"] == newest.header["motion"]


def test_a_run_that_hangs_ends_the_process_as_a_lost_device_does(rig: Rig) -> None:
    rig.feed("state", np.zeros(15), rate_hz=200.0)
    cell = policy_cell(rig, 150, 100.0, execution="inference = 'async'\nhang_ms = 20")
    daemon = rig.daemon(rig.config(**cell))
    actions = daemon.listen()
    assert daemon.exit_code() == 1
    assert "has not answered for" in daemon.said
    assert actions.messages[-1].reason == Reason.STOPPING


def test_perception_publishes_one_verdict_per_result(rig: Rig) -> None:
    write_slow(rig.store, "bench-slow-masks", 50)
    cell = {
        "loop": "clock = 'camera:camera'",
        "engine": "name = 'bench-slow-masks'\nthreads = 1",
        "bus": "",
        "inputs": camera_toml(rig, fps=60, max_age_ms=300),
    }
    rig.camera(fps=60.0)
    daemon = rig.daemon(rig.config(**cell))
    masks = daemon.listen("masks")
    masks.wait(lambda message: message.kind is Kind.LABELS)
    mark = masks.mark()
    masks.wait_count(40, mark)
    heard = masks.since(mark)
    results = [message for message in heard if message.kind is Kind.LABELS]
    assert len(results) > 10
    assert all(m in results or m.reason == Reason.LATE for m in heard), [m.header.get("detail") for m in heard]
    assert all(later.captured_ns > earlier.captured_ns for earlier, later in pairwise(results)), "each result once"
    execution = daemon.status()["engine"]["execution"]
    assert execution["inference"] == "async"
    assert execution["valid_ms"] >= 3 * execution["run_ms"]
    assert daemon.terminate() == 0
    assert masks.messages[-1].reason == Reason.STOPPING


def test_sigterm_does_not_wait_for_a_run_that_hangs(rig: Rig) -> None:
    feed = rig.feed("state", np.zeros(15), rate_hz=200.0)
    daemon = rig.daemon(rig.config(**hanging(rig)))
    actions = daemon.listen()
    actions.wait(is_action)
    feed.values = np.r_[np.zeros(14), 1e9]
    late = actions.wait(lambda message: message.reason == Reason.LATE, actions.mark())
    assert "the next inference has been running for" in late.header["detail"]
    status = daemon.status()
    assert status["engine"]["execution"]["running_ms"] > 500
    began = time.monotonic()
    assert daemon.ask("hold", who="test")["published"], "supervision goes on"
    assert daemon.terminate() == 0
    assert time.monotonic() - began < 15
    assert actions.messages[-1].reason == Reason.STOPPING


@pytest.mark.parametrize("reset", ["stop", "never"])
def test_a_stop_ends_what_a_policy_remembers_as_its_manifest_says(rig: Rig, reset: str) -> None:
    data, manifest = counting("1", reset)
    write_bundle(rig.store, manifest, data, golden(data), replace=True)
    rig.feed("state", np.zeros(15), rate_hz=200.0)
    daemon = rig.daemon(rig.config(**{**state_cell(rig, guard=MEASURED, rate_hz=50.0), "execution": ASYNC}))
    actions = daemon.listen()

    def counted(message: Message) -> int:
        """How often the engine ran, of the plan in this message."""
        return round(float(message.arrays["action"][-1, 0]) / 0.001) if is_action(message) else 0

    before = counted(actions.wait(lambda message: counted(message) >= 40))
    daemon.ask("hold", who="test")
    actions.wait(lambda message: message.stop, actions.mark())
    mark = actions.mark()
    daemon.ask("resume", who="test")
    first = counted(actions.wait(is_action, mark))
    if reset == "stop":
        assert 1 <= first < 10, "it begins afresh"
    else:
        assert first > before, "the run that the stop threw away has been counted all the same"


def test_a_slow_segmenter_of_one_of_two_cameras_on_a_timer(rig: Rig) -> None:
    bundle = read_bundle(write_slow(rig.store, "bench-slow-masks", 60))
    image = bundle.manifest.inputs["image"]
    assert isinstance(image, ImageInput)
    inputs = {**bundle.manifest.inputs, "image": msgspec.structs.replace(image, source="right")}
    changed = msgspec.structs.replace(bundle.manifest, inputs=inputs)
    write_bundle(rig.store, changed, bundle.model, bundle.golden, replace=True)
    left, right = (rig.camera(name, fps=30.0) for name in ("left", "right"))
    cameras = "".join(camera_toml(rig, name, fps=30, max_age_ms=1000) for name in ("left", "right"))
    cell = {"loop": "clock = 'timer'\nrate_hz = 20", "engine": "name = 'bench-slow-masks'\nthreads = 1", "bus": ""}
    daemon = rig.daemon(rig.config(**cell, inputs=cameras))
    masks = daemon.listen("masks")
    masks.wait(lambda message: message.kind is Kind.LABELS)
    for camera in (None, left):
        if camera is not None:
            camera.kill()
        mark = masks.mark()
        masks.wait_count(30, mark)
        heard = masks.since(mark)
        results = [message for message in heard if message.kind is Kind.LABELS]
        assert len(results) > 10
        assert {message.header["camera"] for message in results} == {"right"}
        assert {message.reason for message in heard} <= {0, Reason.LATE}, [m.header.get("detail") for m in heard]
        steps_ns = [later.captured_ns - earlier.captured_ns for earlier, later in pairwise(results)]
        assert min(steps_ns) >= 0
        assert steps_ns.count(0) < len(steps_ns) / 4, "each result once, though a late camera's frame is inferred twice"
    right.kill()
    stale = masks.wait(lambda message: message.reason == Reason.STALE, masks.mark())
    assert "right" in stale.header["detail"]
