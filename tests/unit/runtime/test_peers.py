"""Who takes too much of our sockets is cut off, and nobody else."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from waiting import until

from edged.core.quota import Quota
from edged.runtime import peers as home
from edged.runtime.peers import MOST_SUBSCRIPTIONS, Peers
from edged.runtime.publish import Outlet

MANY = """
import sys, time, zmq
context = zmq.Context()
opened = [context.socket(zmq.SUB) for _ in range(int(sys.argv[2]))]
for one in opened:
    one.subscribe(b"")
    one.connect(sys.argv[1])
time.sleep(60)
"""


ENDLESS = """
import socket, sys
kind, _, place = sys.argv[1].partition("://")
if kind == "ipc":
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(place)
else:
    peer = socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2])))
peer.sendall(bytes([255, 0, 0, 0, 0, 0, 0, 0, 1, 127, 3, 0]) + b"NULL".ljust(20, bytes(1)) + bytes(32))
peer.recv(64, socket.MSG_WAITALL)
ready = b"\\x05READY" + b"\\x0bSocket-Type" + bytes([0, 0, 0, 4]) + b"XSUB"
peer.sendall(bytes([4, len(ready)]) + ready)
more = bytes([1, 40]) + bytes([2]) + bytes(39)  # a part that others follow, of ZMTP 3.0
while True:
    peer.sendall(200 * more)
"""


@pytest.fixture(params=["ipc", "tcp"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "ipc":
        return f"ipc://{tmp_path}/a"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def bus(endpoint: str) -> Iterator[tuple[Peers, Outlet]]:
    """An outlet for four readers, watched."""
    with zmq.Context() as context, closing(Peers()) as peers:
        outlet = Outlet(context, "pick/action", [endpoint], Quota(1024, 4, 50), peers=peers)
        peers.start()
        yield peers, outlet
        peers.close()
        outlet.close()


class Readers:
    """A process with several readers."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.opened: list[zmq.Socket[bytes]] = []


@pytest.fixture
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    for one in made.opened:
        one.close(linger=0)
    made.context.term()


def reader(readers: Readers, endpoint: str, **options: int) -> zmq.Socket[bytes]:
    made = readers.context.socket(zmq.SUB)
    readers.opened.append(made)
    made.subscribe(b"")
    made.reconnect_ivl = 20
    for name, value in options.items():
        setattr(made, name, value)
    made.connect(endpoint)
    return made


@pytest.mark.parametrize("endpoint", ["ipc"], indirect=True)  # over TCP all of them come from one host
def test_of_too_many_readers_those_of_whoever_has_most_are_turned_away(
    bus: tuple[Peers, Outlet], readers: Readers, endpoint: str
) -> None:
    peers, outlet = bus
    crowd = subprocess.Popen([sys.executable, "-c", MANY, endpoint, "20"])
    try:
        until(lambda: peers.readers()["action"]["cut"].get("readers", 0) >= 16, what=peers.readers)
        alone = reader(readers, endpoint)

        def heard() -> bool:
            outlet.send(b"x")
            outlet.count_peers()
            return bool(alone.poll(20))

        until(heard, what=peers.readers)
        until(lambda: peers.readers()["action"]["connected"] <= 4)
        assert peers.readers()["action"]["most"] == 4
    finally:
        crowd.kill()
        crowd.wait()
    until(lambda: peers.readers()["action"]["connected"] == 1, what=peers.readers)


def test_who_subscribes_without_end_is_cut_off(bus: tuple[Peers, Outlet], readers: Readers, endpoint: str) -> None:
    peers, outlet = bus
    greedy, modest = reader(readers, endpoint), reader(readers, endpoint)
    until(lambda: outlet.count_peers() == 2 and peers.readers()["action"]["connected"] == 2)
    for number in range(MOST_SUBSCRIPTIONS + 10):
        greedy.subscribe(b"topic %d" % number)
    greedy.reconnect_ivl = 60_000

    def cut() -> bool:
        outlet.count_peers()
        return bool(peers.readers()["action"]["cut"].get("subscriptions"))

    until(cut, what=peers.readers)
    outlet.send(b"x")
    assert modest.poll(2000)


def test_who_never_reads_is_cut_off_and_who_reads_is_not(
    bus: tuple[Peers, Outlet],
    readers: Readers,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(home, "STALLED_NS", 10**9)
    monkeypatch.setattr(home, "LOOK_NS", 10**8)
    peers, outlet = bus
    asleep = reader(readers, endpoint, rcvhwm=1, rcvbuf=4096)
    awake = reader(readers, endpoint)
    until(lambda: outlet.count_peers() == 2)
    numbers = itertools.count()

    def cut() -> bool:
        for _ in range(20):
            outlet.send(b"%d" % next(numbers) + bytes(100_000))
        time.sleep(0.02)
        while awake.poll(0):
            awake.recv()
        return bool(peers.readers()["action"]["cut"])

    until(cut, what=peers.readers)
    assert peers.readers()["action"]["cut"] == {"not reading": 1}
    asleep.close(linger=0)
    outlet.send(b"x")
    assert awake.poll(2000)


def test_a_number_that_is_somebody_elses_by_now_is_left_alone(bus: tuple[Peers, Outlet], tmp_path: Path) -> None:
    peers, _ = bus
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "f").open("w") as file:
        for number in (ours.fileno(), file.fileno(), 9999):
            peers._cut(number, home._Peer("action", "pid 1", 0), "not reading")
        ours.send(b"x")
        assert theirs.recv(1) == b"x"
        assert os.fstat(file.fileno())
    assert peers.readers()["action"]["cut"] == {}


