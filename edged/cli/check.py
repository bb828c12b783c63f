"""`edged check FILE`: what is wrong with a config, its machine and its engine, before anything runs or moves.

Nothing is bound, opened for writing or connected for longer than a moment: it may be asked beside a running daemon.
Permissions are judged for the user who asks.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from edged.bundle.cell_check import hints, misfits
from edged.bundle.minimum import refuse_below
from edged.bundle.replayed import refuse_replayed
from edged.bundle.signature import check_signature
from edged.bundle.store import Store
from edged.cli.check_inputs import check_inputs
from edged.cli.check_live import check_live
from edged.cli.check_time import check_time
from edged.cli.finding import Finding, fault, split, warning
from edged.cli.output import exists
from edged.client.reach import reach
from edged.config import Config, load_config, unit_environ
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE, ConfigError, EdgedError
from edged.engine.device import choose_gpu
from edged.pipeline.golden import golden_check
from edged.runtime.curve import server_keys
from edged.swap.load import open_for

NEEDS = {"daemon.runtime": 1 << 20, "daemon.store": 16 << 20, "daemon.cache": 16 << 20}  # bytes that should be free


def check(path: Path, sets: Sequence[str] = (), live: bool = False) -> list[Finding]:
    """Everything found, in the order of the flow; a config that is wrong by itself ends it there. `live`: listen to
    the inputs for two seconds, instead of only looking whether they are there.

    A file in /etc/edged is looked at with the folders that its unit gives it.
    """
    try:
        config = load_config(path, sets, unit_environ(path))
    except ConfigError as error:
        return [Finding("error", "config", line, exit_code=EXIT_USAGE) for line in str(error).splitlines()]
    return [
        *_config(path, config),
        *_runtime(path, config),
        *_keys(config),
        *_store(config),
        *_engine(config),
        *(_live(config) if live else check_inputs(config)),
    ]


def _live(config: Config) -> Iterator[Finding]:
    try:
        yield from check_live(config, _running(config.daemon.runtime) is not None)
    except EdgedError as error:  # a recording that is not there
        yield fault("inputs", error.fact, error.remedy)


def _config(path: Path, config: Config) -> Iterator[Finding]:
    task = "a policy behind a guard" if config.stream == "action" else "a segmenter, nothing moves"
    yield Finding("ok", "config", f"daemon {config.daemon.name}, {config.rate_hz:g} Hz, {task}")
    if config.daemon.name != path.stem:
        fact = f"daemon.name is {config.daemon.name!r}, the file is called {path.name}"
        yield warning("config", fact, f"name both alike: edged@{path.stem} owns /run/edged/{path.stem}")
    if path.stat().st_mode & 0o002:
        remedy = f"chmod o-w {shlex.quote(str(path))}"
        yield warning("config", f"{path} can be written by everybody, limits and all", remedy)
    if unavailable := sorted(set(config.loop.cpus) - os.sched_getaffinity(0)):
        yield warning("loop.cpus", f"CPUs {unavailable} cannot be used here", "correct loop.cpus")
    if config.guard.start == "armed":
        yield warning("guard.start", "armed: the robot moves as soon as there is a prediction")


def _runtime(path: Path, config: Config) -> Iterator[Finding]:
    folder = config.daemon.runtime
    yield from _writable("daemon.runtime", folder, "the daemon cannot start", EXIT_FAILED)
    if exists(folder) and folder.stat().st_mode & 0o002:
        remedy = f"chmod o-w {shlex.quote(str(folder))}"
        yield fault("daemon.runtime", f"everybody may put sockets into {folder}", remedy)
    if (pid := _running(folder)) is not None:
        fact = f"daemon {config.daemon.name} is running with pid {pid}, a second one would end at once"
        yield warning("daemon", fact, "stop it first, or give this one another name")
    if config.stream == "action" and exists(config.hold_file):
        yield warning("daemon", f"held by an operator ({config.hold_file})", f"edged resume {shlex.quote(str(path))}")


def _running(folder: Path) -> str | None:
    """The pid of the daemon that listens in `folder`, None when none does. Takes no lock that could be in its way."""
    if reach(folder / "control") != "listens":
        return None
    try:
        return (folder / "lock").read_text(encoding="ascii").strip() or "unknown"
    except (OSError, UnicodeDecodeError):
        return "unknown"


def _writable(subject: str, folder: Path, consequence: str, code: int = EXIT_OK) -> Iterator[Finding]:
    """Whether `folder`, or the nearest one above it that exists, can be written by who asks; an error if `code` is."""
    nearest = next((place for place in (folder, *folder.parents) if exists(place)), Path("/"))
    if not nearest.is_dir():
        fact, remedy = f"{nearest} is not a folder, {consequence}", f"correct {subject}"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        fact, remedy = f"{folder} cannot be written, {consequence}", f"check [daemon] and the owner of {nearest}"
    elif (free := _free(nearest)) < NEEDS[subject]:
        fact, remedy = f"{folder} is full ({free / 1e6:.1f} MB are free), {consequence}", "make room"
    else:
        return
    yield fault(subject, fact, remedy, code) if code else warning(subject, fact, remedy)


def _free(folder: Path) -> int:
    """Bytes that may still be written there; 0 when there are no more files to be had."""
    status = os.statvfs(folder)
    return 0 if status.f_files and not status.f_favail else status.f_bavail * status.f_frsize


def _keys(config: Config) -> Iterator[Finding]:
    """Keys that are not there keep the daemon from starting, with the same exit code."""
    if config.bus.secret_key is not None:
        try:
            server_keys(config.bus.secret_key)
        except ConfigError as error:
            yield fault("bus.secret_key", error.fact.removeprefix("bus.secret_key "), error.remedy, error.exit_code)
    for key, folder, code in (
        ("bus.authorized", config.bus.authorized, EXIT_USAGE),
        ("engine.trusted", config.engine.trusted, EXIT_FAILED),
    ):
        if folder is None:
            continue
        if not (exists(folder) and folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
            yield fault(key, f"there is no readable folder {folder}", f"correct {key}, or its owner", code)
        elif not any(folder.iterdir()):
            yield warning(key, f"{folder} is empty: nobody is let in or trusted", "put public keys there")


def _store(config: Config) -> Iterator[Finding]:
    root = config.daemon.store
    yield from _writable("daemon.store", root, "'edged hold' is lost at a restart and engines cannot be replaced")
    if exists(root) and not os.access(root, os.R_OK | os.X_OK):
        yield fault("daemon.store", f"{root} cannot be read", "check its owner")
    yield from _writable("daemon.cache", config.daemon.cache, "plans are built again at each start")


def _engine(config: Config) -> Iterator[Finding]:
    """Read, compare, load and prove the engine as the daemon would."""
    name, version = config.engine.name, config.engine.version
    if config.engine.gpu is not None and (overruled := choose_gpu(config.engine.gpu)):
        yield warning("engine", overruled, "unset one of the two")
    try:
        bundle = Store(config.daemon.store).read(name, version)
        manifest = bundle.manifest
        fact = f"{bundle.name} {bundle.version}, {manifest.task} {manifest.precision}"
        yield Finding("ok", "engine", f"{fact}, identity {bundle.identity.hex()}")
        refuse_below(config.daemon.store, bundle.name, bundle.version)
        if unsigned := check_signature(bundle, config.engine.trusted, config.engine.require_signature):
            yield warning("engine", *split(unsigned))
        if config.engine.require_signature:
            refuse_replayed(Store(config.daemon.store), bundle)
        problems = misfits(manifest, config)
        for text in problems:
            yield fault("engine", *split(text), EXIT_REFUSED)
        for text in hints(manifest, config):
            yield warning("cell", *split(text))
        if problems:
            return
        with open_for(bundle, config) as engine:
            samples = len(golden_check(engine, bundle))
            yield Finding("ok", "engine", f"gives its golden samples on {engine.backend} ({samples} comparisons)")
            yield from check_time(config, engine)
    except EdgedError as error:
        code = EXIT_REFUSED if error.exit_code == EXIT_REFUSED else EXIT_FAILED
        yield fault("engine", error.fact, error.remedy, code)
