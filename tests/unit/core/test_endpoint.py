"""What `check` accepts is what `run` can do."""

from __future__ import annotations

import pytest
import zmq

from edged.core.endpoint import usable
from edged.core.errors import EdgedError
from edged.runtime.publish import Outlet

BOTH = ["tcp://10.0.0.1:5555", "tcp://[::1]:5555", "ipc:///run/x", "inproc://x"]


@pytest.mark.parametrize("endpoint", [*BOTH, "tcp://localhost:1", "tcp://gateway.plant.example:7777"])
def test_what_can_be_connected_to(endpoint: str) -> None:
    assert usable(endpoint, "connect")


@pytest.mark.parametrize("endpoint", ["tcp://*:1", "tcp://::1:5", "tcp://1.2.3.400:5", "tcp://a:0", "tcp://[x]:1", "x"])
def test_what_cannot_be_connected_to(endpoint: str) -> None:
    assert not usable(endpoint, "connect")


@pytest.mark.parametrize("endpoint", [*BOTH, "tcp://*:1", "tcp://eth0:5555", "tcp://localhost:1"])
def test_what_can_be_bound(endpoint: str) -> None:
    assert usable(endpoint, "bind")


def test_an_outlet_binds_ipv6() -> None:
    with zmq.Context() as context:
        try:
            Outlet(context, "a/b", ["tcp://[::1]:47613"]).close()
        except EdgedError as error:
            if "No such device" in str(error):
                raise
            pytest.skip("no IPv6 here")
