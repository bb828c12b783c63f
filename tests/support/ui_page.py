"""The page as a process, with two daemons behind it, and what it says over HTTP."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from processes import Process
from rig import Daemon, Rig, camera_toml, free_port, is_action, limits_toml, state_toml
from swaps import QUICK
from waiting import until

from edged.bench.swap import prepare_versions
from edged.bundle.bundle import read_bundle
from edged.services.ui.people import put_person

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"


class Page:
    """`edged ui --operate --arm` for two daemons, and what it says over HTTP."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.port = rig, free_port()
        self.host = f"127.0.0.1:{self.port}"
        people = rig.folder / "people.json"
        for name, rights in (("ann", {"hold", "operate"}), ("bob", {"hold"}), ("cy", {"arm"}), ("eve", set[str]())):
            put_person(people, name, PASSWORD, frozenset(rights))
        self.pick, self.inspect = _pick(rig), _inspect(rig)
        self.process: Process = rig.process(
            "ui", "-m", "edged", "ui", f"--listen={self.host}", "--operate", "--arm", f"--people={people}",
            XDG_RUNTIME_DIR=str(rig.folder), TMPDIR=str(rig.folder),
        )  # fmt: skip
        until(lambda: "page: http" in self.process.said, 30, lambda: self.process.said)
        until(lambda: len(self.get("/api/daemons")) == 2, 30, lambda: self.process.said)
        self.keys = {one["name"]: one["key"] for one in self.get("/api/daemons")}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            given = {"Host": self.host, **({"Content-Type": "application/json"} if data is not None else {}), **headers}
            connection.request(method, path, data, {name: value for name, value in given.items() if value})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        try:
            status, _, data = self.ask("GET", path)
        except ConnectionRefusedError:
            return []
        assert status == 200, data
        return json.loads(data)

    def login(self, name: str) -> dict[str, str]:
        """What a browser sends for somebody who is logged in."""
        origin = {"Origin": f"http://{self.host}"}
        status, headers, data = self.ask("POST", "/api/login", {"name": name, "password": PASSWORD}, **origin)
        assert status == 200, data
        cookie = headers["set-cookie"]
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        return {**origin, "Cookie": cookie.partition(";")[0], "X-CSRF": json.loads(data)["csrf"]}

    def act(self, person: dict[str, str], op: str, **args: Any) -> tuple[int, dict[str, Any]]:
        path = f"/api/daemons/{self.keys['pick']}/act"
        status, _, data = self.ask("POST", path, {"op": op, "args": args}, **person)
        return status, json.loads(data) if data.startswith(b"{") else {"fact": data.decode()}

    def holds(self) -> bool:
        return bool(self.pick.status()["guard"]["arming"] == "held")


def _pick(rig: Rig) -> Daemon:
    rig.camera("camera", 320, 240)
    rig.feed("state", np.zeros(15))
    rig.feed("button", np.ones(1))
    button = state_toml(rig, "button", ["pressed"]).replace("unit = 'rad'", "unit = '1'")
    guard = f"start = 'armed'\nenable = 'sensor:button'\n{limits_toml()}"
    inputs = camera_toml(rig, width=320, height=240) + state_toml(rig) + button
    sections = {"loop": "clock = 'timer'\nrate_hz = 25", "engine": "name = 'bench-state'", "guard": guard,
                "bus": "valid_ms = 1000\npublish = ['frames']", "swap": QUICK}  # fmt: skip
    daemon = rig.daemon(rig.config("pick", **sections, inputs=inputs), TMPDIR=str(rig.folder))
    until(lambda: daemon.status()["predictions"] or daemon.ask("resume"), 30)
    daemon.listen().wait(is_action)
    engine = rig.store / "bench-state"
    (second,) = prepare_versions(rig.folder, read_bundle(engine / "1"), 1)
    second.rename(engine / "2")
    return daemon


def _inspect(rig: Rig) -> Daemon:
    plates = rig.folder / "plates"
    plates.mkdir()
    plate = cv2.imread(str(ROOT / "examples" / "plate" / "plate.jpg"))
    assert plate is not None
    for number in range(4):
        cv2.imwrite(str(plates / f"{number}.png"), np.roll(plate, 20 * number, axis=1))
    height, width = plate.shape[:2]
    camera = (
        f"[cameras.line]\nuri = '{plates}'\nwidth = {width}\nheight = {height}\nfps = 4\nmax_age_ms = 2000\nloop = true"
    )
    sections = {"loop": "clock = 'camera:line'\ndeadline_ms = 240", "engine": "name = 'plate'",
                "bus": "valid_ms = 3000\npublish = ['frames']"}  # fmt: skip
    daemon = rig.daemon(rig.config("inspect", **sections, inputs=camera), TMPDIR=str(rig.folder))
    daemon.wait_status(lambda status: status["predictions"])
    return daemon
