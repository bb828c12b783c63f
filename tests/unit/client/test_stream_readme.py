"""The controller of the README, as it is printed there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from fake_publisher import TOPIC, Daemon
from streamed import MS, endpoint

from edged.client import Flag, Kind
from edged.core.clock import monotonic_ns
from edged.wire import Preamble, encode

__all__ = ["endpoint"]

# What a controller does with it


def hold(daemon: Daemon) -> bytes:
    preamble = Preamble(Kind.HOLD, 1, Flag(0), 1, daemon.seq + 1, 0, monotonic_ns(), 5000 * MS, daemon.boot, bytes(8))
    daemon.seq += 1
    return encode(TOPIC, preamble, {"reason": "STALE"})


def test_the_readmes_controller_follows_a_command_to_its_own_end_and_not_beyond(endpoint: str) -> None:
    """Holds go on being good for seconds; the action before them ends after 400 ms, and the arm with it."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    told: dict[str, Any] = {"driven": [], "until": 0}
    naps = {"count": 0}

    def drive(values: Any, velocities: Any) -> None:
        told["driven"].append((monotonic_ns(), values.tolist()))

    class Time:
        monotonic_ns = staticmethod(monotonic_ns)

        @staticmethod
        def sleep(seconds: float) -> None:
            naps["count"] += 1
            time.sleep(seconds)
            if not told["until"] and daemon.socket.poll(0):
                now_ns = monotonic_ns()
                told["until"] = now_ns + 400 * MS
                daemon.send(now_ns, valid_ms=400)
            elif told["until"] and naps["count"] % 10 == 0:
                daemon.socket.send(hold(daemon))
            player = scope.get("player")
            if told["driven"] and monotonic_ns() > told["until"] + 200 * MS and player is not None:
                told["stopped"] = player.stopped
                raise KeyboardInterrupt

    with Daemon(endpoint) as daemon:
        source = source.replace("ipc:///run/edged/pick/action", endpoint).replace("pick/action", TOPIC)
        source = source.replace("timeout_ms=100", "timeout_ms=5000").replace("import time\n", "")
        source = source.replace('"j1", "j2", "j3", "tool"', '"j1", "tool"')
        scope: dict[str, Any] = {"drive": drive, "time": Time}
        with pytest.raises(KeyboardInterrupt):
            exec(source, scope)
    assert told["stopped"] == "nothing newer was heard"
    assert scope["player"].command(monotonic_ns()).state == "holding"
    assert len(told["driven"]) > 20
