"""Door: the ROUTER sockets of one stream that is asked: on ipc by the file's permissions, over TCP by keys."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import zmq

from edged.core.errors import EdgedError
from edged.core.quota import USUAL_READERS
from edged.runtime.clients import Client, Clients
from edged.runtime.peers import Peers
from edged.wire.sockets import Context, CurveServer, Options, bind

LIMIT_BYTES = 64 * 1024  # of a request
MOST_PARTS = 4  # one more than a request has
QUEUED = 4  # requests and answers of one client


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One request. `client`: whose key it came with, None = by the file's permissions; `known`: False for a key that
    may not come in any more."""

    router: zmq.Socket[bytes]
    envelope: list[bytes]
    data: bytes
    client: Client | None
    known: bool


class Door:
    """Used by one thread, but for `wake`, which any may call.

    `remote`: another endpoint besides; over TCP it is for clients whose key is known: without `curve` there is none.
    """

    def __init__(
        self,
        context: Context,
        stream: str,
        endpoint: str,
        remote: str | None = None,
        curve: CurveServer | None = None,
        peers: Peers | None = None,
        clients: Clients | None = None,
        queued: int = QUEUED,
    ) -> None:
        self._stream, self._peers, self._clients = stream, peers, clients
        self._options: Options = {
            zmq.LINGER: 200, zmq.MAXMSGSIZE: 2 * LIMIT_BYTES, zmq.SNDHWM: queued, zmq.RCVHWM: queued
        }  # fmt: skip
        self._keyed: list[zmq.Socket[bytes]] = []  # those that ask for keys
        self._routers: list[zmq.Socket[bytes]] = []
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False
        try:
            self._bind(context, endpoint, "check [daemon] runtime")
            if remote is not None and (curve is not None or remote.startswith("ipc://")):
                self._bind(context, remote, "check [bus] bind", curve)
        except EdgedError:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._woken, zmq.POLLIN)
        for router in self._routers:
            self._poller.register(router, zmq.POLLIN)

    def _bind(self, context: Context, endpoint: str, remedy: str, curve: CurveServer | None = None) -> None:
        def watch(router: zmq.Socket[bytes]) -> None:
            if self._peers is not None:
                self._peers.watch(self._stream, router, endpoint, USUAL_READERS)

        router = bind(context, zmq.ROUTER, endpoint, remedy, self._options, curve, watch)
        self._routers.append(router)
        if endpoint.startswith("tcp://"):
            self._keyed.append(router)

    def wait(self, timeout_ms: int) -> list[zmq.Socket[bytes]]:
        """Until a request is there, `wake` was called, or for so long; the sockets with a request."""
        ready = dict(self._poller.poll(timeout_ms))
        if self._peers is not None and self._peers.places.lost:
            for router in self._routers:
                self._peers.places.mend(router)
        if self._woken in ready:
            os.eventfd_read(self._woken)
        return [router for router in self._routers if router in ready]

    def wake(self) -> None:
        """End a `wait`, now or the next one; not after `close`."""
        if not self._closed:
            os.eventfd_write(self._woken, 1)

    def receive(self, router: zmq.Socket[bytes]) -> Asked:
        """The request that is there. A DEALER sends [identity, request], a REQ [identity, empty, request]."""
        frames, last = _receive(router)
        envelope, data = frames[:-1], frames[-1]
        if len(envelope) > 2 or (len(envelope) == 2 and envelope[1]):
            data = b""  # not one frame: answered as not understood
            envelope = envelope[:1]
        if router not in self._keyed:
            return Asked(router, envelope, data, None, True)
        key = "" if self._peers is None else self._peers.heard(self._stream, last)
        client = self._clients.known().get(key) if self._clients is not None else None
        return Asked(router, envelope, data, client, client is not None)

    def reply(self, asked: Asked, answer: bytes) -> None:
        """The one answer; whoever asked may be gone, or not reading."""
        with contextlib.suppress(zmq.ZMQError):
            asked.router.send_multipart([*asked.envelope, answer], zmq.NOBLOCK)

    def close(self) -> None:
        """When its thread has ended."""
        for router in self._routers:
            router.close()
        if not self._closed:
            self._closed = True
            os.close(self._woken)


def _receive(router: zmq.Socket[bytes]) -> tuple[list[bytes], zmq.Frame]:
    """The parts of the message that is there; of one with more than a request has, the sender and nothing of use. And
    the last of them, which knows whose it is."""
    part = router.recv(copy=False)
    parts = [part.bytes]
    while router.get(zmq.RCVMORE):
        part = router.recv(copy=False)
        if len(parts) < MOST_PARTS:  # the rest is taken, as it must be, and dropped
            parts.append(part.bytes)
    return parts, part
