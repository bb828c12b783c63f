"""The child's side of `child.py`: what it was started for, and how it reports the result."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec

from edged.core import child
from edged.core.child import Fault, Report, step_back
from edged.core.errors import EXIT_FAILED, EXIT_OK, EdgedError
from edged.core.files import write_all

T = TypeVar("T")


class ChildJob:
    """What to do, as JSON in `text`. `stop` is set when the parent lets go. Any thread may take a note."""

    def __init__(self, text: bytes, report: int, stop: threading.Event) -> None:
        self.text = text
        self.stop = stop
        self._report = report
        self._lock = threading.Lock()

    def read(self, kind: type[T]) -> T:
        """The job as a value of `kind`."""
        return msgspec.json.decode(self.text, type=kind)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Report something on the way to the parent."""
        self._send(Report(note=dict(facts)))

    def end(self, work: Callable[[ChildJob], Mapping[str, Any]]) -> NoReturn:
        """Do it, report the result or the `EdgedError` that it raised, and end this process.

        Without taking it down in order: what vendors' libraries and strange engines leave behind may crash on its way
        out, when all is done and reported.
        """
        code = EXIT_FAILED
        try:
            self._send(Report(result=dict(work(self))))
            code = EXIT_OK
        except EdgedError as error:
            code = error.exit_code
            self._send(Report(error=Fault(error.code, error.fact, error.remedy)))
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _send(self, report: Report) -> None:
        with self._lock:
            write_all(self._report, msgspec.json.encode(report) + b"\n")


def take_job(at_once: bool = False) -> ChildJob:
    """The job of this process, which steps back, gets a group of its own, and ends with its parent from now on.

    Once the parent lets go, its `stop` is set, and who has not ended `GRACE_S` later is ended; `at_once`: right away.
    To be called before what is heavy is imported.
    """
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # for the parent to end with all that is in it
    step_back(os.getpid())  # again: from outside only threads were reached that were there already
    stop = threading.Event()

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        stop.set()
        if not at_once:
            threading.Event().wait(child.GRACE_S)
        os._exit(EXIT_FAILED)

    threading.Thread(target=wait, name="leash", daemon=True).start()
    parser = argparse.ArgumentParser(description="a process of its own, started by edged")
    parser.add_argument("--job", type=int, required=True, help="descriptor to read the job from")
    parser.add_argument("--report", type=int, required=True, help="descriptor to report on")
    given = parser.parse_args()
    with open(given.job, "rb") as file:  # noqa: PTH123 - a descriptor
        text = file.read()
    os.set_inheritable(given.report, False)  # not to the child's own children
    return ChildJob(text, given.report, stop)
