"""A policy that turns a hand, behind the daemon's loop on a manual clock, before a robot that does what it is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cells
import msgspec
import numpy as np
import pytest
from cells import MS, axis
from numpy.typing import NDArray
from plain_hermite import play
from scripted import ScriptedCell, ScriptedEngine, ScriptedWorker

from edged.bundle.roles import Rotation
from edged.core.types import Sample
from edged.pipeline.pipeline import make_pipeline
from edged.wire import Kind, Message

PARTS = ("qx", "qy", "qz", "qw")
LIMIT = {"velocity": 0.8, "acceleration": 6.0, "jerk": 90.0, "on": "limit"}


def turned(quaternion: Any, angle: float) -> NDArray[np.float64]:
    """About the fixed z, real part last."""
    x, y, z, w = quaternion
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    return np.array([c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z])


class TurningEngine(ScriptedEngine):
    """Chunks that turn at 1 rad/s from where the hand is; quaternions of any sign, and not quite of unit length."""

    def __init__(self) -> None:
        super().__init__(1)
        self.inputs = {"state": np.zeros((1, 4), np.float32)}
        self.outputs = {"action": np.zeros((1, 10, 4), np.float32)}
        action = msgspec.structs.replace(
            cells.action(*(axis(name, unit="1", range=(-1.0, 1.0)) for name in PARTS), step_ms=20.0),
            rotations=(Rotation(form="xyzw", axes=PARTS),),
        )
        self.manifest = cells.manifest(
            inputs={"state": cells.state(hand=PARTS)}, outputs={"action": action}, schema=2, version="1"
        )
        self._rng = np.random.default_rng(2)

    def run(self) -> None:
        self.runs += 1
        own = [turned(self.inputs["state"][0], 0.02 * (number + 1)) for number in range(10)]
        scale = self._rng.choice([-1.0, 1.0], (10, 1)) * self._rng.uniform(0.8, 1.3, (10, 1))
        self.outputs["action"][0] = np.array(own) * scale


class Hand:
    """Where it was told to be; its sensor changes the sign at will."""

    def __init__(self, cell: TurningCell) -> None:
        self._cell, self._samples, self._rng = cell, list[Sample](), np.random.default_rng(3)
        self.at = np.array([0.0, 0.0, 0.6, 0.8])

    def drain(self, now_ns: int) -> int:
        for message in self._cell.outlet.heard[-1:]:
            if message.kind is Kind.ACTION:
                header, arrays = message.header, message.arrays
                self.at = play(arrays["action"], arrays["velocity"], header["t0_ns"], header["step_ns"], now_ns)[0]
        sign = self._rng.choice([-1.0, 1.0])
        self._samples = [*self._samples[-30:], Sample("hand", 1, now_ns, sign * self.at)]
        return 1

    def at_or_before(self, stamp_ns: int) -> Sample | None:
        return next((one for one in reversed(self._samples) if one.captured_ns <= stamp_ns), None)

    def newest(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def trouble(self) -> str:
        return ""


class TurningCell(ScriptedCell):
    def __init__(self, folder: Path, **execution: Any) -> None:
        super().__init__(folder)
        guard = {
            "measured": "sensor:hand", "start": "armed", "following_error": 0.05, "limits": {",".join(PARTS): LIMIT},
        }  # fmt: skip
        sensors = {"hand": {"endpoint": "ipc:///s", "names": PARTS, "unit": "1"}}
        self.config = cells.config(
            guard, loop={"clock": "timer", "rate_hz": 100}, execution={"inference": "async", **execution},
            bus={}, sensors=sensors, cameras={},
        )  # fmt: skip
        self.hand = Hand(self)
        self.inputs.sensors = {"hand": self.hand}  # type: ignore[dict-item]
        self.inputs._measured = "hand"


@pytest.fixture(params=["replace", "blend", "ensemble"])
def cell(tmp_path: Path, request: pytest.FixtureRequest) -> TurningCell:
    ScriptedWorker.took_ns = 30 * MS
    made = TurningCell(tmp_path, join=request.param)
    made.slot.offer(make_pipeline(TurningEngine(), made.config, lambda engine: 30 * MS))
    return made


def moving(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.kind is Kind.ACTION]


def rates(message: Message) -> NDArray[np.float64]:
    """How fast it turns at the knots: twice the length of the derivative of a unit quaternion."""
    found: NDArray[np.float64] = 2 * np.linalg.norm(message.arrays["velocity"].astype(np.float64), axis=1)
    return found


def test_it_turns_on_through_plans_of_any_sign_and_after_a_stop(cell: TurningCell) -> None:
    heard = [cell.tick() for _ in range(150)]
    assert {message.header.get("reason") for message in heard[5:]} == {None}
    cell.arming.hold("test")
    cell.tick()
    cell.arming.resume("test")
    after = [cell.tick() for _ in range(150)]
    for stretch in (moving(heard), moving(after)):
        assert len(stretch) > 100
        for message in stretch:
            knots = message.arrays["action"].astype(np.float64)
            np.testing.assert_allclose(np.linalg.norm(knots, axis=1), 1.0, atol=1e-6)
            assert rates(message).max() <= LIMIT["velocity"] * 1.001  # type: ignore[operator]
            assert rates(message)[-1] < 1e-6, "it ends at rest"
        for before, next_one in pairwise(stretch):
            at_ns = next_one.published_ns
            one, two = (
                play(m.arrays["action"], m.arrays["velocity"], m.header["t0_ns"], m.header["step_ns"], at_ns)[0]
                for m in (before, next_one)
            )
            assert np.abs(one - two).max() < 1e-5, "no message jumps, not to the other sign either"
    assert rates(moving(heard)[-1])[0] > 0.6, "it turns about as fast as it may"
    assert rates(moving(after)[-1])[0] > 0.6
    x, y, z, w = cell.hand.at
    assert abs(2 * np.arctan2(np.hypot(x, y), np.hypot(z, w))) < 1e-3, "about z alone"
