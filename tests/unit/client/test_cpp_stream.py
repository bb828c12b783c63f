"""The C++ client beside a live sender: what `edged.client.Stream` promises, it promises."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cpp_reader import ROOT, SANITIZED, build, environment
from fake_publisher import MS, TOPIC, Daemon

from edged.client import Kind, Message, Subscription
from edged.core.types import Reason
from edged.wire import MAX_MESSAGE, Flag, Preamble, encode

STOP = {"kind": Kind.HOLD, "reason": int(Reason.OPERATOR), "flags": Flag.STOP}


@pytest.fixture(scope="module")
def program() -> Path:
    return build("reader", *SANITIZED)


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


class Reader:
    """The program, its lines one by one, and its counters at the end."""

    def __init__(self, program: Path, *words: object) -> None:
        command = [program, *map(str, words)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, f"it ended with {self.process.wait()}"
        return line

    def message(self) -> list[str]:
        """Kind, seq, stop, motion, value of the next line."""
        words = self.line().split()
        assert words[0] == "message", words
        return words[1:6]

    def end(self) -> list[str]:
        out, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return out.splitlines()

    def health(self) -> dict[str, int]:
        names = [
            "received",
            "",
            "malformed",
            "old",
            "expired",
            "future",
            "not finite",
            "restarts",
            "missing",
            "cut",
            "fresh",
        ]
        return dict(zip(names, map(int, self.end()[-1].split()[1:]), strict=True))


@pytest.fixture
def pair(program: Path, endpoint: str) -> Iterator[tuple[Daemon, Reader]]:
    with Daemon(endpoint, session=time.monotonic_ns()) as daemon:
        reader = Reader(program, "stream", endpoint, TOPIC, 60_000)
        try:
            daemon.await_readers()
            yield daemon, reader
        finally:
            reader.process.kill()
            reader.process.communicate()


def now() -> int:
    return time.monotonic_ns()


def test_it_takes_what_is_newer_and_good_and_counts_the_rest(pair: tuple[Daemon, Reader]) -> None:
    daemon, reader = pair
    at = now()
    daemon.send(at, motion=1, value=2.5, valid_ms=5000)
    words = reader.line().split()
    assert words == ["message", "1", "1", "0", "1", "2.5", str(at + 5000 * MS)]
    held_back = daemon.message(now(), motion=1)
    for data in (
        daemon.message(now(), motion=1, valid_ms=0),
        daemon.message(now() + 10**12, motion=1),
        daemon.message(now(), motion=1, value=float("nan")),
        daemon.message(now(), motion=1, velocity=float("inf")),
        held_back,
        b"not a message" + TOPIC.encode(),
        TOPIC.encode() + b"\0 nor this",
    ):
        daemon.socket.send(data)
        time.sleep(0.02)  # else the newest wins, as it should
    daemon.send(now(), motion=1, value=7)
    assert reader.message()[4] == "7"
    health = reader.health()
    assert {name: count for name, count in health.items() if name} == {
        "received": 8, "malformed": 1, "old": 1, "expired": 1, "future": 1, "not finite": 2, "restarts": 0,
        "missing": 2, "cut": 0, "fresh": 1,
    }  # fmt: skip


def test_a_stop_counts_however_old_and_a_missed_one_comes_first(pair: tuple[Daemon, Reader]) -> None:
    daemon, reader = pair
    daemon.send(now(), motion=1)
    assert reader.message()[3] == "1"
    daemon.send(now() - 10**9, motion=2, valid_ms=1, **STOP)
    assert reader.message() == ["4", "2", "1", "2", "0"]
    daemon.send(now(), motion=2)
    assert reader.message()[3] == "2"
    daemon.send(now(), motion=3, valid_ms=0)  # the first after a stop that was not heard does not count
    time.sleep(0.02)
    daemon.send(now(), motion=3, value=7, valid_ms=5000)
    assert "stop was missed" in reader.line()
    assert reader.message()[3:] == ["3", "7"]
    daemon.session = now()
    daemon.send(now(), motion=3, value=8, valid_ms=5000)
    assert "stop was missed" in reader.line(), "restarted: whatever it was, it has stopped"
    assert reader.message()[4] == "8"
    assert reader.health()["restarts"] == 1


def test_silence_is_lost_and_a_restarted_daemon_is_followed(program: Path, endpoint: str) -> None:
    reader = Reader(program, "stream", endpoint, TOPIC, 100)
    try:
        assert reader.line() == "lost nothing was ever heard"
        with Daemon(endpoint, session=now()) as daemon:
            daemon.await_readers()
            daemon.send(now(), value=1)
            assert reader.message()[4] == "1"
            assert reader.line() == "lost silent"
        with Daemon(endpoint, session=now()) as daemon:
            daemon.await_readers()
            daemon.send(now(), value=2)
            assert reader.message()[4] == "2"
        assert reader.health()["restarts"] == 1
    finally:
        reader.process.kill()
        reader.process.communicate()


def test_a_sender_beyond_the_wire_does_not_end_it(pair: tuple[Daemon, Reader]) -> None:
    """libzmq never reconnects by itself after a peer that broke the protocol, as one does that sends too much."""
    daemon, reader = pair
    daemon.socket.send(TOPIC.encode() + bytes(MAX_MESSAGE))
    for kind in (b"\0", b"\1"):  # it went, and it came again
        assert daemon.socket.poll(20_000)
        assert daemon.socket.recv()[:1] == kind
    daemon.send(now(), value=3, valid_ms=20_000)
    assert reader.message()[4] == "3"
    assert reader.health()["cut"] == 1


def test_events_are_given_one_by_one(program: Path, endpoint: str) -> None:
    with Daemon(endpoint) as daemon:
        reader = Reader(program, "events", endpoint, "cell/events")
        daemon.await_readers()
        for seq in range(1, 101):
            preamble = Preamble(Kind.EVENT, 0, Flag(0), 1, seq, 0, now(), 0, daemon.boot, bytes(8))
            daemon.socket.send(encode("cell/events", preamble, {"event": f"e{seq}"}))
            if seq == 50:
                daemon.socket.send_multipart([b"cell/events\0", b"several"])
        assert [reader.line() for _ in range(100)] == [f"event {seq} e{seq}" for seq in range(1, 101)]
        assert reader.end() == ["malformed 1"]


def test_nothing_is_allocated_after_the_first_message(endpoint: str) -> None:
    program = build("reader", "-O2", "-DCOUNT_ALLOCATIONS")
    with Daemon(endpoint) as daemon:
        reader = Reader(program, "allocations", endpoint, TOPIC)
        daemon.await_readers()
        while reader.process.poll() is None:
            daemon.send(now(), valid_ms=5000, value=1)
            time.sleep(0.002)
        assert reader.end() == ["0 allocations in 50 messages"]


def test_samples_sent_in_cpp_are_what_python_reads(program: Path, endpoint: str) -> None:
    reader = Reader(program, "samples", endpoint, "cell/joints")
    with Subscription(endpoint, "cell/joints") as heard:
        messages = []
        while len(messages) < 20:
            message = heard.receive(20_000)
            assert isinstance(message, Message)
            messages.append(message)
    assert reader.end() == []
    first = messages[0]
    assert (first.kind, first.topic, first.valid_for_ns) == (Kind.SAMPLE, "cell/joints", 1000 * MS)
    assert first.header["names"] == ["x", "y", "longer than thirty-one characters"]
    assert first.header["unit"] == "rad"
    assert first.captured_ns < first.published_ns <= first.captured_ns + 1000 * MS
    assert [message.seq - first.seq for message in messages] == list(range(20)), "what was not sent has no number"
    for message in messages:
        assert message.arrays["values"].tolist() == [message.seq, -0.5, 1e300]


def test_a_sender_that_cannot_bind_says_so(program: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [program, "samples", f"ipc://{tmp_path}/none/s", "t"], capture_output=True, text=True, env=environment()
    )
    assert "cannot send on" in done.stderr


@pytest.mark.parametrize("third", ["", "x"])
def test_names_that_name_no_value_are_refused(program: Path, endpoint: str, third: str) -> None:
    done = subprocess.run(
        [program, "samples", endpoint, "t", third], capture_output=True, text=True, env=environment(), timeout=20
    )
    assert done.returncode != 0
    assert "none empty, none twice" in done.stderr


def test_a_sender_takes_no_readers_from_another(program: Path, endpoint: str) -> None:
    with Reader(program, "samples", endpoint, "cell/joints").process as first:
        command = [program, "samples", endpoint, "cell/joints"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=20)
        assert f"another process sends on {endpoint}" in done.stderr
        with Subscription(endpoint, "cell/joints") as heard:
            assert isinstance(heard.receive(20_000), Message)
        first.kill()
    with Reader(program, "samples", endpoint, "cell/joints").process as later:  # what a dead one left is no hindrance
        later.kill()


USER = """
cmake_minimum_required(VERSION 3.18)
project(user CXX)
find_package(edged-client 1 REQUIRED)
add_executable(user {example})
target_link_libraries(user PRIVATE edged::client)
"""


def test_the_package_is_found_and_the_example_follows(program: Path, endpoint: str, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake: apt-get install cmake")
    ours, prefix = ROOT / "clients" / "cpp", tmp_path / "prefix"
    (tmp_path / "CMakeLists.txt").write_text(USER.format(example=ours / "examples" / "follow.cpp"), encoding="utf-8")
    for words in (
        ["-S", ours, "-B", tmp_path / "package", "-DEDGED_EXAMPLES=OFF"],
        ["--install", tmp_path / "package", "--prefix", prefix],
        ["-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"],
        ["--build", tmp_path / "build"],
    ):
        done = subprocess.run(["cmake", *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    with Daemon(endpoint, session=now()) as daemon:
        running = subprocess.Popen([tmp_path / "build" / "user", endpoint, TOPIC], stdout=subprocess.PIPE, text=True)
        daemon.await_readers()
        assert running.stdout is not None
        daemon.send(now(), value=0.5, valid_ms=60_000)
        lines = iter(running.stdout.readline, "")
        assert next(line for line in lines if "lost" not in line) == "follow #1 0.5000 ...\n"
        daemon.send(now(), **STOP)
        assert next(line for line in lines if "lost" not in line).startswith("STOP reason 19")
        running.terminate()
        running.communicate(timeout=20)
        assert running.returncode == 0
