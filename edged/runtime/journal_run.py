"""What of a run goes into the journal besides its episodes: its start and end, and what operators asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from edged import __version__
from edged.config import Config
from edged.core.clock import NS_PER_S, monotonic_ns, ns, wall_text
from edged.guard.arming import Arming
from edged.runtime.episodes import Episodes
from edged.runtime.journal import Journal, last_seen, read_journal
from edged.runtime.sender import Sender


def open_journal(config: Config, sender: Sender, stack: contextlib.ExitStack) -> Journal:
    """The journal with the start of this run in it, and the end of the one before if that had no last words."""
    folder = config.history_folder
    journal = Journal(folder, sender.session, sender.boot)
    newest, seen = None, last_seen(folder)
    with contextlib.suppress(OSError):
        for newest in read_journal(folder):
            if newest["kind"] == "ledger":
                journal.ledger = newest
    if newest is not None and newest["kind"] != "stop" and seen is not None:
        journal.put("crash", seen=wall_text(round(seen * NS_PER_S)), run=newest.get("session"))
    engine = f"{config.engine.name} {config.engine.version}"
    journal.put("start", sender.session, version=__version__, pid=os.getpid(), engine=engine)

    def close() -> None:
        journal.put("stop")
        journal.close()

    stack.callback(close)
    return journal


def acts(journal: Journal) -> Callable[[str, str, str, Mapping[str, Any]], None]:
    """What operators asked for, into the journal."""

    def act(op: str, who: str, outcome: str, args: Mapping[str, Any]) -> None:
        facts = {key: value for key, value in args.items() if key in ("reason", "name", "version")}
        journal.put("act", op=op, who=who, outcome=outcome, **facts)

    return act


def open_episodes(config: Config, journal: Journal, arming: Arming | None, stack: contextlib.ExitStack) -> Episodes:
    """What lasts, with how old each input may become; what is open ends with `stack`."""
    limits_ns = {("camera", name): ns(camera.max_age_ms) for name, camera in config.cameras.items()}
    limits_ns |= {("sensor", name): ns(sensor.max_age_ms) for name, sensor in config.sensors.items()}
    episodes = Episodes(journal, limits_ns, arming, config.triggered)
    stack.callback(lambda: episodes.close(monotonic_ns()))
    return episodes
