"""What a trial's process is told, and who can read it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest
from configs import REACH_SENSORS
from models import policy_golden, policy_model, policy_recipe

from edged.bundle.bundle import read_bundle
from edged.config import load_config
from edged.core.procfs import children, command
from edged.pack import pack
from edged.swap.job import Job
from edged.swap.trial import run_trial

SECRETS = ("s3cr", "t0ken", "0ther")
CELL = (
    """
[daemon]
store = "{folder}/engines"
cache = "{folder}/cache"
[cameras.tool]
uri = "0"
width = 64
height = 48
[cameras.wrist]
uri = "rtsp://admin:s3cr/et@cam/x?token=t0ken"
width = 64
height = 48
"""
    + REACH_SENSORS
    + """[guard]
measured = "sensor:joints"
[guard.limits]
a = {{ min = -1, max = 1 }}
tool = {{ min = 0, max = 1 }}
[bus]
valid_ms = 200
[engine]
name = "reach"
"""
)


def test_a_trial_has_the_whole_config_and_shows_nobody_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not those of the file, nor those of the environment: what ps and /proc show of every process it starts."""
    packed = pack(policy_model(), policy_recipe(), policy_golden(), tmp_path / "engines")
    path = tmp_path / "pick.toml"
    path.write_text(CELL.format(folder=tmp_path), encoding="utf-8")
    monkeypatch.setenv("EDGED_CAMERAS__TOOL__URI", "rtsp://admin:0ther@cam/x")
    config = load_config(path)
    seen: list[str] = []
    states: list[str] = []

    def look(state: str, reason: str) -> None:
        states.append(state)
        for pid in children(os.getpid()):
            with contextlib.suppress(OSError):  # it may have ended since
                environ = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")
                seen.extend([*command(pid), *environ.split("\0")])

    digest, _ = run_trial(config, Job(1, "1", "me"), None, look, threading.Event())
    assert digest == read_bundle(packed.path).digest
    assert states == ["verified", "built"]
    assert "edged.swap" in seen
    assert any(text.startswith("PATH=") for text in seen)
    assert not [text for text in seen if any(secret in text for secret in SECRETS)]
