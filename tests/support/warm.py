"""`python -m edged ...` without paying for its imports each time: forked from a process that has done them.

Hundreds of tests start a daemon or a command, and importing OpenCV, ONNX Runtime, pydantic and all of edged costs each
of them most of a second of processor time. Here one server has imported them and forks; from `main()` on the child is
what a new interpreter would be: its own arguments, environment, folder, descriptors, and end.

What a test wants of the interpreter itself (`PYTHONPATH`, `LD_PRELOAD`, ...) no fork can give: see `can_fork`. Nor can
it give an interpreter that has imported nothing yet.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import runpy
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

INTERPRETER = (
    "PYTHON",
    "LD_",
    "CUDA",
    "NVIDIA",
    "ORT_",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "MALLOC_",
    "GLIBC_",
    "LC_",
    "LANG",
)
HARMLESS = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}  # what `_become` gives, and what the server runs with
LARGEST = 1 << 18
OFF = {"ORT_DISABLE_TELEMETRY": "1"}  # what `import edged` sets
IMPORTS = (
    "edged.daemon",
    "edged.cli.commands",
    "edged.client",
    "edged.swap.trial",
    "edged.cli.show",
    "cv2",
    "onnxruntime",
    "typer.rich_utils",  # for help, and for a command line that means nothing
)


def can_fork(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether this is edged's own command line, or code, in an interpreter like ours."""

    def ours(given: Mapping[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in given.items() if key.startswith(INTERPRETER) and key not in OFF}
        paths = kept.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
        return kept | {"LD_LIBRARY_PATH": "".join(path for path in paths if "cv2" not in path)}  # OpenCV adds its own

    return (arguments[:2] == ("-m", "edged") or arguments[:1] == ("-c",)) and ours({**HARMLESS, **environ}) == ours(
        {**_AT_START, **HARMLESS}
    )


def run(
    arguments: Sequence[str], environ: Mapping[str, str], timeout_s: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of it with captured text; forked or not."""
    if not can_fork(arguments, environ):
        return subprocess.run(
            [sys.executable, *arguments], env=environ, cwd=cwd, capture_output=True, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open("rb") as nothing:
        process = Warm(arguments, environ, (nothing.fileno(), out.fileno(), err.fileno()), cwd)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([*arguments], process.returncode or 0, *texts)


class Warm:
    """A forked `python -m edged` or `python -c`, to be used like a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        fds: tuple[int, int, int],
        cwd: Path | None = None,
        server: socket.socket | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._end, theirs = socket.socketpair()
        request = {"arguments": list(arguments), "environ": dict(environ), "cwd": str(cwd or Path.cwd())}
        with theirs:
            socket.send_fds(server or _our_server(), [json.dumps(request).encode()], [*fds, theirs.fileno()])
        self.pid = self._read()
        self._pidfd: int | None = None
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._pidfd = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], 0)[0]:
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"edged, process {self.pid}", timeout or 0)
            self._ended()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None and self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _ended(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(self._read())
        self._end.close()
        if self._pidfd is not None:
            os.close(self._pidfd)

    def _read(self) -> int:
        data = self._end.recv(4)
        if len(data) < 4:
            raise RuntimeError("the process that forks for the tests is gone: run one test with -s and see why")
        return int(struct.unpack("<i", data)[0])


_AT_START = dict(os.environ)


@cache
def _our_server() -> socket.socket:
    return start_server(sys.executable, _AT_START)


def start_server(python: str, environ: Mapping[str, str]) -> socket.socket:
    """Our end of the socket to a server in that interpreter, which ends when we do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [python, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**environ, **HARMLESS, **OFF, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
    atexit.register(server.wait)
    atexit.register(ours.close)  # the other way round: closed first, then waited for
    return ours


def main() -> None:
    """The server. In the child that a request made, `_serve` returns, and edged runs."""
    for name in IMPORTS:
        with contextlib.suppress(ModuleNotFoundError):  # of another version of edged
            __import__(name)
    gc.collect()
    gc.freeze()  # else each child looks at all of it again when it ends, and has its pages copied for that
    assert len(os.listdir("/proc/self/task")) == 1 == threading.active_count(), "a fork would lose threads"  # noqa: PTH208
    with socket.socket(fileno=int(sys.argv[1])) as control:
        request, fds = _serve(control)
    if request:
        _become(request, fds)
        option, what = request["arguments"][:2]
        if option == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = module = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), vars(module))


def _serve(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request and tell each end, until the tests are gone; then everything forked goes as well."""
    running: dict[int, tuple[int, int]] = {}  # pidfd -> pid, the socket to tell
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd != control.fileno():
                    selector.unregister(key.fd)
                    _tell_end(key.fd, *running.pop(key.fd))
                    continue
                data, fds, _, _ = socket.recv_fds(control, LARGEST, 4)
                if not data:
                    for pidfd in running:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    return {}, []
                pid = os.fork()
                if pid == 0:
                    for pidfd, (_, tell) in running.items():
                        os.close(pidfd)
                        os.close(tell)
                    os.close(fds.pop())
                    return json.loads(data), fds
                os.write(fds[3], struct.pack("<i", pid))
                for fd in fds[:3]:
                    os.close(fd)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = (pid, fds[3])
                selector.register(pidfd, selectors.EVENT_READ)


def _tell_end(pidfd: int, pid: int, tell: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(tell, struct.pack("<i", status))
    os.close(tell)
    os.close(pidfd)


def _become(request: Mapping[str, Any], fds: Sequence[int]) -> None:
    """The process that a new interpreter would have been given."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    os.environ.update(OFF)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        binary = open(number, "rb" if not number else "wb", -1 if number < 2 else 0, closefd=False)  # noqa: SIM115
        errors = "backslashreplace" if number == 2 else "strict"
        text = io.TextIOWrapper(binary, "utf-8", errors, write_through="PYTHONUNBUFFERED" in os.environ or number == 2)
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    option, _, *rest = request["arguments"]
    sys.argv = ["-c" if option == "-c" else "edged", *rest]
    sys.path[0] = "" if option == "-c" else request["cwd"]


if __name__ == "__main__":
    main()
