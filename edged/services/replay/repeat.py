"""repeat: every tick of a tape once more, and whether its verdict is the recorded one.

A verdict is equal when its whole message is, byte for byte; of another engine, when all is but the engine's name in it.
A tick that something is missing of is not replayable, and so are those after it until the next snapshot: never equal
for want of a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edged import __version__
from edged.core.errors import EdgedError
from edged.services.replay.cell import RecordedCell
from edged.services.replay.tape import Step, Tape
from edged.wire import Message, Preamble, encode

Parts = Sequence[tuple[Message | None, dict[str, Any]]]
State = Literal["equal", "different", "not replayable"]
_UNLIKE = (LookupError, TypeError, ValueError, AttributeError)  # what a trace of another form ends in


@dataclass(frozen=True, slots=True, eq=False)
class Repeated:
    """One tick. `why`: what is missing, of a tick that is not replayable; `recorded`, `made`: the two messages;
    `parts`: of triggered ones that came to their results, the recorded message (None = it is missing) and the header
    that is made now."""

    step: Step
    state: State
    why: str = ""
    recorded: Message | None = None
    made: Message | None = None
    parts: Parts = ()


def repeat(tape: Tape, cell: RecordedCell) -> Iterator[Repeated]:
    """Every tick of `tape` in `cell`, in order."""
    lost = "no snapshot came before it"
    for step in tape.steps:
        if step.gap and not lost:
            lost = "trace messages before it are missing"
        if step.is_snapshot and lost:
            lost = _recall(cell, step)
            continue
        if step.facts.get("trace") != "tick":
            continue
        if not lost and step.is_lost:
            lost = "the daemon could not tell of it"
        if lost:
            yield Repeated(step, "not replayable", lost)
            continue
        try:
            made = cell.turn(step)
        except (EdgedError, *_UNLIKE) as error:
            lost = _say(cell, error)
            yield Repeated(step, "not replayable", lost)
            continue
        recorded, parts = tape.messages.get(step.facts.get("sent", 0)), cell.over()
        if recorded is None:
            yield Repeated(step, "not replayable", "its message is not in the recording", None, made, parts)
            continue
        equal = _verdict(made) == _verdict(recorded) if cell.compares else bytes(made.raw) == bytes(recorded.raw)
        equal &= all(was is None or same_result(was, now, cell.compares) for was, now in parts)
        yield Repeated(step, "equal" if equal else "different", "", recorded, made, parts)


def same_result(recorded: Message, made: Mapping[str, Any], compares: bool) -> bool:
    """Whether a part's result is the recorded one; `compares`: of another engine."""
    was = {**recorded.header, "captured_ns": recorded.captured_ns, "engine": recorded.engine.hex()}
    apart = {"engine"} if compares else set()
    return {key: was[key] for key in was.keys() - apart} == {key: made[key] for key in made.keys() - apart}


def _verdict(message: Message) -> bytes:
    """A message without what says how it was made: which engine, and in what time."""
    header = {key: value for key, value in message.header.items() if key != "engine_us"}
    arrays = [(name, message.arrays[name]) for name in message.arrays.specs]
    facts = {name: getattr(message, name) for name in Preamble.__struct_fields__}
    return encode(message.topic, Preamble(**{**facts, "engine": bytes(8)}), header, arrays)


def _recall(cell: RecordedCell, step: Step) -> str:
    """Go on at a snapshot; why that cannot be, "" when it can."""
    try:
        cell.recall(step)
    except (EdgedError, *_UNLIKE) as error:
        return _say(cell, error)
    return ""


def _say(cell: RecordedCell, error: Exception) -> str:
    """Why no more can be replayed."""
    if isinstance(error, EdgedError):
        return str(error)
    if cell.version not in ("", __version__):
        return f"edged {cell.version} recorded it, and this is {__version__}: replay it with that one"
    return f"its trace is not as edged {__version__} writes it: {type(error).__name__} {error}"
