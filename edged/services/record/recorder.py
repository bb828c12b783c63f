"""The recorder: a ring of what is heard, and a file around each cause. It knows no sockets.

Pictures are written two seconds late: by then the trace has said which of them were inferred on.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from edged.client import Kind, Message
from edged.config.recording import RecordConfig
from edged.core.clock import NS_PER_S, unix_ns, wall_text
from edged.core.errors import WireError
from edged.runtime.memory import load, unseen
from edged.services.record import shown
from edged.services.record.file import CHUNK_BYTES, WHOLE, RecordingFile
from edged.services.record.ring import Heard, Ring
from edged.services.record.room import NoRoomError, make_room, prune

LATE_NS = 2 * NS_PER_S
MARGIN_NS = 3 * NS_PER_S  # before what was asked for: the snapshot that a replay begins at
VERDICTS = (Kind.ACTION, Kind.LABELS, Kind.INSTANCES, Kind.HOLD)
REFUSED_REMEDY = "make room (5 % of the disk stays free), or give another folder"
MIB = 1 << 20
INFERRED = 8192
SILENT_NS = 2 * NS_PER_S  # without a verdict
LISTENED_NS = NS_PER_S // 2  # at most between two turns: the rest we may have stood still ourselves

log = logging.getLogger("edged.record")


class Recorder:
    """For one thread. `follows`: takes the `[record]` that its daemon has after a restart. `unix`: unix time of a
    monotonic moment."""

    def __init__(
        self,
        daemon: str,
        config: RecordConfig,
        folder: Path,
        unix: Callable[[int], int] = unix_ns,
        follows: bool = True,
    ) -> None:
        self.daemon, self.folder, self._unix, self._follows = daemon, folder, unix, follows
        self.ring = Ring(0, 0)
        self._take(config)
        self._file: RecordingFile | None = None
        self._began_ns = self._end_ns = 0
        self._why: list[str] = []
        self._stopped: bool | None = None  # whether the newest verdict stops, or nothing came after it; None = none
        self._spoke_ns = self._tended_ns = 0  # the newest verdict, and our last turn
        self._silent_ns = self._patience_ns = 0  # for how long no verdict came, and may come
        self._inferred: deque[tuple[str, int]] = deque(maxlen=INFERRED)
        self._is_traced = False
        self._session: int | None = None  # whose snapshot was read
        self._names: dict[str, list[str]] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self.lost: Counter[str] = Counter()  # messages that did not reach us, by stream
        self._roomy = 0  # bytes of the file when there was room for more
        self.dropped = 0  # by ourselves, for want of memory
        self.refused = ""  # why the disk did not take the newest recording
        self.written: list[Path] = []

    @property
    def recording(self) -> bool:
        return self._file is not None

    def hear(self, heard: Heard) -> None:
        """A message of the bus, in the order of arrival."""
        message = heard.message
        self._count(heard)
        if message.kind is Kind.TRACE:
            self._learn(message)
        gone = self.ring.add(heard)
        if self._file is not None:  # after its cause all is to be written: the disk or the processor was too slow
            self.dropped += sum(at_ns >= self._began_ns for at_ns in gone)
        if (why := self._cause(message, heard.at_ns)) is not None:
            self.trigger(why, heard.at_ns)

    def trigger(self, why: str, at_ns: int, until_ns: int = 0) -> None:
        """Record around this moment, and at least until the other."""
        if self._file is None and not self._open(at_ns, why):
            return
        if why not in self._why:
            self._why.append(why)
        self._end_ns = max(self._end_ns, at_ns + self._after_ns, until_ns)

    def tend(self, now_ns: int) -> None:
        """Write what has waited for its turn; end what is over. Called several times a second."""
        self._listen(now_ns)
        if self._file is None:
            return
        try:
            self._make_room(self._file, 0)
            for heard in self.ring.older(min(now_ns - LATE_NS, self._end_ns)):
                self._make_room(self._file, CHUNK_BYTES)
                self._write(self._file, heard)
            self._file.tend()
            over = now_ns - LATE_NS >= self._end_ns
            if over or self._end_ns - self._began_ns > self._longest_ns <= now_ns - self._began_ns or self._is_full():
                self._close(None if over else min(self._began_ns + self._longest_ns, now_ns))
        except NoRoomError as error:
            self._cut(error)
        except OSError as error:
            self._refuse(error)

    def _listen(self, now_ns: int) -> None:
        """A daemon that dies, or stands still, stops its robot without a word: that is a stop as well."""
        self._silent_ns += min(now_ns - max(self._tended_ns, self._spoke_ns), LISTENED_NS)
        self._tended_ns = now_ns
        if self._stopped is False and self._silent_ns > self._patience_ns and "stop" in self.config.on:
            self._stopped = True
            self.trigger("silence", now_ns)

    def _make_room(self, file: RecordingFile, since: int) -> None:
        """For what is written next, once `since` bytes were written after the last time."""
        if file.bytes - self._roomy >= since:
            make_room(self.folder, 2 * CHUNK_BYTES, file.part)
            self._roomy = file.bytes

    def close(self, now_ns: int) -> None:
        """Write all there is, and end."""
        if self._file is not None:
            self._end_ns = now_ns + 1
            self.tend(now_ns + 1 + LATE_NS)

    def _open(self, at_ns: int, why: str, before: Path | None = None) -> bool:
        """`before`: what this one goes on with, which does not go for it: it has the cause."""
        stamp = wall_text(self._unix(at_ns)).replace(":", "").replace("-", "").replace(".", "")
        word = "".join(one if one.isalnum() else "-" for one in why.lower())[:40]
        path = self.folder / f"{self.daemon}-{stamp}-{word}{WHOLE}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            prune(self.folder, self.config.keep_mb * MIB // 2, before)
            make_room(self.folder, 4 * CHUNK_BYTES, before)
            self._file, self._roomy = RecordingFile(path), 0
        except OSError as error:
            self._refuse(error)
            return False
        self._began_ns, self._end_ns, self._why = at_ns, at_ns + self._after_ns, []
        if self.ring.short_ns:
            text = f"what came before is {self.ring.short_ns / NS_PER_S:.1f} s short; raise [record] ring_mb"
            self._file.show(shown.said(self.daemon, text, self._unix(at_ns)), self._unix(at_ns))
        log.info("recording %s: %s", why, path)
        return True

    def _cut(self, error: OSError) -> None:
        """End a recording while there is room to end it."""
        try:
            self._close(None, error.strerror)
        except OSError as another:
            error = another
        self._refuse(error)

    def _close(self, next_ns: int | None, cut: str | None = None) -> None:
        """`next_ns`: when the one begins that it goes on in; None = it is over."""
        assert self._file is not None, "asked while recording"
        facts = {
            "daemon": self.daemon,
            "why": "; ".join(self._why),
            "lost": ", ".join(f"{count} of {stream}" for stream, count in sorted(self.lost.items())),
            "dropped": str(self.dropped),
            "ring_short_s": f"{self.ring.short_ns / NS_PER_S:.1f}",
            **({"cut": cut} if cut is not None else {}),
        }
        path = self._file.close(facts)
        self._file = None
        self.written.append(path)
        lost = f"; lost {facts['lost']}" if facts["lost"] else ""
        log.info("recorded %s, %.1f MiB%s", path, path.stat().st_size / MIB, lost)
        self.lost.clear()
        self.dropped = self.ring.short_ns = 0
        prune(self.folder, self.config.keep_mb * MIB, path)  # larger than all that may be kept, it is still the newest
        if next_ns is not None:
            end_ns, why = self._end_ns, self._why
            if self._open(next_ns, "goes on", path):
                self._end_ns, self._why = end_ns, why

    def _is_full(self) -> bool:
        return self._file is not None and self._file.bytes > self.config.keep_mb * MIB // 2

    def _refuse(self, error: OSError) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None
        self.refused = f"{self.folder} does not take the recording: {error.strerror}"
        log.error("%s; %s", self.refused, REFUSED_REMEDY)

    def _count(self, heard: Heard) -> None:
        """Messages of the stream that are missing before this one, and frames that were seen and never sent."""
        message = heard.message
        given = message.header.get("frame") if message.kind in (Kind.FRAME, Kind.PICTURE) else None
        number = given if isinstance(given, int) else message.seq
        session, before = self._last.get(heard.stream, (message.session, number - 1))
        if message.session == session and number > before + 1:
            self.lost[heard.stream] += number - before - 1
        self._last[heard.stream] = message.session, number

    def _cause(self, message: Message, at_ns: int) -> str | None:
        """Why this message is to be recorded."""
        wanted, header = self.config.on, message.header
        if message.kind in VERDICTS:
            before, self._stopped = self._stopped, message.stop
            apart_ns = at_ns - self._spoke_ns if self._spoke_ns else 0
            self._patience_ns = max(SILENT_NS, message.valid_for_ns, 3 * apart_ns)
            self._silent_ns, self._spoke_ns = 0, at_ns
            if message.stop and before is False and "stop" in wanted:
                return f"stop {header.get('reason', message.reason)}"
        elif message.kind is Kind.RESULT and header.get("result") == "FAIL" and "fail" in wanted:
            return "FAIL"
        elif message.kind is Kind.EVENT:
            if header.get("event") == "alarm" and "alarm" in wanted:
                return f"alarm {header.get('what', '')}".strip()
            if header.get("event") == "swap" and header.get("state") == "rolled_back" and "rollback" in wanted:
                return f"rollback {header.get('version', '')}".strip()
        return None

    def _learn(self, message: Message) -> None:
        """From the trace: which frames were inferred on, and how the values of sensors are called."""
        self._is_traced = True
        if (told := message.header.get("inference")) is not None:
            self._inferred += told["frames"].items()
            for camera, numbers in told.get("past_frames", {}).items():
                self._inferred += [(camera, number) for number in numbers]
        if message.header.get("trace") == "snapshot" and message.session != self._session:
            self._meet(message)

    def _meet(self, message: Message) -> None:
        """The first snapshot of a daemon's run: its config may be another one than before."""
        if "memory" not in message.arrays.specs:
            return
        before, self._session = self._session, message.session
        try:
            config = load(message.arrays["memory"].tobytes(), unseen)["config"]
            self._names = {name: list(one["names"]) for name, one in config.get("sensors", {}).items()}
            given = RecordConfig.model_validate(config.get("record") or {})
        except (WireError, LookupError, ValueError) as error:
            log.warning("the daemon's [record] is not known here, what was configured before goes on: %s", error)
            return
        if before is not None and self._follows and given != self.config:
            log.info("the daemon came back with another [record], which counts from now on")
            if given.folder != self.config.folder:
                log.warning("record.folder is another one now; recordings stay in %s until a restart", self.folder)
            self._take(given)

    def _take(self, config: RecordConfig) -> None:
        self.config = config
        self.ring.bound(round(config.before_s * NS_PER_S) + MARGIN_NS + LATE_NS, config.ring_mb * MIB)
        self._after_ns, self._longest_ns = round(config.after_s * NS_PER_S), round(config.longest_s * NS_PER_S)

    def _write(self, file: RecordingFile, heard: Heard) -> None:
        message = heard.message
        published_ns = self._unix(message.published_ns)
        if message.kind in (Kind.FRAME, Kind.PICTURE):
            self._write_picture(file, message)
            return
        file.wire(f"/wire/{heard.stream}", bytes(message.raw), published_ns, message.seq)
        if message.kind in VERDICTS:
            for one in shown.verdict(message, self.daemon, published_ns):
                file.show(one, published_ns)
        elif message.kind in (Kind.RESULT, Kind.EVENT):
            file.show(shown.told(message, self.daemon, published_ns), published_ns)
        elif message.kind is Kind.TRACE:
            for look in message.header.get("looks", ()):
                for at_ns, one in shown.samples(look, self._names, self.daemon, self._unix):
                    file.show(one, at_ns)

    def _write_picture(self, file: RecordingFile, message: Message) -> None:
        header = message.header
        known = (str(header.get("camera", "")), int(header.get("frame", message.seq)))
        lossless = not self._is_traced or known in self._inferred
        if self.config.pictures == "none" or (self.config.pictures == "inferred" and not lossless):
            return
        at_ns = self._unix(message.captured_ns)
        file.show(shown.picture(message, at_ns, lossless, self.config.jpeg_quality), at_ns)
