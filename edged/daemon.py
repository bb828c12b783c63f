"""The daemon: puts the parts together, runs the loop on the main thread, and takes everything down in order."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edged import __version__
from edged.bundle.store import Store, shipped_store
from edged.config import Config, endpoints, load_config, streams
from edged.core.clock import NS_PER_S, awake_before, boot_id, monotonic_ns, ms, ns
from edged.core.descriptors import Reserve, raise_limit, to_spare
from edged.core.duty import Duties, Duty
from edged.core.errand import left_behind
from edged.core.errors import EXIT_OK, EdgedError, MachineryError
from edged.core.signals import on_signal, told_to_end
from edged.core.types import Event
from edged.engine.device import settle_gpu
from edged.guard.arming import Arming
from edged.inspection.rules import make_judge
from edged.runtime.clients import Clients
from edged.runtime.compressed import start_compressed
from edged.runtime.control import Control, Operation
from edged.runtime.curve import open_curve
from edged.runtime.door import Door
from edged.runtime.evidence import start_evidence
from edged.runtime.frames import start_frames
from edged.runtime.health import Health
from edged.runtime.inputs import Inputs
from edged.runtime.journal import journal_piece
from edged.runtime.journal_run import acts, open_episodes, open_journal
from edged.runtime.logs import apply_log, start_log
from edged.runtime.loop import Loop
from edged.runtime.motion import MotionState, make_motion
from edged.runtime.outlets import open_outlets
from edged.runtime.ownership import claim, lock
from edged.runtime.parts_run import Triggering, make_triggering, start_parts, under_inspection
from edged.runtime.peers import Peers
from edged.runtime.perception import make_perception
from edged.runtime.places import Places
from edged.runtime.publish import Publisher
from edged.runtime.raw_lines import RawLines
from edged.runtime.realtime import after_sockets, before_sockets, before_threads, pin
from edged.runtime.reporter import Reporter
from edged.runtime.sender import Sender
from edged.runtime.share import start_shared
from edged.runtime.slot import Slot
from edged.runtime.systemd import STOPPING, notify
from edged.runtime.ticks import CameraTicks, Ticks, TimerTicks
from edged.runtime.trace import Trace
from edged.source.open import open_camera, open_sensor
from edged.swap.notifier import Notifier
from edged.swap.operations import Operations
from edged.swap.supply import EngineSupply
from edged.wire.sockets import Context, open_context

HOLD_PATIENCE_S = 0.1  # for the stop to be on the bus before `hold` is answered
LAST_WORDS_S = 0.05  # for the socket to send the last Hold

log = logging.getLogger("edged")


def run_daemon(path: Path, sets: Sequence[str] = ()) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. Raises `EdgedError` for what keeps it from starting."""
    session = monotonic_ns()
    before_threads()
    raise_limit()
    config = load_config(path, sets)
    with contextlib.ExitStack() as stack:
        hung = threading.Event()
        stack.callback(lambda: os._exit(EXIT_OK) if hung.is_set() or left_behind() else None)  # last of all
        log_writer = start_log(config.log)
        stack.callback(log_writer.stop)
        raw = RawLines(log_writer)
        stack.callback(raw.close)
        raw.start()
        lock(config, stack)

        def reload() -> None:
            try:
                apply_log(load_config(path, sets).log, log_writer)
                log.info("SIGHUP: [log] read again; everything else needs a restart")
            except EdgedError as error:
                log.error("SIGHUP: %s", error)

        on_signal(reload, signal.SIGHUP)
        log.info("edged %s, daemon %s, engine %s", __version__, config.daemon.name, config.engine.name)
        if overruled := settle_gpu(config.engine.gpu, at_once=config.swap.during == "live"):
            log.warning("%s", overruled)
        if config.stream == "action":
            log.info("guard: %s", config.effective_guard)
        return _serve(config, Sender(config.daemon.name, session, boot_id()), (log_writer, raw), hung, stack)