def test_an_outlet_knows_that_more_waits_than_it_has_read(readers: Readers, tmp_path: Path) -> None:
    """Its owner then reads again at once: what waits in libzmq is bounded by nothing else."""
    with zmq.Context() as context:
        outlet = Outlet(context, "pick/action", [f"ipc://{tmp_path}/b"])
        crowd = [reader(readers, f"ipc://{tmp_path}/b") for _ in range(8)]
        asked = len(crowd)  # for everything

        def is_behind() -> bool:
            """Whether more came than is read at a time, while nobody read: libzmq takes in some of each of them."""
            nonlocal asked
            for one in 20 * crowd:
                one.subscribe(b"topic %d" % asked)
                asked += 1
            time.sleep(0.1)
            outlet.count_peers()
            return outlet.is_behind

        until(is_behind)
        until(lambda: outlet.count_peers() == asked)
        outlet.count_peers()
        assert not outlet.is_behind
        outlet.close()


class Late:
    """A subscription that is read when its connection is gone and the descriptor somebody else's."""

    bytes = b"\x01a"

    def __init__(self, descriptor: int, address: str) -> None:
        self._facts: dict[object, object] = {zmq.SRCFD: descriptor, "Peer-Address": address, "User-Id": ""}

    def get(self, key: object) -> object:
        return self._facts[key]


def test_what_one_has_sent_is_not_charged_to_whoever_has_its_descriptor_next(
    bus: tuple[Peers, Outlet], readers: Readers, endpoint: str
) -> None:
    peers, outlet = bus
    modest = reader(readers, endpoint)
    until(lambda: peers._peers and outlet.count_peers() == 1)
    (descriptor,) = peers._peers
    own = f"localhost:{os.getuid()}:{os.getgid()}:{os.getpid()}" if endpoint.startswith("ipc") else "127.0.0.1"
    foreign = "localhost:0:0:1" if endpoint.startswith("ipc") else "127.0.0.2"
    for _ in range(2 * MOST_SUBSCRIPTIONS):
        peers.subscribed("action", Late(descriptor, foreign))  # type: ignore[arg-type]
        peers.subscribed("health", Late(descriptor, own))  # type: ignore[arg-type]
    assert peers.readers()["action"]["cut"] == {}
    outlet.send(b"x")
    assert modest.poll(2000)
    for _ in range(2 * MOST_SUBSCRIPTIONS):
        peers.subscribed("action", Late(descriptor, own))  # type: ignore[arg-type]
    assert peers.readers()["action"]["cut"]["subscriptions"] >= 1


def test_with_few_descriptors_fewer_readers_are_admitted_and_it_is_said(bus: tuple[Peers, Outlet]) -> None:
    peers, _ = bus
    assert peers.fit(4, 65_536) == ""
    assert peers.readers()["action"]["most"] == 4
    assert peers.fit(2, 100).startswith("100 descriptors are few: of 4 readers 2 are admitted")
    assert peers.readers()["action"]["most"] == 2


def test_who_sends_a_message_without_end_is_cut_off_before_it_fills_the_memory(
    bus: tuple[Peers, Outlet], readers: Readers, endpoint: str
) -> None:
    """libzmq would hold its parts in memory for ever, and our side never hears of it."""
    peers, outlet = bus
    modest = reader(readers, endpoint)
    until(lambda: outlet.count_peers() == 1)
    before = home.resident_bytes()
    sender = subprocess.Popen([sys.executable, "-c", ENDLESS, endpoint])
    try:

        def cut() -> bool:
            outlet.count_peers()
            return bool(peers.readers()["action"]["cut"].get("sending"))

        until(cut, 25, peers.readers)
        assert home.resident_bytes() - before < 500e6
    finally:
        sender.kill()
        sender.wait()
    assert peers.readers()["action"]["cut"].keys() == {"sending"}
    outlet.send(b"x")
    assert modest.poll(2000)


def test_a_reader_whose_heartbeats_wait_while_memory_grows_is_not_taken_for_a_flood(
    bus: tuple[Peers, Outlet], readers: Readers, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine is loaded on a busy machine: 16 MB within ten seconds, and nobody has time for what waits."""
    peers, outlet = bus
    reader(readers, endpoint)
    until(lambda: outlet.count_peers() == 1)
    waiting, looked = [300], [0]

    def queued(descriptor: int, direction: int) -> int:
        looked[0] += direction == termios.FIONREAD
        return waiting[0]

    grown = itertools.count(home.resident_bytes(), home.GROWTH_BYTES)
    monkeypatch.setattr(home, "queued", queued)
    monkeypatch.setattr(home, "resident_bytes", lambda: next(grown))
    until(lambda: looked[0] > 3 * home.SAMPLES, 20)
    assert peers.readers()["action"]["cut"] == {}
    waiting[0] = 100_000
    until(lambda: peers.readers()["action"]["cut"].get("sending"), 20)
