"""`edged check`: what a camera gives is looked at, and what could not be tried is not called well."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from checked import cell, change, faults, packed, picture

from edged.cli.check import check
from edged.cli.finding import exit_code, show
from edged.core.errors import EXIT_FAILED, EXIT_OK

__all__ = ["cell", "packed"]


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (64, 48, None),
        (256, 256, "the first picture of {} is 256x256, the config says 64x48; set width = 256 and height = 256"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "image", "video"])
def test_the_first_picture_of_a_file_or_folder_is_looked_at(
    cell: Path, form: str, width: int, height: int, expected: str | None
) -> None:
    names = {"folder": "frames", "image": "frames/1.png", "video": "frames/1.avi"}
    path = cell.parent / names[form]
    if form == "video":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (width, height))
        writer.write(np.zeros((height, width, 3), np.uint8))
        writer.release()
    else:
        picture(cell.parent / "frames" / "1.png", width, height)
    findings = check(change(cell, 'uri = "frames"', f'uri = "{names[form]}"'))
    assert faults(findings) == ([f"cameras.tool: {expected.format(path)}"] if expected else [])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [("1.png", b"no picture", "is not an image that OpenCV can read"), ("1.txt", b"words", "no images in")],
)
def test_a_folder_without_a_picture_to_read(cell: Path, name: str, content: bytes, expected: str) -> None:
    (cell.parent / "frames" / "1.png").unlink()
    (cell.parent / "frames" / name).write_bytes(content)
    (fault,) = faults(check(cell))
    assert fault.startswith("cameras.tool: ")
    assert expected in fault


@pytest.mark.parametrize("uri", ["rtsp://me:secret@10.0.0.20/live", "zmq+tcp://10.0.0.20:5555#tool"])
def test_what_was_not_tried_is_not_called_well(cell: Path, uri: str) -> None:
    findings = check(change(cell, 'uri = "frames"', f'uri = "{uri}"'))
    assert [finding.level for finding in findings if finding.subject == "cameras.tool"] == ["untried"]
    assert "secret" not in show(findings)
    assert exit_code(findings) == EXIT_OK


def test_recordings_are_opened(cell: Path) -> None:
    np.savez(cell.parent / "other.npz", x=np.zeros(1))
    change(cell, 'uri = "frames"', 'uri = "replay:nowhere.npz"')
    findings = check(change(cell, "tcp://127.0.0.1:5555", "replay:other.npz"))
    assert [fault.partition(":")[0] for fault in faults(findings)] == ["cameras.tool", "sensors.joints"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("nowhere", "there is no file or folder"),
        ("/dev/video99", "there is no device /dev/video99"),
        ("99", "there is no device /dev/video99"),
    ],
)
def test_a_camera_that_is_not_there(cell: Path, uri: str, expected: str) -> None:
    findings = check(change(cell, 'uri = "frames"', f'uri = "{uri}"'))
    assert exit_code(findings) == EXIT_FAILED
    assert [fault for fault in faults(findings) if fault.startswith(f"cameras.tool: {expected}")]


def test_gstreamer_that_is_not_installed(cell: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = check(change(cell, 'uri = "frames"', 'uri = "gst:videotestsrc"'))
    assert faults(findings) == ["cameras.tool: gst-launch-1.0 is not installed; install gstreamer1.0-tools"]


@pytest.mark.parametrize(("pipeline", "warned"), [("v4l2src ! jpegdec", 1), ("v4l2src ! jpegparse ! jpegdec", 0)])
def test_a_decoder_that_hides_damage_is_a_warning(
    cell: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, warned: int
) -> None:
    monkeypatch.setattr("edged.cli.check_inputs.shutil.which", lambda name: name)
    findings = check(change(cell, 'uri = "frames"', f'uri = "gst:{pipeline}"'))
    told = [finding for finding in findings if finding.subject == "cameras.tool" and finding.level == "warning"]
    assert ["jpegdec shows pictures that were cut off" in one.fact for one in told] == [True] * warned


def test_a_publisher_that_is_not_there_yet_is_a_warning(cell: Path) -> None:
    change(cell, 'uri = "frames"', 'uri = "zmq+ipc:///nowhere/tool#cell/tool"')
    findings = check(change(cell, "tcp://127.0.0.1:5555", "ipc:///nowhere/joints"))
    assert exit_code(findings) == EXIT_OK
    assert [warning.split(" yet")[0] for warning in faults(findings, "warning")] == [
        "cameras.tool: nobody publishes at ipc:///nowhere/tool",
        "sensors.joints: nobody publishes at ipc:///nowhere/joints",
    ]
