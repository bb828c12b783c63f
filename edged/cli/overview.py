"""Overview: all daemons of this machine, a line each, for who does not know yet which of them to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edged.cli.locate import ASK_MS, running
from edged.cli.show import seconds
from edged.client import request
from edged.client.reach import no_right, reach
from edged.core.errors import EdgedError

MOST_AT_ONCE = 16


def overview() -> list[dict[str, Any]]:
    """Facts of each daemon that listens here, by name: `runtime` always, then what it answers, or `error`.

    They are asked side by side, so one that is frozen costs its second once.
    """
    folders = running()
    with ThreadPoolExecutor(max_workers=max(1, min(MOST_AT_ONCE, len(folders)))) as pool:
        return sorted(pool.map(_facts, folders), key=lambda facts: (facts["name"], facts["runtime"]))


def _facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"name": folder.name, "runtime": str(folder)}
    control = folder / "control"
    if reach(control) == "closed":
        return {**found, "error": "; ".join(no_right(control))}
    try:
        status = request(f"ipc://{control}", "status", timeout_ms=ASK_MS)
    except EdgedError as error:
        return {**found, "error": str(error)}
    engine = status.get("engine", {})
    return {
        **found,
        "name": status.get("daemon", {}).get("name", folder.name),
        "pid": status.get("daemon", {}).get("pid"),
        "stream": status.get("daemon", {}).get("stream"),
        "state": status.get("state", "unknown"),
        "detail": status.get("detail", ""),
        "state_s": status.get("state_s", 0.0),
        "uptime_s": status.get("uptime_s", 0.0),
        "engine": engine.get("name"),
        "version": engine.get("version"),
        "warnings": len(status.get("warnings", ())),
    }


def show_overview(found: Sequence[Mapping[str, Any]]) -> str:
    """A line per daemon: name, state and for how long, engine, what is to be looked at."""
    if not found:
        return "no daemon runs here; start one: edged run FILE, or systemctl start edged@NAME"
    width = max(len(str(facts["name"])) for facts in found)
    names = [str(facts["name"]) for facts in found]
    lines = []
    for facts in found:
        where = f"  ({facts['runtime']})" if names.count(str(facts["name"])) > 1 else ""
        lines.append(f"{facts['name']:<{width}}  {_state(facts)}{where}")
    return "\n".join(lines)


def _state(facts: Mapping[str, Any]) -> str:
    if "error" in facts:
        return str(facts["error"])
    state = {"ok": "running", "none": "starting"}.get(facts["state"], f"HOLD {facts['state']}")
    line = f"{state} for {seconds(facts['state_s'])}"
    line += f", {facts['engine']} {facts['version']}" if facts["engine"] and facts["version"] else ", no engine"
    line += f", up {seconds(facts['uptime_s'])}"
    if facts["warnings"]:
        line += f", {facts['warnings']} warning{'s' * (facts['warnings'] != 1)}"
    return line + (f": {facts['detail']}" if facts["detail"] else "")
