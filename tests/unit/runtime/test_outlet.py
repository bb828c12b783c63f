"""The socket of a stream: who may open it, who listens, and what becomes of those who sleep or talk."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import pytest
import zmq
from published import Context, context
from waiting import until

from edged.core.errors import EdgedError
from edged.core.quota import Quota
from edged.runtime.publish import Outlet
from edged.wire import subscription

__all__ = ["context"]


def test_an_ipc_endpoint_is_for_owner_and_group_alone(context: Context, tmp_path: Path) -> None:
    outlet = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"])
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    outlet.close()


def test_an_endpoint_that_cannot_be_bound_names_the_remedy_and_leaves_no_socket(
    context: Context, tmp_path: Path
) -> None:
    with pytest.raises(EdgedError, match=r"cannot bind ipc:///.*change \[bus\] bind"):
        Outlet(context, "a/b", [f"ipc://{tmp_path}/s", f"ipc://{tmp_path}/nowhere/s"])
    again = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"])  # the first was let go
    again.close()


def test_peers_are_counted_as_they_come_and_go(context: Context, tmp_path: Path) -> None:
    outlet = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"])
    listeners = []
    for count in (1, 2):
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.SUBSCRIBE, subscription("a/b"))
        socket.connect(f"ipc://{tmp_path}/s")
        listeners.append(socket)
        until(lambda: outlet.count_peers() == count)  # noqa: B023 - called at once
    for count, socket in enumerate(listeners):
        socket.close(linger=0)
        until(lambda: outlet.count_peers() == 1 - count)  # noqa: B023
    outlet.close()


def test_a_sleeping_peer_loses_messages_and_never_the_sender(context: Context, tmp_path: Path) -> None:
    size = 1_000_000
    outlet = Outlet(context, "a/b", [f"ipc://{tmp_path}/s"], Quota(size, 4, 16))
    asleep = context.socket(zmq.SUB)
    asleep.setsockopt(zmq.RCVHWM, 1)
    asleep.setsockopt(zmq.RCVBUF, 65536)
    asleep.setsockopt(zmq.SUBSCRIBE, b"")
    asleep.connect(f"ipc://{tmp_path}/s")
    until(lambda: outlet.count_peers() == 1)
    for number in range(200):
        outlet.send(bytes([number]) * size)
    heard = []
    while asleep.poll(300):
        heard.append(asleep.recv()[0])
    assert outlet.seq == 200
    assert heard == sorted(heard)
    assert heard[0] == 0  # the queue keeps the oldest; a reader gates on order and validity
    assert len(heard) < 40
    asleep.close(linger=0)
    outlet.close()


def test_a_peer_that_talks_to_us_is_cut_off(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/a"
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        outlet = Outlet(context, "t", [endpoint])
        stack.callback(outlet.close)
        peer = stack.enter_context(context.socket(zmq.XSUB))
        peer.setsockopt(zmq.RECONNECT_IVL, -1)
        peer.connect(endpoint)
        peer.send(b"\1t")
        until(lambda: outlet.count_peers() == 1)
        peer.send(b"\2" + bytes(200_000))
        until(lambda: outlet.count_peers() == 0)
