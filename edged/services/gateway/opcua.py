"""opcua: one daemon for SCADA systems. Whoever may read sees what is so now; who has a trusted certificate may act.

Below `Objects/<name>` lie variables and two methods, `Trigger(line, part)` and `Acknowledge(entry)`. A daemon that is
not heard has `Alive` False, and all other variables have the status BadNoCommunication, and no value.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Server, ua, uamethod
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.crypto.uacrypto import der_from_x509, load_certificate

from edged.client import PartResult, TriggerSender
from edged.client.trigger import COUNTER_BITS
from edged.core.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError, UsageError, in_words
from edged.services.gateway.plant import NO_ENGINE, Facts, Plant
from edged.services.given import check_readable

NAMESPACE = "urn:edged:gateway"
TURN_S = 0.05
ACKNOWLEDGE_MS = 1000  # that a trigger may take until it is on the daemon's disk
STOOD_NS = round(2 * TURN_S * NS_PER_S)  # between two turns: it stood still; what is less `window_ms` has to hold
WAITED_NS = 500 * NS_PER_MS  # after that: calls that waited, of parts long gone, have come to their turn
GONE = ua.DataValue(None, ua.StatusCode(ua.StatusCodes.BadNoCommunication))
ACTS = ua.NodeId(ua.ObjectIds.CallRequest_Encoding_DefaultBinary)
WRITES = ua.NodeId(ua.ObjectIds.WriteRequest_Encoding_DefaultBinary)

LIBRARY = logging.getLogger(
    "asyncua"
)  # it tells of each client that comes, and with a traceback of a port that is taken
LIBRARY.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Options:
    """`listen`: host and port; `certificate`, `key`: the server's own; `trusted`: folder with those of the clients that
    may act; `is_open`: others may read, and need no certificate."""

    listen: tuple[str, int]
    certificate: Path | None = None
    key: Path | None = None
    trusted: Path | None = None
    is_open: bool = True


class _Rules(SimpleRoleRuleset):  # type: ignore[misc]
    """Readers read; only a `User`, whose certificate is trusted, calls. Nobody changes the address space."""

    def check_validity(self, user: User, action_type_id: Any, body: Any) -> bool:
        role = UserRole.User if user.role is UserRole.Anonymous else user.role
        if action_type_id in (ACTS, WRITES) and user.role is UserRole.Anonymous:
            return False
        return bool(super().check_validity(User(role), action_type_id, body))


class _Users:
    """By the certificate of the encrypted channel, whose key the client has proved to have."""

    def __init__(self, trusted: dict[bytes, str], is_open: bool) -> None:
        self._trusted, self._is_open = trusted, is_open

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: bytes | None = None
    ) -> User | None:
        if certificate in self._trusted:
            return User(UserRole.User, self._trusted[certificate])
        return User(UserRole.Anonymous) if self._is_open else None


VARIABLES: dict[str, tuple[ua.VariantType, Callable[[Facts], Any]]] = {
    "State": (ua.VariantType.String, lambda facts: facts.state),
    "Good": (ua.VariantType.Boolean, lambda facts: facts.good),
    "Stop": (ua.VariantType.Boolean, lambda facts: facts.stop),
    "Reason": (ua.VariantType.String, lambda facts: facts.reason),
    "Detail": (ua.VariantType.String, lambda facts: facts.detail),
    "Engine": (ua.VariantType.String, lambda facts: "" if facts.engine == NO_ENGINE else facts.engine.hex()),
    "EngineName": (ua.VariantType.String, lambda facts: str(facts.running.get("name") or "")),
    "EngineVersion": (ua.VariantType.String, lambda facts: str(facts.running.get("version") or "")),
    "Alarms": (ua.VariantType.String, lambda facts: list(facts.alarms)),
    "AgeMs": (ua.VariantType.Double, lambda facts: -1.0 if facts.age_ms is None else facts.age_ms),
}
RESULT: dict[str, tuple[ua.VariantType, Callable[[PartResult], Any]]] = {
    "Entry": (ua.VariantType.UInt64, lambda one: one.entry),
    "Line": (ua.VariantType.String, lambda one: one.line),
    "Part": (ua.VariantType.UInt64, lambda one: one.part),
    "Number": (ua.VariantType.UInt64, lambda one: one.number),
    "Result": (ua.VariantType.String, lambda one: one.result),
    "Why": (ua.VariantType.String, lambda one: one.why),
    "Decided": (ua.VariantType.String, lambda one: list(one.decided)),
    "Engine": (ua.VariantType.String, lambda one: "" if one.engine == NO_ENGINE else one.engine.hex()),
    "Digest": (ua.VariantType.String, lambda one: one.digest),
}
LISTS = ("Alarms", "Decided")
NOTHING: dict[ua.VariantType, Any] = {
    ua.VariantType.Boolean: False, ua.VariantType.String: "", ua.VariantType.Double: 0.0, ua.VariantType.UInt32: 0,
    ua.VariantType.UInt64: 0,
}  # fmt: skip


class Gateway:
    """The address space of one daemon. All of it runs in one event loop."""

    def __init__(self, plant: Plant, options: Options) -> None:
        self._plant, self._options = plant, options
        self._nodes: dict[str, Any] = {}
        self._said: dict[str, Any] = {}
        self._pending: OrderedDict[tuple[int, int], PartResult] = OrderedDict()
        self._done: set[tuple[int, int]] = set()  # of those still shown by the plant, what was acknowledged
        self._senders: dict[str, TriggerSender] = {}
        self._life = 0
        self._shown: PartResult | None = None
        self._turned_ns = 0  # until `run` has begun to serve, every call is late
        self._stood_ns = 0  # when it went on after it had stood still

    async def run(self, wait: Callable[[], bool], ready: Callable[[], None]) -> None:
        """Serve until `wait()` is True."""
        server = Server(user_manager=_Users(await self._trusted(), self._options.is_open))
        await server.init()
        await self._secure(server)
        await self._fill(server)
        try:
            await server.start()
        except OSError as error:
            host, port = self._options.listen
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            raise EdgedError(f"{host}:{port} cannot be listened on ({why})", "give another --listen") from None
        LIBRARY.setLevel(logging.ERROR)
        try:
            self._turned_ns = monotonic_ns()
            ready()
            while not wait():
                await self._turn()
                await asyncio.sleep(TURN_S)
        finally:
            await server.stop()
            for sender in self._senders.values():
                sender.close()

    async def _trusted(self) -> dict[bytes, str]:
        """Certificates of clients that may act, and the names of their files."""
        found: dict[bytes, str] = {}
        folder = self._options.trusted
        for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []:
            if path.suffix not in (".der", ".pem", ".crt", ".cer"):
                continue
            try:
                found[der_from_x509(await load_certificate(path))] = path.stem
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"{path} is no certificate: {in_words(error)}", "put DER or PEM files there, or remove it"
                ) from None
        if folder is not None and not found:
            fact = f"{folder} has no certificates of clients"
            raise UsageError(fact, "put those there that may act, as .der or .pem")
        return found

    async def _secure(self, server: Server) -> None:
        options = self._options
        host, port = options.listen
        server.set_endpoint(f"opc.tcp://{f'[{host}]' if ':' in host else host}:{port}/edged/")
        server.set_server_name(f"edged {self._plant.name}")
        await server.set_application_uri(NAMESPACE)
        policies = [ua.SecurityPolicyType.NoSecurity] if options.is_open else []
        if options.certificate is not None and options.key is not None:
            check_readable({"--certificate": options.certificate, "--key": options.key})
            policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
            try:
                await server.load_certificate(options.certificate)
                await server.load_private_key(options.key)
            except (OSError, ValueError, TypeError) as error:  # one with a password
                raise UsageError(
                    f"the server's certificate cannot be used: {error}", "see --certificate and --key"
                ) from None
        if not policies:
            raise UsageError(
                "nobody could connect", "give --certificate, --key and --trusted, or --insecure to be read"
            )
        server.set_security_policy(policies, _Rules())
        server.set_identity_tokens([ua.AnonymousIdentityToken])

    async def _fill(self, server: Server) -> None:
        space = await server.register_namespace(NAMESPACE)
        top = await server.nodes.objects.add_object(ua.NodeId(self._plant.name, space), f"{space}:{self._plant.name}")

        async def add(parent: Any, name: str, path: str, kind: ua.VariantType) -> None:
            place = ua.NodeId(f"{self._plant.name}.{path}", space)
            first = ua.Variant([] if name in LISTS else NOTHING[kind], kind, is_array=name in LISTS)
            self._nodes[path] = await parent.add_variable(place, f"{space}:{name}", first)
            await self._nodes[path].write_value(GONE)

        await add(top, "Alive", "Alive", ua.VariantType.Boolean)
        await add(top, "Life", "Life", ua.VariantType.UInt32)
        await add(top, "Pending", "Pending", ua.VariantType.UInt32)
        for name, (kind, _) in VARIABLES.items():
            await add(top, name, name, kind)
        result = await top.add_object(ua.NodeId(f"{self._plant.name}.Result", space), f"{space}:Result")
        for name, (kind, _) in RESULT.items():
            await add(result, name, f"Result.{name}", kind)
        for name, call, given, answer in (
            ("Trigger", self._trigger, [ua.VariantType.String, ua.VariantType.UInt64], [ua.VariantType.Boolean]),
            ("Acknowledge", self._acknowledge, [ua.VariantType.UInt64], [ua.VariantType.UInt32]),
        ):
            place = ua.NodeId(f"{self._plant.name}.{name}", space)
            await top.add_method(place, f"{space}:{name}", uamethod(call), given, answer)

    async def _turn(self) -> None:
        self._note_turn(monotonic_ns())
        facts = self._plant.turn()
        for sender in self._senders.values():
            sender.tend(0.0)
        self._take(facts)
        self._life = (self._life + 1) & 0xFFFFFFFF
        await self._say("Alive", facts.alive, ua.VariantType.Boolean)
        await self._say("Life", self._life, ua.VariantType.UInt32)
        await self._say("Pending", len(self._pending) if facts.alive else None, ua.VariantType.UInt32)
        for name, (kind, read) in VARIABLES.items():
            await self._say(name, read(facts) if facts.alive else None, kind)
        await self._show(next(iter(self._pending.values()), None) if facts.alive else None)

    async def _show(self, oldest: PartResult | None) -> None:
        """The result of one part. Whoever reads in between, or hears of each variable apart, sees no outcome beside
        the number of another part: it goes first and comes last."""
        if oldest is not self._shown:
            await self._say("Result.Result", None, RESULT["Result"][0])
        self._shown = oldest
        for name, (kind, of_result) in sorted(RESULT.items(), key=lambda row: row[0] == "Result"):
            await self._say(f"Result.{name}", of_result(oldest) if oldest is not None else None, kind)

    def _note_turn(self, now_ns: int) -> None:
        if now_ns - self._turned_ns > STOOD_NS:
            self._stood_ns = now_ns
        self._turned_ns = now_ns

    def _is_late(self, now_ns: int) -> bool:
        """Whether a call may have waited for a gateway that stood still."""
        return now_ns - self._turned_ns > STOOD_NS or now_ns - self._stood_ns <= WAITED_NS

    def _take(self, facts: Facts) -> None:
        """`_pending` follows what the plant still shows, the oldest first, less what was acknowledged."""
        shown = OrderedDict(((one.entry, one.stamp_ns), one) for one in reversed(facts.results))
        self._done &= set(shown)
        self._pending = OrderedDict((key, one) for key, one in shown.items() if key not in self._done)

    async def _say(self, path: str, value: Any, kind: ua.VariantType) -> None:
        if path in self._said and self._said[path] == value:
            return
        self._said[path] = value
        said = GONE if value is None else ua.DataValue(ua.Variant(value, kind, is_array=isinstance(value, list)))
        await self._nodes[path].write_value(said)

    async def _trigger(self, parent: ua.NodeId, line: str, part: int) -> Any:
        """A part passed just now. True: it is on the daemon's disk, and will have a result."""
        now_ns = monotonic_ns()
        if self._is_late(now_ns):
            return ua.StatusCode(ua.StatusCodes.BadTimeout)
        if part >= 1 << COUNTER_BITS:
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
        endpoint = self._plant.runtime / "triggers"
        if not endpoint.exists() or not line or len(line) > 64:
            return ua.StatusCode(ua.StatusCodes.BadNotSupported if line else ua.StatusCodes.BadInvalidArgument)
        if line not in self._senders:
            if len(self._senders) >= 16:
                return ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
            self._senders[line] = TriggerSender(f"ipc://{endpoint}", line)
        sender = self._senders[line]
        try:
            if part not in sender.waiting:  # else a call again is the same part; what was refused before is over
                sender.refused = deque((one for one in sender.refused if one[0] != part), sender.refused.maxlen)
                sender.send(part, now_ns)
        except UsageError:
            return ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
        while monotonic_ns() - now_ns < ACKNOWLEDGE_MS * NS_PER_MS:
            sender.tend(0.0)
            if part not in sender.waiting:
                return not any(refused == part for refused, _ in sender.refused)
            await asyncio.sleep(0.005)
        return False

    async def _acknowledge(self, parent: ua.NodeId, entry: int) -> Any:
        """The results up to `entry` were taken over; how many are pending. One that is not pending was of another
        ledger, or is over: nothing is taken over by it."""
        named = next((key for key in self._pending if key[0] == entry), None)
        while named is not None and named not in self._done:
            self._done.add(self._pending.popitem(last=False)[0])
        return ua.Variant(len(self._pending), ua.VariantType.UInt32)


def run(plant: Plant, options: Options, wait: Callable[[float], bool], ready: Callable[[], None]) -> None:
    """Serve until `wait(seconds)` says that it is over."""
    asyncio.run(Gateway(plant, options).run(lambda: wait(0), ready))
