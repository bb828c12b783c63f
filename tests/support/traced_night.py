"""Nights of a traced cell, and what a replay makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import traced
import traced_engines
from cells import MS
from traced import LateWorker, TracedCell

from edged.services.replay.cell import RecordedCell
from edged.services.replay.repeat import Repeated, repeat
from edged.services.replay.tape import Picture, Tape
from edged.wire import Message


def night(cell: TracedCell, ticks: int, events: bool = True) -> None:
    """So many ticks, with operators, swaps and slow engines between them by chance."""
    chance, version = cell.chance, 2
    LateWorker.took_ns = staticmethod(lambda: int(chance.integers(5 * MS, 60 * MS)))
    for number in range(ticks):
        what = chance.integers(0, 60) if events and number > 20 else -1
        if what == 0 and cell.arming is not None:
            cell.arming.hold("ann", "a hand in the cell")
        elif what in (1, 2, 3) and cell.arming is not None:
            cell.arming.resume("ann")
        elif what == 4 and not cell.slot.pending:
            cell.install(cell.make(str(version)), 30.0)
            version += 1
        elif what == 9 and not cell.slot.pending:
            cell.remove("the operator took it away")
        elif what > 40 and cell.slot.running is None and not cell.slot.pending:
            cell.install(cell.make(str(version)), 30.0)
            version += 1
        elif what == 5:
            cell.motion.ask_to_forget()
        elif what == 6:
            cell.publisher.alarms = ("scratch",) if chance.random() < 0.5 else ()
        elif what == 7 and cell.config.stream == "action" and cell.slot.running is not None:
            settings, name = cell.slot.running.inference.encoder.settings, traced_engines.SETTABLE
            settings.put(name, settings.read(name, float(chance.random())))
        elif what == 8:
            cell.clock.advance(int(chance.integers(5 * MS, 80 * MS)))
        cell.tick()


def make_tape(messages: Iterable[Message], pictures: Mapping[tuple[str, int], Picture]) -> Tape:
    """Of one daemon's messages in the order of publishing."""
    tape = Tape()
    for (camera, number), image in pictures.items():
        tape.add_picture(camera, number, image)
    for message in messages:
        tape.add(message)
    return tape


def tape_of(cell: TracedCell) -> Tape:
    pictures = {}
    for name, camera in cell.cameras.items():
        track = camera._cursor._track
        pictures |= {(name, number + 1): image.copy() for number, image in enumerate(track.values)}
    return make_tape(cell.messages, pictures)


def repeated(cell: TracedCell, tape: Tape | None = None) -> list[Repeated]:
    replay = RecordedCell(tape or tape_of(cell), cell.open)
    try:
        return list(repeat(tape or tape_of(cell), replay))
    finally:
        replay.close()


def states(done: list[Repeated]) -> Counter[str]:
    return Counter(one.state for one in done)


def assert_equal(done: list[Repeated]) -> None:
    different = [one for one in done if one.state == "different"]
    for one in different[:1]:
        print(one.step.facts, one.recorded, one.made, sep="\n")
    assert not different, [one.step.number for one in different][:20]
    missing = [(one.step.number, one.why) for one in done if one.state == "not replayable"]
    assert [number for number, _ in missing] == [1], missing[:5]


def policy_night(folder: Path, inference: str, steps: int, ticks: int, seed: int = 1, **execution: Any) -> TracedCell:
    cell = TracedCell(
        folder, traced.policy_config(inference, execution), traced.sensor_recording(ticks / 45, seed), seed
    )
    cell.make = partial(traced_engines.policy, steps=steps, continues=execution.get("join") == "rtc")
    cell.install(cell.make("1"), 30.0 if inference == "async" else 1.0)
    night(cell, ticks)
    return cell
