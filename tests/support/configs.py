"""A config that is well, and what it takes to try others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edged.config import load_config
from edged.core.errors import EXIT_USAGE, ConfigError

PICK = """
[daemon]
runtime = "/run/edged/pick"
store = "/var/lib/edged/engines"
cache = "/var/cache/edged"

[loop]
rate_hz = 100
deadline_ms = 5

[cameras.tool]
uri = "/dev/video0"
width = 640
height = 480

[sensors.joints]
endpoint = "tcp://10.0.0.2:5555"
codec = "struct:<2d"
names = ["j1", "j2"]
unit = "rad"

[sensors.button]
endpoint = "ipc:///run/cell/button"
names = ["pressed"]
unit = "1"

[engine]
name = "reach"

[guard]
measured = "sensor:joints"
enable = "sensor:button"
following_error = 0.2

[guard.limits]
j1 = { min = -3.1, max = 3.1, velocity = 1.5 }
j2 = { min = -2.0, max = 2.0, step = 0.05, on = "limit" }

[bus]
valid_ms = 200
"""

REACH_SENSORS = """[sensors.joints]
endpoint = "tcp://127.0.0.1:5555"
names = ["a", "b"]
unit = "rad"
[sensors.force]
endpoint = "tcp://127.0.0.1:5556"
names = ["f"]
unit = "N"
"""
"""What the policy of `models.policy_recipe` reads."""

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "pick.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def faults(path: Path, *sets: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, sets)
    assert caught.value.exit_code == EXIT_USAGE
    return str(caught.value).splitlines()
