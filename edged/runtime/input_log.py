"""InputLog: the states that cameras and sensors report, as log lines when they change.

Written from health snapshots on the reporter's thread, so that nothing on a hot path ever logs. A source that flaps
gets a line every few seconds, and the last one is always true in the end.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edged.core.clock import NS_PER_S

PAUSE_NS = 5 * NS_PER_S  # between two lines about one camera
QUIET_NS = 60 * NS_PER_S  # after which a trouble that comes back is logged again
ON_THE_WAY = ("starting", "opening", "waiting for the first frame", "closed")  # nothing to act on, or soon news
SECONDS = re.compile(r" for \d+ s$")  # a silence that grows is the same silence
COUNTS = re.compile(r"\d+")  # that grow while the trouble stays the same

log = logging.getLogger("edged")


class InputLog:
    """`note` every snapshot; a change is logged once. For one thread."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[str, int]] = {}  # camera -> its last logged state, and when
        self._trouble: dict[str, tuple[str, int, int]] = {}  # sensor -> kind, when logged, when seen last
        self._quoted: set[tuple[str, str]] = set()  # (sensor, cause) of unreadable messages

    def note(self, snapshot: Mapping[str, Any], now_ns: int) -> None:
        for level, line in (*self._cameras(snapshot, now_ns), *self._sensors(snapshot, now_ns)):
            log.log(level, "%s", line)

    def _cameras(self, snapshot: Mapping[str, Any], now_ns: int) -> Iterator[tuple[int, str]]:
        for name, stats in snapshot.get("cameras", {}).items():
            state = str(stats["state"])
            logged, at_ns = self._states.get(name, ("", now_ns - PAUSE_NS))
            if state in ON_THE_WAY or SECONDS.sub("", state) == SECONDS.sub("", logged) or now_ns - at_ns < PAUSE_NS:
                continue
            self._states[name] = state, now_ns
            is_well = state == "streaming"
            geometry = f" {stats['geometry']}" if is_well and stats.get("geometry") else ""
            yield logging.INFO if is_well else logging.WARNING, f"camera {name}: {state}{geometry}"

    def _sensors(self, snapshot: Mapping[str, Any], now_ns: int) -> Iterator[tuple[int, str]]:
        for name, stats in snapshot.get("sensors", {}).items():
            yield from self._trouble_of(name, str(stats.get("trouble", "")), now_ns)
            for cause, quoted in stats.get("unreadable", {}).items():
                if (name, cause) not in self._quoted:
                    self._quoted.add((name, cause))
                    fact = f"sensor {name}: a message was rejected ({cause}), the first of its kind: {quoted}"
                    yield logging.WARNING, f"{fact}; check codec, topic, names and unit"

    def _trouble_of(self, name: str, trouble: str, now_ns: int) -> Iterator[tuple[int, str]]:
        """What has to be repaired, when it differs from what was logged last; that it is well again is not logged."""
        kind, logged_ns, seen_ns = self._trouble.get(name, ("", now_ns - PAUSE_NS, now_ns))
        if not trouble:
            if now_ns - seen_ns >= QUIET_NS:
                self._trouble.pop(name, None)
            return
        is_news = COUNTS.sub("", trouble) != kind and now_ns - logged_ns >= PAUSE_NS
        self._trouble[name] = (COUNTS.sub("", trouble), now_ns, now_ns) if is_news else (kind, logged_ns, now_ns)
        if is_news and "none readable" not in trouble:  # what could not be read is quoted
            yield logging.WARNING, f"sensor {name}: {trouble}"
