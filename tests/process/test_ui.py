"""The page, with real daemons behind it and a real browser before it, and who may do what there.

The pictures in docs/ are made here: EDGED_PICTURES=1 pytest tests/process/test_ui.py.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from browser import MISSING, Browser, browser
from rig import open_rig
from ui_page import PASSWORD, Page

from edged.services.record.file import RecordingFile

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
COLOURED = """
const canvas = document.getElementById('canvas'), size = [canvas.width, canvas.height];
const data = canvas.getContext('2d').getImageData(0, 0, ...size).data;
let count = 0;
for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 2]) > 60;
return count;
"""  # pixels that are not grey
needs_chromium = pytest.mark.skipif(MISSING, reason="chromium and chromium-driver are not installed")


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
