"""A daemon of the rig to swap engines in, and what it says about them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rig import Daemon, Feed, Listener, Rig, state_cell, state_toml
from signing import sign_bundle
from swap_engines import NAME, WIDTH, golden, manifest, model
from waiting import TRIAL_S, until

from edged.bench import ENGINES
from edged.bundle.bundle import write_archive, write_bundle
from edged.wire import Kind, Message

QUICK = (
    "settle_seconds = 1\nscan_seconds = 0.2\nshadow_samples = 15\nprobation_predictions = 25\nprobation_seconds = 0.3"
)


@dataclass
class Cell:
    """A daemon at 100 Hz with a sensor that moves, its store, and what it publishes."""

    rig: Rig
    feed: Feed
    daemon: Daemon
    actions: Listener
    events: Listener

    @property
    def home(self) -> Path:
        return self.rig.store / NAME

    @property
    def incoming(self) -> Path:
        return self.home / "incoming"

    def add(self, version: str, data: bytes | None = None, samples: Mapping[str, Any] | None = None) -> None:
        """Put a version straight into the store, for `swap`."""
        data = data or model()
        write_bundle(self.rig.store, manifest(version), data, samples or golden(data))

    def swap(self, version: str, **args: Any) -> int:
        return int(self.daemon.ask("swap", version=version, who="test", **args)["job"])

    def swapped(self, version: str, **args: Any) -> dict[str, Any]:
        """Swap, and how it ended."""
        return self.ended(self.swap(version, **args))

    def ended(self, job: int, seconds: float = TRIAL_S) -> dict[str, Any]:
        """The attempt of a job, once it is over."""
        found: dict[str, Any] = until(lambda: self.past(lambda attempt: attempt["job"] == job), seconds, self.swaps)
        return found

    def ended_of(self, version: str, seconds: float = TRIAL_S) -> dict[str, Any]:
        """The latest attempt at a version, once it is over."""
        found: dict[str, Any] = until(
            lambda: self.past(lambda attempt: attempt["version"] == version), seconds, self.swaps
        )
        return found

    def past(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        time.sleep(0.02)
        return next((attempt for attempt in reversed(self.swaps()["past"]) if wanted(attempt)), None)

    def swaps(self) -> dict[str, Any]:
        return dict(self.daemon.status()["swap"])

    def wait_state(self, state: str, seconds: float = TRIAL_S) -> None:
        """Until the active attempt is in `state`."""
        until(lambda: (self.swaps()["active"] or {}).get("state") == state, seconds, self.swaps)

    def running(self) -> str:
        return str(self.daemon.status()["engine"].get("version"))

    def journal(self) -> list[dict[str, Any]]:
        path = self.home / "journal.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []  # before the first entry
        return [json.loads(line) for line in lines]

    def states(self, version: str) -> list[str]:
        return [line["state"] for line in self.journal() if line["version"] == version]

    def archive(self, content: Mapping[str, bytes], name: str) -> Path:
        self.incoming.mkdir(parents=True, exist_ok=True)
        return write_archive(self.incoming / name, content)


class Wave(Feed):
    """A sensor whose values swing within +-0.3, as those of a robot at work."""

    def run(self) -> None:
        began = time.monotonic()
        phases = np.linspace(0, 3, WIDTH)
        while not self._ended.wait(self._period_s):
            if not self.silent:
                self.say(self.values + 0.3 * np.sin(4 * (time.monotonic() - began) + phases))


def open_cell(
    rig: Rig, swap: str = QUICK, name: str = "cell", rate_hz: int = 50, signed: Path | None = None, **sections: str
) -> Cell:
    """The daemon, running. `signed`: the secret key that signs its first engine."""
    shutil.rmtree(rig.store)
    shutil.copytree(ENGINES / NAME, rig.store / NAME)
    if signed is not None:
        sign_bundle(rig.store / NAME / "1", signed)
    feed = Wave(f"ipc://{rig.folder}/state", "state", np.zeros(WIDTH), 100.0)
    rig._stack.callback(feed.close)
    loop = f"clock = 'timer'\nrate_hz = {rate_hz}"
    sections = {**state_cell(rig, loop=loop, swap=swap, inputs=state_toml(rig)), **sections}
    return start(rig, feed, rig.config(name, **sections))


def start(rig: Rig, feed: Feed, path: Path) -> Cell:
    daemon = rig.daemon(path)
    until(lambda: (daemon.runtime / "events").exists(), 20, lambda: daemon.said)
    cell = Cell(rig, feed, daemon, daemon.listen(), daemon.listen("events"))
    cell.actions.wait(lambda message: message.kind is Kind.ACTION)
    return cell


def gaps(messages: list[Message]) -> list[int]:
    """Sequence numbers that are missing between the first and the last message."""
    seqs = [message.seq for message in messages]
    return sorted(set(range(seqs[0], seqs[-1] + 1)) - set(seqs))
