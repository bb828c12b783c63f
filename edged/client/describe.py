"""describe: one readable line per message, for people who look at a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edged.core.clock import ms
from edged.core.errors import WireError
from edged.wire import ArraySpec, Flag, Kind, Message

LONGEST = 400  # characters of the part that is the message's own
MOST_VALUES = 32  # of a sample, an action or a list of instances


def describe(message: Message, now_ns: int | None = None) -> str:
    """One line without control characters, whatever a sender put in: for example

        cell/action action #812 age 21.4 ms valid 78.6 ms engine 3fa9c0d1 | j1 0.120 rad, j2 -1.571 rad, ... x16

    `now_ns` is the reader's clock if it is the sender's too; without it the age is that at publication, and the text
    leaves out whether the message is still good.
    """
    try:
        content = _content(message)
    except (WireError, RecursionError) as error:
        content = f"unreadable: {error}"
    if len(content) > LONGEST:
        content = content[: LONGEST - 3] + "..."
    return _one_line(f"{_preamble(message, now_ns)} | {content}" if content else _preamble(message, now_ns))


def _preamble(message: Message, now_ns: int | None) -> str:
    at_ns = message.published_ns if now_ns is None else now_ns
    words = [message.topic, message.kind.name.lower(), f"#{message.seq}"]
    if message.captured_ns:
        words.append(f"age {ms(at_ns - message.captured_ns):.1f} ms")
    if message.valid_for_ns:
        left_ns = message.published_ns + message.valid_for_ns - at_ns
        words.append(f"valid {ms(left_ns):.1f} ms" if left_ns > 0 else f"EXPIRED {ms(-left_ns):.1f} ms ago")
    if any(message.engine):
        words.append(f"engine {message.engine[:4].hex()}")
    words += [flag.name.lower() for flag in Flag if message.flags & flag and flag is not Flag.STOP and flag.name]
    return " ".join(words)


def _content(message: Message) -> str:
    header = message.header
    match message.kind:
        case Kind.HOLD:
            reason = header.get("reason", f"reason {message.reason}")
            detail = f": {header['detail']}" if header.get("detail") else ""
            return f"{'STOP' if message.stop else 'hold'} {reason}{detail}{_skipped(header)}"
        case Kind.ACTION:
            return _action(message) + _skipped(header)
        case Kind.LABELS:
            return _labels(message) + _skipped(header)
        case Kind.INSTANCES:
            return _instances(message) + _skipped(header)
        case Kind.SAMPLE:
            values = message.arrays["values"][:MOST_VALUES].tolist()
            return _values(values, _texts(header.get("names")), [str(header.get("unit", ""))] * len(values))
        case Kind.EVENT:
            facts = {key: value for key, value in header.items() if key != "event"}
            return f"{header.get('event', '?')} {_facts(facts)}".strip()
        case Kind.TRACE:
            return f"{header.get('trace', '?')} of tick {header.get('tick', '?')}"
        case Kind.RESULT:
            return _part(header) + _result(header) + _alarms(message) + _skipped(header)
        case Kind.FRAME | Kind.PICTURE | Kind.HEALTH:
            arrays = ", ".join(_array(spec) for spec in message.arrays.specs.values())
            return " ".join(part for part in (arrays, _facts(header)) if part)


def _part(header: Mapping[str, Any]) -> str:
    """Whose result it is, where parts are triggered."""
    part, line, entry = header.get("part"), header.get("line"), header.get("entry")
    if not isinstance(part, int) or not isinstance(line, str):
        return ""
    return f"part {part} of {line[:64]}" + (f", entry {entry}: " if isinstance(entry, int) else ": ")


def _action(message: Message) -> str:
    actions = message.arrays["action"]
    header = message.header
    line = _values(actions[0, :MOST_VALUES].tolist(), _texts(header.get("names")), _texts(header.get("units")))
    if len(actions) > 1:
        line += f", {len(actions)} knots every {ms(header['step_ns']):g} ms"
    changes = header.get("changes")
    if isinstance(changes, list) and changes:
        line += f"; changed {header.get('changed', len(changes))}: " + ", ".join(_change(one) for one in changes[:3])
    return line


def _change(change: Any) -> str:
    match change:
        case [str(name), int(step), str(rule), int() | float() as asked, int() | float() as given]:
            return f"{name}[{step}] {rule} {asked:.4g} -> {given:.4g}"
    return str(change)


def _labels(message: Message) -> str:
    labels = message.arrays["labels"]
    names = _texts(message.header.get("classes"))
    counts = np.bincount(labels.ravel(), minlength=1)
    shares = [
        f"{_name(names, number)} {100 * count / labels.size:.2f} %"
        for number, count in enumerate(counts.tolist())
        if number and count
    ]
    return f"{_array(message.arrays.specs['labels'])}: {', '.join(shares) or 'background only'}{_alarms(message)}"


def _instances(message: Message) -> str:
    names = _texts(message.header.get("classes"))
    count = len(message.arrays["xyxy"])
    classes = [int(number) for number in _column(message, "class_id", "iu")]
    scores = _column(message, "score", "f")
    found = [f"{_name(names, number)} {score:.2f}" for number, score in zip(classes, scores, strict=False)]
    return f"{count} instances" + (f": {', '.join(found)}" if found else "") + _truncated(message) + _alarms(message)


def _result(header: Mapping[str, Any]) -> str:
    why = f": {header['why']}" if header.get("why") else ""
    decided = _texts(header.get("decided"))
    return f"{header.get('result', '?')}{why}" + (f" by {', '.join(decided)}" if decided else "")


def _column(message: Message, name: str, kinds: str) -> list[Any]:
    """The first values of an array that may be missing or of another kind than a reader expects."""
    if name not in message.arrays or message.arrays[name].dtype.kind not in kinds:
        return []
    column: list[Any] = message.arrays[name].ravel()[:MOST_VALUES].tolist()
    return column


def _values(values: Sequence[float], names: Sequence[str], units: Sequence[str]) -> str:
    words = []
    for at, value in enumerate(values):
        unit = f" {units[at]}" if at < len(units) and units[at] else ""
        words.append(f"{_name(names, at)} {value:.3f}{unit}")
    return ", ".join(words)


def _facts(header: Mapping[str, Any]) -> str:
    """`key=value` of what is short, `{...}` and `[...]` for what is not."""
    return " ".join(f"{key}={_short(value)}" for key, value in header.items())


def _short(value: Any) -> str:
    match value:
        case dict():
            if len(value) <= 4 and not any(isinstance(inner, dict | list) for inner in value.values()):
                return "{" + " ".join(f"{key}={inner}" for key, inner in value.items()) + "}"
            return f"{{{len(value)}}}"
        case list():
            return f"[{len(value)}]" if len(value) > 4 else str(value)
        case float():
            return f"{value:.6g}"
        case bytes():
            return value[:8].hex()
    return str(value)


def _array(spec: ArraySpec) -> str:
    size = "x".join(str(side) for side in spec.shape)
    return f"{spec.name} {spec.dtype} {size}" + (f" {spec.codec} {spec.length} B" if spec.codec != "raw" else "")


def _alarms(message: Message) -> str:
    alarms = _texts(message.header.get("alarms"))
    return f"; ALARM {', '.join(alarms)}" if alarms else ""


def _truncated(message: Message) -> str:
    left_out = message.header.get("truncated")
    return f"; TRUNCATED, at least {left_out} left out" if left_out else ""


def _skipped(header: Mapping[str, Any]) -> str:
    return f"; skipped {header['skipped']}" if header.get("skipped") else ""


def _texts(value: Any) -> Sequence[str]:
    return [str(part) for part in value] if isinstance(value, list) else ()


def _name(names: Sequence[str], at: int) -> str:
    return names[at] if 0 <= at < len(names) else str(at)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
