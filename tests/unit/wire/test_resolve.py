"""Host names are looked up where nobody waits for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import zmq
from waiting import until

from edged.core.clock import NS_PER_S
from edged.wire import resolve
from edged.wire.link import Link
from edged.wire.resolve import AGAIN_NS, Resolver
from edged.wire.sockets import INPUT


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


def found(address: str, family: int = socket.AF_INET) -> tuple[Any, ...]:
    return (family, socket.SOCK_STREAM, 6, "", (address, 0))


def test_a_name_server_that_does_not_answer_delays_nobody_and_the_link_comes_up_when_it_does(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def ask(*_: object, **__: object) -> list[Any]:
        answered.wait(60)
        return [found("::1", socket.AF_INET6), found("127.0.0.1")]

    monkeypatch.setattr(resolve.socket, "getaddrinfo", ask)
    with context.socket(zmq.PUB) as sender, context.socket(zmq.PUB) as other:
        sender.linger = other.linger = 0
        port = sender.bind_to_random_port("tcp://127.0.0.1")
        elsewhere = other.bind_to_random_port("tcp://127.0.0.1")
        options = {**INPUT, zmq.SUBSCRIBE: b""}
        with (
            closing(Link(context, zmq.SUB, f"tcp://robot.plant.example:{port}", options, resolve=True)) as link,
            closing(Link(context, zmq.SUB, f"tcp://127.0.0.1:{elsewhere}", options, resolve=True)) as healthy,
        ):

            def hears(one: Link, by: zmq.Socket[bytes]) -> bool:
                by.send(b"x")
                one.tend(time.monotonic_ns())
                return bool(one.socket.poll(10))

            link.tend(time.monotonic_ns())
            until(lambda: hears(healthy, other))
            assert "robot.plant.example is not resolved yet" in link.trouble
            assert healthy.trouble == ""
            answered.set()
            until(lambda: hears(link, sender))
            until(lambda: (link.tend(time.monotonic_ns()), link.trouble == "")[1])


def test_a_name_that_does_not_exist_says_so_and_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def find(name: str) -> str:
        asked.append(1)
        if len(asked) == 1:
            raise socket.gaierror(-2, "Name or service not known")
        return "10.0.0.7"

    resolver = Resolver("robot", find)
    assert resolver.tend(0, False) == ""
    until(lambda: "cannot be resolved (Name or service not known)" in resolver.trouble)
    assert resolver.tend(AGAIN_NS - 1, False) == ""
    assert resolver.tend(2 * AGAIN_NS, True) == ""  # somebody is connected
    assert len(asked) == 1
    resolver.tend(2 * AGAIN_NS, False)
    until(lambda: resolver.tend(2 * AGAIN_NS + NS_PER_S, False) == "10.0.0.7")
    assert resolver.trouble == ""


@pytest.mark.parametrize("name", ["a" * 64, "x..y", "\udcff"])
def test_whatever_a_look_up_raises_is_trouble_of_that_name(name: str) -> None:
    resolver = Resolver(name)
    resolver.tend(0, False)
    until(lambda: "cannot be resolved" in resolver.trouble)
