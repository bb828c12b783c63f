"""Where a demo runs: a folder that is gone afterwards however the demo ends, short enough for sockets."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from edged.core.errors import UsageError
from edged.demo.daemons import INSPECT
from edged.wire.sockets import check_endpoint

LONGEST_SOCKET = f"{INSPECT}/control"


class Nap:
    """The wait between two looks, which SIGTERM turns into an exit with 143.

    Here and not in the signal's handler: there an exception may be lost, for one in the midst of a fork.
    """

    def __init__(self) -> None:
        self._asked: list[int] = []

    def end(self, number: int, frame: FrameType | None = None) -> None:
        """The signal's handler."""
        self._asked.append(number)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
        if self._asked:
            raise SystemExit(128 + self._asked[0])


@contextlib.contextmanager
def room() -> Iterator[tuple[Path, Nap]]:
    """A private folder, removed at the end, and the nap that SIGTERM ends meanwhile. For the main thread."""
    nap = Nap()
    before = signal.signal(signal.SIGTERM, nap.end)
    try:
        with tempfile.TemporaryDirectory(prefix="edged-demo-") as name:
            try:
                check_endpoint(f"ipc://{name}/{LONGEST_SOCKET}")
            except UsageError:
                fact = f"the folder for temporary files, {Path(name).parent}, has too long a path for sockets"
                raise UsageError(fact, "set another: TMPDIR=/tmp edged demo") from None
            yield Path(name), nap
    finally:
        signal.signal(signal.SIGTERM, before)


def check_pictures(folder: Path) -> None:
    """Make the folder and see that it can be written to, before a run of minutes. Raises `UsageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write pictures to {folder}: {error.strerror}", "name a folder you may write"
        ) from None
