"""What a daemon needs for triggered parts, made of its config."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edged.config import Config, endpoints
from edged.core.clock import Now, monotonic_ns
from edged.core.duty import Duties
from edged.core.types import Frame
from edged.inspection.part import timing_of
from edged.inspection.rules import Judge
from edged.inspection.triggers import Matcher
from edged.runtime.door import Door
from edged.runtime.edge_triggers import EdgeTriggers
from edged.runtime.health import Health
from edged.runtime.journal import Journal
from edged.runtime.ledger_file import LedgerFile
from edged.runtime.parts import MOST_AT_ONCE, Parts
from edged.runtime.publish import Outlet
from edged.runtime.sender import Sender
from edged.source.mailbox import Tap

FOLDER = "parts"


@dataclass(frozen=True, slots=True)
class Triggering:
    """Who is shown every frame and, of a sensor whose edges are triggers, every sample."""

    matcher: Matcher
    tap: Tap
    edges: EdgeTriggers | None


def make_triggering(config: Config, session: int, now: Now = monotonic_ns) -> Triggering | None:
    """None without [trigger]. Raises `EdgedError` where a library is missing."""
    if (trigger := config.trigger) is None:
        return None
    (camera,) = config.cameras.values()
    matcher, edges = Matcher(timing_of(trigger, camera.fps)), None

    def take(frame: Frame) -> None:
        matcher.frame(frame, now())

    if trigger.input is not None:
        kind, _, where = trigger.input.partition(":")
        names = config.sensors[where.partition(".")[0]].names if kind == "sensor" else ()
        edges = EdgeTriggers(trigger, names, session)
    return Triggering(matcher, Tap(take, not config.triggered), edges)


def under_inspection(triggering: Triggering | None) -> Callable[[], int]:
    """How many parts have a trigger and no result yet, for whoever waits until there is none."""
    if triggering is None:
        return lambda: 0
    return lambda: int(triggering.matcher.describe()["open"])


def start_parts(
    config: Config,
    triggering: Triggering | None,
    open_door: Callable[..., Door],
    outlets: Mapping[str, Outlet],
    sender: Sender,
    judge: Judge | None,
    health: Health,
    journal: Journal,
    alarm: Callable[[str], None],
    duties: Duties,
    stack: contextlib.ExitStack,
) -> Parts | None:
    """The threads that take requests and edges and give results, ended with `stack`; health has what parts came to.

    `journal`: the history, which remembers where the ledger was; `alarm`: takes what is wrong with it.
    """
    if triggering is None or judge is None:
        return None
    (camera,) = config.cameras
    origin = {"boot": sender.boot.hex(), "session": sender.session}
    file = LedgerFile(config.history_folder / FOLDER, origin, journal.ledger, journal.put, alarm)
    door = open_door("triggers", endpoints(config)["triggers"], config.bus.bind.get("triggers"), queued=MOST_AT_ONCE)
    parts = Parts(triggering.matcher, door, outlets["results"], sender, file, judge.digest, camera, config.valid_ns)
    health.section("parts", parts.describe_parts)
    duties.start(parts, stack)
    if (edges := triggering.edges) is not None:
        edges.trigger = parts.trigger
        if edges.gpio is not None:
            health.section("gpio", edges.gpio.stats)
            duties.start(edges.gpio, stack)
    return parts
