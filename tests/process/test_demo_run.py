"""`edged demo`, as a newcomer starts it, but shorter: every process, both engines, and a verdict that is earned."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from fake_publisher import Daemon as Sender
from rig import Rig, rig
from waiting import until

from edged.core.clock import boot_id, monotonic_ns
from edged.core.errors import EdgedError, UsageError
from edged.demo.bus import FRAMES, endpoint
from edged.demo.daemons import PICK
from edged.demo.processes import Child, wait_for
from edged.demo.report import Outcome
from edged.demo.run import Demo, _pictures
from edged.demo.workdir import Nap, room
from edged.wire import Flag, Kind, Preamble, encode

__all__ = ["rig"]

KEYS = {
    "targets": {"reached", "total"},
    "latency_ms": {"p50", "p99"},
    "inspect": {"ticks", "skipped", "holds"},
}


def test_three_targets_are_tried_and_the_result_is_told(rig: Rig) -> None:
    pictures = rig.folder / "pictures"
    arguments = ("--targets", "3", "--seconds", "60", "--json", "--snapshot", str(pictures))
    done = rig.edged("demo", *arguments, patience_s=110)
    assert done.stdout.count("\n") == 1, done.stderr
    said = json.loads(done.stdout)
    assert {"targets", "miou", "ticks", "skipped", "holds", "latency_ms", "ok"} <= set(said)
    for key, parts in KEYS.items():
        assert set(said[key]) == parts
    assert said["targets"]["total"] == 3
    assert said["targets"]["reached"] >= 2
    assert said["miou"] > 0.8
    assert said["ticks"] > 100
    assert said["masks"] > 10
    assert said["latency_ms"]["p50"] <= said["latency_ms"]["p99"]
    assert done.returncode == (0 if said["ok"] else 1)
    for name in ("tool.png", "line.png", "latency.png"):
        assert (pictures / name).read_bytes().startswith(b"\x89PNG"), name


def test_a_killed_demo_leaves_nothing_running(rig: Rig) -> None:
    demo = rig.process("demo", "-m", "edged", "demo", TMPDIR=str(rig.folder))

    def children() -> int:
        time.sleep(0.2)  # a look reads all there is in /proc
        mark = f"{rig.folder}/edged-demo-".encode()
        return sum(mark in read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))

    until(lambda: children() == 6, 60, lambda: demo.said)
    demo.kill()
    until(lambda: children() == 0, 30, children)


def test_a_demo_that_is_told_to_end_leaves_no_folder(rig: Rig) -> None:
    demo = rig.process("demo", "-m", "edged", "demo", TMPDIR=str(rig.folder))
    until(lambda: any(rig.folder.glob("edged-demo-*/cell.log")), 60, lambda: demo.said)
    assert demo.terminate() == 143
    assert not list(rig.folder.glob("edged-demo-*"))


def test_what_cannot_work_is_said_at_once_and_as_json_too(rig: Rig) -> None:
    (rig.folder / "file").write_text("no folder")
    done = rig.edged("demo", "--json", "--snapshot", str(rig.folder / "file"))
    assert done.returncode == 2
    assert "cannot write pictures to" in done.stderr
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] is False
    assert "cannot write pictures to" in said["error"]


def test_a_temporary_folder_with_too_long_a_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(UsageError, match="TMPDIR=/tmp"), room():
        pass
    assert not list(long.iterdir())


def test_a_process_that_ends_is_quoted_above_and_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = Child("cell", "edged.demo.no_such_module", [], tmp_path / "log")
    try:
        child.process.wait(30)
        with pytest.raises(EdgedError, match=r"cell ended with code 1: .*No module named") as caught:
            child.must_live()
    finally:
        child.stop()
    assert " / " not in str(caught.value)
    assert "No module named" in capsys.readouterr().err


@dataclass
class Said:
    """What a demo knows of its cell: the events it told."""

    events: list[dict[str, Any]]


def test_the_picture_is_of_an_arm_that_works_not_of_one_at_rest() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, cell = Path(name), Said([{"event": "target", "reached": True}])
        (folder / PICK).mkdir()
        demo = Demo(folder, folder / "pictures", {"cell": cast("Child", cell)})
        with Sender(f"ipc://{folder}/{PICK}/action") as actions, Sender(endpoint(folder, "frames")) as frames:

            def show(value: int) -> int:
                """One picture and one action of it; what the demo remembers then."""
                image = np.full((4, 4, 3), value, np.uint8)
                frames.seq += 1
                preamble = Preamble(
                    Kind.FRAME, 0, Flag(0), 1, frames.seq, 1, monotonic_ns(), 10**10, boot_id(), bytes(8)
                )
                frames.socket.send(encode(FRAMES, preamble, {}, (("image", image),)))
                actions.send(monotonic_ns(), topic=f"{PICK}/action", valid_ms=10_000)
                time.sleep(0.2)
                look()
                return int(demo.seen[0].arrays["image"][0, 0, 0]) if demo.seen else 0

            with _pictures(demo) as look:
                actions.await_readers()
                frames.await_readers()
                assert show(1) == 1
                assert show(2) == 2
                cell.events.append({"event": "done"})
                assert show(3) == 2


def test_patience_is_time_however_long_each_look_takes() -> None:
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        time.sleep(0.15)  # a frozen daemon takes two seconds
        return False

    with pytest.raises(EdgedError, match=r"it not within 0\.4 s"):
        wait_for("it", look, [], 0.4, Nap())
    assert len(looks) <= 4


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def outcome(**changes: Any) -> Outcome:
    """A demo that went well, but for `changes` ("pick.skipped" = one key of what one process said)."""
    step = {"p50_us": 1000.0, "p99_us": 2000.0}
    daemon = {"ticks": 1000, "skipped": 1, "holds": {"LATE": 1}, "steps": {"engine": step}, "daemon": {"rate_hz": 30.0}}
    said: dict[str, dict[str, Any]] = {
        "cell": {"reached": 38, "total": 40},
        "line": {"miou": 0.95, "iou": {"pit": 0.9}, "matched": 400},
        "controller": {"latency_ms": {"p50": 20.0, "p99": 40.0}, "gap_ms": {"max": 100.0}, "stops": 0},
        "pick": {**daemon},
        "inspect": {**daemon},
    }
    for key, value in changes.items():
        who, what = key.split("__")
        said[who][what] = value
    return Outcome(**said, seconds=100.0)


def test_a_demo_that_went_well_is_ok() -> None:
    assert outcome().ok
    assert "FAIL" not in outcome().table()
    assert outcome().as_json()["ok"] is True


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cell__reached": 35}, "reached (35 of 40)"),
        ({"cell__reached": 4, "cell__total": 4}, "at least 5 targets tried (4)"),
        ({"line__miou": 0.89}, "mIoU at least 0.90 (0.890)"),
        ({"controller__gap_ms": {"max": 170.0}}, "no gap beyond 5 periods (5.1)"),
        ({"controller__gap_ms": None}, "no gap beyond 5 periods (inf)"),
        ({"pick__skipped": 6}, "pick's slots skipped"),
        ({"inspect__skipped": 6}, "inspect's slots skipped"),
    ],
)
def test_whatever_fell_short_is_not_ok_and_is_named(changes: dict[str, Any], says: str) -> None:
    assert not outcome(**changes).ok
    (line,) = (line for line in outcome(**changes).table().splitlines() if line.startswith("FAIL"))
    assert says in line
