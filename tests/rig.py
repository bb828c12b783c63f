"""A daemon and what is around it, as real processes over real sockets, in a folder with a short path.

    def test_something(rig: Rig) -> None:
        rig.feed("state", np.zeros(15))
        daemon = rig.daemon(**state_cell(rig))
        actions = daemon.listen()
        actions.wait(is_action)

Everything started here is gone when the test ends, frozen or not, passed or failed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray
from watching import until

from edged.bench import ENGINES
from edged.bench.cell import AXES, STATE_NAMES
from edged.client import Kind, Message, RequestError, request
from edged.clock import NS_PER_S, boot_id, monotonic_ns
from edged.publish import Outlet, Sender
from edged.records import Reason
from edged.wire import decode, encode, subscription

FEEDS = Path(__file__).with_name("feeds.py")
PATIENCE_S = 30.0  # for what takes two seconds on an idle machine
MS = 1_000_000
SYSTEMD = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def is_action(message: Message) -> bool:
    return message.kind is Kind.ACTION


def holds(reason: Reason) -> Callable[[Message], bool]:
    return lambda message: message.kind is Kind.HOLD and message.reason == reason


class Process:
    """`python ARGUMENTS`; what it writes goes to a file."""

    def __init__(self, log: Path, *arguments: str, **environ: str) -> None:
        given = {name: value for name, value in os.environ.items() if name not in SYSTEMD}
        self._log = log
        self.since = time.monotonic()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**given, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **environ},
            )
        self.pid = self._popen.pid

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: no last words."""
        self._popen.kill()
        self._popen.wait()

    def exit_code(self, seconds: float = PATIENCE_S) -> int:
        """Wait for its end."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s: {self.said}") from None

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return self.exit_code()

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Listener(threading.Thread):
    """Every message of a stream in order, as long as the rig lasts."""

    def __init__(self, endpoint: str, topic: str, speaker: Process | None = None) -> None:
        super().__init__(daemon=True)
        self.messages: list[Message] = []
        self._speaker = speaker
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # nothing is lost on this side, and no heartbeat ends a connection
        self._socket.setsockopt(zmq.SUBSCRIBE, subscription(topic))
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self._socket.connect(endpoint)
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.is_set():
            if self._socket.poll(50):
                self.messages.append(decode(self._socket.recv()))
        self._socket.close(linger=0)
        self._context.term()

    def close(self) -> None:
        self._ended.set()
        self.join()

    def mark(self) -> int:
        """Where `since` and `wait` may begin: after all that has come so far."""
        return len(self.messages)

    def since(self, mark: int) -> list[Message]:
        return self.messages[mark:]

    def wait(self, wanted: Callable[[Message], bool], since: int = 0, seconds: float = PATIENCE_S) -> Message:
        """The first message from `since` on that is wanted."""
        seen = since

        def found() -> Message | None:
            nonlocal seen
            silent = self._dead()
            while seen < len(self.messages):
                seen += 1
                if wanted(self.messages[seen - 1]):
                    return self.messages[seen - 1]
            assert not silent, f"{tally(self.messages[since:])}; it said: {self._speaker.said if self._speaker else ''}"
            return None

        message: Message = until(found, seconds, lambda: tally(self.messages[since:]))
        return message

    def _dead(self) -> bool:
        """Whether nothing can come any more: the speaker ended and what it sent has had time to arrive."""
        if self._speaker is None or self._speaker.alive:
            return False
        time.sleep(0.3)
        return True

    def wait_count(self, count: int, since: int = 0, seconds: float = PATIENCE_S) -> list[Message]:
        """The first `count` messages from `since` on."""
        until(lambda: len(self.messages) >= since + count, seconds, lambda: tally(self.messages[since:]))
        return self.messages[since : since + count]


def tally(messages: Sequence[Message]) -> str:
    """How many there were of what, and the last detail: for a failing test."""
    counts = Counter(m.header.get("reason", m.kind.name) for m in messages)
    details = [m.header["detail"] for m in messages if m.header.get("detail")]
    return f"{dict(counts)}, last detail {details[-1:]}"


class Daemon(Process):
    """`edged run`."""

    def __init__(self, rig: Rig, path: Path, *arguments: str, **environ: str) -> None:
        self.name, self.path, self._rig = path.stem, path, rig
        self.runtime = rig.folder / "edged" / self.name
        log = rig.folder / f"{self.name}.log"
        environ = {"XDG_RUNTIME_DIR": str(rig.folder), **environ}
        super().__init__(log, "-m", "edged", "run", str(path), *arguments, **environ)

    def endpoint(self, stream: str) -> str:
        return f"ipc://{self.runtime / stream}"

    def listen(self, stream: str = "action", endpoint: str = "") -> Listener:
        return self._rig.listen(endpoint or self.endpoint(stream), f"{self.name}/{stream}", self)

    def ask(self, op: str, **args: Any) -> Any:
        return request(self.endpoint("control"), op, args, timeout_ms=10_000)

    def status(self) -> dict[str, Any]:
        """As soon as it answers."""

        def answer() -> dict[str, Any] | None:
            assert self.alive, self.said
            try:
                return dict(request(self.endpoint("control"), "status"))
            except RequestError:
                return None

        status: dict[str, Any] = until(answer, PATIENCE_S, lambda: self.said)
        return status

    def wait_status(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first status that is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return status


class Feed(threading.Thread):
    """A sensor that says `values` `rate_hz` times a second, stamped now; or what a broken one would."""

    def __init__(self, endpoint: str, topic: str, values: NDArray[np.float64], rate_hz: float) -> None:
        super().__init__(daemon=True)
        self.values = values
        self.topic = topic
        self.silent = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._outlet = Outlet(self._context, topic, [endpoint], 256)
        self._sender = Sender("rig", monotonic_ns(), boot_id())
        self._lock = threading.Lock()
        self._period_s = 1 / rate_hz
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(self._period_s):
            if not self.silent:
                self.say(self.values)

    def say(self, values: NDArray[np.float64]) -> None:
        """One message now."""
        with self._lock:
            self._outlet.send(self._message(values))

    def babble(self, data: bytes) -> None:
        """Any bytes behind the right topic."""
        with self._lock:
            self._outlet.send(self.topic.encode() + b"\0" * (8 - len(self.topic) % 8) + data)

    def mumble(self) -> None:
        """The beginning of a message."""
        with self._lock:
            self._outlet.send(self._message(self.values)[:-7])

    def _message(self, values: NDArray[np.float64]) -> bytes:
        now_ns = monotonic_ns()
        preamble = self._sender.preamble(Kind.SAMPLE, self._outlet.seq + 1, now_ns, now_ns, NS_PER_S)
        return encode(self.topic, preamble, {}, (("values", values),))

    def close(self) -> None:
        self._ended.set()
        self.join()
        self._outlet.close()
        self._context.term()


class Rig:
    """A folder, and all that runs in it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.store = folder / "store"  # with the small engines: theirs is not written to
        shutil.copytree(ENGINES, self.store)

    def config(self, name: str = "cell", **sections: str) -> Path:
        """Write `<name>.toml`; a section is given by its name, `top` is put before all of them."""
        sections = {"daemon": "", **sections}
        sections["daemon"] += f"\nstore = '{sections.pop('store', self.store)}'\ncache = '{self.folder}/cache'"
        top = sections.pop("inputs", "")
        text = "\n".join(f"[{section}]\n{body}" for section, body in sections.items())
        path = self.folder / f"{name}.toml"
        path.write_text(f"{text}\n{top}\n", encoding="utf-8")
        return path

    def daemon(self, path: Path, *arguments: str, **environ: str) -> Daemon:
        """Start it; returns at once."""
        daemon = Daemon(self, path, *arguments, **environ)
        self._stack.callback(daemon.kill)
        return daemon

    def process(self, name: str, *arguments: str, **environ: str) -> Process:
        process = Process(self.folder / f"{name}.log", *arguments, **environ)
        self._stack.callback(process.kill)
        return process

    def edged(self, *arguments: str, patience_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """`edged ARGUMENTS`, to its end."""
        environ = {name: value for name, value in os.environ.items() if name not in SYSTEMD}
        return subprocess.run(
            [sys.executable, "-m", "edged", *arguments],
            env={**environ, "XDG_RUNTIME_DIR": str(self.folder), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )

    def feed(self, name: str, values: NDArray[np.float64], rate_hz: float = 100.0) -> Feed:
        feed = Feed(f"ipc://{self.folder}/{name}", name, np.asarray(values, np.float64), rate_hz)
        self._stack.callback(feed.close)
        return feed

    def camera(self, name: str = "camera", width: int = 64, height: int = 48, fps: float = 25.0) -> Process:
        """A process that publishes frames; `camera_toml` is how a daemon finds it."""
        endpoint = f"ipc://{self.folder}/{name}"
        return self.process(name, str(FEEDS), "camera", endpoint, name, str(width), str(height), str(fps))

    def listen(self, endpoint: str, topic: str, speaker: Process | None = None) -> Listener:
        listener = Listener(endpoint, topic, speaker)
        self._stack.callback(listener.close)
        return listener


@contextlib.contextmanager
def open_rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="rig") as name, contextlib.ExitStack() as stack:
        yield Rig(Path(name), stack)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with open_rig() as made:
        yield made


def state_toml(rig: Rig, name: str = "state", names: Sequence[str] = STATE_NAMES, max_age_ms: float = 1000) -> str:
    """A sensor that `rig.feed(name, ...)` speaks for."""
    listed = ", ".join(f"'{value}'" for value in names)
    return (
        f"[sensors.{name}]\nendpoint = 'ipc://{rig.folder}/{name}'\ntopic = '{name}'\nnames = [{listed}]\n"
        f"unit = 'rad'\nhistory_ms = 2000\nmax_age_ms = {max_age_ms}\nmax_skew_ms = 1000\n"
    )


def camera_toml(
    rig: Rig, name: str = "camera", width: int = 64, height: int = 48, fps: float = 25.0, max_age_ms: float = 300
) -> str:
    """A camera that `rig.camera(name, ...)` is."""
    return (
        f"[cameras.{name}]\nuri = 'zmq+ipc://{rig.folder}/{name}#{name}'\nwidth = {width}\nheight = {height}\n"
        f"fps = {fps}\nmax_age_ms = {max_age_ms}\nmax_skew_ms = 1000\n"
    )


def limits_toml(velocity: float | None = None, low: float = -3.2, high: float = 3.2, on: str = "limit") -> str:
    """Limits on every axis of the small engines, for the end of `[guard]`."""
    speed = "" if velocity is None else f", velocity = {velocity}"
    return "\n".join(
        f"limits.{axis} = {{min = {low}, max = {high}{speed if axis != 'tool' else ''}, on = '{on}'}}" for axis in AXES
    )


def state_cell(rig: Rig, guard: str = "start = 'armed'", rate_hz: float = 25.0, **sections: str) -> dict[str, str]:
    """Sections of a daemon that makes actions from 15 numbers on a timer."""
    return {
        "loop": f"clock = 'timer'\nrate_hz = {rate_hz}",
        "engine": "name = 'bench-state'",
        "guard": f"{guard}\n{limits_toml()}",
        "bus": "valid_ms = 1000",
        "inputs": state_toml(rig),
        **sections,
    }


def camera_cell(rig: Rig, fps: float = 25.0, max_age_ms: float = 300, **sections: str) -> dict[str, str]:
    """Sections of a daemon that makes actions from the frames of its clock camera."""
    return {
        "loop": "clock = 'camera:camera'",
        "engine": "name = 'bench-resize'",
        "guard": f"start = 'armed'\n{limits_toml()}",
        "bus": "valid_ms = 1000",
        "inputs": camera_toml(rig, fps=fps, max_age_ms=max_age_ms),
        **sections,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
