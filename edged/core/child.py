"""Throw-away processes: heavy work beside the loop that must not disturb it, eat the memory, or outlive its purpose.

The child runs in the kernel's idle class, nice 19, so that whoever wakes up preempts it at once; and it is the first
that the out-of-memory killer takes. It gets a process group but no session of its own: where the kernel groups tasks
by session (autogroup), nice and the idle class say nothing across sessions, and the child would take half of a
processor from the loop. The parent watches its memory and ends it above a limit; an address-space limit (RLIMIT_AS)
would not do, since CUDA reserves address space by the hundred gigabytes. The child reports in JSON lines on a pipe of
its own, because libraries print to stdout as they like. Its stdin is the leash: when that ends, the child is to stop,
also because the parent died.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.errors import EngineError

POLL_S = 0.1
GRACE_S = 2.0  # to stop by itself once it was asked to
MAX_LINE_BYTES = 1 << 20
TAIL_LINES = 20
TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP}
RESERVE_BYTES = 256 << 20  # what the rest of the machine keeps, whatever the limit says


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended. `code`: its exit code, negative for a signal; `why`: what we ended it for, "" = by itself."""

    code: int
    why: str
    tail: tuple[str, ...]
    peak_bytes: int


def run_throwaway(
    argv: Sequence[str],
    tell: Callable[[dict[str, Any]], None],
    memory_bytes: int,
    cancel: threading.Event | None = None,
    timeout_s: float | None = None,
    now: Now = monotonic_ns,
) -> Ending:
    """Run `argv` with `--report <fd>` appended until it ends, handing each JSON line it reports to `tell`.

    `memory_bytes` limits the resident memory of the child and its children; where GPU and CPU share memory, what it
    takes on the GPU shows in the machine's available memory, which has a floor. Raises `EngineError` when the program
    cannot be started. An exception of `tell`, or KeyboardInterrupt, ends the child and passes on.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with contextlib.closing(open(reading, "rb", buffering=0)) as reports:  # noqa: PTH123 - a pipe's end
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)  # the child's for good: Ctrl-C is ours to pass on
        try:
            child = subprocess.Popen(
                [*argv, "--report", str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
            )
        except OSError as error:
            raise EngineError(
                f"cannot start {argv[0]}: {error.strerror}", "check memory and the installation"
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(writing)
        watch = _Watch(child, reports, tell, memory_bytes)
        try:
            _step_back(child.pid)
            deadline_ns = None if timeout_s is None else now() + round(timeout_s * NS_PER_S)
            while watch.turn():
                if cancel is not None and cancel.is_set():
                    watch.end("cancelled", GRACE_S)
                elif deadline_ns is not None and now() > deadline_ns:
                    watch.end(f"took longer than {timeout_s:g} s")
        finally:
            watch.close()
        return Ending(child.wait(), watch.why, tuple(watch.tail), watch.peak_bytes)


def settle(stop: Callable[[], None]) -> None:
    """For the child: call `stop` (on a thread) when the parent lets go; who has not ended `GRACE_S` later is ended.

    It gets a process group, which `_kill` ends with all that is in it.
    """
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    _step_back(os.getpid())  # again: from outside only threads were reached that were there already

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        stop()
        threading.Event().wait(GRACE_S)
        os._exit(1)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def _step_back(pid: int) -> None:
    """From outside and at once: the child's own first lines come only after an interpreter has started."""
    with contextlib.suppress(OSError):  # ended already
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    with contextlib.suppress(OSError):  # a daemon's real-time priority is not for it
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def available_bytes() -> int:
    """What the kernel says could be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 1 << 62


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE") + sum(resident_bytes(int(child)) for child in children)


class _Watch:
    """One running child: its pipes, its memory, and how it is ended."""

    def __init__(
        self, child: subprocess.Popen[bytes], reports: Any, tell: Callable[[dict[str, Any]], None], memory_bytes: int
    ) -> None:
        self.why = ""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.peak_bytes = 0
        self._child = child
        self._memory_bytes = memory_bytes
        self._selector = selectors.DefaultSelector()
        self._buffers = {reports: b"", child.stdout: b""}
        self._takers = {reports: lambda line: tell(msgspec.json.decode(line)), child.stdout: self._print}
        for pipe in self._buffers:
            self._selector.register(pipe, selectors.EVENT_READ)

    def turn(self) -> bool:
        """Wait a little, read what came, look at the memory. False once the child has ended and all is read."""
        ready = self._selector.select(POLL_S) if self._selector.get_map() else []
        for key, _ in ready:
            self._read(key.fileobj)
        if self._child.poll() is not None:
            return bool(ready)
        if not self._selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(POLL_S)
        resident = resident_bytes(self._child.pid)
        self.peak_bytes = max(self.peak_bytes, resident)
        if resident > self._memory_bytes:
            self.end(f"took more than {self._memory_bytes >> 20} MiB of memory")
        elif available_bytes() < RESERVE_BYTES:
            self.end("left less than 256 MiB of memory for everything else")
        return True

    def end(self, why: str, grace_s: float = 0.0) -> None:
        """End the child, after letting it stop by itself for `grace_s`."""
        self.why = self.why or why
        assert self._child.stdin is not None
        self._child.stdin.close()
        if grace_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(grace_s)
        self._kill()

    def close(self) -> None:
        """No child and no pipe is left."""
        self._kill()
        self._child.wait()
        self._selector.close()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()

    def _kill(self) -> None:
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)  # its own group, once it has settled
            self._child.kill()

    def _read(self, pipe: Any) -> None:
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            self._selector.unregister(pipe)
        *lines, rest = (self._buffers[pipe] + chunk).split(b"\n")
        self._buffers[pipe] = rest[:MAX_LINE_BYTES]
        for line in lines:
            self._takers[pipe](line)

    def _print(self, line: bytes) -> None:
        if text := line.decode(errors="replace").strip():
            self.tail.append(text)
