"""Journal: what happened, a line each, on disk in a bounded number of files; its thread alone waits for them.

A line is a JSON object: `kind`, `wall` (ISO 8601 UTC of the moment it is about), `mono_ns` (CLOCK_MONOTONIC then),
`boot`, `session` (of the daemon's start), and facts of its kind. Lines are brought to disk (fsync) before the next ones
are written, files are only ever added to, and a last line that a power cut left unfinished is no line: what was written
before it stays. When the newest file is full the next one begins, and the oldest goes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edged.core.clock import Now, monotonic_ns, wall_time
from edged.core.duty import Duty
from edged.core.errors import UNREADABLE, EdgedError, UsageError
from edged.core.files import append_line, make_folder, open_regular
from edged.core.lines import read_lines
from edged.wire.bounded import bounded

SUFFIX = ".jsonl"
FILE_BYTES = 1 << 20
FILES = 16  # about 50 000 lines
QUEUED = 4096
MOST_AT_ONCE = 256  # lines for one fsync
PIECE_BYTES = 1 << 18  # of one answer over the network
Left = tuple[str, int, int]
"""Name, inode and size of the newest file as its writer left it."""
ALIVE_S = 5.0  # how far apart the marks are by which a crash is dated

log = logging.getLogger("edged")


class Journal(Duty):
    """`put` from any thread; `close` brings the last lines to disk. `lost` counts what disk or queue refused."""

    def __init__(
        self,
        folder: Path,
        session: int,
        boot: bytes,
        file_bytes: int = FILE_BYTES,
        files: int = FILES,
        now: Now = monotonic_ns,
    ) -> None:
        super().__init__("journal", now)
        self.folder = folder
        self.lost = 0
        self.ledger: Mapping[str, Any] | None = None  # what earlier runs noted last of the ledger of parts
        self._left: Left | None = None  # the newest file as we left it
        self._origin = {"boot": boot.hex(), "session": session}
        self._file_bytes, self._files = file_bytes, files
        self._lines: queue.Queue[bytes | None] = queue.Queue(QUEUED)

    def put(self, kind: str, at_ns: int | None = None, **facts: Any) -> None:
        """Note something that was at `at_ns` (now unless given). Never waits and never raises for a slow disk."""
        at_ns = self._now() if at_ns is None else at_ns
        line = {"kind": kind, "wall": wall_time(at_ns), "mono_ns": at_ns, **self._origin, **bounded(facts)}
        try:
            self._lines.put_nowait(encode_line(line))
        except queue.Full:
            self.lost += 1

    def work(self) -> None:
        while True:
            try:
                line = self._lines.get(timeout=ALIVE_S)
            except queue.Empty:
                self._mark_alive()
                continue
            lines = [line]
            with contextlib.suppress(queue.Empty):
                while len(lines) < MOST_AT_ONCE and lines[-1] is not None:
                    lines.append(self._lines.get_nowait())
            written = [one for one in lines if one is not None]
            if written and not self.item("a line of the history", partial(self._write, b"\n".join(written))):
                self.lost += len(written)
            if lines[-1] is None:
                return

    def close(self) -> None:
        """Write what is queued; a disk that hangs is left after a moment."""
        self.stopping.set()
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        super().close()

    def _write(self, lines: bytes) -> None:
        if self._left is not None and newest_file(self.folder) != self._left:
            said = "was removed or written to by somebody else"
            log.error("the history in %s %s; it goes on in what is there", self.folder, said)
            self.put("event", event="history", detail=f"it {said} before this")
        self._left = None
        self._left = write_lines(self.folder, lines, self._file_bytes, self._files)

    def _mark_alive(self) -> None:
        """The time of the newest file says until when this run was alive, should it end without a word."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / _names(self.folder)[-1])


def encode_line(line: Mapping[str, Any]) -> bytes:
    """A line without its end."""
    return json.dumps(line, ensure_ascii=False, default=str).encode(errors="replace")


def write_lines(folder: Path, lines: bytes, file_bytes: int = FILE_BYTES, files: int = FILES) -> Left:
    """Bring lines to disk, all of them or, with an `OSError`, none; the oldest file goes when there are too many. What
    `newest_file` will be unless somebody else comes."""
    make_folder(folder)
    names = _names(folder)
    path = folder / (names[-1] if names else _name(1))
    if names and path.stat().st_size + len(lines) > file_bytes:
        path = folder / _name(int(path.stem) + 1)
        for old in names[: max(0, len(names) + 1 - files)]:
            (folder / old).unlink(missing_ok=True)
    return path.name, *append_line(path, lines, 0o640)


def newest_file(folder: Path) -> Left | None:
    """The file that is written to, as it is now; None where there is none."""
    try:
        path = folder / _names(folder)[-1]
        status = path.stat()
    except (OSError, IndexError):
        return None
    return path.name, status.st_ino, status.st_size


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole, oldest first. A folder that is not there has none. Raises `OSError` for one that may
    not be read."""
    try:
        names = _names(folder)
    except FileNotFoundError:
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # the oldest has just gone
            yield from parse_lines(read_lines(folder / name, longest=FILE_BYTES))


def parse_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The entries of those that are whole."""
    for line in lines:
        with contextlib.suppress(*UNREADABLE):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("kind"), str):
                yield entry


def journal_piece(folder: Path, args: Mapping[str, Any]) -> dict[str, Any]:
    """For who reads it over the network, a piece at a time and as it lies there: parsing would keep the loop waiting.

    `{}` -> `{files: [{file, bytes}]}`, oldest first; `{file, offset}` -> `{data}`, at most `PIECE_BYTES`.
    """
    try:
        names = _names(folder)
        if (name := args.get("file")) is None:
            return {"files": [{"file": name, "bytes": (folder / name).stat().st_size} for name in names]}
        offset = args.get("offset", 0)
        if name not in names or not isinstance(offset, int) or not 0 <= offset < 1 << 40:
            raise UsageError(f"the history has no {name!r} from {offset!r} on", "ask for its files first")
        handle = open_regular(folder / name)
        try:
            return {"data": os.pread(handle, PIECE_BYTES, offset)}
        finally:
            os.close(handle)
    except OSError as error:
        raise EdgedError(f"the history cannot be read: {error.strerror}", "ask again, or see its disk") from None


def last_seen(folder: Path) -> float | None:
    """Unix time at which a daemon last wrote or was alive here; None where none ever was."""
    try:
        return (folder / _names(folder)[-1]).stat().st_mtime
    except (OSError, IndexError):
        return None


def _names(folder: Path) -> list[str]:
    """Names of the files, oldest first."""
    return sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit())  # noqa: PTH208


def _name(number: int) -> str:
    return f"{number:08d}{SUFFIX}"
