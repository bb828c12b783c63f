"""What a trial's process is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cells
import msgspec
import pytest

from edged.config import Config
from edged.core.child import Ending
from edged.swap import trial
from edged.swap.job import Attempt


def test_a_command_line_tells_nobody_a_password(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []

    def start(argv: Sequence[str], tell: Any, *_: object) -> Ending:
        said.extend(argv)
        tell({"done": {"digest": "00"}})
        return Ending(0, "", (), 0)

    monkeypatch.setattr(trial, "run_throwaway", start)
    camera = {"uri": "rtsp://admin:s3cr/et@cam/x?token=t0ken", "width": 64, "height": 48}
    cell = cells.config(cameras={"line": camera})
    trial.run_trial(cell, Attempt(1, "1", "me"), None, lambda state, reason: None, threading.Event())
    assert not [text for text in said if "s3cr" in text or "t0ken" in text]
    assert Config(**msgspec.json.decode(said[-1])["config"]).cameras["line"].width == 64
