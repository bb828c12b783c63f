"""How a mistake in a config is told: file, key, value, what is allowed."""

from __future__ import annotations

import configs
import pytest
from configs import PICK, Write, faults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.config import endpoints, load_config

write, quiet_environment = configs.write, configs.quiet_environment


def test_an_unknown_variable_of_ours_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_LOP__RATE_HZ", "1")
    assert faults(write(PICK)) == [
        "EDGED_LOP__RATE_HZ: no section 'lop'; sections are daemon, loop, cameras, sensors, engine, execution, guard, "
        "inspection, trigger, evidence, bus, swap, record, log"
    ]


def test_frames_that_no_message_holds_cannot_be_published(write: Write) -> None:
    text = PICK.replace("width = 640", "width = 8192").replace("height = 480", "height = 4096")
    lines = faults(write(text.replace("valid_ms = 200", "valid_ms = 200\npublish = ['frames']")))
    said = "bus.publish = ['frames']: allowed is cameras of at most 64 MiB a frame; tool has 96"
    assert any(said in line for line in lines), lines


def test_a_robot_that_brakes_needs_something_that_says_when_it_has_stopped(write: Write) -> None:
    text = PICK.replace("velocity = 1.5", "velocity = 1.5, acceleration = 5").replace("following_error = 0.2", "")
    assert load_config(write(text)).guard.limits["j1"].acceleration == 5
    blind = text.replace('measured = "sensor:joints"', "")
    (line,) = faults(write(blind))
    assert "guard.limits.j1.acceleration = 5.0: allowed is guard.stop_ms beside it" in line
    assert load_config(write(text.replace('measured = "sensor:joints"', "stop_ms = 800"))).guard.stop_ms == 800


@pytest.mark.parametrize(
    "codec", ["struct:<2d\u00a0", "struct:\u2039d", "struct:<999999999x2d", "struct:<99999999999999999999d"]
)
def test_a_format_that_struct_does_not_take_is_told(write: Write, codec: str) -> None:
    (line,) = faults(write(PICK.replace("struct:<2d", codec)))
    assert "sensors.joints.codec" in line
    assert "such as struct:<2d" in line


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("velocity = 1.5, acceleration = 0.04", "acceleration = 0.04: allowed is at least 0.05: velocity = 1.5 is"),
        ("acceleration = 1e-9", "acceleration = 1e-09: allowed is >= 0.001"),
        ("acceleration = 8, jerk = 0.2", "jerk = 0.2: allowed is at least 0.266667: acceleration = 8 is gone within"),
    ],
)
def test_a_robot_that_would_take_minutes_to_stop_is_told(write: Write, limit: str, said: str) -> None:
    (line,) = faults(write(PICK.replace("velocity = 1.5", limit)))
    assert f"guard.limits.j1.{said}" in line


