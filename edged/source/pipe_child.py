"""A child process that writes frames into a pipe of ours, and says on descriptor 2 what is wrong."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from edged.core.environment import for_children

TAIL_BYTES = 4096


class PipeChild:
    """`argv` makes the command from the descriptor that it writes to. It dies with the thread that made it,
    which has to be the one that reads. `pipe` and `stderr` are descriptors to poll."""

    def __init__(
        self, argv: Callable[[int], Sequence[str]], environ: Mapping[str, str] | None = None, pipe_bytes: int = 0
    ) -> None:
        self.pipe, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            if pipe_bytes:
                fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, pipe_bytes)
            # setpriv rather than preexec_fn: forking a process with threads and locked memory would stall the loop.
            leash = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
            self._process = subprocess.Popen(
                [*leash, *argv(theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                env={**(environ or {}), **for_children()},
                start_new_session=True,  # Ctrl-C at a terminal is for us to handle
            )
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(theirs)
        assert self._process.stderr is not None
        self.stderr = self._process.stderr.fileno()
        os.set_blocking(self.stderr, False)
        self.said = b""  # the end of it

    def listen(self) -> bytes | None:
        """What it has said since, kept in `said` too, so that it never blocks on us; None = nothing, b"" = its end."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.stderr, TAIL_BYTES)
            self.said = (self.said + chunk)[-TAIL_BYTES:]
            return chunk
        return None

    def wait(self, seconds: float) -> int | None:
        """Its exit status, once it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode

    def close(self, ask_s: float = 0.0) -> None:
        """End it; `ask_s`: it is asked first, and given so long."""
        if ask_s:
            self._process.terminate()
            self.wait(ask_s)
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        os.close(self.pipe)
