"""A reboot under a real systemd: the same disk, another boot."""

from __future__ import annotations

from pathlib import Path

from container import WANTED, booted, laid_out

pytestmark = WANTED


def test_a_hold_survives_a_reboot(tmp_path: Path) -> None:
    folder = laid_out(tmp_path)
    with booted(folder) as inside:
        inside("systemctl", "start", "edged@pick")
        inside("/opt/edged/bin/edged", "hold", "pick", "--reason", "night")
    with booted(folder) as inside:
        inside("systemctl", "start", "edged@pick")
        status = inside("/opt/edged/bin/edged", "status", "pick")
        assert "HOLD OPERATOR" in status
        assert "night" in status
