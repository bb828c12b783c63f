"""Reboots under a real systemd: the same disk, booted again. The kernel's boot id stays what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from container import WANTED, Inside, booted, laid_out, show, until

pytestmark = WANTED

EDGED = "/opt/edged/bin/edged"
STORE = Path("/var/lib/edged/engines")


def test_a_hold_outlives_a_reboot_and_a_power_cut_and_a_recorder_comes_up_beside_it(tmp_path: Path) -> None:
    folder = laid_out(tmp_path)
    with booted(folder) as inside:
        inside("systemctl", "start", "edged@pick", "edged-record@pick")
        inside("env", "LOGNAME=ann", EDGED, "hold", "pick", "--reason", "night")
        until(lambda: held(history(inside)), "the history says who held")
    with booted(folder, cut=True) as inside:
        assert_held(inside, "before-the-cut")
    with booted(folder) as inside:
        assert_held(inside, "after-the-cut")
        told = history(inside)
        assert [one["facts"]["who"] for one in held(told)] == ["ann"] * 3
        assert [one["open"] for one in held(told)] == [False, False, True], "each ended with its boot but the last"
        assert [one["cause"] for one in told if one["what"] == "act"] == ["hold by ann"]
        runs = [one["what"] for one in told if one["what"] in ("start", "stop", "crash")]
        assert runs == ["start", "stop", "start", "crash", "start"]


def assert_held(inside: Inside, word: str) -> None:
    """It came up held, says by whom and why, and its recorder records."""
    inside("systemctl", "start", "edged@pick", "edged-record@pick")
    status = json.loads(inside(EDGED, "status", "pick", "--json"))
    assert (status["state"], status["guard"]["holder"]) == ("OPERATOR", "ann")
    assert "night" in inside(EDGED, "status", "pick")
    inside(EDGED, "record", "pick", "--now", word)
    found = ("find", str(STORE / ".recordings" / "pick"), "-name", f"*by-hand-{word}.mcap", "-size", "+1k")
    until(lambda: inside(*found), f"a recording {word}")
    assert show(inside, "edged-record@pick", "NRestarts") == "0"


def held(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in entries if one["what"] == "hold" and one["facts"].get("reason") == "OPERATOR"]


def history(inside: Inside) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(inside(EDGED, "history", "pick", "--json"))["entries"]
    return entries
