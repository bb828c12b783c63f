from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from edged.client import RequestError, request
from edged.core.errors import EXIT_FAILED, EXIT_REFUSED, EdgedError, RefusedError
from edged.runtime.control import Control, Operation
from edged.runtime.door import Door


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/control"


@contextmanager
def answering(endpoint: str, answer: Callable[[dict[str, Any]], bytes | None]) -> Iterator[list[list[bytes]]]:
    """A daemon that answers by `answer`; gives the requests it saw."""
    seen: list[list[bytes]] = []
    stop = threading.Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        router.bind(endpoint)

        def serve() -> None:
            while not stop.is_set():
                if router.poll(20):
                    frames = router.recv_multipart()
                    seen.append(frames)
                    reply = answer(msgspec.msgpack.decode(frames[-1]))
                    if reply is not None:
                        router.send_multipart([*frames[:-1], reply])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield seen
        finally:
            stop.set()
            thread.join()


class Gone:
    """A connection that ends between the look and the send."""

    def __init__(self) -> None:
        self.looks = 0

    def poll(self, *_: object) -> int:
        self.looks += 1
        return self.looks < 3

    def send(self, data: bytes, flags: int = 0) -> None:
        assert flags == zmq.NOBLOCK, "it would wait for the next daemon, and give it what the past one was asked"
        raise zmq.Again

    def close(self, linger: int) -> None: ...


