"""GPIO edges by libgpiod: its real settings and names, and a chip that is pretended where the kernel has none."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import until

from edged.source.gpio import GpioEdges

gpiod = pytest.importorskip("gpiod")
MS = 1_000_000


class Chip:
    """What `gpiod.request_lines` gives: edges as they are put in; `gone` makes it fail as an unplugged one."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.events: list[SimpleNamespace] = []
        self.missing, self.gone = True, threading.Event()

    def request(self, path: str, config: dict[Any, Any], **options: Any) -> Chip:
        if self.missing:
            raise FileNotFoundError(2, "No such file or directory", path)
        self.asked.append((path, config, options))
        self.gone.clear()
        return self

    def __enter__(self) -> Chip:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def wait_edge_events(self, timeout: timedelta) -> bool:
        if self.gone.wait(0.01):
            raise OSError(19, "No such device")
        return bool(self.events)

    def read_edge_events(self) -> list[SimpleNamespace]:
        found, self.events = self.events, []
        return found

    def edge(self, at_ms: int, number: int) -> None:
        self.events = [*self.events, SimpleNamespace(timestamp_ns=at_ms * MS, line_seqno=number)]


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    made = Chip()
    monkeypatch.setattr(gpiod, "request_lines", made.request)
    monkeypatch.setattr("edged.source.gpio.AGAIN_S", 0.02)
    return made


def test_edges_have_the_kernels_stamps_and_a_chip_may_come_and_go(chip: Chip) -> None:
    fired: list[int] = []
    gpio = GpioEdges("/dev/gpiochip0", 17, rising=False, debounce_ns=3 * MS, fire=fired.append)
    gpio.start()
    try:
        until(lambda: "No such file" in gpio.state, 10)
        chip.missing = False
        until(lambda: gpio.state == "reading", 10)
        (path, config, options) = chip.asked[0]
        assert (path, options["consumer"]) == ("/dev/gpiochip0", "edged")
        settings = config[17]
        assert settings.edge_detection is gpiod.line.Edge.FALLING
        assert settings.event_clock is gpiod.line.Clock.MONOTONIC
        assert settings.debounce_period == timedelta(milliseconds=3)
        chip.edge(100, 1)
        chip.edge(140, 2)
        until(lambda: fired == [100 * MS, 140 * MS], 10)
        chip.edge(300, 5)  # 3 and 4 were not kept by the kernel
        until(lambda: gpio.stats()["lost"] == 2, 10)
        chip.gone.set()
        until(lambda: len(chip.asked) == 2, 10)
        chip.edge(900, 1)
        until(lambda: fired[-1] == 900 * MS, 10)
        assert gpio.stats()["lost"] == 2
    finally:
        gpio.close()
    assert not gpio.is_alive()
