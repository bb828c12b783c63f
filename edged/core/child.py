"""Child processes: heavy work beside the loop that must not disturb it, eat the memory, or outlive its purpose.

    parent  run_child(argv, job, on_note, memory_bytes)   child   job = take_job(); job.end(work)

The job goes over as JSON in a file of memory: a command line can be read by every user, and a job may hold a camera's
password. What the child notes on its way, and its result or error at the end, come back as JSON lines on a pipe of
their own (`child_job.py`), because libraries print to stdout. Its stdin is the lifeline: when that ends, the
child is to stop, also because the parent died.

The child runs in the kernel's idle class, nice 19, so that whoever wakes up preempts it at once; and it is the first
that the out-of-memory killer takes. It gets a process group but no session of its own: where the kernel groups tasks
by session (autogroup), nice and the idle class have no effect across sessions, and the child would take half of a
processor from the loop. The parent watches its memory and ends it above a limit; an address-space limit (RLIMIT_AS)
would not do, since CUDA reserves address space by the hundred gigabytes.
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
from edged.core.environment import for_children
from edged.core.errors import UNREADABLE, EdgedError, EngineError, MachineryError, RefusedError
from edged.core.files import memory_file
from edged.core.procfs import Waits, available_bytes, tree_bytes

POLL_S = 0.1
GRACE_S = 2.0  # to stop by itself once it was asked to
MAX_LINE_BYTES = 1 << 20
TAIL_LINES = 20
AFTER_OTHERS = {"CUDA_MPS_CLIENT_PRIORITY": "1"}
"""Where NVIDIA's MPS shares the GPU, behind those who are live: 0 is normal, 1 below. What the operator set counts."""
TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP}
SLOW, STARVED = "took longer", "for a processor"  # in `Ending.why`
RESERVE_BYTES = 256 << 20  # what the rest of the machine keeps, whatever the limit is

OnNote = Callable[[dict[str, Any]], None]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An `EdgedError` on its way to the parent."""

    code: str
    fact: str
    remedy: str


class Report(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line from the child: a note on the way, or its outcome."""

    note: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: Fault | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended. `code`: its exit code, negative for a signal; `why`: what we ended it for, "" = by itself.

    `result` or `error` is its outcome, neither when it had none; `tail`: the last lines it printed.
    """

    code: int
    why: str
    tail: tuple[str, ...]
    peak_bytes: int
    result: dict[str, Any] | None = None
    error: EdgedError | None = None


def run_child(
    argv: Sequence[str],
    job: Any,
    on_note: OnNote,
    memory_bytes: int,
    cancel: threading.Event | None = None,
    timeout_s: float | None = None,
    now: Now = monotonic_ns,
) -> Ending:
    """Run `argv` with `--job <fd> --report <fd>` appended until it ends, handing each of its notes to `on_note`.

    `job` is any JSON value. `memory_bytes` limits the resident memory of the child and its children; where GPU and
    CPU share memory, what it takes on the GPU shows in the machine's available memory, which has a floor. Raises
    `EngineError` when the program cannot be started. An exception of `on_note`, or KeyboardInterrupt, ends it and
    passes on.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with open(reading, "rb", buffering=0) as reports:  # noqa: PTH123 - a pipe's end
        try:
            # Unlike a pipe it takes everything, however late the child reads.
            with memory_file("job", msgspec.json.encode(job)) as handed:
                child = _start([*argv, "--job", str(handed), "--report", str(writing)], (handed, writing))
        finally:
            os.close(writing)
        watch = _Watch(child, reports, on_note, memory_bytes)
        try:
            step_back(child.pid)
            deadline_ns, waits = now() + round((timeout_s or 0) * NS_PER_S), Waits(child.pid, now)
            while watch.turn():
                if cancel is not None and cancel.is_set():
                    watch.end("cancelled", GRACE_S)
                elif timeout_s is not None:
                    waits.look()
                    if now() > deadline_ns:
                        watch.end(f"{SLOW} than {timeout_s:g} s{_starved(waits.longest_s(), timeout_s)}")
        finally:
            watch.close()
        last = watch.last
        error = None if last.error is None else _raised(last.error)
        return Ending(child.wait(), watch.why, tuple(watch.tail), watch.peak_bytes, last.result, error)


def step_back(pid: int) -> None:
    """Behind whoever wakes up. From outside and at once: the child's own first lines come after an interpreter's."""
    with contextlib.suppress(OSError):  # ended already
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    with contextlib.suppress(OSError):  # a daemon's real-time priority is not for it
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def _starved(waited_s: float, seconds: float) -> str:
    """What a child that stepped back says of its time where others had the processors; nothing where it had them."""
    return f", {waited_s:.0f} s of them in wait {STARVED}" if waited_s > seconds / 2 else ""


def _start(argv: Sequence[str], handles: Sequence[int]) -> subprocess.Popen[bytes]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)  # the child's for good: Ctrl-C is ours to pass on
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=handles,
            env=AFTER_OTHERS | for_children(),
        )
    except OSError as error:
        raise EngineError(f"cannot start {argv[0]}: {error.strerror}", "check memory and the installation") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raised(fault: Fault) -> EdgedError:
    """The child's error as if it had been raised here."""
    kind = next((kind for kind in (RefusedError, MachineryError) if kind.code == fault.code), EngineError)
    return kind(fault.fact, fault.remedy)


class _Watch:
    """One running child: its pipes, its memory, and how it is ended."""

    def __init__(self, child: subprocess.Popen[bytes], reports: Any, on_note: OnNote, memory_bytes: int) -> None:
        self.why = ""
        self.last = Report()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.peak_bytes = 0
        self._child = child
        self._on_note = on_note
        self._memory_bytes = memory_bytes
        self._selector = selectors.DefaultSelector()
        self._buffers = {reports: b"", child.stdout: b""}
        self._takers = {reports: self._report, child.stdout: self._print}
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
        resident = tree_bytes(self._child.pid)
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
        """No child, none of its group and no pipe is left."""
        self._kill()
        self._child.wait()
        with contextlib.suppress(OSError):  # one that died by itself may have left some behind
            os.killpg(self._child.pid, signal.SIGKILL)
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

    def _report(self, line: bytes) -> None:
        try:
            report = msgspec.json.decode(line, type=Report)
        except UNREADABLE:  # it is not itself any more
            self.end("reported what nobody understands")
            return
        if report.note is not None:
            self._on_note(report.note)
        else:
            self.last = report

    def _print(self, line: bytes) -> None:
        if text := line.decode(errors="replace").strip():
            self.tail.append(text)
