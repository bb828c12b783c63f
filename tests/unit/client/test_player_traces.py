"""The traces that players in other languages are held to are what this one commands, to 1e-9."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden.make_player import BOOT, HERE, scenarios, trace

from edged.client import Lost, Player
from edged.wire import decode

TRACES = sorted(HERE.glob("player_*.txt"))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_player_commands_what_its_trace_says(path: Path) -> None:
    words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    (_, braking, bridge, *names), *rest = words
    player = Player(names, float(braking), float(bridge), BOOT)
    for what, now, *more in rest:
        if what == "feed":
            player.feed(decode(bytes.fromhex(more[0])), int(now))
        elif what == "lost":
            player.feed(Lost(150.0, "silent"), int(now))
        else:
            command = player.command(int(now))
            assert command.state == more[0]
            if command.values is None or command.velocities is None:
                assert len(more) == 1
                continue
            expected = np.array(more[1:], np.float64).reshape(2, -1)
            np.testing.assert_allclose(command.values, expected[0], rtol=0, atol=1e-9)
            np.testing.assert_allclose(command.velocities, expected[1], rtol=0, atol=1e-9)


def test_there_is_a_trace_of_each_scenario_as_it_is_made_today() -> None:
    made = {name: trace(name, feeds, until_ms) for name, feeds, until_ms in scenarios()}
    assert {f"player_{name}" for name in made} == {path.stem for path in TRACES}
    for name, lines in made.items():
        kept = (HERE / f"player_{name}.txt").read_text(encoding="utf-8").splitlines()
        assert [line.split()[:3] for line in kept] == [line.split()[:3] for line in lines]
