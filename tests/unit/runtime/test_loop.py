"""The loop with real parts on a manual clock: a recorded cell, an ONNX engine, a publisher, a listener."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
from numpy.typing import NDArray
from turned import MS, START, Turned, engine, recorded, turn

from edged.core.errors import MachineryError
from edged.core.types import Hold, Reason
from edged.engine.base import Engine
from edged.guard.arming import Arming
from edged.runtime.motion import MotionState
from edged.wire import Kind

__all__ = ["engine", "turn"]


def test_every_tick_publishes_one_verdict_and_the_last_word_is_stopping(
    turn: Callable[..., Turned], engine: Engine
) -> None:
    done = turn(recorded(), engine)
    assert done.says == ["ACTION"] * 20 + ["STOPPING"]
    assert [message.seq for message in done.heard] == list(range(1, 22))
    assert [message.header["tick"] for message in done.heard] == list(range(1, 22))
    assert done.heard[-1].stop
    assert done.health.ticks == 21, "one for every message"
    assert done.health.predictions == 20
    action = done.heard[7]
    assert action.engine == engine.identity
    assert action.captured_ns == START + 160 * MS == action.published_ns
    assert action.valid_for_ns == 200 * MS


def test_without_an_engine_the_vacancy_is_the_verdict(turn: Callable[..., Turned]) -> None:
    done = turn(recorded(), None, 3)
    assert done.says == ["STARTING"] * 3 + ["STOPPING"]
    assert done.heard[0].header["detail"] == "no engine loaded yet"
    assert not any(done.heard[0].engine)


def test_an_engine_that_comes_while_a_tick_is_waited_for_has_it(turn: Callable[..., Turned], engine: Engine) -> None:
    """Not the one after: of a camera with a frame a second that would be a second more of nothing."""
    done = turn(recorded(), engine, 5, comes_in=3)
    assert done.says == ["STARTING"] * 2 + ["ACTION"] * 3 + ["STOPPING"]
    assert done.heard[2].engine == engine.identity


def test_an_output_that_is_not_a_number_stops_and_the_next_good_one_goes_on(
    turn: Callable[..., Turned], engine: Engine
) -> None:
    def negative(imu: NDArray[Any]) -> None:
        imu[10:14, 1] = -1  # its root

    done = turn(recorded(imu=negative), engine)
    assert done.says == ["ACTION"] * 4 + ["NON_FINITE"] * 6 + ["ACTION"] * 10 + ["STOPPING"], "100 ms, and seen at rest"
    assert done.heard[4].stop
    assert [m.header["motion"] for m in done.heard] == [1] * 4 + [2] * 16 + [3], "the first Hold has the new number"
    assert (
        done.heard[4].header["detail"] == done.heard[5].header["detail"].partition(" (tried again after the stop: ")[0]
    )
    assert done.heard[4].captured_ns > 0
    assert all(np.isfinite(m.arrays["action"]).all() for m in done.heard if m.kind is Kind.ACTION)


def test_an_engine_that_fails_is_a_hold_that_quotes_it(turn: Callable[..., Turned], engine: Engine) -> None:
    def beyond(imu: NDArray[Any]) -> None:
        imu[10:14, 2] = 7

    done = turn(recorded(imu=beyond), engine)
    assert done.says[:12] == ["ACTION"] * 4 + ["ENGINE"] * 6 + ["ACTION"] * 2
    assert done.heard[4].stop
    assert "Gather" in done.heard[4].header["detail"]
    assert done.health.holds == {"ENGINE": 6, "STOPPING": 1}


def test_a_sensor_that_ends_is_stale_from_its_age_on(turn: Callable[..., Turned], engine: Engine) -> None:
    done = turn(recorded(11), engine, 20)  # the last sample is 100 ms after the start, and good for 50
    assert done.says == ["ACTION"] * 7 + ["STALE"] * 13 + ["STOPPING"]
    assert not done.heard[8].stop
    assert "joints 60 ms > 50 ms" in done.heard[7].header["detail"]


def test_a_robot_that_was_pushed_disarms(turn: Callable[..., Turned], engine: Engine) -> None:
    def pushed(joints: NDArray[Any]) -> None:
        joints[20:, 1] = 1.0

    guard = {"measured": "sensor:joints", "start": "armed", "following_error": 0.5}
    done = turn(recorded(joints=pushed), engine, 15, cells.config(guard=guard))
    assert done.says == ["ACTION"] * 9 + ["TRACKING"] + ["DISARMED"] * 5 + ["STOPPING"]
    assert done.motion.arming is not None
    assert done.motion.arming.state == "disarmed"
    assert done.motion.command is None
    assert "j2 is 1 rad from where it was told to be" in done.heard[10].header["detail"]


def test_after_a_stop_motion_starts_where_the_robot_is(turn: Callable[..., Turned], engine: Engine) -> None:
    def carried(joints: NDArray[Any]) -> None:
        joints[9:, 0] = 2.0  # meanwhile somebody moved it

    def negative(imu: NDArray[Any]) -> None:
        imu[10:14, 1] = -1

    limits = {name: {"velocity": 0.1, "on": "limit"} for name in cells.JOINTS}
    guard = {"measured": "sensor:joints", "start": "armed", "limits": limits}
    done = turn(recorded(joints=carried, imu=negative), engine, 15, cells.config(guard=guard))
    assert done.says[:12] == ["ACTION"] * 4 + ["NON_FINITE"] * 6 + ["ACTION"] * 2
    assert done.heard[10].arrays["action"][0, 0] == 2.0  # not 2 rad away from where the last command had been
    assert "changed" not in done.heard[10].header


def test_a_stop_lasts_until_the_robot_is_at_rest_and_names_the_axis_that_moves(
    turn: Callable[..., Turned], engine: Engine
) -> None:
    noise = np.random.default_rng(1)

    def coasting(joints: NDArray[Any]) -> None:
        joints[:, :] += noise.normal(0, 0.001, joints.shape)  # a sensor's
        joints[10:40, 1] += np.linspace(0, 0.3, 30)  # 1 rad/s until 0.4 s
        joints[40:, 1] += 0.3

    def negative(imu: NDArray[Any]) -> None:
        imu[10:12, 1] = -1

    done = turn(recorded(joints=coasting, imu=negative), engine, 40)
    held = [index for index, says in enumerate(done.says) if says == "NON_FINITE"]
    assert held[0] == 4
    assert 22 <= held[-1] <= 26, "at rest from tick 19 on, and seen over a window of 100 ms"
    assert held == list(range(held[0], held[-1] + 1))
    assert "(tried again after the stop: j2 still moves: " in done.heard[15].header["detail"]
    assert done.says[held[-1] + 1] == "ACTION"
    first = done.heard[held[-1] + 1]
    assert first.header["motion"] == 2


class Dying:
    """An engine whose device is gone."""

    def __init__(self, engine: Engine) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.manifest, self.identity, self.backend = engine.manifest, engine.identity, engine.backend
        self.about, self.timings = engine.about, engine.timings

    def hand_over(self, live: bool) -> None: ...

    def run(self) -> None:
        raise MachineryError("the device context is lost")

    def close(self) -> None: ...

    def __enter__(self) -> Dying:
        return self

    def __exit__(self, *_: object) -> None: ...


class Interrupting(Dying):
    """An engine during whose fifth run an operator holds, as may happen on another thread."""

    def __init__(self, engine: Engine, path: Path) -> None:
        super().__init__(engine)
        self._engine, self._runs, self._path = engine, 0, path
        self.arming: Arming | None = None

    def run(self) -> None:
        self._engine.run()
        self._runs += 1
        if self._runs == 5 and self.arming is not None:
            self.arming.hold("ann", "a hand in the cell")


def test_a_hold_during_inference_is_the_verdict_of_that_very_tick(
    turn: Callable[..., Turned], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting = Interrupting(engine, tmp_path)

    class Watched(MotionState):
        def __init__(self, arming: Arming | None) -> None:
            super().__init__(arming)
            interrupting.arming = arming

    monkeypatch.setattr("turned.MotionState", Watched)
    done = turn(recorded(), interrupting, 10)
    assert done.says == ["ACTION"] * 4 + ["OPERATOR"] * 6 + ["STOPPING"]
    assert done.heard[4].stop
    assert done.motion.arming is not None
    assert done.motion.arming.wait_published(0)


def test_a_hold_is_not_masked_by_a_missing_engine(turn: Callable[..., Turned]) -> None:
    done = turn(recorded(), None, 3, cells.config(guard={"measured": "sensor:joints"}))
    assert done.says == ["DISARMED"] * 3 + ["STOPPING"]
    assert all(message.stop for message in done.heard)


def test_an_engine_that_cannot_be_loaded_is_one_stop_and_not_many(turn: Callable[..., Turned]) -> None:
    done = turn(recorded(), None, 30, vacancy=Hold(Reason.ENGINE, "it cannot be loaded"))
    assert done.says == ["ENGINE"] * 30 + ["STOPPING"]
    assert {message.header["motion"] for message in done.heard} == {2}
    assert {message.header["detail"] for message in done.heard[:-1]} == {"it cannot be loaded"}


def test_broken_machinery_ends_the_loop_after_a_last_word(turn: Callable[..., Turned], engine: Engine) -> None:
    done = turn(recorded(), Dying(engine), raises=MachineryError)
    assert done.says == ["STOPPING"]
    assert done.heard[0].stop


def test_a_disarmed_daemon_still_looks_at_its_inputs(turn: Callable[..., Turned], engine: Engine) -> None:
    config = cells.config(guard={"measured": "sensor:joints"})
    done = turn(recorded(), engine, 5, config)
    assert done.says == ["DISARMED"] * 5 + ["STOPPING"]
    assert done.heard[3].captured_ns == START + 80 * MS
    assert done.inputs.sensors["imu"].stats()["samples"] == 11
