"""`edged check`: every fault is found, named with its remedy, and has its exit code."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from configs import REACH_SENSORS
from models import policy_golden, policy_model, policy_recipe, segment_golden, segment_model, segment_recipe

from edged.bundle.bundle import read_bundle, write_bundle
from edged.cli import check as module
from edged.cli.check import check
from edged.cli.finding import Finding, exit_code, facts, show
from edged.cli.keys import new_curve_key
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from edged.pack import pack

PICK = (
    """
[daemon]
runtime = "run"
store = "engines"
cache = "cache"
[loop]
rate_hz = 50
[cameras.tool]
uri = "frames"
width = 64
height = 48
"""
    + REACH_SENSORS
    + """[engine]
name = "reach"
[guard]
measured = "sensor:joints"
following_error = 0.2
limits.a = { min = -3, max = 3, velocity = 1 }
[bus]
valid_ms = 200
"""
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("packed")
    pack(policy_model(), policy_recipe(), policy_golden(), store)
    pack(segment_model(), segment_recipe(), segment_golden(), store)
    return store


@pytest.fixture
def cell(tmp_path: Path, packed: Path) -> Path:
    """A config that is well, its engine and its camera; the folder is short enough for sockets."""
    shutil.copytree(packed, tmp_path / "engines")
    (tmp_path / "frames").mkdir()
    picture(tmp_path / "frames" / "1.png", 64, 48)
    (tmp_path / "run").mkdir(mode=0o750)
    return edit(tmp_path / "pick.toml", PICK)


def picture(path: Path, width: int, height: int) -> None:
    assert cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def edit(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o640)
    return path


def change(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    return edit(path, text.replace(old, new))


def faults(findings: list[Finding], level: str = "error") -> list[str]:
    """What was found, but for the warning about signatures, which these engines have not."""
    said = [f"{finding.subject}: {finding.fact}; {finding.remedy}" for finding in findings if finding.level == level]
    return [line for line in said if level != "warning" or "is not signed: nobody" not in line]


def test_a_cell_that_is_well(cell: Path) -> None:
    findings = check(cell)
    assert [(finding.level, finding.subject) for finding in findings] == [
        ("ok", "config"),
        ("ok", "engine"),
        ("warning", "engine"),  # not signed
        ("ok", "engine"),
        ("ok", "time"),
        ("ok", "cameras.tool"),
        ("untried", "sensors.joints"),
        ("untried", "sensors.force"),
    ]
    assert exit_code(findings) == EXIT_OK
    text = show(findings)
    assert "engine: reach 1, policy fp32, identity " in text
    assert "gives its golden samples on cpu" in text
    assert text.endswith("\n1 warning, 2 not tried")
    assert show([Finding("ok", "x", "y"), Finding("untried", "x", "y")]).endswith("\nnothing wrong, 1 not tried")
    assert show([Finding("ok", "x", "y")]).endswith("\nall well")


def test_for_programs_it_is_one_object(cell: Path) -> None:
    said = facts(check(cell, ["cameras.tool.width=640"]))
    assert (said["ok"], said["exit_code"]) == (False, EXIT_FAILED)
    (error,) = (finding for finding in said["findings"] if finding["level"] == "error")
    assert error["subject"] == "cameras.tool"
    assert error["remedy"] == "set width = 64 and height = 48"


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
    ("subject", "level"), [("daemon.store", "warning"), ("daemon.cache", "warning"), ("daemon.runtime", "error")]
)
def test_a_full_disk(cell: Path, monkeypatch: pytest.MonkeyPatch, subject: str, level: str) -> None:
    monkeypatch.setitem(module.NEEDS, subject, 1 << 62)
    findings = check(cell)
    (full,) = (finding for finding in findings if " is full (" in finding.fact)
    assert (full.subject, full.level, full.remedy) == (subject, level, "make room")
    assert exit_code(findings) == (EXIT_FAILED if level == "error" else EXIT_OK)


def test_a_segmenter_that_is_well(cell: Path) -> None:
    config = PICK[: PICK.index("[sensors.joints]")].replace("cameras.tool", "cameras.line")
    findings = check(edit(cell, config + '[engine]\nname = "plate"\n[bus]\nvalid_ms = 500\n'))
    assert exit_code(findings) == EXIT_OK
    assert faults(findings, "warning") == []


def test_a_config_that_is_wrong_by_itself_is_all_that_is_told(cell: Path) -> None:
    findings = check(cell, ["loop.rate_hz=0", "loop.fifo=200"])
    assert [finding.subject for finding in findings] == ["config", "config"]
    assert "loop.rate_hz = 0: allowed is > 0 and <= 2000" in findings[0].fact
    assert exit_code(findings) == EXIT_USAGE
    assert show(findings).endswith("2 errors")


def test_an_engine_that_is_not_there(cell: Path) -> None:
    findings = check(cell, ["engine.name=grasp"])
    assert any("no engine 'grasp'" in fault for fault in faults(findings))
    assert exit_code(findings) == EXIT_FAILED


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "golden.npz", "SHA256SUMS"])
def test_a_flipped_bit_in_the_engine(cell: Path, file: str) -> None:
    path = cell.parent / "engines" / "reach" / "1" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    findings = check(cell)
    assert exit_code(findings) == EXIT_REFUSED
    assert [finding.subject for finding in findings if finding.level == "error"] == ["engine"]


def test_an_engine_of_another_cell(cell: Path) -> None:
    findings = check(change(cell, '["a", "b"]', '["a", "c"]'))
    assert exit_code(findings) == EXIT_REFUSED
    assert "engine: sensor 'joints' has a, c; the engine also needs b; correct sensors.joints.names" in faults(findings)


def test_a_policy_without_limits_or_anchor_is_pointed_at(cell: Path) -> None:
    change(
        cell, 'measured = "sensor:joints"\nfollowing_error = 0.2\nlimits.a = { min = -3, max = 3, velocity = 1 }', ""
    )
    findings = check(cell)
    assert exit_code(findings) == EXIT_OK
    warnings = faults(findings, "warning")
    assert any("axis 'a' has no limits; add guard.limits.a" in warning for warning in warnings)
    assert any("guard.measured is not set" in warning for warning in warnings)


def test_an_engine_that_has_to_be_signed(cell: Path) -> None:
    (cell.parent / "trusted").mkdir()
    (cell.parent / "trusted" / "key.pub").write_bytes(bytes(32))
    findings = check(change(cell, 'name = "reach"', 'name = "reach"\nrequire_signature = true\ntrusted = "trusted"'))
    assert exit_code(findings) == EXIT_REFUSED
    assert any("not signed" in fault for fault in faults(findings))


def test_golden_samples_that_do_not_come_out(cell: Path, tmp_path: Path) -> None:
    """Sealed and whole, but the samples belong to another network."""
    other = tmp_path / "other"
    recipe = policy_recipe(version="2", after={})  # the same network, its actions left normalised
    pack(policy_model(), recipe, policy_golden(), other)
    good = read_bundle(cell.parent / "engines" / "reach" / "1")
    bad = read_bundle(other / "reach" / "2")
    shutil.rmtree(cell.parent / "engines" / "reach")
    write_bundle(cell.parent / "engines", bad.manifest, good.model, bad.golden)
    findings = check(cell)
    assert exit_code(findings) == EXIT_REFUSED
    assert any("golden" in fault and "action" in fault for fault in faults(findings))


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


@pytest.fixture
def listening(cell: Path) -> Iterator[None]:
    """Somebody who listens on the control socket, as a running daemon does."""
    (cell.parent / "run" / "lock").write_text("4711\n", encoding="ascii")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as daemon:
        daemon.bind(str(cell.parent / "run" / "control"))
        daemon.listen()
        yield


@pytest.mark.usefixtures("listening")
def test_a_running_daemon_is_named(cell: Path) -> None:
    (warning,) = faults(check(cell), "warning")
    assert warning.startswith("daemon: daemon pick is running with pid 4711, a second one would end at once")


def test_what_a_killed_daemon_left_is_no_daemon(cell: Path) -> None:
    (cell.parent / "run" / "lock").write_text("4711\n", encoding="ascii")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as daemon:
        daemon.bind(str(cell.parent / "run" / "control"))
    assert faults(check(cell), "warning") == []


def test_an_operators_hold_is_told(cell: Path) -> None:
    folder = cell.parent / "engines" / ".hold"
    folder.mkdir()
    (folder / "pick").touch()
    (warning,) = faults(check(cell), "warning")
    assert "held by an operator" in warning
    assert f"edged resume {cell}" in warning


def test_open_doors(cell: Path) -> None:
    (cell.parent / "run").chmod(0o777)
    cell.chmod(0o666)
    findings = check(cell)
    assert any("everybody may put sockets into" in fault for fault in faults(findings))
    assert any("can be written by everybody, limits and all" in warning for warning in faults(findings, "warning"))
    assert exit_code(findings) == EXIT_FAILED


def test_a_runtime_folder_that_is_a_file(cell: Path) -> None:
    shutil.rmtree(cell.parent / "run")
    (cell.parent / "run").touch()
    findings = check(cell)
    assert any("is not a folder, the daemon cannot start" in fault for fault in faults(findings))
    assert exit_code(findings) == EXIT_FAILED


@contextmanager
def somebody_else() -> Iterator[None]:
    """Permissions are judged for the real user: as root, be nobody for a while; others have their own limits."""
    if os.getuid() != 0:
        yield
        return
    os.setreuid(65534, -1)
    try:
        yield
    finally:
        os.setreuid(0, -1)


def test_folders_that_may_not_be_written(cell: Path) -> None:
    for folder in ("run", "engines"):
        (cell.parent / folder).chmod(0o550)
    with somebody_else():
        findings = check(cell)
    folders = {finding.subject: finding for finding in findings if "cannot be written" in finding.fact}
    assert (folders["daemon.runtime"].level, folders["daemon.runtime"].exit_code) == ("error", EXIT_FAILED)
    assert folders["daemon.store"].level == "warning"


def test_keys(cell: Path) -> None:
    change(cell, "valid_ms = 200", 'valid_ms = 200\nsecret_key = "k"\nauthorized = "clients"')
    findings = check(cell)
    assert [fault.partition(";")[0] for fault in faults(findings)] == [
        f"bus.secret_key: {cell.parent}/k: no such file or directory",
        f"bus.authorized: there is no readable folder {cell.parent}/clients",
    ]
    assert exit_code(findings) == EXIT_USAGE  # as 'edged run' would end
    (cell.parent / "clients").mkdir()
    pair = new_curve_key("k", cell.parent)
    pair.secret.rename(cell.parent / "k").chmod(0o644)
    findings = check(cell)
    assert [fault.partition(";")[0] for fault in faults(findings)] == [
        f"bus.secret_key: {cell.parent}/k can be read by others"
    ]
    assert any("is empty" in warning for warning in faults(findings, "warning"))


def test_another_name_than_the_files(cell: Path) -> None:
    (warning,) = faults(check(cell, ["daemon.name=place"]), "warning")
    assert "daemon.name is 'place', the file is called pick.toml" in warning


def test_a_robot_that_moves_at_once_is_pointed_at(cell: Path) -> None:
    (warning,) = faults(check(change(cell, "[guard]", '[guard]\nstart = "armed"')), "warning")
    assert warning.startswith("guard.start: armed")


def test_units_are_part_of_what_is_compared(cell: Path) -> None:
    findings = check(cell, ["sensors.force.unit=kN"])
    assert any("sensors.force gives f in kN, the engine takes it in N" in fault for fault in faults(findings))


@pytest.mark.parametrize(("codes", "expected"), [((), EXIT_OK), ((1,), 1), ((1, 3), 3), ((3, 2, 1), 2)])
def test_the_worst_decides(codes: tuple[int, ...], expected: int) -> None:
    assert exit_code([Finding("error", "x", "y", "z", code) for code in codes]) == expected
