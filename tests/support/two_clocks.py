"""A cell in which inference has a clock of its own, and what it said."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import MS
from scripted import ScriptedCell, ScriptedWorker

from edged.wire import Message


@pytest.fixture
def cell(tmp_path: Path) -> ScriptedCell:
    ScriptedWorker.took_ns = 30 * MS
    made = ScriptedCell(tmp_path)
    made.install()
    return made


def says(messages: list[Message]) -> list[str]:
    return [message.header.get("reason", message.kind.name) for message in messages]
