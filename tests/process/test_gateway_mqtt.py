"""`edged gateway mqtt` beside mosquitto: state, results, and the last will as the fail-safe."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from parts_line import parts_cell
from rig import Rig, camera_toml, free_port, rig
from waiting import until

__all__ = ["rig"]


class Reader:
    """Someone at the broker who knows nothing of edged."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[str, dict[str, Any], bool]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe("plant/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, client: Any, data: Any, message: Any) -> None:
        self.seen.append((message.topic, json.loads(message.payload), message.retain))

    @property
    def state(self) -> dict[str, Any]:
        return next((what for topic, what, _ in reversed(self.seen) if topic == "plant/line1/state"), {})

    @property
    def results(self) -> list[dict[str, Any]]:
        return [what for topic, what, _ in self.seen if topic == "plant/line1/result"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("needs mosquitto: apt-get install mosquitto")
    number = free_port()
    (tmp_path / "broker.conf").write_text(f"listener {number} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    broker = subprocess.Popen([program, "-c", tmp_path / "broker.conf"], stderr=subprocess.DEVNULL)
    yield number
    broker.kill()
    broker.wait()


def test_a_broker_hears_what_is_so_and_the_last_will(rig: Rig, port: int) -> None:
    rig.camera()
    cell = parts_cell(rig)
    del cell["trigger"]  # a result for each picture
    config = rig.config(**{**cell, "inputs": camera_toml(rig)})
    words = ("gateway", "mqtt", str(config), f"--broker=127.0.0.1:{port}", "--prefix=plant/line1")
    gateway = rig.process("gateway", "-m", "edged", *words, XDG_RUNTIME_DIR=str(rig.folder))
    reader = until(lambda: connected(port), 20)
    until(
        lambda: reader.state.get("state") == "LOST" and reader.state["life"], what=lambda: (reader.seen, gateway.said)
    )
    daemon = rig.daemon(config)
    daemon.wait_status(lambda status: status["engine"].get("version"))
    state = until(
        lambda: (told := reader.state).get("good") and told.get("version") and told,
        what=lambda: (reader.seen[-2:], daemon.said),
    )
    assert (state["alive"], state["stop"], len(state["engine"])) == (True, False, 16)
    assert state["version"] == daemon.status()["engine"]["version"]
    result = until(
        lambda: [one for one in reader.results if one["result"] != "NOT_INSPECTED"], what=lambda: reader.seen
    )[0]
    assert result["engine"] == state["engine"]
    assert result["line"] is None

    life = state["life"]
    until(lambda: reader.state["life"] > life + 1, what=lambda: reader.seen[-3:])
    daemon.kill()
    until(lambda: reader.state["alive"] is False, 10, what=lambda: reader.seen[-3:])
    assert set(reader.state) == {"alive", "state", "life"}, "nothing of what was"
    mark = len(reader.results)

    daemon = rig.daemon(config)
    until(lambda: reader.state["alive"] and reader.state["good"], 60, what=lambda: (reader.seen[-3:], daemon.said))
    assert all(one["entry"] < 10_000 for one in reader.results[mark:])
    gateway.kill()
    until(lambda: reader.state == {"alive": False, "state": "LOST", "life": None}, 30, what=lambda: reader.seen[-3:])
    late = Reader(port)
    until(lambda: late.state, 20)
    assert (late.state["alive"], late.seen[0][2]) == (False, True), "who comes later is told so too"
    assert late.results == [], "results are not kept for those"
    late.close()
    reader.close()


def connected(port: int) -> Reader | None:
    try:
        return Reader(port)
    except OSError:
        return None