def _serve(
    config: Config, sender: Sender, log_threads: Sequence[Duty], hung: threading.Event, stack: contextlib.ExitStack
) -> int:
    """`hung` is set when a run of the engine is still under way at the end: no orderly way out is left then."""
    stop, health = told_to_end(), Health()
    before_sockets(config.loop, health.warn)
    context = stack.enter_context(open_context())
    after_sockets(config.loop)
    slot = Slot(hang_ns=ns(config.execution.hang_ms))
    duties = Duties(partial(setattr, slot, "broken"))
    for thread in log_threads:
        duties.watch(thread)
    clients = Clients(config.bus.authorized) if config.bus.authorized else None
    curve = stack.enter_context(open_curve(context, config.bus, clients, duties.watch))
    places = Places(partial(claim, config, stack))
    peers = Peers(places=places, clients=clients)
    outlets = open_outlets(config, context, curve, peers, stack)
    stack.callback(peers.close)
    judge, heard = make_judge(config), outlets.get("results") if config.trigger is None else None
    publisher = Publisher(outlets[config.stream], sender, config.valid_ns, config.period_ns, results=heard, judge=judge)
    triggering = make_triggering(config, sender.session)
    foreign = stack.enter_context(open_context())  # foreign inputs have an I/O thread apart
    inputs = open_inputs(config, foreign, stack, triggering)
    reserve = Reserve()
    stack.callback(reserve.close)
    motion = make_motion(config, open_arming(config, reserve))
    journal = open_journal(config, sender, stack)
    episodes = open_episodes(config, journal, motion.arming, stack)
    reporter = Reporter(health, sender, outlets["health"], outlets["events"], journal=journal, episodes=episodes)
    stack.callback(reporter.close)
    places.alarm = partial(_report_loss, health, reporter, "sockets")
    store = Store(config.daemon.store, shipped_store())
    notifier = Notifier(_emitter(reporter, publisher), health.warn, health.withdraw)
    supply = EngineSupply(config, store, slot, motion, inputs.shadow, notifier, under_inspection(triggering))
    stack.callback(lambda: None if slot.close() else hung.set())
    stack.callback(supply.close)
    offered = operations(config, motion, health, supply.operations)
    doors = partial(Door, context, curve=curve, peers=peers, clients=clients)
    door = doors("control", endpoints(config)["control"], config.bus.bind.get("control"))
    control = Control(door, offered, acts(journal))
    duties.watch(control.disk)
    stack.callback(control.close)
    alarm = partial(_report_loss, health, reporter, "ledger")
    parts = start_parts(config, triggering, doors, outlets, sender, judge, health, journal, alarm, duties, stack)
    evidence = start_evidence(config, "" if judge is None else judge.digest, health, duties, stack)
    for camera in inputs.cameras.values():
        if isinstance(camera, Duty):
            duties.watch(camera)
    mailboxes = {name: camera.mailbox for name, camera in inputs.cameras.items()}
    start_frames(mailboxes, outlets, sender, duties, stack)
    start_shared(config, mailboxes, health, duties, stack)
    start_compressed(outlets, duties, stack)
    _describe(config, inputs, motion, slot, health)
    ours = {"threads": duties.describe, "readers": peers.readers, "descriptors": peers.doors.describe}
    if judge is not None and judge.config.rules:
        health.section("results", lambda: dict(judge.counts))
    for name, read in {**supply.sections(), **ours}.items():
        health.section(name, read)
    if warning := peers.fit(to_spare(limit := raise_limit()), limit):
        health.warn(warning)
    for thread in (journal, reporter, control, peers, *supply.threads):
        duties.start(thread)
    pin(config.loop, health.warn)
    gc.freeze()  # what start-up made is here to stay; collections in the loop need not look at it
    gc.enable()
    trace = Trace(outlets["trace"], sender, config, publisher.now) if "trace" in outlets else None
    try:
        ticks, perception = open_ticks(config, inputs, stop), make_perception(config, inputs, stop, parts, outlets)
        Loop(stop, ticks, slot, inputs, motion, publisher, health, perception, trace, None, evidence).run()
    except MachineryError as error:
        log.critical("%s", error)
        journal.put("stop", why=str(error))
        journal.close()
        time.sleep(LAST_WORDS_S)
        logging.shutdown()
        os._exit(error.exit_code)  # a dead device context may hang every orderly way out
    notify(STOPPING)
    log.info("stopping after %d ticks", health.ticks)
    time.sleep(LAST_WORDS_S)
    return EXIT_OK


def _report_loss(health: Health, reporter: Reporter, what: str, text: str) -> None:
    health.warn(text)
    reporter.emit(Event("alarm", {"what": what, "detail": text}))


def _emitter(reporter: Reporter, publisher: Publisher) -> Callable[[Event], None]:
    """Emit an event; an alarm also stays in every masks message until an engine is loaded or swapped in."""

    def emit(event: Event) -> None:
        if event.name == "alarm":
            publisher.alarms = (str(event.facts["what"]),)
        elif event.name == "loaded" or (event.name == "swapped" and event.facts["to"]):
            publisher.alarms = ()
        reporter.emit(event)

    return emit


