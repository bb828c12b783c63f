"""What an engine beside the ticks is given to look at: the newest of everything, parts, or several cameras in turn."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

from edged.config import Config
from edged.core.clock import Now, monotonic_ns
from edged.runtime.async_perception import AsyncPerception
from edged.runtime.inputs import Inputs
from edged.runtime.parts import Parts
from edged.runtime.publish import Outlet
from edged.runtime.several import SeveralPerception
from edged.runtime.triggered import TriggeredPerception

Perception: TypeAlias = AsyncPerception | TriggeredPerception | SeveralPerception


def make_perception(
    config: Config,
    inputs: Inputs,
    stop: threading.Event,
    parts: Parts | None,
    outlets: Mapping[str, Outlet],
    now: Now = monotonic_ns,
) -> Perception | None:
    """As the config asks; None = the newest of everything."""
    if parts is not None:
        return TriggeredPerception(inputs, stop, now, parts.matcher, parts.conclude, not config.triggered)
    if config.execution.cameras:
        return SeveralPerception(inputs, stop, now, config, partial(setattr, outlets[config.stream], "camera"))
    return None
