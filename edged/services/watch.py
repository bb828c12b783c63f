"""Watch: the newest health of every daemon of this machine, from their health streams, for whoever shows it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.client import Kind, Subscription
from edged.core.closing import Closing

LOOK_S = 2.0  # between two looks which daemons there are
TURN_S = 0.1
STALE_S = 3.0  # health comes twice a second

log = logging.getLogger("edged.services")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a daemon last said of itself, and when we heard it (monotonic seconds)."""

    name: str
    runtime: Path
    health: Mapping[str, Any]
    heard_s: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.heard_s

    @property
    def alive(self) -> bool:
        return self.age_s < STALE_S


class Watch(threading.Thread, Closing):
    """`find` gives the runtime folders of the daemons that listen now; `seen` is what is known, by runtime folder;
    `tell` is told whatever is new.

    A daemon that ended stays in `seen`, not alive, as long as we run: that it is gone is what somebody has to see.
    """

    def __init__(self, find: Callable[[], Iterable[Path]], tell: Callable[[Seen], None] = lambda one: None) -> None:
        super().__init__(name="watch", daemon=True)
        self._find, self._tell = find, tell
        self._ended = threading.Event()
        self._subscriptions: dict[Path, Subscription] = {}
        self.seen: dict[Path, Seen] = {}

    def run(self) -> None:
        looked_s = -LOOK_S
        try:
            while not self._ended.wait(TURN_S):
                try:
                    if time.monotonic() - looked_s >= LOOK_S:
                        looked_s = time.monotonic()
                        self._look()
                    self._listen()
                except Exception:  # one odd daemon or folder must not end the watch over the others
                    log.exception("watching failed; it goes on")
        finally:
            for subscription in self._subscriptions.values():
                subscription.close()

    def close(self) -> None:
        """End the thread; its sockets are closed by it."""
        self._ended.set()
        if self.is_alive():
            self.join(5.0)

    def _look(self) -> None:
        for folder in self._find():
            if folder not in self._subscriptions:  # it follows a daemon that is started again by itself
                self._subscriptions[folder] = Subscription(f"ipc://{folder / 'health'}", queue=8)

    def _listen(self) -> None:
        for folder, subscription in self._subscriptions.items():
            newest = None
            while (message := subscription.receive(0)) is not None:
                newest = message if message.kind is Kind.HEALTH else newest
            if newest is not None:
                health = dict(newest.header)
                name = str(health.get("daemon", {}).get("name", folder.name))
                one = Seen(name, folder, health, time.monotonic())
                self.seen = {**self.seen, folder: one}
                self._tell(one)
