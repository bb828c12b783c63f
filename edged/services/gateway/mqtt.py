"""mqtt: one daemon as plain JSON for a broker. Its last will says the same as a daemon that is gone.

Topics below `prefix`: `state`, retained, at each change and each second; `result`, one message each, not retained.
"""

from __future__ import annotations

import contextlib
import json
import logging
import ssl
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edged.client import PartResult
from edged.core.clock import NS_PER_S, monotonic_ns, wall_time
from edged.core.closing import Closing
from edged.core.errors import EdgedError, UsageError, in_words
from edged.services.gateway.plant import NO_ENGINE, Facts, Plant
from edged.services.given import check_readable

TURN_S = 0.02
EACH_NS = NS_PER_S  # between two states that are the same: `life` moves
KEEPALIVE_S = 3  # the broker sends the last will after one and a half of it
QUEUED = 1000  # results for a broker that is away; older ones are dropped
LOST = {"alive": False, "state": "LOST"}

log = logging.getLogger("edged.gateway")


@dataclass(frozen=True, slots=True)
class Options:
    """`broker`: host and port. `ca`: of the broker's certificate, and TLS is used; `certificate`, `key`: our own.
    `password_file`: its first line."""

    broker: tuple[str, int]
    prefix: str
    user: str = ""
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def state_of(facts: Facts, life: int) -> dict[str, Any]:
    """What is published as `state`; of a daemon that is gone nothing but that."""
    if not facts.alive:
        return {**LOST, "life": life}
    return {
        "alive": True,
        "state": facts.state,
        "good": facts.good,
        "stop": facts.stop,
        "detail": facts.detail,
        "engine": facts.engine.hex() if facts.engine != NO_ENGINE else None,
        "name": facts.running.get("name"),
        "version": facts.running.get("version"),
        "alarms": list(facts.alarms),
        "age_ms": None if facts.age_ms is None else round(facts.age_ms, 1),
        "life": life,
    }


def result_of(one: PartResult) -> dict[str, Any]:
    """What is published as `result`."""
    return {
        "entry": one.entry,
        "line": one.line or None,
        "part": one.part if one.line else None,
        "number": one.number,
        "result": one.result,
        "why": one.why or None,
        "decided": list(one.decided),
        "engine": one.engine.hex() if one.engine != NO_ENGINE else None,
        "digest": one.digest,
        "age_ms": round((monotonic_ns() - one.stamp_ns) / 1e6, 1),
        "time": wall_time(),
    }


class Publisher(Closing):
    """From facts to messages; for one thread, paho has another one."""

    def __init__(self, plant: Plant, options: Options) -> None:
        self._plant, self._prefix = plant, options.prefix
        self._life = 0
        self._said: tuple[Any, ...] = ()  # of the state last published, what counts as a change
        self._due_ns = 0
        self._results: set[tuple[int, int]] = set()  # of those shown now, what was taken over
        self._waiting: deque[PartResult] = deque(maxlen=QUEUED)  # here, since a message that waits grows no older
        # Of two clients with one name a broker ends the first: daemons of many cells have one name, but not one prefix
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"edged:{self._prefix}")
        self._client.will_set(f"{self._prefix}/state", json.dumps({**LOST, "life": None}), qos=1, retain=True)
        self._client.max_queued_messages_set(QUEUED)
        self._client.reconnect_delay_set(1, 10)
        self._client.on_connect, self._client.on_disconnect = self._connected, self._disconnected
        self._client.on_connect_fail = self._unreachable
        self._broker = "{}:{}".format(*options.broker)
        self._connects, self._trouble = 0, ""
        self._secure(options)
        self._client.connect_async(*options.broker, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def _secure(self, options: Options) -> None:
        """`UsageError` for a file that cannot be read, and for what would be passed over."""
        ours = {"--certificate": options.certificate, "--key": options.key}
        if options.ca is None and any(ours.values()):
            raise UsageError("without --ca there is no TLS", "give --ca, or leave --certificate and --key out")
        if options.password_file is not None and not options.user:
            raise UsageError("a password without a name logs nobody in", "give --user with --password-file")
        check_readable({"--password-file": options.password_file, "--ca": options.ca, **ours})
        try:
            password = None
            if options.password_file is not None:
                password = options.password_file.read_text(encoding="utf-8").partition("\n")[0]
            if options.user:
                self._client.username_pw_set(options.user, password)
            if options.ca is not None:
                files = [None if one is None else str(one) for one in (options.certificate, options.key)]
                self._client.tls_set(str(options.ca), files[0], files[1])
        except (OSError, ValueError, ssl.SSLError) as error:
            raise EdgedError(f"the broker's credentials cannot be used: {error}", "see their files") from None

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        """In paho's thread: the broker may have told everybody our last will, or be another one."""
        if reason.is_failure:
            self._warn(f"refuses the gateway ({reason}); see --user, --password-file and its access list")
            return
        self._connects += 1
        if self._trouble:
            log.warning("%s is connected now", self._broker)
            self._trouble = ""

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._trouble:
            self._warn(f"is gone ({reason}); another gateway with this --prefix would have it so")

    def _unreachable(self, client: Any, data: Any) -> None:
        """In the handler of what went wrong."""
        error = sys.exc_info()[1]
        why = in_words(error) if isinstance(error, Exception) else "nothing answers"
        self._warn(f"cannot be reached ({why}); see --broker and --ca")

    def _warn(self, trouble: str) -> None:
        """Once, not at each try."""
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("%s %s", self._broker, trouble)

    def turn(self) -> None:
        """Publish what has changed, or is due."""
        facts, now_ns = self._plant.turn(), monotonic_ns()
        shown = {(one.entry, one.stamp_ns): one for one in facts.results}
        self._waiting.extend(shown[key] for key in sorted(shown.keys() - self._results))
        self._results = set(shown)
        while self._waiting and self._client.is_connected():
            self._client.publish(f"{self._prefix}/result", json.dumps(result_of(self._waiting.popleft())), qos=1)
        told = (facts.alive, facts.state, facts.good, facts.stop, facts.engine, facts.alarms, self._connects)
        if told == self._said and now_ns < self._due_ns:
            return
        self._life += 1
        self._said, self._due_ns = told, now_ns + EACH_NS
        if self._client.is_connected():  # else it would be told later, when it is old
            self._client.publish(f"{self._prefix}/state", json.dumps(state_of(facts, self._life)), qos=1, retain=True)

    def close(self) -> None:
        """Tell that nobody tells any more."""
        if self._client.is_connected():
            told = self._client.publish(f"{self._prefix}/state", json.dumps({**LOST, "life": None}), qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the broker went meanwhile, and sends the last will
                told.wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()


def run(plant: Plant, options: Options, wait: Callable[[float], bool]) -> None:
    """Publish until `wait(seconds)` says that it is over; a broker that is away is waited for."""
    prefix = options.prefix
    if "" in prefix.split("/") or any(sign in prefix for sign in "+#\0") or prefix.startswith("$"):
        remedy = "give a --prefix without +, # and empty levels, such as plant/line1"
        raise UsageError(f"topics below {prefix!r}", remedy)
    with Publisher(plant, options) as publisher:
        while not wait(TURN_S):
            publisher.turn()
