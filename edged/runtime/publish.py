"""Publish: one verdict per tick to whoever listens, as bytes of wire v1.

One stream has one topic and one XPUB socket per kind of endpoint: ipc is protected by file permissions, TCP beyond
loopback by CURVE keys (a CURVE socket would ask for keys on ipc too, so TCP gets a socket of its own).
Publishers never conflate: each peer has a bounded queue, and a peer that sleeps loses the newest, not the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import zmq

from edged.core.clock import Now, monotonic_ns
from edged.core.errors import EdgedError, WireError
from edged.core.quota import Quota
from edged.core.types import ActionChunk, Hold, Instances, Reason, Tick, Verdict
from edged.inspection.inspect import Inspection
from edged.inspection.part import Part
from edged.inspection.rules import Judge, Result, result_header
from edged.pipeline.schedule import Schedule, end_of, hold_ns
from edged.runtime.peers import Peers
from edged.runtime.result_message import verdict_result
from edged.runtime.sender import NO_ENGINE, Sender
from edged.runtime.verdict_message import describe_action, describe_verdict, rows_kept
from edged.wire import Kind, encode
from edged.wire.header import check_header
from edged.wire.sockets import Context, CurveServer, Options, bind, is_readable
from edged.wire.writer import ActionWriter

COPY_BELOW_BYTES = 65536  # handing over without a copy pays only above
MOST_READ = 64  # subscriptions at a time
SUBSCRIPTIONS_AT_ONCE = 16  # of one peer that libzmq takes in without our having looked at them
LONGEST_SUBSCRIPTION = 512
TENDED_MESSAGES = 16  # between two looks at who subscribed
IN_USE = "stop whatever else uses that endpoint or change [bus] bind / [daemon] runtime"


class Sent(msgspec.Struct, frozen=True):
    """What really went out, when, and until when receivers may obey it; what the rules made of it, None = no rules."""

    verdict: Verdict
    published_ns: int
    until_ns: int
    result: Result | None = None


class Outlet:
    """One stream and its sockets; counts its messages. Used by one thread, which also closes it."""

    def __init__(
        self,
        context: Context,
        topic: str,
        endpoints: Sequence[str],
        quota: Quota = Quota(),  # noqa: B008 - frozen
        curve: CurveServer | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.topic, self._stream = topic, topic.rpartition("/")[2]
        self.seq = 0
        self.peers = 0
        self.copy_to: Callable[[bytes], None] | None = None  # who gets each message too
        self.is_behind = False  # whether more subscriptions waited than were read last time
        self._watched_by = peers
        self._sockets: list[zmq.Socket[bytes]] = []
        options: Options = {
            zmq.XPUB_VERBOSER: 1,
            zmq.MAXMSGSIZE: LONGEST_SUBSCRIPTION,  # whoever sends us more is cut off
            zmq.SNDHWM: quota.messages,
            zmq.RCVHWM: SUBSCRIPTIONS_AT_ONCE,
        }
        try:
            for endpoint in endpoints:
                watch = self._watcher(endpoint, quota)
                self._sockets.append(bind(context, zmq.XPUB, endpoint, IN_USE, options, curve, watch))
        except EdgedError:
            self.close()
            raise

    def send(self, data: bytes) -> None:
        """Hand one message to ZeroMQ; never blocks."""
        self.seq += 1
        self._mend()
        is_short = len(data) < COPY_BELOW_BYTES
        for socket in self._sockets:
            socket.send(data, 0, is_short)
        if self.copy_to is not None:
            self.copy_to(data)

    def tend(self) -> None:
        """After a message: now and then see who came and went, and at once while there is more to read."""
        if self.is_behind or self.seq % TENDED_MESSAGES == 0:
            self.count_peers()

    def count_peers(self) -> int:
        """Read who came and went since last time, a bounded number; returns how many listen now."""
        self._mend()
        unread = len(self._sockets)
        for socket in self._sockets:
            for _ in range(MOST_READ):
                if not is_readable(socket):
                    unread -= 1
                    break
                came = socket.recv(copy=False)
                if came.bytes[:1] not in (b"\x00", b"\x01"):
                    continue
                self.peers = max(0, self.peers + (1 if came.bytes[0] else -1))
                if self._watched_by is not None:
                    self._watched_by.subscribed(self._stream, came)
        self.is_behind = bool(unread)  # libzmq takes in as many as are sent, and keeps what is not read here
        return self.peers

    def _mend(self) -> None:
        if self._watched_by is not None and self._watched_by.places.lost:
            for socket in self._sockets:
                self._watched_by.places.mend(socket)

    def _watcher(self, endpoint: str, quota: Quota) -> Callable[[zmq.Socket[bytes]], None]:
        """What has to be registered of a socket before it is bound."""
        if self._watched_by is None:
            return lambda socket: None
        return partial(self._watched_by.watch, self._stream, endpoint=endpoint, readers=quota.readers)

    def close(self) -> None:
        for socket in self._sockets:
            socket.close(linger=0)


class Publisher:
    """The action or masks stream of one daemon: takes every verdict, owns its validity. The loop's alone.

    `judge`: makes a result of each verdict of an inspection, which goes into its message and out on `results`. Of parts
    that were triggered the result is final later: without `results` it is only returned.
    """

    def __init__(
        self,
        outlet: Outlet,
        sender: Sender,
        valid_ns: int,
        period_ns: int,
        now: Now = monotonic_ns,
        results: Outlet | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._outlet = outlet
        self._results, self.judge = results, judge
        self._sender = sender
        self._writer = ActionWriter(outlet.topic, sender.session, sender.boot)
        self._valid_ns = valid_ns
        self._hold_ns = hold_ns(period_ns)
        self.now = now
        self.alarmed: tuple[str, ...] = ()  # what the newest message has
        self.alarms: tuple[str, ...] = ()
        """What every masks message repeats until it is over, so that a late subscriber cannot miss it."""
        self._meaning: Mapping[str, Any] | None = None
        self._encoded: dict[str, msgspec.Raw] = {}

    @property
    def sent(self) -> int:
        """The number of the message that went out last."""
        return self._outlet.seq

    def memory(self) -> dict[str, Any]:
        """What is remembered from message to message."""
        results = None if self._results is None else self._results.seq
        judge = None if self.judge is None else self.judge.memory()
        return {"sent": self._outlet.seq, "results": results, "judge": judge}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._outlet.seq = memory["sent"]
        if self._results is not None and memory["results"] is not None:
            self._results.seq = memory["results"]
        if self.judge is not None and memory["judge"] is not None:
            self.judge.recall(memory["judge"])

    def send(
        self,
        tick: Tick,
        verdict: Verdict,
        engine: bytes = NO_ENGINE,
        meaning: Mapping[str, Any] | None = None,
        engine_ns: int = 0,
        schedule: Schedule | None = None,
        motion: int = 0,
        waiting: Hold | None = None,
        inspection: Inspection | None = None,
        part: Part | None = None,
    ) -> Sent:
        """Publish `verdict`, or the `Hold(LATE)` it has become; returns what went out.

        `meaning`: what does not change while an engine is live (names, units, classes), see `meaning_of`; `schedule`:
        how long its verdicts are good; `motion`: its number, 0 = nothing moves; `waiting`: why no newer plan comes;
        `inspection`: measures of the result; `part`: whose frame it is of.
        """
        self.alarmed = self.alarms  # of this message; another thread may set others meanwhile
        published_ns = self.now()
        hold_valid_ns = self._hold_ns if schedule is None else schedule.hold_ns
        valid_ns = hold_valid_ns
        if not isinstance(verdict, Hold):
            valid_ns = self._valid_ns if schedule is None else schedule.valid_ns
            if isinstance(verdict, ActionChunk) and (left_ns := end_of(verdict, schedule) - published_ns) < valid_ns:
                valid_ns = left_ns
            if valid_ns <= 0:
                detail = f"the plan ended {-valid_ns / 1e6:.1f} ms before it could be published"
                verdict = Hold(Reason.LATE, detail, verdict.captured_ns)
                valid_ns = hold_valid_ns
        header: dict[str, Any] = {"tick": tick.seq, "skipped": tick.skipped, "engine_us": engine_ns / 1000}
        if motion:
            header["motion"] = motion
        if part is not None:
            header |= {"line": part.line, "part": part.part, "number": part.number}
        if waiting is not None:
            header["waiting"] = waiting.reason.name
        try:
            data, result = self._judged(verdict, header, published_ns, valid_ns, engine, meaning, inspection)
        except WireError as error:  # bounded at its source, yet the loop must not end of what cannot be sent
            verdict, valid_ns = Hold(Reason.ENGINE, f"it cannot be sent: {error}", verdict.captured_ns), hold_valid_ns
            data, result = self._judged(verdict, header, published_ns, valid_ns, engine)
        self._outlet.send(data)
        if result is not None:
            self._send_result(result, verdict, tick, published_ns, valid_ns, engine)
        self._outlet.tend()
        return Sent(verdict, published_ns, published_ns + valid_ns, result)

    def _judged(
        self,
        verdict: Verdict,
        header: Mapping[str, Any],
        published_ns: int,
        valid_ns: int,
        engine: bytes,
        meaning: Mapping[str, Any] | None = None,
        inspection: Inspection | None = None,
    ) -> tuple[bytes, Result | None]:
        """The bytes of a verdict, and what the rules say of it; `WireError` for what goes into no message, of which no
        result is counted either."""
        if isinstance(verdict, ActionChunk) and meaning is not None:
            told = {**header, **self._meant(meaning)}
            return self._writer.write(  # only numbers of ours are new since the meaning was looked at
                self._outlet.seq + 1, verdict.captured_ns, published_ns, valid_ns, describe_action(verdict, told),
                engine, told, verdict.actions, verdict.velocities,
            ), None  # fmt: skip
        result = self._result(verdict, meaning, inspection)
        told = dict(header)
        try:
            if meaning is not None and not isinstance(verdict, Hold):
                told.update(self._meant(meaning))
            if result is not None and self.judge is not None and self._results is not None:
                told.update(result_header(result, self.judge.digest))
            kind, reason, flags, arrays = describe_verdict(verdict, told, inspection)
            if self.alarmed and kind is not Kind.ACTION:
                told["alarms"] = self.alarmed
            seq = self._outlet.seq + 1
            preamble = self._sender.preamble(
                kind, seq, verdict.captured_ns, published_ns, valid_ns, reason=reason, flags=flags, engine=engine
            )
            return encode(self._outlet.topic, preamble, told, arrays), result
        except WireError:
            if result is not None and self.judge is not None and not isinstance(verdict, ActionChunk):
                self.judge.withdraw(result, verdict.camera)
            raise

    def _meant(self, meaning: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
        """Encoded and looked at once per engine, not once per message."""
        if meaning is self._meaning:
            return self._encoded
        check_header(msgspec.msgpack.encode(meaning), Kind.ACTION)
        self._encoded = {key: msgspec.Raw(msgspec.msgpack.encode(value)) for key, value in meaning.items()}
        self._meaning = meaning
        return self._encoded

    def _result(
        self, verdict: Verdict, meaning: Mapping[str, Any] | None, inspection: Inspection | None
    ) -> Result | None:
        """What the rules say; None where nothing is judged."""
        if self.judge is None or isinstance(verdict, ActionChunk):
            return None
        classes = meaning.get("classes", ()) if meaning is not None else ()
        truncated = (
            verdict.truncated + len(verdict.score) - len(rows_kept(verdict)) if isinstance(verdict, Instances) else 0
        )
        return self.judge.judge(verdict, inspection, classes, truncated, self.alarmed)

    def _send_result(
        self, result: Result, verdict: Verdict, tick: Tick, published_ns: int, valid_ns: int, engine: bytes
    ) -> None:
        """The same result on its own stream, which nobody conflates."""
        if self._results is None or self.judge is None:
            return
        header = verdict_result(result, verdict, tick, self.judge.digest, self.alarmed)
        seq = self._results.seq + 1
        made = self._sender.preamble(Kind.RESULT, seq, verdict.captured_ns, published_ns, valid_ns, engine=engine)
        self._results.send(encode(self._results.topic, made, header))
        self._results.tend()
