"""A watched folder of drops, and who hears of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from swap_engines import NAME, files

from edged.config import SwapConfig
from edged.core.clock import ManualClock
from edged.swap.drop import Drop
from edged.swap.drop_watcher import DropWatcher

CONFIG = SwapConfig(settle_seconds=30, scan_seconds=0.1)
SECOND = 1_000_000_000


@dataclass
class Heard:
    """What the watcher said."""

    drops: list[Drop] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    who: set[str] = field(default_factory=set)

    def ask(self, drop: Drop, who: str) -> None:
        self.drops.append(drop)
        self.who.add(who)

    def refuse(self, entry: str, who: str, reason: str) -> None:
        self.refused.append((entry, reason))
        self.who.add(who)


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    return files("7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "incoming"
    made.mkdir()
    return made


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def incoming(folder: Path, heard: Heard, clock: ManualClock) -> DropWatcher:
    return DropWatcher(folder, NAME, CONFIG, heard.ask, heard.refuse, now=clock)
