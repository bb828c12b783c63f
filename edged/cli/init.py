"""`edged init ENGINE`: a config to start from, made of what the engine needs.

What the manifest decides is written; what only the cell decides is `"?"`, which no daemon starts with and `edged check`
names. So nothing of a cell is guessed: a limit that nobody thought about would be worse than none.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping

from edged.bundle.bundle import Bundle
from edged.bundle.cell_check import remembers
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, ImageInput
from edged.config.explain import OPEN
from edged.config.sections import POLICY_HZ
from edged.core.errors import UsageError

ANY = f'"{OPEN}"'
MOST_RULES = 8  # of engines with many classes few are judged by
BARE = re.compile(r"[A-Za-z0-9_-]+")


def scaffold(bundle: Bundle, name: str, pinned: bool = False) -> str:
    """The TOML text of daemon `name` for this engine; for this very version if `pinned`.

    Raises `UsageError` where a config cannot name its inputs.
    """
    manifest = bundle.manifest
    return "\n\n".join("\n".join(section) for section in _sections(bundle, manifest, name, pinned)) + "\n"


def questions(text: str) -> int:
    """How many are open in a scaffold."""
    return sum(line.partition("#")[0].count(ANY) for line in text.splitlines())


def _sections(bundle: Bundle, manifest: Manifest, name: str, pinned: bool) -> Iterator[list[str]]:
    yield [
        f"# {name}: engine {bundle.name} {bundle.version} ({manifest.task}, {manifest.precision}).",
        f"# Every {ANY} is for you to answer: 'edged check {name}.toml' names those that are left.",
        "# Any other line may go or change; docs/config.md has all keys.",
    ]
    images, action = list(manifest.images.values()), manifest.action
    cameras = {image.source: image for image in images}
    yield _loop(action[1] if action else None, cameras, remembers(manifest))
    for source, image in cameras.items():
        yield _camera(source, image)
    sensors = _sensors(manifest)
    for sensor, units in sensors.items():
        yield _sensor(sensor, list(units), list(units.values()))
    version = [f"version = {_text(bundle.version)}  # of several: none of them is the store's current one"]
    yield ["[engine]", f"name = {_text(bundle.name)}", *(version if pinned else ())]
    if action:
        yield from _guard(action[1], sensors)
    else:
        yield _inspection(manifest)
    yield ["[bus]", "# valid_ms = 100  # how long a controller may do without hearing from us",
           '# publish = ["frames"]  # pictures as well, for the page and recorders']  # fmt: skip


def _loop(action: ActionOutput | None, cameras: dict[str, ImageInput], by_steps: bool) -> list[str]:
    """`by_steps`: what it remembers goes on with each tick, which has to be a step."""
    by_steps = by_steps and action is not None and 1000 / action.step_ms < POLICY_HZ[0]
    if cameras and (action is None or by_steps):
        why = f": a step of the engine, which remembers, is {action.step_ms:g} ms" if action else ""
        return ["[loop]", f"clock = {_text('camera:' + next(iter(cameras)))}  # a tick at each frame{why}"]
    least = 0 if by_steps else POLICY_HZ[0]
    rate = f"{min(max(1000 / action.step_ms, least), POLICY_HZ[1]):.6g}" if action else ANY
    why = f"  # a step of the engine is {action.step_ms:g} ms" if action else ""
    cpus = sorted(os.sched_getaffinity(0))
    own = [f"# cpus = [{cpus[-1]}]  # of its own: see 'edged doctor'"] if len(cpus) > 1 else []
    return ["[loop]", f"rate_hz = {rate}{why}", "# fifo = 50  # SCHED_FIFO priority", *own]


def _camera(source: str, image: ImageInput) -> list[str]:
    height, width = image.size
    fixed = image.resize == "none"
    how = f"the engine takes {width}x{height} as it is" if fixed else f"any size; it is made {width}x{height}"
    return [
        f"[cameras.{_key(source)}]",
        f"uri = {ANY}  # /dev/v4l/by-id/..., rtsp://, a file, zmq+ipc://, shm:",
        f"width = {width if fixed else ANY}  # {how}",
        f"height = {height if fixed else ANY}",
        *([f'format = "{image.format}"  # the engine takes one channel'] if image.format != "bgr8" else []),
        f"fps = {ANY}",
        "# latency_ms = 20  # from capture to arrival",
        "# max_age_ms = 100  # an older frame is a Hold",
    ]


def _sensor(name: str, names: list[str], units: list[str]) -> list[str]:
    unit = _text(units[0]) if len(set(units)) == 1 else json.dumps(units, ensure_ascii=False)
    return [
        f"[sensors.{_key(name)}]",
        f"endpoint = {ANY}  # tcp://host:5555 or ipc:///run/...",
        f"codec = {ANY}  # edged, json, msgpack or struct:<{len(names)}d",
        f"names = {json.dumps(names, ensure_ascii=False)}  # in the order in which they are sent",
        f"unit = {unit}",
        "# max_age_ms = 50  # an older sample is a Hold",
    ]


def _guard(action: ActionOutput, sensors: Mapping[str, Mapping[str, str]]) -> Iterator[list[str]]:
    driven = {axis.name for axis in action.axes if axis.kind != "binary"}
    measured = next((sensor for sensor, units in sensors.items() if driven <= units.keys()), None)
    lines = ["# What the robot may do, whatever the engine says. Not a safety function: see SAFETY.md.", "[guard]",
             'start = "disarmed"  # it moves after \'edged resume DAEMON\'',
             f"measured = {_text('sensor:' + measured) if measured else ANY}  # where the robot is",
             f"following_error = {ANY}  # further from where it was sent is a stop",
             '# enable = "sensor:enable"  # an enabling device that arms and stops']  # fmt: skip
    yield lines
    limits = ['[guard.limits]  # on = "limit" publishes the nearest allowed value instead of a Hold']
    for axis in action.axes:
        low, high = axis.range
        if axis.kind == "binary":
            limits.append(f"{_key(axis.name)} = {{ min = {low:g}, max = {high:g} }}")
            continue
        trained = f"{axis.unit}; trained on {low:g} .. {high:g}"
        limits.append(f"{_key(axis.name)} = {{ min = {ANY}, max = {ANY}, velocity = {ANY} }}  # {trained}")
    yield limits


def _inspection(manifest: Manifest) -> list[str]:
    """A rule for each class, for whoever wants PASS and FAIL: none counts before somebody says what a good part is."""
    lines = [
        "# What a good part is: with rules each result is PASS or FAIL, with [trigger] each part (docs/parts.md).",
        "# [inspection]",
    ]
    if manifest.task == "instance":
        lines += ["# thresholds = {}  # class to its least score, not below the engine's own"]
    for name in [name for name in manifest.classes if name != "background"][:MOST_RULES]:
        lines += [
            "# [[inspection.rules]]",
            f"# name = {_text(name)}",
            f"# classes = [{_text(name)}]",
            f"# max_count = {ANY}  # of a defect 0; of a part min_count as well; areas and places: docs/config.md",
        ]
    return lines


def _sensors(manifest: Manifest) -> dict[str, dict[str, str]]:
    """Sensor -> name of a value that the engine reads of it -> its unit."""
    found: dict[str, dict[str, str]] = {}
    for state in manifest.states.values():
        for part in state.parts:
            for name in part.names:
                found.setdefault(part.sensor, {}).setdefault(name, part.unit)
    return found


def _key(name: str) -> str:
    if any(ord(letter) < 32 for letter in name):
        raise UsageError(f"{name!r} cannot be a key of a config", "pack the engine again with another name")
    return name if BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """A TOML string: JSON's is one, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