def open_inputs(
    config: Config, context: Context, stack: contextlib.ExitStack, triggering: Triggering | None = None
) -> Inputs:
    """Cameras and sensors, reading from now on and closed with `stack`."""
    cameras, sensors = {}, {}
    tap, edges = (triggering.tap, triggering.edges) if triggering is not None else (None, None)
    for name, camera in config.cameras.items():
        shared = f"frames-{name}" in streams(config) or config.loop.clock != f"camera:{name}"
        cameras[name] = open_camera(name, camera, context=context, shared=shared, tap=tap)
        stack.callback(cameras[name].close)
        cameras[name].start()
    for name, sensor in config.sensors.items():
        take = edges.take if edges is not None and edges.sensor == name else None
        sensors[name] = open_sensor(name, sensor, context, tap=take)
        stack.callback(sensors[name].close)
    return Inputs(cameras, sensors, _sensor(config.guard.measured), _sensor(config.guard.enable))


def open_arming(config: Config, reserve: Reserve | None = None) -> Arming | None:
    """Whether the robot may move, as the hold file and the config have it; None for what moves nothing."""
    if config.stream != "action":
        return None
    enable = _sensor(config.guard.enable)
    max_age_ns = ns(config.sensors[enable].max_age_ms) if enable else 0
    return Arming(config.hold_file, config.guard.start, enable, max_age_ns, reserve)


def _sensor(reference: str | None) -> str | None:
    """The name in `sensor:<name>`."""
    return reference.removeprefix("sensor:") if reference else None


def open_ticks(config: Config, inputs: Inputs, stop: threading.Event) -> Ticks:
    """The clock the config asks for."""
    if config.clock_camera is None:
        return TimerTicks(config.loop.rate_hz, sleep=awake_before(ns(config.loop.spin_ms)), stop=stop)
    return CameraTicks(inputs.cameras[config.clock_camera].mailbox, config.rate_hz, stop=stop)


def operations(config: Config, motion: MotionState, health: Health, swaps: Operations) -> dict[str, Operation]:
    """What the control socket offers."""

    def arming() -> Arming:
        if motion.arming is None:
            remedy = "hold and resume the policy's daemon"
            raise EdgedError(f"{config.daemon.name} publishes masks and moves nothing", remedy)
        return motion.arming

    def hold(args: Mapping[str, Any]) -> dict[str, Any]:
        lock = str(args.get("via", "")) if args.get("lock") is True else None
        arming().hold(str(args.get("who", "unknown")), str(args.get("reason", "")), lock)
        on_bus = arming().wait_published(max(2 * config.period_ns / NS_PER_S, HOLD_PATIENCE_S))
        return {"state": arming().state, "published": on_bus}

    def resume(args: Mapping[str, Any]) -> dict[str, Any]:
        arming().resume(str(args.get("who", "unknown")), str(args.get("via", "")))
        return {"state": arming().state}

    disk = partial(Operation, slow=True)
    return {
        "status": Operation(lambda args: {**health.snapshot(), "folders": config.folders}),
        "hold": Operation(hold, mutates=True, args=frozenset({"reason", "lock", "via"})),
        "resume": Operation(resume, mutates=True, args=frozenset({"via"}), remote=config.bus.arm),
        "swap": disk(swaps.swap, mutates=True, args=frozenset({"name", "version", "allow_contract_change"})),
        "rollback": disk(swaps.rollback, mutates=True),
        "set": Operation(swaps.set, mutates=True, args=frozenset({"input", "value"})),
        "reset": disk(swaps.reset, mutates=True, args=frozenset({"version"})),
        "minimum": disk(swaps.minimum, mutates=True, args=frozenset({"version"})),
        "engines": disk(swaps.engines),
        "history": disk(partial(journal_piece, config.history_folder), args=frozenset({"file", "offset"})),
    }


def _describe(config: Config, inputs: Inputs, motion: MotionState, slot: Slot, health: Health) -> None:
    """What a snapshot has besides counters."""
    identity = {"name": config.daemon.name, "version": __version__, "pid": os.getpid(), "stream": config.stream}
    health.section("daemon", lambda: {**identity, "rate_hz": config.rate_hz, "clock": config.loop.clock})
    health.section("engine", slot.describe)
    cameras, sensors = inputs.cameras.items(), inputs.sensors.items()
    health.section("cameras", lambda: {name: _aged(one.stats(), one.mailbox.captured_ns) for name, one in cameras})
    health.section("sensors", lambda: {name: _aged(one.stats()) for name, one in sensors})
    if (arming := motion.arming) is not None:
        health.section("guard", lambda: {**arming.describe(), **config.effective_guard})


def _aged(stats: dict[str, Any], captured_ns: int = 0) -> dict[str, Any]:
    """An input's counters with its newest capture and how long ago that was now; None = nothing came yet."""
    captured_ns = captured_ns or int(stats.get("captured_ns", 0))
    age_ms = round(ms(monotonic_ns() - captured_ns), 1) if captured_ns else None
    return {**stats, "captured_ns": captured_ns, "age_ms": age_ms}
