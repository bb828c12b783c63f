"""Nobody new comes in while descriptors are short, and who is in notices nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from edged.runtime.doors import PAUSE_NS, SHUT_NS, Doors
from edged.runtime.places import Places


class Rig:
    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.alarms: list[str] = []
        self.places = Places(alarm=self.alarms.append)
        self.used, self.limit = 100, 1100
        self.doors = Doors(self.places, lambda: self.limit, lambda: self.used)
        self.sockets = {}
        for name in ("action", "control"):
            self.sockets[name] = self.context.socket(zmq.XPUB)
            self.sockets[name].setsockopt(zmq.XPUB_VERBOSE, 1)
            self.places.add(f"ipc://{folder}/{name}", self.sockets[name])
            self.sockets[name].bind(f"ipc://{folder}/{name}")
        self.names = lambda: sorted(path.name for path in folder.iterdir())


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.context.destroy(linger=0)


def test_they_shut_before_descriptors_are_used_up_and_open_after_a_while(rig: Rig) -> None:
    rig.doors.look(0)
    for _ in range(250):
        rig.doors.came(1)
    assert rig.names() == ["action", "control"]
    rig.doors.came(1)
    assert rig.names() == ["action.shut", "control"]
    for _ in range(250):
        rig.doors.came(2)
    assert rig.names() == ["action.shut", "control.shut"]
    assert rig.doors.describe() == {"spare": 499, "limit": 1100, "shut": 1, "open": False}
    rig.doors.look(2 + SHUT_NS - 1)  # there are enough again, but those who were turned away come at once
    assert rig.names() == ["action.shut", "control.shut"]
    rig.places.look(3)
    assert rig.alarms == []
    rig.doors.look(2 + SHUT_NS)
    assert rig.names() == ["action", "control"]
    rig.places.look(4)
    assert rig.alarms == []


def test_who_is_connected_hears_on_and_who_is_not_is_let_in_later(rig: Rig, tmp_path: Path) -> None:
    def reader() -> zmq.Socket[bytes]:
        made = rig.context.socket(zmq.SUB)
        made.setsockopt(zmq.RECONNECT_IVL, 10)
        made.subscribe(b"")
        made.connect(f"ipc://{tmp_path}/action")
        return made

    rig.doors.look(0)
    inside = reader()
    assert rig.sockets["action"].poll(5000)
    rig.sockets["action"].recv()
    rig.used = rig.limit  # or the administrator lowered it
    rig.doors.look(1)
    outside = reader()
    rig.sockets["action"].send(b"1")
    assert inside.poll(5000)
    assert not outside.poll(200)
    rig.used = 100
    rig.doors.look(1 + SHUT_NS)
    assert rig.sockets["action"].poll(5000)
    rig.sockets["action"].recv()
    rig.sockets["action"].send(b"2")
    assert outside.poll(5000)
    inside.close(linger=0)
    outside.close(linger=0)


def test_without_descriptors_to_look_with_there_are_none(rig: Rig) -> None:
    def none_left() -> int:
        raise OSError

    doors = Doors(rig.places, lambda: 1100, none_left)
    doors.look(0)
    assert doors.describe()["spare"] == 0


def test_it_is_one_line_a_minute(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.doors.look(0)
    for at_ns in range(0, 2 * PAUSE_NS, 4 * SHUT_NS):
        rig.used = 600
        rig.doors.look(at_ns)
        rig.used = 100
        rig.doors.look(at_ns + 2 * SHUT_NS)
    assert len(caplog.records) == 2
    assert rig.doors.shut == PAUSE_NS // (2 * SHUT_NS)


def test_what_a_daemon_that_was_killed_left_shut_is_removed(tmp_path: Path) -> None:
    (tmp_path / "action.shut").touch()
    Rig(tmp_path).context.destroy(linger=0)
    assert not (tmp_path / "action.shut").exists()
