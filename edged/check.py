"""`edged check FILE`: what is wrong with a config, its machine and its engine, before anything runs or moves.

Nothing is bound, opened for writing or connected for longer than a moment: it may be asked beside a running daemon.
Permissions are judged for the user who asks.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edged.bundle import Bundle
from edged.config import CameraConfig, Config, camera_kind, load_config
from edged.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE, ConfigError, EdgedError
from edged.fits import fits, hints
from edged.golden import golden_check
from edged.sign import check_signature
from edged.store import Store
from edged.swap.prepare import open_for

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about `subject`, and what to do about it. `exit_code`: what an error alone would make `check` return."""

    level: Level
    subject: str
    fact: str
    remedy: str = ""
    exit_code: int = EXIT_OK

    def __str__(self) -> str:
        return f"{self.level:<8}{self.subject}: {self.fact}" + (f"; {self.remedy}" if self.remedy else "")


def check(path: Path, sets: Sequence[str] = ()) -> list[Finding]:
    """Everything found, in the order of the flow; a config that is wrong by itself ends it there."""
    try:
        config = load_config(path, sets)
    except ConfigError as error:
        return [Finding("error", "config", line, exit_code=EXIT_USAGE) for line in str(error).splitlines()]
    return [
        *_config(path, config),
        *_runtime(config),
        *_keys(config),
        *_store(config),
        *_engine(config),
        *(finding for name, camera in config.cameras.items() for finding in _camera(name, camera)),
        *(finding for name, sensor in config.sensors.items() for finding in _peer(f"sensors.{name}", sensor.endpoint)),
    ]


def exit_code(findings: Iterable[Finding]) -> int:
    """2 when the config alone is wrong, 3 when the engine is refused, 1 for other errors, 0 else."""
    codes = {finding.exit_code for finding in findings}
    return next((code for code in (EXIT_USAGE, EXIT_REFUSED, EXIT_FAILED) if code in codes), EXIT_OK)


def show(findings: Sequence[Finding]) -> str:
    """A line per finding and a last one that counts them."""
    count = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning")}
    total = ", ".join(f"{number} {level}{'s' * (number != 1)}" for level, number in count.items() if number)
    return "\n".join([*map(str, findings), total or "all well"])


def _error(subject: str, fact: str, remedy: str, exit_code: int = EXIT_FAILED) -> Finding:
    return Finding("error", subject, fact, remedy, exit_code)


def _warning(subject: str, fact: str, remedy: str = "") -> Finding:
    return Finding("warning", subject, fact, remedy)


def _config(path: Path, config: Config) -> Iterator[Finding]:
    task = "a policy behind a guard" if config.stream == "action" else "a segmenter, nothing moves"
    yield Finding("ok", "config", f"daemon {config.daemon.name}, {config.rate_hz:g} Hz, {task}")
    if config.daemon.name != path.stem:
        fact = f"daemon.name is {config.daemon.name!r}, the file is called {path.name}"
        yield _warning("config", fact, f"name both alike: edged@{path.stem} owns /run/edged/{path.stem}")
    if path.stat().st_mode & 0o002:
        yield _warning("config", f"{path} can be written by everybody, limits and all", f"chmod o-w {path}")
    if unavailable := sorted(set(config.loop.cpus) - os.sched_getaffinity(0)):
        yield _warning("loop.cpus", f"CPUs {unavailable} cannot be used here", "correct loop.cpus")
    if config.guard.start == "armed":
        yield _warning("guard.start", "armed: the robot moves as soon as there is a prediction")


def _runtime(config: Config) -> Iterator[Finding]:
    folder = config.daemon.runtime
    yield from _writable("daemon.runtime", folder, "the daemon cannot start", EXIT_FAILED)
    if _exists(folder) and folder.stat().st_mode & 0o002:
        yield _error("daemon.runtime", f"everybody may put sockets into {folder}", f"chmod o-w {folder}")
    if (pid := _running(folder)) is not None:
        fact = f"daemon {config.daemon.name} is running with pid {pid}, a second one would end at once"
        yield _warning("daemon", fact, "stop it first, or give this one another name")
    if config.stream == "action" and _exists(config.hold_file):
        yield _warning("daemon", f"held by an operator ({config.hold_file})", f"edged resume {config.daemon.name}")


