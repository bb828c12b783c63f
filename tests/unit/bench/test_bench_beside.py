"""What ticks_beside makes of stamps: the daemon itself is measured by `edged bench`."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from edged.bench import beside
from edged.bench.beside import Block, idle_loop, lateness_us, slots_kept
from edged.wire import Flag, Kind, Message, Preamble, decode, encode

MS = 1_000_000


def action(published_ns: int, t0_ns: int, skipped: int = 0) -> Message:
    preamble = Preamble(Kind.ACTION, 0, Flag(0), 1, 1, 1, published_ns, 5 * MS, bytes(8), bytes(8))
    header = {"t0_ns": t0_ns, "step_ns": 10 * MS, "skipped": skipped}
    return decode(encode("bench/action", preamble, header, (("action", np.zeros((1, 2), np.float32)),)))


@pytest.mark.parametrize("knots", [-3, -1, 0, 2])
def test_lateness_counts_from_the_slot_wherever_the_knots_begin(knots: int) -> None:
    slot_ns = 1000 * MS
    assert lateness_us(action(slot_ns + 300_000, slot_ns + knots * 10 * MS)) == 300.0


def test_slots_are_counted_while_the_engine_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [action(stamp * MS, 0, skipped) for stamp, skipped in ((10, 9), (20, 0), (22, 1), (26, 0), (60, 50))]
    blocks = [Block(15 * MS, 30 * MS, True), Block(50 * MS, 70 * MS, False)]
    monkeypatch.setattr(beside, "_measure", lambda *_: (messages, blocks))
    monkeypatch.setattr(beside, "_idle", lambda _: b"19000000 0\n24000000 2\n55000000 9\n")
    assert slots_kept(2, 1.0) == (0.75, 0.5)


def test_the_idle_loop_keeps_a_grid_of_500_hz(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release, written = os.pipe()
    with os.fdopen(release) as given:
        monkeypatch.setattr("sys.stdin", given)
        threading.Timer(0.1, os.close, (written,)).start()
        idle_loop()
    ticks = np.array(capsys.readouterr().out.split(), np.int64).reshape(-1, 2)
    assert len(ticks) > 1
    slots = np.cumsum(ticks[:, 1] + 1)
    late_ns = ticks[:, 0] - slots * 2 * MS
    assert late_ns.max() - late_ns.min() < 2 * MS, "each tick is in its slot, whatever was skipped"
