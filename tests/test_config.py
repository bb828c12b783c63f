"""What a config file may say, who beats whom, and how a mistake is told."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.config import Config, camera_kind, endpoints, load_config, running_runtime, streams
from edged.errors import EXIT_USAGE, ConfigError

PICK = """
[daemon]
runtime = "/run/edged/pick"
store = "/var/lib/edged/engines"
cache = "/var/cache/edged"

[loop]
rate_hz = 100
deadline_ms = 5

[cameras.tool]
uri = "/dev/video0"
width = 640
height = 480

[sensors.joints]
endpoint = "tcp://10.0.0.2:5555"
codec = "struct:<2d"
names = ["j1", "j2"]
unit = "rad"

[sensors.button]
endpoint = "ipc:///run/cell/button"
names = ["pressed"]
unit = "1"

[engine]
name = "reach"

[guard]
measured = "sensor:joints"
enable = "sensor:button"
following_error = 0.2

[guard.limits]
j1 = { min = -3.1, max = 3.1, velocity = 1.5 }
j2 = { min = -2.0, max = 2.0, step = 0.05, on = "limit" }

[bus]
valid_ms = 200
"""

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "pick.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def faults(path: Path, *sets: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, sets)
    assert caught.value.exit_code == EXIT_USAGE
    return str(caught.value).splitlines()


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
    monkeypatch.setenv("EDGED_GUARD__START", "armed")
    (fault,) = faults(path)
    assert fault.startswith("EDGED_GUARD__START: [guard] is read from the file alone; write it into")


def test_an_unknown_variable_of_ours_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_LOP__RATE_HZ", "1")
    assert faults(write(PICK)) == [
        "EDGED_LOP__RATE_HZ: no section 'lop'; sections are "
        "daemon, loop, cameras, sensors, engine, guard, bus, swap, log"
    ]


def test_a_variable_that_cannot_be_read_is_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_LOOP", "fast")
    assert "loop" in faults(write(PICK))[0]


def test_all_faults_are_told_at_once_with_file_key_value_and_range(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(PICK.replace("valid_ms = 200", "valid_ms = -1").replace("deadline_ms = 5", "deadline = 5"))
    monkeypatch.setenv("EDGED_LOOP__FIFO", "100")
    lines = faults(path, "loop.rate_hz=0")
    assert lines == [
        f"{path} (--set): loop.rate_hz = 0: allowed is > 0 and <= 2000 (ticks per second of the timer clock)",
        f"{path} (environment): loop.fifo = '100': allowed is >= 0 and <= 99 "
        "(SCHED_FIFO priority of the loop; 0 leaves the scheduler alone)",
        f"{path}: loop.deadline = 5: unknown key; known are clock, rate_hz, deadline_ms, fifo, cpus, mlock",
        f"{path}: bus.valid_ms = -1: allowed is > 0 and <= 60000 "
        "(how long after its oldest input's capture a verdict may be obeyed)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("valid_ms = 200", "", "bus.valid_ms: missing; add it: > 0 and <= 60000"),
        ('name = "reach"', "", "engine.name: missing"),
        ("[loop]", "[lop]", "lop = {'rate_hz': 100, 'deadline_ms': 5}: unknown key; known are daemon, loop"),
        ('uri = "/dev/video0"', "uri = 0", "cameras.tool.uri = 0: allowed is a valid string"),
        ("width = 640", "width = 640.5", "cameras.tool.width = 640.5: allowed is >= 16 and <= 8192"),
        ("width = 640", "width = nan", "cameras.tool.width = nan: allowed is >= 16"),
        ("valid_ms = 200", "valid_ms = inf", "bus.valid_ms = inf: allowed is > 0"),
        ("[cameras.tool]", "[cameras.Tool]", "name cameras.Tool = 'Tool': allowed is lower-case letters"),
        ('"j1", "j2"', '"j1", "j1"', "sensors.joints.names = ['j1', 'j1']: allowed is each name once"),
        ('"struct:<2d"', '"struct:<3d"', "sensors.joints.codec = 'struct:<3d': allowed is a format of 2 values"),
        ('"struct:<2d"', '"struct:<2s"', "sensors.joints.codec = 'struct:<2s': allowed is numbers only"),
        ('"struct:<2d"', '"struct:<zz"', "sensors.joints.codec = 'struct:<zz': allowed is a format of Python's"),
        ('"struct:<2d"', '"xml"', "sensors.joints.codec = 'xml': allowed is"),
        ('unit = "rad"', 'unit = ["rad"]', "sensors.joints.unit = ['rad']: allowed is one unit, or one for each"),
        ('unit = "rad"', 'unit = "rad"\nhistory_ms = 5', "sensors.joints.history_ms = 5.0: allowed is at least"),
        ('"sensor:joints"', '"sensor:arm"', "guard.measured = 'sensor:arm': allowed is one of sensor:joints"),
        ('"sensor:button"', '"button"', "guard.enable = 'button': allowed is"),
        ('measured = "sensor:joints"', "", "guard.following_error = 0.2: allowed is guard.measured"),
        ("min = -3.1, max = 3.1", "min = 3.1, max = -3.1", "guard.limits.j1.min = 3.1: allowed is less than max"),
        ("velocity = 1.5", "velocity = -1.5", "guard.limits.j1.velocity = -1.5: allowed is > 0"),
        ("velocity = 1.5", "speed = 1.5", "guard.limits.j1.speed = 1.5: unknown key; known are min, max, step"),
        ('on = "limit"', 'on = "clip"', "guard.limits.j2.on = 'clip': allowed is one of hold, limit"),
        ("deadline_ms = 5", "deadline_ms = 11", "loop.deadline_ms = 11.0: allowed is at most one period, 10 ms"),
        ("rate_hz = 100", 'clock = "camera:side"', "loop.clock = 'camera:side': allowed is one of timer, camera:tool"),
        ("rate_hz = 100", 'rate_hz = 100\nclock = "camera:tool"', "loop.rate_hz = 100.0: allowed is nothing, or"),
        ('uri = "/dev/video0"', 'uri = "http://cam/"', "cameras.tool.uri = 'http://cam/': allowed is an index, a /dev"),
        ('name = "reach"', 'name = "reach"\nrequire_signature = true', "engine.require_signature = True: allowed is"),
        ("valid_ms = 200", 'valid_ms = 200\npublish = ["frame"]', "bus.publish = 'frame': allowed is one of frames,"),
        (
            "valid_ms = 200",
            'valid_ms = 200\nbind.masks = "tcp://lo:1"',
            "bus.bind.masks = 'tcp://lo:1': allowed is a stream",
        ),
        (
            "valid_ms = 200",
            'valid_ms = 200\nbind.action = "udp://x:1"',
            "bus.bind.action = 'udp://x:1': allowed is tcp://",
        ),
        (
            "valid_ms = 200",
            'valid_ms = 200\nbind.action = "tcp://lo:0"',
            "bus.bind.action = 'tcp://lo:0': allowed is tcp://",
        ),
        (
            "valid_ms = 200",
            'valid_ms = 200\nbind = { action = "ipc:///x", health = "ipc:///x" }',
            "bus.bind.health = 'ipc:///x': allowed is an endpoint of its own",
        ),
        (
            "tcp://10.0.0.2:5555",
            "tcp://10.0.0.2",
            "sensors.joints.endpoint = 'tcp://10.0.0.2': allowed is tcp://<address>",
        ),
        ("tcp://10.0.0.2:5555", f"ipc:///{'x' * 107}", "sensors.joints.endpoint = 'ipc:///xxx"),
        (
            'uri = "/dev/video0"',
            'uri = "zmq+tcp://cam"',
            "cameras.tool.uri = 'zmq+tcp://cam': allowed is zmq+tcp://<address>",
        ),
        ('uri = "/dev/video0"', 'uri = "0"\nlatency_ms = 100', "cameras.tool.latency_ms = 100.0: allowed is less than"),
        ("[sensors.button]", "[sensors.tool]", "sensors.tool = 'tool': allowed is a name that no camera has"),
        ("valid_ms = 200", 'valid_ms = 200\nsecret_key = "/k"', "bus.secret_key = '/k': allowed is bus.authorized"),
    ],
)
def test_one_fault(write: Write, old: str, new: str, expected: str) -> None:
    assert old in PICK
    lines = faults(write(PICK.replace(old, new, 1)))
    assert any(expected in line for line in lines), lines
    assert all(str(line).startswith(("/", "EDGED")) for line in lines)


@pytest.mark.parametrize(
    ("bus", "allowed"),
    [
        ('bind.action = "tcp://127.0.0.1:5601"', True),
        ('bind.action = "tcp://[::1]:5601"', True),
        ('bind.action = "tcp://localhost:5601"', True),
        ('bind.action = "tcp://0.0.0.0:5601"', False),
        ('bind.action = "tcp://*:5601"', False),
        ('bind.health = "tcp://10.0.0.7:5601"', False),
        ('bind.action = "tcp://*:5601"\ninsecure = true', True),
        ('bind.action = "tcp://*:5601"\nsecret_key = "/k"\nauthorized = "/a"', True),
        ('bind.control = "tcp://127.0.0.1:5601"\ninsecure = true', False),
        ('bind.control = "tcp://*:5601"\nsecret_key = "/k"\nauthorized = "/a"', True),
    ],
)
def test_the_network_needs_keys(write: Write, bus: str, allowed: bool) -> None:
    path = write(PICK + bus)
    if allowed:
        assert load_config(path).bus.bind
    else:
        assert "bus.bind" in faults(path)[0]


def test_a_file_that_is_not_there_or_no_toml(tmp_path: Path, write: Write) -> None:
    assert "cannot be read: No such file" in faults(tmp_path / "none.toml")[0]
    assert "cannot be read" in faults(tmp_path)[0]
    assert "not TOML: " in faults(write("[loop\n"))[0]
    path = write("")
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8 at byte 0" in faults(path)[0]


@pytest.mark.parametrize("text", ["daemon = 3", "loop = []", "cameras = 1", "[cameras]\ntool = 1", "guard.limits = 1"])
def test_a_table_that_is_none_is_a_fault_not_a_crash(write: Write, text: str) -> None:
    key = text.partition("=")[0].strip().removeprefix("[cameras]\n")
    assert any(key in line for line in faults(write(text)))


def test_a_section_that_is_missing_is_asked_for_with_what_it_needs(write: Write) -> None:
    path = write("")
    assert faults(path) == [
        f"{path}: engine: missing; add [engine] with name",
        f"{path}: bus: missing; add [bus] with valid_ms",
    ]


def test_a_file_name_that_is_no_daemon_name_says_so(tmp_path: Path) -> None:
    path = tmp_path / "My Cell.toml"
    path.write_text(PICK, encoding="utf-8")
    (line,) = faults(path)
    assert "daemon.name = 'My Cell'" in line
    assert load_config(path, ["daemon.name=my-cell"]).daemon.name == "my-cell"


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
        stream: f"ipc:///run/edged/pick/{stream}" for stream in ("action", "health", "events", "control")
    }
    inspect = PICK[: PICK.index("[guard]")] + '[bus]\nvalid_ms = 500\npublish = ["frames"]\n'
    config = load_config(write(inspect))
    assert streams(config) == ("masks", "health", "events", "control", "frames-tool")


@given(room=st.integers(0, 120), camera=st.from_regex(r"[a-z][a-z0-9_-]{0,40}", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_socket_path_is_ever_longer_than_the_kernel_takes(write: Write, room: int, camera: str) -> None:
    text = PICK.replace("cameras.tool", f"cameras.{camera}").replace("/run/edged/pick", "/" + "r" * room)
    path = write(text + f'publish = ["frames-{camera}"]\n')
    if max(len(f"/{'r' * room}/frames-{camera}"), len(f"/{'r' * room}/control")) > 107:
        (line,) = faults(path)
        assert "daemon.runtime" in line
        assert "set a shorter [daemon] runtime" in line
    else:
        paths = [endpoint.removeprefix("ipc://") for endpoint in endpoints(load_config(path)).values()]
        assert max(map(len, paths)) <= 107


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
    assert running_runtime("pick") == tmp_path / "edged" / "pick"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    private = load_config(path).daemon.runtime.parent
    assert private.parent == tmp_path
    assert private.stat().st_mode & 0o777 == 0o700
    private.chmod(0o755)
    assert "not a private folder" in faults(path)[0]


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("0", "device"),
        ("/dev/video2", "device"),
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
