"""What cameras and sensors say of themselves reaches the log, once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from edged.runtime.input_log import PAUSE_NS, InputLog


class Journal:
    """Feeds snapshots half a second apart and keeps what was logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self._input_log = InputLog()
        self._now_ns = 10**12

    def note(self, later_ns: int = PAUSE_NS // 10, **sections: Any) -> list[str]:
        self._caplog.clear()
        self._now_ns += later_ns
        self._input_log.note(sections, self._now_ns)
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]

    def camera(self, state: str, later_ns: int = PAUSE_NS // 10) -> list[str]:
        return self.note(later_ns, cameras={"tool": {"state": state, "geometry": "640x480"}})


@pytest.fixture
def journal(caplog: pytest.LogCaptureFixture) -> Journal:
    return Journal(caplog)


def test_a_camera_that_is_not_there_is_told_once(journal: Journal) -> None:
    assert journal.camera("opening") == []
    assert journal.camera("no such file or folder /x; put it there") == [
        "WARNING camera tool: no such file or folder /x; put it there"
    ]
    for state in 20 * ["opening", "no such file or folder /x; put it there"]:
        assert journal.camera(state) == []
    assert journal.camera("waiting for the first frame") == []
    assert journal.camera("streaming") == ["INFO camera tool: streaming 640x480"]


def test_a_silence_that_grows_is_told_once(journal: Journal) -> None:
    journal.camera("streaming")
    told = [line for seconds in range(1, 60) for line in journal.camera(f"no frame for {seconds} s", PAUSE_NS)]
    assert told == ["WARNING camera tool: no frame for 1 s"]


def test_a_camera_that_flaps_does_not_flood_and_the_last_word_is_true(journal: Journal) -> None:
    states = ["streaming", "frames are 64x48 where the config says 640x480"]
    told = [line for _ in range(50) for state in states for line in journal.camera(state)]
    assert 5 <= len(told) <= 11  # a hundred changes in ten pauses
    last = [line for _ in range(20) for line in journal.camera("ended")]
    assert last == ["WARNING camera tool: ended"]


def test_the_first_message_of_each_kind_that_cannot_be_read_is_quoted(journal: Journal) -> None:
    sensors = {"joints": {"unreadable": {"malformed": "b'hello' (5 bytes)"}}, "imu": {"unreadable": {}}}
    (line,) = journal.note(sensors=sensors)
    assert line.startswith("WARNING sensor joints: a message was rejected (malformed)")
    assert "b'hello' (5 bytes); check codec, topic, names and unit" in line
    assert journal.note(sensors=sensors) == []
    sensors["joints"]["unreadable"]["shape"] = "b'[1]' (3 bytes)"
    assert len(journal.note(sensors=sensors)) == 1


def test_a_recording_has_nothing_to_remark(journal: Journal) -> None:
    assert journal.note(sensors={"joints": {"samples": 1, "rejected": {}}}) == []
    assert journal.note() == []


def test_what_is_wrong_with_a_sensor_is_told_once_however_its_count_grows(journal: Journal) -> None:
    def sensor(trouble: str, later_ns: int = PAUSE_NS) -> list[str]:
        return journal.note(later_ns, sensors={"joints": {"trouble": trouble}})

    told = [line for count in range(20) for line in sensor(f"what waited was dropped {count} times; lower its rate")]
    assert told == ["WARNING sensor joints: what waited was dropped 0 times; lower its rate"]
    assert sensor("") == []
    assert sensor("what waited was dropped 21 times; lower its rate") == []
    assert sensor("", 13 * PAUSE_NS) == []
    assert sensor("what waited was dropped 22 times; lower its rate") != []
