"""The cell, its camera and its controller as real processes on real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import zmq

from edged.client import Message, SensorSender, Stream
from edged.core.clock import NS_PER_MS, NS_PER_S, boot_id, monotonic_ns, sleep_until
from edged.core.types import Reason
from edged.demo.arm import MAX_VELOCITY
from edged.demo.bus import CELL, FRAMES, JOINTS, CommandLine, Context, Pose, endpoint, sensor_sender
from edged.demo.cell import Cell
from edged.demo.reach_task import HOME, HOME_TIP
from edged.demo.tool_view import GREY, HEIGHT, WIDTH
from edged.runtime.publish import Outlet
from edged.runtime.sender import Sender
from edged.wire import Flag, Kind, decode, encode

NAMES = [*JOINTS, "tool"]
NO_FLAGS = Flag(0)
Played: TypeAlias = "tuple[subprocess.Popen[str], Daemon, SensorSender, zmq.Socket[bytes]]"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for ipc paths."""
    with tempfile.TemporaryDirectory(prefix="reach") as name:
        yield Path(name)


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as made:
        yield made


@contextlib.contextmanager
def process(module: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`python -m edged.demo.<module>`, ended by SIGTERM at the latest when the test is over."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"edged.demo.{module}", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def end(running: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """SIGTERM; all it printed."""
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=20)
    assert running.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def next_line(running: subprocess.Popen[str]) -> dict[str, Any]:
    assert running.stdout is not None
    line: dict[str, Any] = json.loads(running.stdout.readline())
    return line


def heard(stream: Stream, enough: Callable[[Message], bool] = lambda _: True, seconds: float = 10.0) -> Message:
    """The first message of which `enough` is true."""
    until_ns = monotonic_ns() + round(seconds * NS_PER_S)
    while monotonic_ns() < until_ns:
        stream.wait(50)
        message = stream.latest()
        if isinstance(message, Message) and enough(message):
            return message
    raise AssertionError(f"nothing like that on {stream.topic} within {seconds} s")


class Daemon:
    """What a controller hears of a daemon: verdicts, sent as the test wants them."""

    def __init__(self, context: Context, at: str) -> None:
        self.outlet = Outlet(context, "pick/action", [at])
        self.sender = Sender("pick", monotonic_ns(), boot_id())

    def act(self, joints: np.ndarray, here: np.ndarray, valid_ms: int = 200) -> None:
        """A single action to `joints` [6] within 33 ms, from `here`."""
        now_ns = monotonic_ns()
        header = {"names": NAMES, "t0_ns": now_ns + 33 * NS_PER_MS, "step_ns": 33 * NS_PER_MS}
        action = np.append(joints, 1.0).astype(np.float32)[None]
        velocity = np.append((joints - here) / 0.033, 0.0).astype(np.float32)[None]
        preamble = self.sender.preamble(Kind.ACTION, self.outlet.seq + 1, now_ns, now_ns, valid_ms * NS_PER_MS)
        arrays = (("action", action), ("velocity", velocity))
        self.outlet.send(encode("pick/action", preamble, {**header, "units": ["rad"] * 6 + [""]}, arrays))

    def hold(self, reason: Reason) -> None:
        now_ns = monotonic_ns()
        flags = Flag.STOP if reason.stop else NO_FLAGS
        preamble = self.sender.preamble(
            Kind.HOLD, self.outlet.seq + 1, now_ns, now_ns, 100 * NS_PER_MS, reason=int(reason), flags=flags
        )
        self.outlet.send(encode("pick/action", preamble, {"reason": reason.name, "detail": "test"}))


def test_a_pose_survives_the_bus() -> None:
    pose = Pose(np.arange(3.0), np.eye(3), (0.5, -0.1), 3, 4)
    back = Pose.parse(pose.values())
    assert np.array_equal(back.rotation, np.eye(3))
    assert (back.target, back.table, back.light) == ((0.5, -0.1), 3, 4)
    assert Pose.parse(Pose(np.zeros(3), np.eye(3), None, 0, 0).values()).target is None
    with pytest.raises(ValueError, match="16 numbers"):
        Pose.parse(np.zeros(7))


def test_the_cell_speaks_100_times_a_second_obeys_holds_and_is_jogged(folder: Path, context: Context) -> None:
    with (
        process("cell", "--folder", folder, "--targets", 3) as cell,
        Stream(endpoint(folder, "joints"), f"{CELL}/joints", 500, context) as joints,
        Stream(endpoint(folder, "imu"), f"{CELL}/imu", 500, context) as imu,
        Stream(endpoint(folder, "force"), f"{CELL}/force", 500, context) as force,
        contextlib.closing(CommandLine(context, folder)) as line,
    ):
        assert next_line(cell)["event"] == "ready"
        assert line.wait_connected(5000)
        assert heard(imu).arrays["values"].shape == (6,)
        assert heard(force).arrays["values"].shape == (3,)
        first = heard(joints)
        later = heard(joints, lambda m: m.seq >= first.seq + 50)
        rate_hz = (later.seq - first.seq) / (later.captured_ns - first.captured_ns) * 1e9
        assert 60 < rate_hz < 110
        goal = HOME + 0.1
        for _ in range(60):
            line.move(goal, 1.0)
            sleep_until(monotonic_ns() + 10 * NS_PER_MS)
        assert next_line(cell)["event"] == "started"
        assert np.abs(heard(joints).arrays["values"] - goal).max() < 0.01
        line.move(np.full(6, np.nan), 0.0)
        line._socket.send(b"garbage")
        sleep_until(monotonic_ns() + 300 * NS_PER_MS)
        assert np.abs(heard(joints).arrays["values"] - goal).max() < 0.01, "it holds where it was"
        line.jog(0.4)
        heard(joints, lambda m: bool(np.abs(m.arrays["values"] - goal).max() > 0.3))
        events = end(cell)
    assert [e["ok"] for e in events if e["event"] == "jog"] == [True]
    assert events[-1]["event"] == "final"


def test_a_jog_moves_the_tip_40_cm_and_only_an_arm_that_nobody_commands() -> None:
    cell, now_ns = Cell(seed=1, targets=2, patience_s=4.0), NS_PER_S
    preamble = Sender("controller", 1, boot_id()).preamble(Kind.SAMPLE, 1, now_ns, now_ns, NS_PER_S)
    values = (("values", np.append(HOME, 0.0)),)
    assert cell.receive(decode(encode("controller/setpoint", preamble, {}, values)), now_ns) == {"event": "started"}
    assert cell.jog(0.4, now_ns + NS_PER_MS)["ok"] is False
    quiet_ns = now_ns + NS_PER_S
    assert cell.jog(0.4, quiet_ns)["ok"] is True
    for _ in range(1000):
        cell.step(quiet_ns)
    assert np.linalg.norm(cell.arm.site("tip")[0] - HOME_TIP) == pytest.approx(0.4, abs=0.01)


def test_the_camera_stamps_pictures_with_the_time_of_their_pose(folder: Path, context: Context) -> None:
    pose = Pose(np.array([0.62, 0.0, 0.42]), np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]]), (0.55, 0.0), 1, 2)
    feed = sensor_sender(context, folder, "pose", monotonic_ns())
    with (
        contextlib.closing(feed),
        process("tool_camera", "--folder", folder, "--snapshot", folder / "s.png") as camera,
        Stream(endpoint(folder, "frames"), FRAMES, 500, context) as frames,
    ):
        stamps, until_ns = set(), monotonic_ns() + 10 * NS_PER_S
        pictures: list[Message] = []
        while len(pictures) < 5 and monotonic_ns() < until_ns:
            stamps.add(stamp_ns := monotonic_ns())
            feed.send(pose.values(), stamp_ns)
            sleep_until(stamp_ns + 10 * NS_PER_MS)
            if isinstance(message := frames.latest(), Message):
                pictures.append(message)
        assert {picture.captured_ns for picture in pictures} <= stamps
        assert len(pictures) == 5
        assert pictures[0].arrays["image"].shape == (HEIGHT, WIDTH, 3)
        assert pictures[0].arrays["image"].std() > 5
        assert end(camera)[-1]["final"] is True
        assert (folder / "s.png").stat().st_size > 1000


def test_a_covered_camera_sends_grey(folder: Path, context: Context) -> None:
    pose = Pose(np.array([0.5, 0, 0.4]), np.eye(3), (0.5, 0.0), 1, 2)
    with (
        contextlib.closing(sensor_sender(context, folder, "pose", monotonic_ns())) as feed,
        process("tool_camera", "--folder", folder, "--blank") as camera,
        Stream(endpoint(folder, "frames"), FRAMES, 500, context) as frames,
    ):
        message, until_ns = None, monotonic_ns() + 10 * NS_PER_S
        while not isinstance(message, Message) and monotonic_ns() < until_ns:
            feed.send(pose.values(), monotonic_ns())
            sleep_until(monotonic_ns() + 10 * NS_PER_MS)
            message = frames.latest()
        assert isinstance(message, Message)
        assert (message.arrays["image"] == GREY).all()
        end(camera)


@contextlib.contextmanager
def controlled(
    folder: Path, context: Context
) -> Iterator[tuple[subprocess.Popen[str], Daemon, SensorSender, zmq.Socket[bytes]]]:
    """A controller process between a daemon and a cell that the test plays."""
    at = endpoint(folder, "action")
    ears = context.socket(zmq.PULL)
    ears.bind(endpoint(folder, "setpoint"))
    daemon, joints = Daemon(context, at), sensor_sender(context, folder, "joints", monotonic_ns())
    try:
        with process(
            "controller", "--folder", folder, "--action", at, "--topic", "pick/action", "--trace", folder / "t.json"
        ) as running:
            yield running, daemon, joints, ears
    finally:
        daemon.outlet.close()
        joints.close()
        ears.close(linger=0)


def setpoints(ears: zmq.Socket[bytes], wait_ms: int = 0) -> list[np.ndarray]:
    """All that the controller has sent by now: [7] each."""
    found = []
    while ears.poll(wait_ms):
        found.append(np.array(decode(ears.recv()).arrays["values"]))
    return found


def test_the_controller_obeys_stops_on_silence_and_resumes_where_the_arm_is(folder: Path, context: Context) -> None:
    with controlled(folder, context) as (running, daemon, joints, ears):
        here, until_ns = np.zeros(6), monotonic_ns() + 15 * NS_PER_S
        moves: list[np.ndarray] = []
        while len(moves) < 100 and monotonic_ns() < until_ns:  # joints 1 rad ahead: it goes as fast as it may
            joints.send(here, monotonic_ns())
            daemon.act(here + 0.05, here)
            sleep_until(monotonic_ns() + 20 * NS_PER_MS)
            moves += setpoints(ears)
            here = moves[-1][:6] if moves else here
        assert len(moves) >= 100
        path = np.array(moves)
        assert (np.abs(np.diff(path[:, :6], axis=0)) <= MAX_VELOCITY * 0.02 * 1.05 + 1e-6).all()
        assert path[0, 0] < 0.02, "it began at the measured pose"
        assert (path[:, 6] == 1.0).all()
        moves += setpoints(ears, wait_ms=400)  # the daemon is silent: it slows down and stops sending
        jogged = moves[-1][:6] - 0.4
        for _ in range(50):
            joints.send(jogged, monotonic_ns())
            sleep_until(monotonic_ns() + 10 * NS_PER_MS)
        assert setpoints(ears) == []
        daemon.hold(Reason.TRACKING)  # the arm is not where it was told to be; what follows begins where it is
        sleep_until(monotonic_ns() + 100 * NS_PER_MS)
        after: list[np.ndarray] = []
        while not after and monotonic_ns() < until_ns:
            joints.send(jogged, monotonic_ns())
            daemon.act(jogged + 0.02, jogged)
            after = setpoints(ears, wait_ms=10)
        assert np.abs(after[0][:6] - jogged).max() < 0.03, "it resumes from where the arm is"
        daemon.hold(Reason.OPERATOR)
        setpoints(ears, wait_ms=400)
        final = end(running)[-1]
    assert final["holds"] == {"TRACKING": 1, "OPERATOR": 1}
    assert final["stops"] == 2
    assert final["lost"] >= 1
    assert final["anchor_jump"] < 0.03
    assert final["state"] == "idle"
    trace = json.loads((folder / "t.json").read_text())
    assert len(trace["times_s"]) == len(trace["latencies_ms"]) > 5
    assert [hold[2] for hold in trace["holds"]] == ["TRACKING", "OPERATOR"]