def test_all_faults_are_told_at_once_with_file_key_value_and_range(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(PICK.replace("valid_ms = 200", "valid_ms = -1").replace("deadline_ms = 5", "deadline = 5"))
    monkeypatch.setenv("EDGED_LOOP__FIFO", "100")
    lines = faults(path, "loop.rate_hz=0")
    assert lines == [
        f"{path} (--set): loop.rate_hz = 0: allowed is >= 0.001 and <= 2000 (ticks per second of the timer clock)",
        f"{path} (environment): loop.fifo = '100': allowed is >= 0 and <= 99 "
        "(SCHED_FIFO priority of the loop; 0 leaves the scheduler alone)",
        f"{path}: loop.deadline = 5: unknown key; known are clock, rate_hz, deadline_ms, fifo, cpus, spin_ms, mlock"
        "; did you mean deadline_ms?",
        f"{path}: bus.valid_ms = -1: allowed is >= 0.001 and <= 60000 "
        "(how long a verdict may be obeyed after it was published; "
        "if absent 100, or three periods and 10 where that is more)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "valid_ms = 200",
            'valid_ms = 200\n[execution]\ninference = "async"',
            'loop.deadline_ms = 5.0: allowed is nothing: with [execution] inference = "async" no tick waits',
        ),
        ("valid_ms = 200", "valid_ms = 200\n[execution]\ninference = 'fast'", "execution.inference = 'fast'"),
        (
            "valid_ms = 200",
            "valid_ms = 200\n[execution]\noverlap = true",
            "execution.overlap = True: allowed is false: a",
        ),
        ('name = "reach"', "", "engine.name: missing"),
        ("[loop]", "[lop]", "lop = {'rate_hz': 100, 'deadline_ms': 5}: unknown key; known are daemon, loop"),
        ('uri = "/dev/video0"', "uri = 0", "cameras.tool.uri = 0: allowed is a text in quotes"),
        ("width = 640", "width = 640.5", "cameras.tool.width = 640.5: allowed is >= 16 and <= 8192"),
        ("width = 640", "width = 640\nshare = 'No Name'", "cameras.tool.share = 'No Name': allowed is the <name> of"),
        ('uri = "/dev/video0"', "uri = 'shm:x'\nshare = 'y'", "cameras.tool.share = 'y': allowed is nothing: they are"),
        ("width = 640", "width = nan", "cameras.tool.width = nan: allowed is >= 16"),
        ("valid_ms = 200", "valid_ms = inf", "bus.valid_ms = inf: allowed is >= 0.001"),
        ("rate_hz = 100", "rate_hz = 1e-300", "loop.rate_hz = 1e-300: allowed is >= 0.001"),
        ("width = 640", "width = 640\nfps = 1e-9", "cameras.tool.fps = 1e-09: allowed is >= 0.001"),
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
        ("velocity = 1.5", "jerk = 50", "guard.limits.j1.jerk = 50.0: allowed is acceleration beside it"),
        ("velocity = 1.5", "speed = 1.5", "guard.limits.j1.speed = 1.5: unknown key; known are min, max, step"),
        ('on = "limit"', 'on = "clip"', "guard.limits.j2.on = 'clip': allowed is one of hold, limit"),
        ("rate_hz = 100", 'rate_hz = "100"', "loop.rate_hz = '100': allowed is a number, without quotes"),
        ("rate_hz = 100", "rate_hz = 100\nfifo = true", "loop.fifo = True: allowed is a number, without quotes"),
        (
            "valid_ms = 200",
            "valid_ms = 200\n[execution]\nreplan = true",
            "execution.replan = True: allowed is a number",
        ),
        ("rate_hz = 100", 'rate_hz = 100\ncpus = [0, "1"]', "loop.cpus = '1': allowed is a number, without quotes"),
        ("rate_hz = 100", 'rate_hz = 100\nmlock = "no"', "loop.mlock = 'no': allowed is true or false, without"),
        ("velocity = 1.5", 'velocity = "1.5"', "guard.limits.j1.velocity = '1.5': allowed is a number, without"),
        ("deadline_ms = 5", "spin_ms = 1", "loop.spin_ms = 1.0: allowed is 0, or less than a period with loop.fifo"),
        ("deadline_ms = 5", "fifo = 9\nspin_ms = 10", "loop.spin_ms = 10.0: allowed is 0, or less than a period"),
        ("deadline_ms = 5", "deadline_ms = 11", "loop.deadline_ms = 11.0: allowed is at most one period, 10 ms"),
        ("rate_hz = 100", 'clock = "camera:side"', "loop.clock = 'camera:side': allowed is one of timer, camera:tool"),
        ("rate_hz = 100", 'rate_hz = 100\nclock = "camera:tool"', "loop.rate_hz = 100.0: allowed is nothing, or"),
        ('uri = "/dev/video0"', 'uri = "http://cam/"', "cameras.tool.uri = 'http://cam/': allowed is an index, a /dev"),
        (
            'name = "reach"',
            'name = "reach"\nbackend = "webgpu"\n[swap]\nduring = "live"',
            "swap.during = 'live': allowed is 'hold' with webgpu",
        ),
        ('name = "reach"', 'name = "reach"\nrequire_signature = true', "engine.require_signature = True: allowed is"),
        ("valid_ms = 200", 'valid_ms = 200\npublish = ["frame"]', "bus.publish = 'frame': allowed is one of frames,"),
        ("valid_ms = 200", 'valid_ms = 200\npublish = ["masks.zstd"]', "bus.publish = 'masks.zstd': allowed is one of"),
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
    ("rule", "expected"),
    [
        ("max_cuont = 0", "inspection.rules.1.max_cuont = 0: unknown key; known are name, classes, region, ignore,"),
        ("max_count = -1", "inspection.rules.1.max_count = -1: allowed is >= 0 and <= 1e+06 (more violate it;"),
        ('max_count = "0"', "inspection.rules.1.max_count = '0': allowed is a number, without quotes"),
        ('classes = "scratch"', "inspection.rules.1.classes = 'scratch': allowed is a list (class names it counts;"),
        ("region = 3", "inspection.rules.1.region = 3: allowed is a list (corners [x, y] in pixels"),
        ("region = [[1]]", "inspection.rules.1.region = [1]: allowed is a list of more items (corners"),
        ("ignore = [[[1, 1], [2, 2]]]", "inspection.rules.1.ignore = [[1, 1], [2, 2]]: allowed is at least 3 items ("),
        ('severity = "stop"', "inspection.rules.1.severity = 'stop': allowed is one of fail, warn"),
        ('name = "?"', "inspection.rules.1.name = '?': still open; what results call it"),
        ("", "inspection.rules.1.name: missing; add it: see the examples (what results call it)"),
    ],
)
def test_a_fault_in_a_list_of_tables_names_the_table_and_its_key(write: Write, rule: str, expected: str) -> None:
    name = "" if rule == "" or rule.startswith("name") else 'name = "second"\n'
    text = PICK[: PICK.index("[guard]")] + '[[inspection.rules]]\nname = "first"\nmax_count = 0\n[[inspection.rules]]\n'
    path = write(f"{text}{name}{rule}\n")
    (line,) = faults(path)
    assert line.startswith(f"{path}: {expected}")


