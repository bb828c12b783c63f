"""One segmenter for three cameras: each has its own masks and results, and one that fails holds nobody up."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from rig import Rig, rig
from waiting import until

from edged.bench.slow import write_slow
from edged.client import FrameSender, Kind, Message
from edged.core.types import Reason

__all__ = ["rig"]
BRIGHT = {"left": 0, "middle": 255, "right": 0}
SIZES = {"left": (48, 64), "middle": (48, 64), "right": (60, 80)}


class Cameras(threading.Thread):
    """Three cameras of 25 fps; one that is in `silent` sends nothing."""

    def __init__(self, folder: str) -> None:
        super().__init__(daemon=True)
        self.silent: set[str] = set()
        self._senders = {name: FrameSender(f"ipc://{folder}/{name}", name) for name in BRIGHT}
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.04):
            for name, sender in self._senders.items():
                if name not in self.silent:
                    sender.send(np.full((*SIZES[name], 3), BRIGHT[name], np.uint8))

    def close(self) -> None:
        self._ended.set()
        self.join()
        for sender in self._senders.values():
            sender.close()


@pytest.fixture
def cameras(rig: Rig) -> Iterator[Cameras]:
    with contextlib.closing(Cameras(str(rig.folder))) as made:
        yield made


def test_each_camera_has_its_turn_and_none_waits_for_one_that_fails(rig: Rig, cameras: Cameras) -> None:
    write_slow(rig.store, "bench-slow-masks", 5)
    inputs = "\n".join(
        f"[cameras.{name}]\nuri = 'zmq+ipc://{rig.folder}/{name}#{name}'\nheight = {height}\nwidth = {width}\n"
        "fps = 25\nmax_age_ms = 400"
        for name, (height, width) in SIZES.items()
    )
    cell = {
        "loop": "clock = 'timer'\nrate_hz = 25",
        "engine": "name = 'bench-slow-masks'\nthreads = 1",
        "execution": "cameras = ['left', 'middle', 'right']",
        "inspection": "[[inspection.rules]]\nname = 'stains'\nclasses = ['bright']\nmax_count = 0",
        "inputs": inputs,
        "record": "before_s = 1\nafter_s = 1",
    }
    daemon = rig.daemon(rig.config(**cell))
    heard = {name: daemon.listen(f"masks-{name}") for name in BRIGHT}
    together, results = daemon.listen("masks"), daemon.listen("results")

    def is_labels(message: Message) -> bool:
        return message.kind is Kind.LABELS

    for name, listener in heard.items():
        message = listener.wait(is_labels)
        assert message.header["camera"] == name
        assert message.arrays["labels"].shape == SIZES[name]
        assert int(message.arrays["labels"].min()) == int(message.arrays["labels"].max()) == BRIGHT[name] // 255
        assert message.header["result"] == ("FAIL" if BRIGHT[name] else "PASS")
    daemon.wait_status(lambda status: status["state"] == "ok")

    arguments = ("record", daemon.name, "--folder", str(rig.folder / "kept"), "--seconds", "4")
    recorder = rig.process("recorder", "-m", "edged", *arguments, XDG_RUNTIME_DIR=str(rig.folder))
    until(lambda: "recording" in recorder.said, what=lambda: recorder.said)
    cameras.silent.add("middle")
    stale = heard["middle"].wait(lambda message: message.reason == Reason.STALE, heard["middle"].mark())
    assert stale.header["camera"] == "middle"
    assert "middle" in stale.header["detail"]
    daemon.wait_status(lambda status: status["state"] == "STALE" and "middle" in status["detail"])
    marks = {name: heard[name].mark() for name in BRIGHT}
    time.sleep(1.0)
    for name in ("left", "right"):
        since = heard[name].since(marks[name])
        assert sum(map(is_labels, since)) >= 5, "a failing camera holds nobody up"
        assert all(message.header.get("camera", name) == name for message in since)
    assert not any(map(is_labels, heard["middle"].since(marks["middle"])))
    assert len(heard["middle"].since(marks["middle"])) >= 3, "silence is no answer"

    cameras.silent.clear()
    heard["middle"].wait(is_labels, heard["middle"].mark())
    daemon.wait_status(lambda status: status["state"] == "ok")
    for listener in (*heard.values(), together):
        assert [message.seq for message in listener.messages] == list(
            range(listener.messages[0].seq, listener.messages[0].seq + len(listener.messages))
        )
    assert {message.header.get("camera") for message in together.messages if is_labels(message)} == set(BRIGHT)
    for message in results.messages:
        if message.header["result"] != "NOT_INSPECTED":
            assert (message.header["result"] == "FAIL") == bool(BRIGHT[message.header["camera"]])
    changes = [event for event in daemon.status()["holds"].items() if event[0] == "ENGINE"]
    assert not changes
    assert recorder.exit_code(60) == 0, recorder.said
    (file,) = (rig.folder / "kept").glob("*.mcap")
    told = json.loads(rig.edged("replay", str(file), "--store", str(rig.store), "--json").stdout)
    assert told["different"] == 0, told
    assert told["equal"] > 30, told
    assert daemon.terminate() == 0
