"""What every socket has, whoever makes it: it gives up on who says nothing, and takes no message above its bound."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from waiting import until

from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import EdgedError
from edged.wire import link, sockets
from edged.wire.link import Link
from edged.wire.sockets import CurveKeys, bind, connect, open_context


@pytest.mark.parametrize("kind", [zmq.XPUB, zmq.ROUTER, zmq.PULL])
def test_a_bound_socket_gives_up_a_handshake_that_does_not_end(kind: int) -> None:
    """libzmq itself would wait for half a minute, with a descriptor for each who came."""
    with open_context() as context, bind(context, kind, "tcp://127.0.0.1:*", "") as bound:
        port = int(bound.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            while silent.recv(4096):  # its greeting; then it hangs up
                pass


def test_an_endpoint_that_is_taken_is_told_with_the_remedy() -> None:
    with (
        open_context() as context,
        bind(context, zmq.XPUB, "tcp://127.0.0.1:*", "") as first,
        pytest.raises(EdgedError, match=r"^cannot bind tcp://127\.0\.0\.1:\d+: .+; free it$"),
    ):
        bind(context, zmq.XPUB, first.getsockopt_string(zmq.LAST_ENDPOINT), "free it")


def test_what_is_set_for_a_socket_beats_what_all_have() -> None:
    with (
        open_context() as context,
        bind(context, zmq.ROUTER, "inproc://here", "", {zmq.LINGER: 200, zmq.MAXMSGSIZE: 64}) as bound,
        connect(context, zmq.DEALER, "inproc://here", {}) as connected,
    ):
        assert (bound.linger, bound.getsockopt(zmq.MAXMSGSIZE)) == (200, 64)
        assert connected.linger == 0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[zmq.Socket[bytes]]:
    """The sockets that were opened."""
    found: list[zmq.Socket[bytes]] = []

    def opened(*asked: Any) -> zmq.Socket[bytes]:
        found.append(open_socket(*asked))
        return found[-1]

    open_socket = sockets.open_socket
    monkeypatch.setattr(sockets, "open_socket", opened)
    return found


@pytest.mark.parametrize(("server", "error"), [(b"short", EdgedError), ("text" * 10, TypeError)])
def test_a_socket_that_cannot_be_connected_does_not_keep_its_context(
    server: Any, error: type[Exception], made: list[zmq.Socket[bytes]]
) -> None:
    context = open_context()
    with pytest.raises(error):
        connect(context, zmq.DEALER, "tcp://127.0.0.1:1", {}, CurveKeys(server, b"y" * 40, b"z" * 40))
    closed = [one.closed for one in made]
    context.destroy(linger=0)
    assert closed == [True]


@pytest.mark.parametrize("error", [zmq.ZMQError(1), TypeError("no")])
def test_a_socket_that_cannot_be_watched_or_bound_does_not_keep_its_context(
    error: Exception, made: list[zmq.Socket[bytes]]
) -> None:
    def watch(socket: zmq.Socket[bytes]) -> None:
        raise error

    context = open_context()
    with pytest.raises(TypeError if isinstance(error, TypeError) else EdgedError):
        bind(context, zmq.XPUB, "tcp://127.0.0.1:*", "free it", watch=watch)
    closed = [one.closed for one in made]
    context.destroy(linger=0)
    assert closed == [True]


def test_a_link_without_a_monitor_does_not_keep_its_context(
    made: list[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no descriptor is left for one."""

    def none_left(self: zmq.Socket[bytes], *_: Any) -> None:
        raise zmq.ZMQError(24)

    monkeypatch.setattr(zmq.Socket, "get_monitor_socket", none_left)
    with open_context() as context:
        with pytest.raises(zmq.ZMQError):
            Link(context, zmq.SUB, "tcp://127.0.0.1:1", {})
        closed = [one.closed for one in made]
        context.destroy(linger=0)
    assert closed == [True]


def test_a_link_that_could_not_be_made_again_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Link(None, zmq.SUB, f"ipc://{tmp_path}/s", {zmq.SUBSCRIBE: b""})

    def none_left(*_: object) -> None:
        raise zmq.ZMQError(errno.EMFILE)

    with closing(made), bind(made._use.context, zmq.PUB, f"ipc://{tmp_path}/s", "") as sender:
        with monkeypatch.context() as short:
            short.setattr(link, "connect", none_left)
            with pytest.raises(zmq.ZMQError):
                made.reopen()
        made.tend(monotonic_ns() + NS_PER_S)

        def heard() -> bool:
            sender.send(b"x")
            return bool(made.socket.poll(20))

        until(heard)
