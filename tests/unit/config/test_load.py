"""What a config file may say, who beats whom, and where files live."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import configs
import pytest
from configs import PICK, Write, faults

from edged.config import (
    Config,
    camera_kind,
    endpoints,
    load_config,
    load_daemon,
    paths,
    runtime_roots,
    streams,
    unit_environ,
)

write, quiet_environment = configs.write, configs.quiet_environment


def test_a_file_becomes_a_config(write: Write) -> None:
    config = load_config(write(PICK))
    assert config.daemon.name == "pick"  # the file's stem
    assert config.loop.rate_hz == 100
    assert config.period_ns == 10_000_000
    assert config.deadline_ns == 5_000_000
    assert config.sensors["joints"].names == ("j1", "j2")
    assert config.sensors["joints"].units == ("rad", "rad")
    assert config.guard.start == "disarmed"
    assert config.guard.limits["j2"].step == 0.05
    assert config.engine.version == "current"
    assert config.swap.probation_predictions == 1000
    assert config.swap.probation_seconds == 10
    assert config.hold_file == Path("/var/lib/edged/engines/.hold/pick")


def test_the_effective_guard_is_plain_data(write: Write) -> None:
    assert load_config(write(PICK)).effective_guard == {
        "start": "disarmed",
        "enable": "sensor:button",
        "measured": "sensor:joints",
        "following_error": 0.2,
        "rest": 0.005,
        "stop_ms": 0.0,
        "fade_ms": 500.0,
        "limits": {
            "j1": {"min": -3.1, "max": 3.1, "velocity": 1.5, "on": "hold"},
            "j2": {"min": -2.0, "max": 2.0, "step": 0.05, "on": "limit"},
        },
    }


def test_set_beats_environment_beats_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(PICK)
    monkeypatch.setenv("EDGED_LOOP__RATE_HZ", "150")
    monkeypatch.setenv("EDGED_CAMERAS__TOOL__FPS", "60")
    assert load_config(path).loop.rate_hz == 150
    config = load_config(path, ["loop.rate_hz=200", "cameras.tool.width=320"])
    assert config.loop.rate_hz == 200
    assert (config.cameras["tool"].width, config.cameras["tool"].height, config.cameras["tool"].fps) == (320, 480, 60)
    assert config.loop.deadline_ms == 5  # what nobody overrides stays


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("loop.cpus=[1, 2]", lambda config: config.loop.cpus == (1, 2)),
        ("loop.mlock = true", lambda config: config.loop.mlock is True),
        ("engine.backend=cpu", lambda config: config.engine.backend == "cpu"),  # a bare word is a string
        ('cameras.tool.uri="rtsp://cam/1?a=b"', lambda config: config.cameras["tool"].uri == "rtsp://cam/1?a=b"),
        ("cameras.tool.uri=rtsp://cam/1?a=b", lambda config: config.cameras["tool"].uri == "rtsp://cam/1?a=b"),
        ("daemon.name=place", lambda config: config.daemon.name == "place"),
        ("loop={fifo=20}", None),
        ("loop.fifo", None),
    ],
)
def test_set_takes_a_toml_value(write: Write, text: str, read: Callable[[Config], bool] | None) -> None:
    path = write(PICK)
    if read is None:
        assert "not section.key=value" in faults(path, text)[0]
    else:
        assert read(load_config(path, [text]))


def test_a_set_cannot_smuggle_in_other_keys(write: Write) -> None:
    assert load_config(write(PICK), ['sensors.joints.topic="a"\nb = 1']).sensors["joints"].topic == '"a"\nb = 1'


def test_the_guard_is_read_from_the_file_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(PICK)
    assert "[guard] is read from the file alone" in faults(path, "guard.start=armed")[0]
    for variable in (
        "EDGED_GUARD__START",
        "edged_guard__start",
        "Edged_GUARD__limits",
    ):  # in capitals or not, it is read
        with monkeypatch.context() as patch:
            patch.setenv(variable, "armed")
            (fault,) = faults(path)
        assert fault.startswith(f"{variable}: [guard] is read from the file alone; write it into")


def test_relative_paths_are_taken_from_the_files_folder(write: Write, tmp_path: Path) -> None:
    text = PICK.replace('"/var/lib/edged/engines"', '"engines"').replace('"/dev/video0"', '"clips/a.mp4"')
    config = load_config(write(text))
    assert config.daemon.store == tmp_path / "engines"
    assert config.cameras["tool"].uri == str(tmp_path / "clips" / "a.mp4")


def test_a_camera_can_be_the_clock(write: Write) -> None:
    config = load_config(write(PICK.replace("rate_hz = 100\ndeadline_ms = 5", 'clock = "camera:tool"')))
    assert config.clock_camera == "tool"
    assert config.rate_hz == 30
    assert config.deadline_ns == config.period_ns == 33_333_333


def test_streams_and_endpoints(write: Write) -> None:
    assert endpoints(load_config(write(PICK))) == {
        stream: f"ipc:///run/edged/pick/{stream}" for stream in ("action", "health", "events", "trace", "control")
    }
    inspect = PICK[: PICK.index("[guard]")] + '[bus]\nvalid_ms = 500\npublish = ["frames"]\n'
    config = load_config(write(inspect))
    assert streams(config) == ("masks", "trace", "health", "events", "control", "frames-tool")


def test_systemd_decides_where_files_live(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/edged/pick")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edged:/var/lib/other")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/edged")
    daemon = load_config(write(PICK[PICK.index("[loop]") :])).daemon
    assert (daemon.runtime, daemon.store, daemon.cache) == (
        Path("/run/edged/pick"),
        Path("/var/lib/edged/engines"),
        Path("/var/cache/edged"),
    )


def test_without_systemd_the_session_or_a_private_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(PICK[PICK.index("[loop]") :])
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert load_config(path).daemon.runtime == tmp_path / "edged" / "pick"
    assert tmp_path / "edged" in runtime_roots()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    private = load_config(path).daemon.runtime.parent
    assert private.parent == tmp_path
    assert private.stat().st_mode & 0o777 == 0o700
    private.chmod(0o755)
    assert "not a private folder" in faults(path)[0]


def test_a_file_in_etc_has_the_folders_of_its_unit(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(PICK[PICK.index("[loop]") :])
    monkeypatch.setattr(paths, "SYSTEM_CONFIGS", Path("/etc/other"))
    assert load_config(path, (), unit_environ(path)).daemon == load_config(path).daemon
    monkeypatch.setattr(paths, "SYSTEM_CONFIGS", path.parent)
    daemon = load_config(path, (), unit_environ(path)).daemon
    assert (daemon.runtime, daemon.store, daemon.cache) == (
        Path("/run/edged") / path.stem,
        Path("/var/lib/edged/engines"),
        Path("/var/cache/edged"),
    )


def test_a_daemon_is_found_by_as_much_of_its_file_as_holds(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("[daemon]\nname = 'arm'\nruntime = 'run'\n[engine]\nname = 'reach'\n[loop]\nrate_hz = 'fast'\n")
    places = load_daemon(path, {"STATE_DIRECTORY": "/var/lib/edged", "CACHE_DIRECTORY": "/c"})
    assert (places.name, places.runtime, places.engine, places.version) == (
        "arm",
        path.parent / "run",
        "reach",
        "current",
    )
    assert (places.store, places.cache) == (Path("/var/lib/edged/engines"), Path("/c"))
    monkeypatch.setenv("EDGED_DAEMON__NAME", "leg")
    assert load_daemon(path).name == "leg"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("0", "device"),
        ("/dev/video2", "device"),
        ("²", "path"),
        ("1" * 5000, "path"),
        ("rtsp://cam/stream", "rtsp"),
        ("rtsps://cam/stream", "rtsp"),
        ("/data/clip.mp4", "path"),
        ("clips", "path"),
        ("gst:nvarguscamerasrc ! video/x-raw", "gst"),
        ("zmq+ipc:///run/cell/tool", "bus"),
        ("zmq+tcp://10.0.0.2:5555", "bus"),
        ("http://cam/mjpeg", None),
        ("gst:", None),
        ("zmq+udp://x", None),
    ],
)
def test_camera_kinds(uri: str, kind: str | None) -> None:
    assert camera_kind(uri) == kind


def test_every_field_says_what_it_is() -> None:
    for section in Config.model_fields.values():
        model = section.annotation
        for field in getattr(model, "model_fields", {}).values():
            assert field.description, f"{model}: {field}"
