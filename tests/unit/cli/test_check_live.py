"""`edged check --live`: what really comes in from each input, and how it differs from what the config says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zmq
from configs import REACH_SENSORS

from edged.cli.check_live import check_live, remedy_of_age
from edged.cli.finding import Finding
from edged.client import FrameSender, SensorSender
from edged.config import CameraConfig, Config, load_config

SENSORS = REACH_SENSORS.replace("tcp://127.0.0.1:5555", "ipc://FOLDER/joints").replace(
    "tcp://127.0.0.1:5556", "ipc://FOLDER/force"
)
PICK = f"""
[cameras.tool]
uri = "zmq+ipc://FOLDER/tool#cell/tool"
width = 64
height = 48
fps = 100
{SENSORS}
[engine]
name = "reach"
[guard]
measured = "sensor:joints"
"""
LISTEN_S = 0.8


class Cell:
    """A camera and two sensors that speak a hundred times a second, each as it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, Any] = {"joints": {"names": ["a", "b"], "unit": "rad"}, "force": {}}
        self.topics = {"joints": "cell/joints", "force": "cell/force"}
        self.raw: bytes | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _speak(self) -> None:
        with zmq.Context() as context:
            frames = FrameSender(f"ipc://{self.folder}/tool", "cell/tool", camera="tool", context=context)
            sensors = {
                name: SensorSender(f"ipc://{self.folder}/{name}", topic, context=context, **self.said[name])
                for name, topic in self.topics.items()
            }
            while not self._ended.wait(0.01):
                frames.send(np.zeros((48, 64, 3), np.uint8))
                for name, sender in sensors.items():
                    if self.raw is not None:
                        sender.send_bytes(self.raw)
                    else:
                        sender.send(np.zeros(2 if name == "joints" else 1))
            for sender in (frames, *sensors.values()):
                sender.close()


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    made = Cell(tmp_path)
    yield made
    made.close()


def config(cell: Cell, old: str = "", new: str = "") -> Config:
    file = cell.folder / "pick.toml"
    file.write_text(
        PICK.replace("FOLDER", str(cell.folder)).replace(old, new) if old else PICK.replace("FOLDER", str(cell.folder))
    )
    return load_config(file)


def listen(config: Config, is_running: bool = False) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in check_live(config, is_running, LISTEN_S):
        found.setdefault(finding.subject, []).append(finding)
    return found


def test_a_cell_that_is_well(cell: Cell) -> None:
    cell.start()
    found = listen(config(cell))
    (joints,) = found["sensors.joints"]
    assert joints.level == "ok"
    assert "topic 'cell/joints'" in joints.fact
    assert "2 values (a, b)" in joints.fact
    assert "stamps of this machine" in joints.fact
    (tool,) = found["cameras.tool"]
    assert tool.fact.startswith("64x48 at ")


def test_names_units_topics_and_sizes_that_differ_are_told(cell: Cell) -> None:
    cell.said["joints"] = {"names": ["b", "a"], "unit": "deg"}
    cell.start()
    text = config(cell, "width = 64", "width = 65")
    found = listen(text)
    assert [one.level for one in found["sensors.joints"]] == ["error", "error"]  # the daemon would take none
    assert "the sender's names are b, a" in found["sensors.joints"][0].fact
    assert "the sender says deg" in found["sensors.joints"][1].fact
    assert (found["cameras.tool"][0].level, "64x48" in found["cameras.tool"][0].fact) == ("error", True)
    wrong = config(cell, "[sensors.force]", '[sensors.force]\ntopic = "cell/forces"')
    (force,) = listen(wrong)["sensors.force"]
    assert force.level == "error"
    assert "nobody says 'cell/forces' there; heard were 'cell/force'" in force.fact


def test_silence_and_babble_are_told_apart(cell: Cell) -> None:
    (joints,) = listen(config(cell))["sensors.joints"]
    assert (joints.level, "nobody said anything" in joints.fact) == ("error", True)
    cell.raw = b"[1, 2, 3]"
    cell.start()
    (joints,) = listen(config(cell))["sensors.joints"]
    assert joints.level == "error"
    assert "none readable" in joints.fact


def test_a_device_of_a_running_daemon_is_left_alone(cell: Cell) -> None:
    cell.start()
    (tool,) = listen(config(cell, "zmq+ipc://" + str(cell.folder) + "/tool#cell/tool", "/dev/video7"), True)[
        "cameras.tool"
    ]
    assert tool.level == "untried"


def test_a_folder_that_ends_is_told(cell: Cell) -> None:
    cell.start()
    pictures = cell.folder / "pictures"
    pictures.mkdir()
    assert cv2.imwrite(str(pictures / "1.png"), np.zeros((48, 64, 3), np.uint8))
    (tool,) = listen(config(cell, f"zmq+ipc://{cell.folder}/tool#cell/tool", str(pictures)))["cameras.tool"]
    assert (tool.level, tool.remedy) == ("warning", "the file or folder has ended: set loop = true"), tool
    slow = config(cell, f"zmq+ipc://{cell.folder}/tool#cell/tool", str(pictures))
    changed = slow.cameras["tool"].model_copy(update={"fps": 0.5, "loop": True})
    (tool,) = listen(slow.model_copy(update={"cameras": {"tool": changed}}))["cameras.tool"]
    assert (tool.level, tool.remedy) == ("warning", "set max_age_ms above 2000: a frame comes every 2000 ms"), tool


@pytest.mark.parametrize(
    ("changed", "has_ended", "rate", "age_ms", "remedy"),
    [
        ({}, True, 30.0, 900.0, "the file or folder has ended: set loop = true"),
        ({"fps": 5}, True, 5.0, 900.0, "the file or folder has ended: set loop = true; set max_age_ms above 200: a"),
        ({"loop": True, "fps": 5}, False, 4.8, 150.0, "set max_age_ms above 200: a frame comes every 200 ms"),
        ({"loop": True, "fps": 30}, False, 4.8, 150.0, "set max_age_ms above 209: a frame comes every 208 ms"),
        ({"loop": True, "fps": 5}, False, 0.0, 150.0, "set max_age_ms above 200: a frame comes every 200 ms"),
        ({"latency_ms": 90}, False, 30.0, 110.0, "set max_age_ms above 124: a frame comes every 33 ms"),
        ({}, False, 4.0, 1900.0, "look whether it goes on"),  # it stood still, which pulls down the rate
        ({"loop": True}, False, 30.0, 1900.0, "look whether it goes on"),
    ],
)
def test_what_to_do_about_a_frame_that_isremedy_of_age(
    changed: dict[str, Any], has_ended: bool, rate: float, age_ms: float, remedy: str
) -> None:
    camera = CameraConfig(**{"uri": "/pictures", "width": 64, "height": 48, **changed})
    assert remedy_of_age(camera, has_ended, rate, age_ms).startswith(remedy)
