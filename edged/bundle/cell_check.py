"""Does an engine fit a cell? The manifest's sources, units and axes against one daemon's config.

A problem here is what the daemon holds for (`Hold(ENGINE)`) and what `edged check` refuses; hints are what a person
should look at, and run nevertheless.
"""

from __future__ import annotations

from collections.abc import Iterator

from edged.bundle.limit_check import RATE_FREE_KINDS, limit_hints, limit_problems
from edged.bundle.limits import limits_of
from edged.bundle.manifest import Manifest
from edged.bundle.roles import ActionOutput, FeedbackInput, ImageInput, PrefixInput, StatePart
from edged.config import Config, SensorConfig
from edged.core.errors import RefusedError
from edged.core.pixels import seen_as

MOST_KEPT = 256 << 20  # bytes of a camera's frames that an engine looks back at
MOST_SAMPLES = 8192
REPEATED = 1.5  # spacings of a history between two things that are seen


def looks_back_ms(manifest: Manifest) -> dict[str, float]:
    """How far back from the newest input an engine looks, by `camera:<name>` and `sensor:<name>`; 0 are left out."""
    found = [(f"camera:{image.source}", image.history) for image in manifest.images.values()]
    found += [(f"sensor:{part.sensor}", state.history) for state in manifest.states.values() for part in state.parts]
    back: dict[str, float] = {}
    for stream, history in found:
        if history is not None:
            back[stream] = max((history.steps - 1) * history.spacing_ms, back.get(stream, 0.0))
    return back


def misfits(manifest: Manifest, config: Config) -> list[str]:
    """What keeps this engine from running in this cell, a sentence each with the remedy; empty = it fits."""
    return list(dict.fromkeys(_problems(manifest, config)))  # a sensor may give several parts of a state


def hints(manifest: Manifest, config: Config) -> list[str]:
    """What is allowed but seldom meant: unlimited axes, unused inputs, stamps that outlive their validity."""
    return list(_hints(manifest, config))


def _problems(manifest: Manifest, config: Config) -> Iterator[str]:
    if manifest.name != config.engine.name:
        yield f"the manifest says engine {manifest.name!r}, [engine] name says {config.engine.name!r}; correct one"
    for rule in config.inspection.rules:
        if unknown := [name for name in rule.classes if name not in manifest.classes]:
            known = ", ".join(manifest.classes) or "none"
            yield f"inspection rule {rule.name!r} is about {', '.join(unknown)}; the engine's classes are {known}"
    yield from _thresholds(manifest, config)
    for image in manifest.images.values():
        for name in config.execution.cameras or (image.source,):
            yield from _image(image, name, config)
    if config.execution.cameras:
        yield from _mixed_up(manifest)
    for state in manifest.states.values():
        for part in state.parts:
            yield from _part(part, config)
    yield from _kept(manifest, config)
    has_guard = config.stream == "action"
    if manifest.action is None:
        if has_guard:
            yield f"the {manifest.task} engine publishes masks and has no axes to guard; remove [guard]"
    elif not has_guard:
        yield "a policy runs behind a guard; add [guard] with the limits of its axes"
    else:
        yield from _guard(manifest.action[1], config)
        yield from _join(manifest, config)


def _mixed_up(manifest: Manifest) -> Iterator[str]:
    """What keeps an engine from serving several cameras in turn: it has to see each of them with fresh eyes."""
    if len(manifest.images) != 1:
        yield f"the engine looks at {len(manifest.images)} cameras at once; remove execution.cameras"
    if looks_back_ms(manifest) or remembers(manifest):
        yield "the engine remembers what it saw, and several cameras would be mixed up; remove execution.cameras"


def _join(manifest: Manifest, config: Config) -> Iterator[str]:
    if config.execution.join == "rtc" and not any(isinstance(role, PrefixInput) for role in manifest.inputs.values()):
        yield (
            '[execution] join = "rtc" continues plans, and the engine takes no prefix and no delay; '
            'use join = "blend", or export the policy with these inputs'
        )


def _thresholds(manifest: Manifest, config: Config) -> Iterator[str]:
    for name, least in config.inspection.thresholds.items():
        key = f"inspection.thresholds.{name}"
        if manifest.head is None:
            yield f"{key} is about scores, which a {manifest.task} engine's results have not; remove it"
        elif name not in manifest.classes:
            yield f"{key} is about no class of the engine; its classes are {', '.join(manifest.classes)}"
        elif least < manifest.head.score_threshold:
            own = f"the engine gives nothing below {manifest.head.score_threshold:g}"
            yield f"{key} = {least:g} finds nothing more: {own}; pack with --score {least:g}"


