"""The page, with real daemons behind it and a real browser before it; and over plain HTTP what it lets nobody do.

The pictures in docs/ are made here: EDGED_PICTURES=1 pytest tests/process/test_ui.py.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import MISSING, Browser, browser
from rig import Daemon, Process, Rig, camera_toml, free_port, is_action, limits_toml, open_rig, state_toml
from swaps import QUICK
from waiting import until

from edged.bench.swap import prepare_versions
from edged.bundle.bundle import read_bundle
from edged.services.record.file import RecordingFile
from edged.services.ui.people import put_person

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
PASSWORD = "correct horse battery"
COLOURED = """
const canvas = document.getElementById('canvas'), size = [canvas.width, canvas.height];
const data = canvas.getContext('2d').getImageData(0, 0, ...size).data;
let count = 0;
for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 2]) > 60;
return count;
"""  # pixels that are not grey
needs_chromium = pytest.mark.skipif(MISSING, reason="chromium and chromium-driver are not installed")


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


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_rig() as rig:
        yield Page(rig)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def test_who_may_what(page: Page) -> None:
    ann, bob, cy, eve = (page.login(name) for name in ("ann", "bob", "cy", "eve"))
    assert page.act({}, "hold")[0] in (401, 403)
    assert page.act(eve, "hold")[0] == 403
    assert not page.holds()
    assert page.act(bob, "hold", reason="smoke")[0] == 200
    assert page.holds()
    for who, op in ((bob, "resume"), (bob, "swap"), (bob, "rollback"), (ann, "resume"), (cy, "swap"), (cy, "reset")):
        status, said = page.act(who, op)
        assert (status, "does not have the right" in said["fact"]) == (403, True), (op, said)
    assert page.holds()
    assert page.act(cy, "resume") == (200, {"state": "armed"})
    assert page.act(cy, "hold")[0] == 200  # a hold is never refused for want of another right
    assert page.act(ann, "reset")[0] == 200
    assert page.act(ann, "minimum")[0] == 400
    assert page.act(ann, "hold", who="somebody else")[0] == 400
    assert page.act(cy, "resume")[0] == 200
    said = page.process.said
    assert "hold of pick by bob from 127.0.0.1 {'reason': 'smoke'}: done" in said
    assert "resume of pick by bob from 127.0.0.1: bob does not have the right arm" in said
    assert "'bob (page)'" in page.pick.said


def test_a_locked_hold_ends_by_its_owner_or_at_the_console(page: Page) -> None:
    cy, bob = page.login("cy"), page.login("bob")
    assert page.act(bob, "hold", lock=True, reason="in the cell")[0] == 200
    status, said = page.act(cy, "resume")
    assert (status, "bob (page) locked the hold" in said["fact"]) == (403, True), said
    assert page.act(cy, "hold", reason="me too")[0] == 200  # does not take the lock away
    assert page.act(cy, "resume")[0] == 403
    health = page.pick.status()["guard"]
    assert (health["holder"], health["locked"]) == ("bob (page)", True)
    assert page.rig.edged("resume", "pick").returncode == 0
    assert not page.holds()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-CSRF": "guessed"}, 403),
        ({"X-CSRF": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Host": "evil.example"}, 421),
        ({"Cookie": "edged-session=guessed"}, 401),
    ],
)
def test_what_comes_from_another_page_is_refused(page: Page, headers: dict[str, str], status: int) -> None:
    assert page.act({**page.login("bob"), **headers}, "hold")[0] == status
    assert not page.holds()


def test_answers_keep_a_browser_at_home_and_odd_requests_are_answered(page: Page) -> None:
    status, headers, _ = page.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert page.ask("GET", "/", Host="evil.example")[0] == 421
    assert page.ask("GET", "/api/daemons/nobody/view")[0] == 404
    assert page.ask("GET", "/api/daemons/nobody/history?since=nan")[0] == 502
    assert page.ask("GET", "/page/../people.py")[0] == 404
    assert page.ask("GET", "/page/%2e%2e/people.py")[0] == 404
    assert page.ask("DELETE", "/api/daemons")[0] == 405
    origin = {"Origin": f"http://{page.host}"}
    assert page.ask("POST", "/api/login", [1], **origin)[0] == 400
    assert page.ask("POST", "/api/login", {"name": 1, "password": 2}, **origin)[0] == 400
    assert page.ask("POST", "/api/login", {"name": "x" * 70_000, "password": ""}, **origin)[0] == 413
    assert page.ask("POST", "/api/login", {"name": "ann", "password": "wrong"}, **origin)[0] == 401
    text = page.ask("GET", "/metrics")[2].decode()
    assert 'edged_up{daemon="pick"} 1.0' in text
    assert text.endswith("# EOF\n")


def test_what_would_let_in_strangers_is_refused_before_it_listens(page: Page) -> None:
    empty, people = page.rig.folder / "nobody.json", page.rig.folder / "people.json"
    for arguments, fact in (
        (["--listen=0.0.0.0:9"], "can be read"),
        (["--operate", f"--people={empty}"], "nobody who could log in"),
        (["--arm", f"--people={people}"], "--arm is an act"),
        (["--certificate=/nowhere"], "belong together"),
    ):
        done = page.rig.edged("ui", *arguments)
        assert done.returncode == 2, done
        assert fact in done.stderr or "reached from the network" in done.stderr


@needs_chromium
def test_the_page_shows_picture_masks_causes_and_engines(page: Page, chromium: Browser, tmp_path: Path) -> None:
    chromium.resize(1280, 1000)
    chromium.open(f"http://{page.host}/#{page.keys['inspect']}")
    chromium.wait("return document.querySelectorAll('.tile').length === 2")
    chromium.wait("return Number(document.getElementById('canvas').dataset.drawn) > 2")
    chromium.wait("return document.querySelector('#engines').innerText.includes('plate 1')")
    chromium.wait("return document.querySelector('#episodes').innerText.includes('start')")
    chromium.wait("return document.getElementById('state').innerText.includes('inspect: RUNNING')")
    assert chromium.wait(COLOURED) > 100  # a grey plate has no colours: these are the masks
    time.sleep(2.0)  # for a line in the charts
    _keep(chromium, tmp_path, "page.jpg")
    chromium.run("document.querySelector(`[data-key='${arguments[0]}']`).click()", page.keys["pick"])
    chromium.wait("return document.querySelectorAll('.axis').length === 7")
    chromium.wait("return document.querySelector('#episodes li')")
    recording = _record(page)
    chromium.run("document.querySelector('#episodes li').click()")
    chromium.wait("return document.querySelector('#episodes .chosen a.recording')")
    assert chromium.text("#episodes .chosen a.recording") == recording
    assert f"edged replay {recording}" in chromium.text("#episodes .chosen code").replace(f"{_recordings(page)}/", "")
    assert chromium.run("return document.querySelector('#episodes .chosen pre').innerText.length") > 0
    assert chromium.text("#acts") == ""
    chromium.resize(390, 1100)
    assert chromium.wait("return document.documentElement.scrollWidth <= innerWidth")
    _keep(chromium, tmp_path, "page-phone.jpg")
    assert chromium.errors() == []


def _recordings(page: Page) -> Path:
    return page.rig.store / ".recordings" / "pick"


def _record(page: Page) -> str:
    """A recording of the last hour of the first daemon."""
    _recordings(page).mkdir(parents=True, exist_ok=True)
    file = RecordingFile(_recordings(page) / "pick-stop.mcap")
    for at_ns in (time.time_ns() - 3600 * 10**9, time.time_ns()):
        file.wire("/wire/events", b"", at_ns, 1)
    return file.close({"daemon": "pick"}).name


def test_the_recording_of_a_moment_is_found_and_given(page: Page) -> None:
    name, key = _record(page), page.keys["pick"]
    (one,) = page.get(f"/api/daemons/{key}/recordings?at={time.time() - 60}")
    assert (one["name"], one["path"]) == (name, str(_recordings(page) / name))
    assert page.get(f"/api/daemons/{key}/recordings?at={time.time() - 7200}") == []
    status, headers, data = page.ask("GET", f"/api/daemons/{key}/recordings/{name}")
    assert (status, data) == (200, (_recordings(page) / name).read_bytes())
    assert "attachment" in headers["content-disposition"]
    for wrong in ("..%2F..%2Fpick%2Fx", "%2Fetc%2Fpasswd", "other.mcap"):
        assert page.ask("GET", f"/api/daemons/{key}/recordings/{wrong}")[0] == 404


@needs_chromium
def test_a_swap_is_followed_step_by_step(page: Page, chromium: Browser) -> None:
    chromium.resize(1280, 900)
    chromium.open(f"http://{page.host}/#{page.keys['pick']}")
    chromium.wait("return document.querySelector('#engines').innerText.includes('bench-state 2')")
    assert page.act(page.login("ann"), "swap", version="2")[0] == 200
    chromium.wait("return document.querySelector('#swap h2')?.innerText === 'Swap under way'")
    chromium.wait("return document.querySelectorAll('#swap .done').length > 3")
    chromium.wait("return document.getElementById('swap').innerText.includes('2: committed, asked by ann (page)')", 60)
    chromium.wait("return document.getElementById('state').innerText.includes('bench-state 2')")


@needs_chromium
def test_one_click_holds_and_a_silent_daemon_is_seen(page: Page, chromium: Browser) -> None:
    chromium.resize(1280, 900)
    chromium.open(f"http://{page.host}/#{page.keys['pick']}")
    chromium.wait("return document.getElementById('login')")
    chromium.click("#login")
    chromium.type("[name=name]", "bob")
    chromium.type("[name=password]", PASSWORD)
    chromium.click("#do")
    chromium.wait("return document.getElementById('hold')")
    assert "Swap" not in chromium.text("#acts")
    chromium.click("#hold")
    chromium.wait("return document.getElementById('state').innerText.includes('HOLD OPERATOR')")
    assert page.holds()
    chromium.wait("return document.querySelector('#episodes').innerText.includes('hold by bob')")
    page.rig.edged("resume", "pick")
    page.pick.freeze()
    try:
        chromium.wait("return document.getElementById('state').innerText.includes('SILENT')")
    finally:
        page.pick.thaw()
    chromium.wait("return !document.getElementById('state').innerText.includes('SILENT')")


def _keep(chromium: Browser, folder: Path, name: str) -> None:
    """A picture of the page; into docs/ where that is asked for."""
    picture = cv2.imread(str(chromium.picture(folder / "page.png")))
    assert picture is not None
    assert picture.std() > 10
    if os.environ.get("EDGED_PICTURES"):
        scale = min(1.0, 900 / picture.shape[1])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / name), small, [cv2.IMWRITE_JPEG_QUALITY, 82])
        shutil.copy(folder / name, PICTURES / name)
