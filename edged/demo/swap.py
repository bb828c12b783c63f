"""`edged demo --swap`: the policy is replaced live by its better-trained version, then by a poisoned one.

Done as an operator would: by copying folders into `incoming/`. The poisoned engine passes every proof, since it only
commands the arm to stay where it is; two seconds after it has taken over it gives NaN and is rolled back. The better
policy moves faster and meets the velocity limits more often than the first one, which `probation_changes` allows it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edged.bundle.store import Store, shipped_store

ENGINE, FIRST, BETTER, POISONED = "reach", "1", "2", "poisoned"
POISON = Path(__file__).parent / POISONED
TARGETS_BEFORE = 2  # tried before the first drop
SETTINGS = "[swap]\nprobation_predictions = 120\nprobation_seconds = 4\nprobation_changes = 0.1\nscan_seconds = 1\n"


class Swaps:
    """What is dropped when. `report` is what became of it."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "engines" / ENGINE
        self._waiting = [BETTER, POISONED]
        self._dropped: list[str] = []
        self.report: list[dict[str, Any]] = []

    def prepare(self) -> None:
        """A store that runs the first version."""
        store = Store(self._home.parent)
        shutil.copytree(shipped_store() / ENGINE / FIRST, self._home / FIRST)
        store.set_current(ENGINE, FIRST)

    def step(self, tried: int, status: Mapping[str, Any]) -> None:
        """Drop the next engine once the one before it has come to an end."""
        past = [attempt for attempt in status["swap"]["past"] if attempt["version"] in self._dropped]
        self.report = [_facts(attempt) for attempt in past]
        if self._waiting and tried >= TARGETS_BEFORE and len(past) == len(self._dropped):
            version = self._waiting.pop(0)
            source = shipped_store() / ENGINE / version if version == BETTER else POISON
            shutil.copytree(source, self._home / "incoming" / f"{ENGINE}-{version}")
            self._dropped.append(version)

    @property
    def done(self) -> bool:
        return not self._waiting and len(self.report) == len(self._dropped)


def _facts(attempt: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of `swaps` in the demo's JSON."""
    return {
        "from": attempt.get("from", ""),
        "to": attempt["version"],
        "outcome": attempt["state"],
        "reason": attempt.get("reason", ""),
        "gap_ms": attempt.get("gap_ms"),
    }
