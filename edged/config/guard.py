"""`[guard]`: what stands between a model and a robot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edged.config.sections import Finite, Millis, Positive, _Section

Change = Annotated[float, Field(ge=1e-3, le=1e9, allow_inf_nan=False)]
"""Of a velocity or an acceleration, a second: with less, a way to rest has no end that a message could hold."""


class LimitConfig(_Section):
    """Limits of one action axis in its own unit; what is absent is not limited."""

    min: Finite | None = Field(default=None, description="lowest target")
    max: Finite | None = Field(default=None, description="highest target")
    step: Positive | None = Field(default=None, description="largest change from one tick to the next")
    velocity: Positive | None = Field(default=None, description="largest change per second")
    acceleration: Change | None = Field(
        default=None, description="largest change of velocity per second; with it every message ends in a way to rest"
    )
    jerk: Change | None = Field(
        default=None, description="largest change of acceleration per second; needs acceleration beside it"
    )
    min_hold_ms: Millis | None = Field(default=None, description="a binary axis keeps a value at least for so long")
    rest: Positive | None = Field(default=None, description="as guard.rest, for this axis and in its unit")
    on: Literal["hold", "limit"] = Field(
        default="hold", description="beyond a limit: publish a Hold, or the nearest allowed value"
    )


class GuardConfig(_Section):
    """What stands between a model and a robot. Read from the file alone; a daemon with this section is a policy's."""

    start: Literal["disarmed", "armed"] = Field(default="disarmed", description="'armed' moves without 'edged resume'")
    enable: str | None = Field(
        default=None, pattern=r"^sensor:.+$", description="'sensor:<name>'; its rising edge arms, low holds"
    )
    measured: str | None = Field(
        default=None, pattern=r"^sensor:.+$", description="'sensor:<name>' that says where the robot is"
    )
    rest: Positive = Field(
        default=0.005,
        description="at rest is what moves less than this within the window, rad; in deg as much, else in the unit",
    )
    stop_ms: float = Field(
        default=0.0, ge=0, le=60_000, description="shortest stop: worst braking time and delay, where nothing measures"
    )
    fade_ms: float = Field(
        default=500.0,
        ge=0,
        le=60_000,
        description="velocity limits grow from a fifth to the whole for so long, where a motion or an engine begins",
    )
    following_error: Positive | None = Field(
        default=None, description="largest |measured - commanded| of an axis, in its unit, before Hold(TRACKING)"
    )
    limits: dict[str, LimitConfig] = Field(
        default={},
        description="limits per action axis; of a rotation as a whole, in rad, by the names of its parts with commas",
    )
    urdf: Path | None = Field(
        default=None,
        description="the robot's URDF: joints called like axes are kept within its limits too, the tighter one wins",
    )