def _lets_pass(manifest: Manifest, config: Config) -> Iterator[str]:
    """Rules of defects that no longer see all that the engine gives."""
    own = manifest.head.score_threshold if manifest.head is not None else 0.0
    for rule in config.inspection.rules:
        if (rule.max_count is None and rule.max_area is None) or rule.severity != "fail" or manifest.head is None:
            continue
        names = rule.classes or manifest.classes
        raised = {name: max(rule.min_score, config.inspection.thresholds.get(name, 0.0)) for name in names}
        for name, least in raised.items():
            if least > own:
                yield (
                    f"rule {rule.name!r} counts no {name} that scores below {least:g}, and the engine gives them from "
                    f"{own:g} on: more parts pass; 'edged eval ENGINE DIR' says whether a known defect escapes"
                )


def _image(image: ImageInput, name: str, config: Config) -> Iterator[str]:
    camera = config.cameras.get(name)
    if camera is None:
        yield f"camera {name!r} is an input of the engine; add [cameras.{name}]"
        return
    given, wanted = (camera.width, camera.height), (image.size[1], image.size[0])
    if image.resize == "none" and given != wanted:
        yield (
            f"camera {name!r} is {_size(given)}, the engine takes {_size(wanted)} without resizing; "
            f"set cameras.{name} to {_size(wanted)}"
        )
    pixels = seen_as(camera.format)
    if pixels != image.format and (pixels, image.format) != ("mono8", "bgr8"):
        fact = f"camera {name!r} gives {pixels}, the engine takes {image.format}"
        yield f"{fact}; correct cameras.{name}.format, or pack the network for that camera"


def _kept(manifest: Manifest, config: Config) -> Iterator[str]:
    """What an engine looks back at has to be kept."""
    for stream, back_ms in looks_back_ms(manifest).items():
        kind, name = stream.split(":", 1)
        what = f"the engine looks back {back_ms:g} ms at {kind} {name!r}"
        if kind == "camera" and (camera := config.cameras.get(name)) is not None:
            size = (back_ms / 1e3 * camera.fps + 2) * camera.width * camera.height * 3
            if size > MOST_KEPT:
                fact = f"{what}: {size / (1 << 20):.0f} MiB of frames, at most {MOST_KEPT >> 20} are kept"
                yield f"{fact}; make cameras.{name} smaller or slower"
        elif kind == "sensor" and (count := back_ms * 1e6 / config.period_ns) > MOST_SAMPLES:
            yield f"{what}: {count:.0f} samples, at most {MOST_SAMPLES} are kept; lower loop.rate_hz"


def _repeated(manifest: Manifest, config: Config) -> Iterator[str]:
    """Moments that are nearer to each other than what is seen."""
    looks = [(image.source, config.cameras.get(image.source), image.history) for image in manifest.images.values()]
    looks += [(part.sensor, None, state.history) for state in manifest.states.values() for part in state.parts]
    for name, camera, history in looks:
        apart_ms = max(config.period_ns / 1e6, 0.0 if camera is None else 1e3 / camera.fps)
        if history is not None and apart_ms > REPEATED * history.spacing_ms:
            fact = f"the engine looks back at {name!r} in steps of {history.spacing_ms:g} ms"
            remedy = f"raise the rate of the loop{'' if camera is None else f' or cameras.{name}.fps'}"
            yield f"{fact}, and what is new there comes each {apart_ms:.4g} ms: moments repeat; {remedy}"


def _part(part: StatePart, config: Config) -> Iterator[str]:
    sensor = config.sensors.get(part.sensor)
    if sensor is None:
        yield f"sensor {part.sensor!r} is an input of the engine; add [sensors.{part.sensor}]"
        return
    if absent := [name for name in part.names if name not in sensor.names]:
        yield (
            f"sensor {part.sensor!r} has {', '.join(sensor.names)}; the engine also needs {', '.join(absent)}; "
            f"correct sensors.{part.sensor}.names"
        )
    for name in part.names:
        yield from _unit(f"sensors.{part.sensor}", sensor, name, part.unit, "the engine takes it")


def _guard(action: ActionOutput, config: Config) -> Iterator[str]:
    guard = config.guard
    yield from limit_problems(action, guard.limits)
    try:
        limits_of(guard, action.axes)
    except RefusedError as error:
        yield f"guard.urdf: {error.fact}; {error.remedy}"
    if guard.measured is None:
        yield from _needs_measured(action, config)
    else:
        yield from _measured(action, config.sensors[guard.measured.removeprefix("sensor:")], guard.measured)