def test_a_daemon_that_ends_just_then_is_none(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(endpoint, reply):
        monkeypatch.setitem(request.__globals__, "connect", lambda *_: Gone())
        with pytest.raises(RequestError, match="no daemon answers") as caught:
            request(endpoint, "hold")
    assert caught.value.code == "no_daemon"


def reply(to: dict[str, Any], **changes: Any) -> bytes:
    return msgspec.msgpack.encode({"v": 1, "id": to["id"], "ok": True, "result": None, **changes})


def refusal(endpoint: str, op: str = "status", timeout_ms: float = 300) -> RequestError:
    with pytest.raises(RequestError) as caught:
        request(endpoint, op, timeout_ms=timeout_ms)
    return caught.value


def refuse(args: Any) -> Any:
    raise RefusedError("the engine is unsigned", "sign it")


def test_the_real_control_socket_answers(endpoint: str) -> None:
    operations = {
        "status": Operation(lambda args: {"state": "ok", "args": dict(args)}, args=frozenset({"job"})),
        "swap": Operation(refuse),
        "bug": Operation(lambda args: 1 / 0),
    }
    with zmq.Context() as context:
        control = Control(Door(context, "control", endpoint), operations)
        control.start()
        try:
            assert request(endpoint, "status", {"job": 7}) == {"state": "ok", "args": {"job": 7}}
            assert request(endpoint, "status", context=context) == {"state": "ok", "args": {}}
            error = refusal(endpoint, "swap", 5000)
            assert (error.code, error.text, error.remedy) == ("refused", "the engine is unsigned", "sign it")
            assert (error.exit_code, isinstance(error, EdgedError)) == (EXIT_REFUSED, True)
            assert "status" in refusal(endpoint, "nonsense", 5000).remedy
            assert refusal(endpoint, "bug", 5000).code == "internal"
        finally:
            control.close()


def test_a_request_is_one_frame_as_specified(endpoint: str) -> None:
    with answering(endpoint, lambda asked: reply(asked, result=[1])) as seen:
        assert request(endpoint, "hold", {"reason": "lunch"}) == [1]
    ((_, data),) = seen
    asked = msgspec.msgpack.decode(data)
    assert asked.pop("id")
    assert asked == {"v": 1, "op": "hold", "args": {"reason": "lunch"}}


def test_no_daemon_is_said_at_once_when_there_is_no_socket(endpoint: str) -> None:
    started = time.monotonic()
    error = refusal(endpoint, timeout_ms=60_000)
    assert time.monotonic() - started < 30
    assert (error.code, error.exit_code) == ("no_daemon", EXIT_FAILED)
    assert "no daemon answers" in str(error)
    assert "edged run" in error.remedy
    assert "TOML file" in error.remedy  # a runtime folder of its own is known to nobody else


def test_a_socket_file_that_a_dead_daemon_left_is_no_daemon(endpoint: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control"))
    assert refusal(endpoint).code == "no_daemon"


FROZEN = """
import sys, zmq, edged, pathlib, os, signal
folder = pathlib.Path(sys.argv[1])
router = zmq.Context().socket(zmq.ROUTER)
router.bind(f"ipc://{folder}/control")
(folder / "lock").write_text(f"{os.getpid()}\\n")
os.kill(os.getpid(), signal.SIGSTOP)
"""


STOPS = """
import os, signal, sys, msgspec, zmq
context = zmq.Context()
router = context.socket(zmq.ROUTER)
router.bind(sys.argv[1])
print("bound", flush=True)
frames = router.recv_multipart()
os.kill(os.getpid(), signal.SIGSTOP)
asked = msgspec.msgpack.decode(frames[-1])
frames[-1] = msgspec.msgpack.encode({"v": 1, "id": asked["id"], "ok": True, "result": "late"})
router.send_multipart(frames)
sys.stdin.read()
"""


def go_on_after(process: subprocess.Popen[str], seconds: float) -> None:
    """Let a process go on so long after it has stopped itself."""
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def test_an_answer_that_takes_a_second_is_one(endpoint: str) -> None:
    """Of a daemon that stands still for longer than a reader's heartbeat waits, as one does on a busy machine."""
    command = [sys.executable, "-c", STOPS, endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "bound\n"
            awaken = threading.Thread(target=go_on_after, args=(process, 1.5), daemon=True)
            awaken.start()
            assert request(endpoint, "status", timeout_ms=30_000) == "late"
        finally:
            process.kill()


def test_a_frozen_daemon_is_not_told_to_be_started(endpoint: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", FROZEN, str(tmp_path)]) as daemon:
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
        try:
            error = refusal(endpoint)
        finally:
            daemon.kill()
    assert (error.code, error.exit_code) == ("no_answer", EXIT_FAILED)
    assert f"process {daemon.pid}" in error.fact
    assert "start it" not in str(error)
    assert "kill -CONT" in error.remedy
    error = refusal(endpoint)  # and now it is dead, its lock file still there
    assert error.code == "no_daemon"
    assert "start it" in error.remedy


def test_a_daemon_that_takes_a_request_and_says_nothing_may_have_done_it(endpoint: str) -> None:
    with answering(endpoint, lambda asked: None) as seen:
        error = refusal(endpoint)
        assert error.code == "no_answer"
        assert "edged status" in error.remedy
        assert len(seen) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"\xc1", b"\x80", b"\x91" * 100_000, msgspec.msgpack.encode({"v": 1, "id": 1})]
)
def test_an_answer_that_is_none_is_said(endpoint: str, answer: bytes) -> None:
    with answering(endpoint, lambda asked: answer):
        assert refusal(endpoint, timeout_ms=5000).code == "bad_answer"


def test_answers_are_checked(endpoint: str) -> None:
    with answering(endpoint, lambda asked: reply(asked, v=2)):
        assert refusal(endpoint, timeout_ms=5000).code == "bad_answer"


def test_somebody_elses_answer_is_not_ours(endpoint: str) -> None:
    with answering(endpoint, lambda asked: reply(asked, id="another")):
        assert refusal(endpoint).code == "no_answer"


def test_a_failure_without_a_reason_is_still_a_failure(endpoint: str) -> None:
    with answering(endpoint, lambda asked: reply(asked, ok=False)):
        assert refusal(endpoint, timeout_ms=5000).code == "failed"


def test_a_request_has_a_limit(endpoint: str) -> None:
    with pytest.raises(RequestError, match="65536"):
        request(endpoint, "hold", {"reason": "x" * 70_000})


def test_a_socket_that_one_may_not_write_to_is_said(endpoint: str, tmp_path: Path) -> None:
    with answering(endpoint, lambda asked: reply(asked, result="in")):
        (tmp_path / "control").chmod(0)
        if os.geteuid() == 0:  # root may open everything
            assert request(endpoint, "status") == "in"
        else:
            assert refusal(endpoint).code == "permission"