def test_rules_that_are_no_list_and_rules_of_the_command_line(write: Write) -> None:
    path = write(PICK[: PICK.index("[guard]")] + "[inspection.rules]\nname = 'one'\n")
    (line,) = faults(path)
    assert line.startswith(f"{path}: inspection.rules = {{'name': 'one'}}: allowed is a list (all of them")
    path = write(PICK[: PICK.index("[guard]")] + "[inspection.calibration]\n")
    bounds = "homography: missing; add it: >= -1e+09 and <= 1e+09 (from"
    assert bounds in faults(path)[-1], "each bound once, of however many numbers"
    path = write(PICK[: PICK.index("[guard]")])
    (line,) = faults(path, "inspection.rules=[3]")
    assert line.startswith(f"{path} (--set): inspection.rules.0 = 3: allowed is a table")
    (line,) = faults(path, "inspection.rules=[{max_count = 1}]")
    assert line.startswith(f"{path} (--set): inspection.rules.0.name: missing; add it")


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


def test_a_section_that_is_missing_is_asked_for_with_what_it_needs(write: Write) -> None:
    path = write("")
    assert faults(path) == [f"{path}: engine: missing; add [engine] with name"]


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


@pytest.mark.parametrize(
    "camera",
    [
        'uri = "http://admin:s3cret@cam:80/mjpg"',
        'uri = "rtsp:admin:s3cret@cam"',
        'uri = "rtsp://cam/x"\nurl = "rtsp://admin:s3c/s3cret@cam/x"',
        'uri = ["rtsp://admin:s3cret@cam/x"]',
        'uri = { address = "rtsp://admin:s3cret@cam/x" }',
    ],
)
def test_no_mistake_makes_a_password_appear(write: Write, camera: str) -> None:
    path = write(PICK.replace('uri = "/dev/video0"', camera))
    lines = "\n".join(faults(path) + faults(path, "cameras.tool.uri=http://admin:s3cret@cam"))
    assert "cameras.tool" in lines
    assert "s3c" not in lines
    assert "s3cret" not in repr(load_config(write(PICK), ["cameras.tool.uri=rtsp://admin:s3cret@cam"]))


def test_compressed_masks_need_their_package(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PICK[: PICK.index("[guard]")] + '[bus]\nvalid_ms = 500\npublish = ["masks.zstd"]\n'
    assert endpoints(load_config(write(text)))["masks.zstd"].endswith("/masks.zstd")
    monkeypatch.setattr("edged.config.validation.find_spec", lambda name: None)
    assert any("pip install 'edged[zstd]'" in line for line in faults(write(text)))


def test_arming_from_afar_needs_an_enable_input(write: Write) -> None:
    text = PICK.replace("valid_ms = 200", "valid_ms = 200\narm = true")
    assert load_config(write(text)).bus.arm
    lines = faults(write(text.replace('enable = "sensor:button"\n', "")))
    assert any("bus.arm = True: allowed is guard.enable beside it" in line for line in lines), lines
