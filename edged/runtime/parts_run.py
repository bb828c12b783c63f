"""What a daemon needs for triggered parts, made of its config."""

from __future__ import annotations

from edged.config import Config
from edged.core.clock import Now, monotonic_ns
from edged.core.types import Frame
from edged.inspection.triggers import Matcher, timing_of
from edged.runtime.door import Door
from edged.runtime.health import Health
from edged.runtime.parts import FOLDER, Parts
from edged.runtime.publish import Outlet, Sender
from edged.source.mailbox import Tap


def make_matcher(config: Config) -> Matcher | None:
    """None without [trigger]."""
    if config.trigger is None:
        return None
    (camera,) = config.cameras.values()
    return Matcher(timing_of(config.trigger, camera.fps))


def make_tap(config: Config, matcher: Matcher | None, now: Now = monotonic_ns) -> Tap | None:
    """What shows every frame to the matcher."""
    if matcher is None or config.trigger is None:
        return None

    def take(frame: Frame) -> None:
        matcher.frame(frame, now())

    return Tap(take, not config.triggered)


def open_parts(
    config: Config, matcher: Matcher, door: Door, outlet: Outlet, sender: Sender, digest: str, health: Health
) -> Parts:
    """The thread that takes requests and gives results, not yet started; health shows what parts came to."""
    (camera,) = config.cameras
    folder = config.history_folder / FOLDER
    parts = Parts(matcher, door, outlet, sender, folder, digest, camera, config.valid_ns)
    health.section("parts", parts.describe_parts)
    return parts
