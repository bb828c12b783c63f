"""Peers: who is connected to our sockets, and the end of the connection of whoever takes too much.

libzmq can neither refuse nor drop a peer. But its monitor names the descriptor of each accepted connection, and
shutdown(2) ends one as if the peer had gone. Cut off are, per stream: connections beyond the quota (the newest one of
the process or host that has most), peers with more subscriptions than a reader needs, and peers that have read nothing
of what waits for them for ten seconds, and clients whose key is not known any more.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import termios
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import zmq

from edged.core.clock import NS_PER_S, Now, monotonic_ns
from edged.core.descriptors import SAFE
from edged.core.duty import Duty
from edged.core.heap import Heap
from edged.core.procfs import resident_bytes
from edged.runtime.clients import Clients
from edged.runtime.doors import Doors
from edged.runtime.places import Places
from edged.wire.connection import name, owner, owner_at, port, queued

MOST_SUBSCRIPTIONS = 32  # of one peer, and as many changes of them within a second
GROWTH_BYTES = 16 << 20  # of our memory within ten seconds, from which on it is looked who sends
SAMPLES, SAMPLE_S = 50, 0.002
MOST_HEARD = 4  # samples at which more than `SMALL_BYTES` waited to be taken in
SMALL_BYTES = 1024  # heartbeats and subscriptions of a reader, also where we come to them a second late
STALLED_NS = 10 * NS_PER_S
LOOK_NS = NS_PER_S
LOOK_MS = 250
MOST_EVENTS = 4096  # at a time, of one socket; libzmq queues 2000
PAUSE_NS = 60 * NS_PER_S  # between two lines about one cause on one stream
_EVENTS = int(zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED)

Cause = Literal["readers", "subscriptions", "not reading", "sending", "revoked"]
_WHY = {
    "readers": "more than {readers} are connected",
    "subscriptions": f"more than {MOST_SUBSCRIPTIONS} subscriptions, or as many changes within a second",
    "sending": "it sends without pause",
    "revoked": "its key is not known any more",
    "not reading": f"it has read nothing for {STALLED_NS // NS_PER_S} s of what waits for it",
}

log = logging.getLogger("edged")


@dataclass(slots=True)
class _Peer:
    """One accepted connection."""

    stream: str
    owner: str  # its process, or the host it comes from
    since_ns: int
    subscriptions: int = 0
    changes: int = 0
    key: str = ""  # its public one, where it has said anything over TCP
    unread: int = 0
    stalled_ns: int = 0


@dataclass(slots=True)
class _Stream:
    """The sockets of one stream, and what was done about their peers."""

    readers: int
    names: set[str | int] = field(default_factory=set)  # what our end of its connections is called
    cut: Counter[str] = field(default_factory=Counter)
    logged_ns: dict[str, int] = field(default_factory=dict)


class Peers(Duty):
    """`watch` every socket before it is bound and `start` then; `close` before the sockets are closed.

    What libzmq accepts before this thread learns of it also takes a descriptor, and without any libzmq aborts the
    process. So `fit` leaves room, `Doors` shut where it gets scarce, and below `SAFE` descriptors a line says so.
    """

    def __init__(self, now: Now = monotonic_ns, places: Places | None = None, clients: Clients | None = None) -> None:
        super().__init__("peers", now)
        self._clients = clients
        self.places = places or Places()
        self.doors = Doors(self.places)
        self._peers: dict[int, _Peer] = {}  # by descriptor
        self._streams: dict[str, _Stream] = {}
        self._watched: list[tuple[zmq.Socket[bytes], zmq.Socket[Any], str]] = []  # socket, its monitor, stream
        self._look_ns = now()
        self._heap = Heap()
        self._resident: deque[int] = deque(maxlen=10_000 // LOOK_MS)

    def watch(self, stream: str, watched: zmq.Socket[bytes], endpoint: str, readers: int) -> None:
        """Look after whoever connects to `watched` at `endpoint`. By the thread that makes the socket."""
        state = self._streams.setdefault(stream, _Stream(readers))
        self.places.add(endpoint, watched)
        state.names.add(endpoint.removeprefix("ipc://") if endpoint.startswith("ipc://") else port(endpoint))
        for one in [one for one in self._watched if one[0].closed]:  # could not be bound
            one[1].close(linger=0)
            self._watched.remove(one)
        self._watched.append((watched, watched.get_monitor_socket(_EVENTS), stream))

    def fit(self, spare: int, limit: int) -> str:
        """Admit no more readers than there are descriptors to `spare` of `limit`; what that means, "" = nothing."""
        wanted = sum(stream.readers for stream in self._streams.values())
        if spare < wanted:
            for stream in self._streams.values():
                stream.readers = max(1, stream.readers * max(0, spare) // wanted)
        if limit >= SAFE and spare >= wanted:
            return ""
        fact = f"{limit} descriptors are few: of {wanted} readers {min(wanted, max(0, spare))} are admitted"
        return f"{fact}, and many that come at once could end the daemon; raise LimitNOFILE of the unit, or ulimit -Hn"

    def heard(self, stream: str, message: zmq.Frame) -> str:
        """Remember whose connection a message came by, and return its key, "" where none was asked for."""
        key = ""
        with contextlib.suppress(zmq.ZMQError):
            key = str(message.get("User-Id"))
        if key and (sender := self._sender(stream, message)) is not None:
            sender[1].key = key
        return key

    def subscribed(self, stream: str, message: zmq.Frame) -> None:
        """A peer subscribed or unsubscribed. By the thread that reads the socket."""
        self.heard(stream, message)
        if (sender := self._sender(stream, message)) is None:
            return
        descriptor, peer = sender
        peer.subscriptions += 1 if message.bytes[0] else -1
        peer.changes += 1
        if max(peer.subscriptions, peer.changes) > MOST_SUBSCRIPTIONS:
            peer.changes = peer.subscriptions = 0
            self._cut(descriptor, peer, "subscriptions")

    def _sender(self, stream: str, message: zmq.Frame) -> tuple[int, _Peer] | None:
        """Who sent a message, None = it is gone. What waits outlives its connection, whose number is another's soon."""
        try:
            descriptor, address = int(message.get(zmq.SRCFD)), str(message.get("Peer-Address"))
        except zmq.ZMQError:
            return None
        peer = self._peers.get(descriptor)
        is_its_own = peer is not None and peer.stream == stream and peer.owner == owner_at(address, peer.owner)
        return (descriptor, peer) if peer is not None and is_its_own else None

    def readers(self) -> dict[str, dict[str, Any]]:
        """The readers section of health: per stream who is connected now, how many may be, and who was cut off."""
        connected = Counter(peer.stream for peer in tuple(self._peers.values()))
        return {
            name: {"connected": connected[name], "most": stream.readers, "cut": dict(stream.cut)}
            for name, stream in self._streams.items()
        }

    def work(self) -> None:
        poller = zmq.Poller()
        monitors = {monitor: stream for _, monitor, stream in self._watched}
        for monitor in monitors:
            poller.register(monitor, zmq.POLLIN)
        self.doors.look(self._now())
        while not self.stopping.is_set():
            for monitor, _ in poller.poll(LOOK_MS):
                self.item(f"the readers of {monitors[monitor]}", partial(self._listen, monitor, monitors[monitor]))
            self.item("file descriptors", partial(self.doors.look, self._now()))
            self.item("a look at our memory", self._look_at_memory)
            self.item("memory that is free", partial(self._heap.tend, self._now()))
            if self._now() >= self._look_ns:
                self._look_ns = self._now() + LOOK_NS
                self.item("a look at what readers have read", self._look)
                self.item("a look at our sockets", partial(self.places.look, self._now()))

    def close(self) -> None:
        """End the thread, and stop watching."""
        super().close()
        for watched, monitor, _ in self._watched:
            if not watched.closed:
                watched.disable_monitor()
            monitor.close(linger=0)
        self._watched.clear()

    def _listen(self, monitor: zmq.Socket[Any], stream: str) -> None:
        for event, descriptor in list(self._events(monitor)):  # first of all see how many come
            if event == zmq.Event.ACCEPTED:
                self._peers[descriptor] = _Peer(stream, owner(descriptor), self._now())
            elif (peer := self._peers.get(descriptor)) is not None and peer.stream == stream:
                del self._peers[descriptor]
        self._admit(stream)

    def _events(self, monitor: zmq.Socket[Any]) -> Iterator[tuple[int, int]]:
        """Those that wait, not too many."""
        for _ in range(MOST_EVENTS):
            try:
                event, descriptor = struct.unpack("<Hi", monitor.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.Again:
                return
            if event == zmq.Event.ACCEPTED:
                self.doors.came(self._now())
            yield event, descriptor

    def _admit(self, stream: str) -> None:
        """Where some are too many, end the newest connections of whoever has most."""
        mine = [(number, peer) for number, peer in self._peers.items() if peer.stream == stream]
        counts = Counter(peer.owner for _, peer in mine)
        for _ in range(len(mine) - self._streams[stream].readers):
            most = max(counts.values())
            number, peer = mine.pop(_newest(mine, counts, most))
            counts[peer.owner] -= 1
            self._cut(number, peer, "readers")
            self._peers.pop(number, None)

    def _look(self) -> None:
        now_ns = self._now()
        known = self._clients.known() if self._clients is not None else {}
        for descriptor, peer in tuple(self._peers.items()):
            peer.changes = 0
            if peer.key and peer.key not in known:
                self._cut(descriptor, peer, "revoked")
                continue
            unread = queued(descriptor, termios.TIOCOUTQ)  # not read by it (ipc), or not acknowledged (TCP)
            if not unread or unread != peer.unread:
                peer.unread, peer.stalled_ns = unread, now_ns
            elif now_ns - peer.stalled_ns >= STALLED_NS:
                peer.stalled_ns = now_ns
                self._cut(descriptor, peer, "not reading")

    def _look_at_memory(self) -> None:
        """Where it grows, see who sends: readers have next to nothing to say. It also grows while an engine is loaded,
        when heartbeats may wait for a busy machine: whoever sends little has nothing to do with it.

        libzmq holds the parts of a message until the last one is there, does not bound them, and then takes them in at
        the loop's expense.
        """
        self._resident.append(resident_bytes())
        if self._resident[-1] - min(self._resident) < GROWTH_BYTES:
            return
        peers, heard = dict(self._peers), Counter[int]()
        for _ in range(SAMPLES):
            heard.update(number for number in peers if queued(number, termios.FIONREAD) > SMALL_BYTES)
            self.stopping.wait(SAMPLE_S)
        for number, count in heard.items():
            if count >= MOST_HEARD and self._peers.get(number) is peers[number]:
                self._cut(number, peers[number], "sending")

    def _cut(self, descriptor: int, peer: _Peer, cause: Cause) -> None:
        """End a connection, if the number is still that of one: libzmq may have closed it a moment ago."""
        stream = self._streams[peer.stream]
        with contextlib.suppress(OSError):
            connection = socket.socket(fileno=descriptor)
            try:
                if name(connection) not in stream.names:
                    return
                connection.shutdown(socket.SHUT_RDWR)
            finally:
                connection.detach()
            stream.cut[cause] += 1
            now_ns = self._now()
            if now_ns - stream.logged_ns.get(cause, now_ns - PAUSE_NS) >= PAUSE_NS:
                stream.logged_ns[cause] = now_ns
                why = _WHY[cause].format(readers=stream.readers)
                log.warning("cut off a reader of %s (%s): %s", peer.stream, peer.owner, why)


def _newest(peers: list[tuple[int, _Peer]], counts: Counter[str], most: int) -> int:
    """The place of the last one, in the order they came, of an owner that has so many."""
    return next(at for at in range(len(peers) - 1, -1, -1) if counts[peers[at][1].owner] == most)