def _running(folder: Path) -> str | None:
    """The pid of the daemon that listens in `folder`, None when nobody does. Takes no lock that could be in its way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(folder / "control"))
        except OSError:
            return None
    try:
        return (folder / "lock").read_text(encoding="ascii").strip() or "unknown"
    except (OSError, UnicodeDecodeError):
        return "unknown"


def _exists(path: Path) -> bool:
    """Whether there is something at `path`, as far as we may look: what lies in a closed folder is not there for us."""
    try:
        return path.exists()
    except OSError:
        return False


def _writable(subject: str, folder: Path, consequence: str, code: int = EXIT_OK) -> Iterator[Finding]:
    """Whether `folder`, or the nearest one above it that exists, can be written by who asks; an error if `code` is."""
    nearest = next((place for place in (folder, *folder.parents) if _exists(place)), Path("/"))
    if not nearest.is_dir():
        fact, remedy = f"{nearest} is not a folder, {consequence}", f"correct {subject}"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        fact, remedy = f"{folder} cannot be written, {consequence}", f"check [daemon] and the owner of {nearest}"
    else:
        return
    yield _error(subject, fact, remedy, code) if code else _warning(subject, fact, remedy)


def _keys(config: Config) -> Iterator[Finding]:
    secret = config.bus.secret_key
    if secret is not None and not os.access(secret, os.R_OK):
        yield _error("bus.secret_key", f"{secret} cannot be read", "correct the path or its owner")
    elif secret is not None and secret.stat().st_mode & 0o077:
        yield _error("bus.secret_key", f"{secret} can be read by others", f"chmod 600 {secret}")
    for key, folder in (("bus.authorized", config.bus.authorized), ("engine.trusted", config.engine.trusted)):
        if folder is None:
            continue
        if not (_exists(folder) and folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
            yield _error(key, f"there is no readable folder {folder}", f"correct {key}, or its owner")
        elif not any(folder.iterdir()):
            yield _warning(key, f"{folder} is empty: nobody is let in or trusted", "put public keys there")


def _store(config: Config) -> Iterator[Finding]:
    root = config.daemon.store
    yield from _writable("daemon.store", root, "'edged hold' is lost at a restart and engines cannot be replaced")
    if _exists(root) and not os.access(root, os.R_OK | os.X_OK):
        yield _error("daemon.store", f"{root} cannot be read", "check its owner")
    yield from _writable("daemon.cache", config.daemon.cache, "plans are built again at each start")


def _engine(config: Config) -> Iterator[Finding]:
    """Read, compare, load and prove the engine as the daemon would."""
    name, version = config.engine.name, config.engine.version
    try:
        bundle = Store(config.daemon.store).read(name, version)
        yield Finding("ok", "engine", _described(bundle))
        if warning := check_signature(bundle, config.engine.trusted, config.engine.require_signature):
            level: Level = "ok" if config.engine.trusted is None else "warning"  # nobody asked for signatures
            yield Finding(level, "engine", *_split(warning))
        problems = fits(bundle.manifest, config)
        for text in problems:
            yield _error("engine", *_split(text), EXIT_REFUSED)
        for text in hints(bundle.manifest, config):
            yield _warning("cell", *_split(text))
        if problems:
            return
        with open_for(bundle, config) as engine:
            samples = len(golden_check(engine, bundle))
            yield Finding("ok", "engine", f"gives its golden samples on {engine.backend} ({samples} comparisons)")
    except EdgedError as error:
        code = EXIT_REFUSED if error.exit_code == EXIT_REFUSED else EXIT_FAILED
        yield _error("engine", error.fact, error.remedy, code)


def _described(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return f"{bundle.name} {bundle.version}, {manifest.task} {manifest.precision}, identity {bundle.identity.hex()}"


def _split(text: str) -> tuple[str, str]:
    """Fact and remedy of a sentence of `fits` or `hints`."""
    fact, semicolon, remedy = text.rpartition("; ")
    return (fact, remedy) if semicolon else (text, "")


def _camera(name: str, camera: CameraConfig) -> Iterator[Finding]:
    subject, remedy = f"cameras.{name}", "plug it in, or correct its uri"
    match camera_kind(camera.uri):
        case "device":
            path = Path(f"/dev/video{camera.uri}" if camera.uri.isdigit() else camera.uri)
            if not _exists(path):
                yield _error(subject, f"there is no device {path}", remedy)
            elif not os.access(path, os.R_OK | os.W_OK):
                yield _error(subject, f"{path} may not be opened", "join its group, usually video")
        case "path":
            path = Path(camera.uri)
            if not _exists(path):
                yield _error(subject, f"there is no file or folder {path}", "correct its uri")
            elif not os.access(path, os.R_OK):
                yield _error(subject, f"{path} may not be read", "check its owner")
        case "replay":
            yield from _recording(subject, camera.uri)
        case "gst" if shutil.which("gst-launch-1.0") is None:
            yield _error(subject, "gst-launch-1.0 is not installed", "install gstreamer1.0-tools")
        case "bus":
            yield from _peer(subject, camera.uri.removeprefix("zmq+").partition("#")[0])
        case _:
            pass  # an RTSP camera may well be asleep; the daemon says when it is not heard


def _recording(subject: str, address: str) -> Iterator[Finding]:
    path = Path(address.removeprefix("replay:").partition("#")[0])
    if not _exists(path):
        yield _error(subject, f"there is no recording {path}", "correct the address")


def _peer(subject: str, endpoint: str) -> Iterator[Finding]:
    """An ipc endpoint nobody has bound yet; who is on the other end of TCP is told only by listening."""
    if endpoint.startswith("replay:"):
        yield from _recording(subject, endpoint)
        return
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and not path.startswith("@") and not _exists(Path(path)):
        yield _warning(subject, f"nobody publishes at {endpoint} yet", "start its publisher, or correct the endpoint")
