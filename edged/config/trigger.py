"""[trigger]: which frame belongs to which part, and by when its result has to be there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edged.config.sections import Millis, _Section
from edged.core.clock import NS_PER_S, ns

if TYPE_CHECKING:
    from edged.config.schema import Config

MOST_IMAGE_BYTES = 1 << 30
SPARE_IMAGES = 4


class TriggerConfig(_Section):
    """Results for parts rather than for frames: each request for a part takes the only frame of its window."""

    camera: Literal["hardware", "free"] = Field(
        description="'hardware': the trigger makes the camera take its frame; 'free': it takes frames at its own rate"
    )
    delay_ms: float = Field(default=0.0, ge=0, le=60_000, description="from the trigger to the middle of the window")
    window_ms: Millis = Field(description="the part's frame is captured so much before or after that middle")
    late_ms: Millis = Field(
        default=50.0,
        description="how late after its time a request or a frame may arrive; no result is final before that",
    )
    deadline_ms: Millis = Field(
        default=1000.0, description="from the trigger: a part without a result by then is NOT_INSPECTED"
    )
    input: str | None = Field(
        default=None,
        pattern=r"^(sensor:[^.]+(\..+)?|gpio:.+/[^/]+)$",
        description="edges that are triggers too: 'sensor:<name>' or 'sensor:<name>.<value>', or "
        "'gpio:/dev/gpiochip0/<line>'; absent: requests alone",
    )
    edge: Literal["rising", "falling"] = Field(default="rising", description="which edges of the input")
    level: float = Field(
        default=0.5, allow_inf_nan=False, description="a sensor's value is high from here on, in its unit"
    )
    debounce_ms: float = Field(
        default=0.0, ge=0, le=60_000, description="edges so soon after the one before are not counted"
    )
    queue: int = Field(default=8, ge=1, le=256, description="matched frames that may wait for the engine")

    @property
    def settle_ns(self) -> int:
        """From a trigger on: by then whatever else may claim its frame, or lie in its window, has arrived."""
        return ns(max(self.delay_ms + self.window_ms, 2 * self.window_ms) + self.late_ms)

    def images(self, fps: float) -> int:
        """Frames that are kept because a trigger may still come for them."""
        return math.ceil(ns(2 * self.window_ms + self.late_ms) * fps * 1.5 / NS_PER_S) + SPARE_IMAGES


def check_trigger(config: Config) -> Iterator[tuple[str, Any, str]]:
    """What is wrong between [trigger] and the rest."""
    trigger = config.trigger
    if trigger is None:
        return
    if not config.inspects:
        yield "trigger", trigger.camera, "an [inspection] section beside it, and no [guard]"
    if len(config.cameras) != 1:
        yield "trigger", len(config.cameras), "exactly one camera: a daemon of its own for each triggered one"
    if config.execution.inference == "inline":
        yield "execution.inference", "inline", "'async' or 'auto' with [trigger]: no tick waits for a part"
    if ns(trigger.deadline_ms) <= trigger.settle_ns:
        least = trigger.settle_ns / 1e6
        allowed = f"more than {least:g}, by when its frame is certain, and what inference takes"
        yield "trigger.deadline_ms", trigger.deadline_ms, allowed
    if trigger.input is not None and trigger.input.startswith("sensor:"):
        sensor, _, value = trigger.input.removeprefix("sensor:").partition(".")
        known = config.sensors.get(sensor)
        if known is None or (value and value not in known.names):
            values = [f"sensor:{name}.{one}" for name, of in config.sensors.items() for one in of.names]
            yield "trigger.input", trigger.input, f"one of {', '.join(values)}" if values else "none is configured"
        elif known.endpoint.startswith("replay:"):
            yield "trigger.input", trigger.input, "a sensor: a recording triggers nothing"
    for name, camera in config.cameras.items():
        period_ms = 1000 / camera.fps
        if trigger.camera == "free" and 2 * trigger.window_ms >= period_ms:
            allowed = f"less than {period_ms / 2:g}, half of cameras.{name}'s period: else two frames fit into a window"
            yield "trigger.window_ms", trigger.window_ms, allowed
        if camera.latency_ms >= trigger.late_ms:
            yield "trigger.late_ms", trigger.late_ms, f"more than cameras.{name}.latency_ms"
        if camera.uri.startswith("replay:"):
            yield f"cameras.{name}.uri", camera.uri, "a camera: a recording cannot be triggered"
        if trigger.images(camera.fps) * 3 * camera.width * camera.height > MOST_IMAGE_BYTES:
            kept = f"{trigger.images(camera.fps)} frames would be kept, at most {MOST_IMAGE_BYTES >> 20} MiB may"
            yield "trigger.late_ms", trigger.late_ms, f"less: {kept}"