def _needs_measured(action: ActionOutput, config: Config) -> Iterator[str]:
    """What is limited or meant relative to where the robot is would be Hold(ANCHOR) for ever."""
    limits = config.guard.limits
    rated = [name for name, limit in limits.items() if limit.step is not None or limit.velocity is not None]
    relative = [axis.name for axis in action.axes if axis.mode == "delta_previous"]
    if needing := list(dict.fromkeys(rated + relative)):
        yield (
            f"{', '.join(needing)} start from where the robot is, and guard.measured does not say where; "
            "add guard.measured = 'sensor:<name>'"
        )


def _measured(action: ActionOutput, sensor: SensorConfig, reference: str) -> Iterator[str]:
    """Every axis that is followed needs a measured value of its name and unit to be anchored to."""
    key = f"sensors.{reference.removeprefix('sensor:')}"
    followed = [axis for axis in action.axes if axis.kind not in RATE_FREE_KINDS]
    if absent := [axis.name for axis in followed if axis.name not in sensor.names]:
        yield f"guard.measured = {reference!r} does not measure {', '.join(absent)}; correct {key}.names"
    for axis in followed:
        yield from _unit(key, sensor, axis.name, axis.unit, "the action is")


def _unit(key: str, sensor: SensorConfig, name: str, unit: str, who: str) -> Iterator[str]:
    given = dict(zip(sensor.names, sensor.units, strict=True)).get(name, unit)
    if given != unit:
        yield f"{key} gives {name} in {given}, {who} in {unit}; correct {key}.unit, or convert where it is sent"


def remembers(manifest: Manifest) -> bool:
    """Whether a run goes on from what the run before left in the engine."""
    return any(isinstance(role, FeedbackInput) for role in manifest.inputs.values())


def _rates(manifest: Manifest, action: ActionOutput, config: Config) -> Iterator[str]:
    """What goes on with each run of the engine, where a run is not a step."""
    step_ms, period_ms = action.step_ms, config.period_ns / 1e6
    if abs(step_ms - period_ms) <= 0.1 * step_ms:
        return
    fact = f"a step of the engine is {step_ms:g} ms, a tick {period_ms:g} ms"
    if any(axis.mode != "absolute" for axis in action.axes):
        yield f"{fact}: its deltas come at another rate"
    if config.execution.replan == "asap" and remembers(manifest):
        hz = f"{1000 / step_ms:.4g}"
        remedy = f"set loop.rate_hz = {hz}, or tick at the frames of a camera as quick"
        if config.clock_camera is not None:  # whose rate_hz nobody reads
            remedy = f'let {config.loop.clock} give {hz} fps, or set loop.clock = "timer" and loop.rate_hz = {hz}'
        yield f"{fact}: what it remembers goes on at another rate; {remedy}"


def _hints(manifest: Manifest, config: Config) -> Iterator[str]:
    if manifest.action is not None and config.stream == "action":
        limits = limits_of(config.guard, manifest.action[1].axes)
        yield from limit_hints(manifest.action[1], limits, config)
        yield from _rates(manifest, manifest.action[1], config)
        if config.guard.measured is None:
            yield "guard.measured is not set: at start and after a stop the robot may jump to the first command"
        elif config.guard.following_error is None:
            yield "guard.following_error is not set: a robot that is stuck or pushed is not noticed"
    if config.valid_ns < config.least_valid_ns:
        least_ms = config.least_valid_ns / 1e6
        fact = (
            f"bus.valid_ms = {config.bus.valid_ms:g} is less than three periods and 10 ms: two late messages are a stop"
        )
        yield f"{fact}; set {least_ms:.4g}, or nothing"
    yield from _repeated(manifest, config)
    yield from _lets_pass(manifest, config)
    looked_at = config.execution.cameras or [image.source for image in manifest.images.values()]
    cameras = {*looked_at, config.clock_camera}
    observed = {part.sensor for state in manifest.states.values() for part in state.parts}
    sensors = observed | {text.removeprefix("sensor:") for text in (config.guard.enable, config.guard.measured) if text}
    for name in config.cameras:
        if name not in cameras and not {"frames", f"frames-{name}"} & set(config.bus.publish):
            yield f"camera {name!r} is read and used by nothing; remove [cameras.{name}]"
    for name in config.sensors:
        if name not in sensors:
            yield f"sensor {name!r} is read and used by nothing; remove [sensors.{name}]"
    ages = [(f"cameras.{name}", one.max_age_ms) for name, one in config.cameras.items() if name in looked_at]
    ages += [(f"sensors.{name}", one.max_age_ms) for name, one in config.sensors.items() if name in observed]
    for key, age in ages:
        if (plan_age := config.execution.max_plan_age_ms) is not None and age > plan_age:
            yield f"{key}.max_age_ms = {age:g} is beyond execution.max_plan_age_ms: input that old makes Hold(LATE)"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
