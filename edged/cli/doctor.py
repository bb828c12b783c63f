"""`edged doctor`: whether this machine lets a loop be on time, and what to do where it does not.

Of a config it is asked whether the machine gives what that wants; without one what a real-time loop in general wants.
Nothing is changed; two files are written for a moment, beside the store, to see how long its disk takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.cli.doctor_cpu import check_clock, check_cpus
from edged.cli.doctor_system import check_disk, check_gpu, check_limits, check_memory, check_sync, check_versions
from edged.cli.finding import Finding, fault
from edged.config import Config, default_store, load_config, unit_environ
from edged.config.paths import default_cache
from edged.core.errors import EXIT_USAGE, ConfigError

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the loop in question asks of the machine. `by`: whose wish it is; empty = nobody's in particular."""

    by: str
    cpus: tuple[int, ...]
    fifo: int
    mlock: bool
    backend: str
    device: int | str | None
    store: Path
    cache: Path
    is_service: bool


def wanted_by(config: Config | None, is_service: bool = False) -> Wanted:
    """Of a config; without one the folders of this user, and nothing in particular."""
    if config is None:
        return Wanted("", (), 0, False, "auto", None, default_store(), default_cache(), False)
    loop, engine = config.loop, config.engine
    cpus = loop.cpus, loop.fifo, loop.mlock
    places = config.daemon.store, config.daemon.cache
    return Wanted(config.daemon.name, *cpus, engine.backend, engine.gpu, *places, is_service)


def doctor(file: Path | None = None, sets: Sequence[str] = (), root: Path = ROOT) -> list[Finding]:
    """Everything found, a finding or more for each subject. `root`: where /proc, /sys and /etc are looked for."""
    config = None
    if file is not None:
        try:
            config = load_config(file, sets, unit_environ(file))
        except ConfigError as error:
            return [fault("config", line, "", EXIT_USAGE) for line in str(error).splitlines()]
    wanted = wanted_by(config, file is not None and unit_environ(file, {}) != {})
    return [finding for check in _CHECKS for finding in check(wanted, root)]


def _clock(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_clock(root)


def _sync(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_sync(root)


def _cpus(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_cpus(wanted.cpus, wanted.fifo, root)


def _limits(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_limits(wanted.fifo, wanted.mlock, wanted.is_service, bool(wanted.by))


def _memory(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_memory(wanted.mlock, root)


def _disk(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_disk(wanted.store, wanted.cache, root)


def _gpu(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_gpu(wanted.backend, wanted.device, root)


def _versions(wanted: Wanted, root: Path) -> Iterator[Finding]:
    yield from check_versions(root)


_CHECKS: tuple[Callable[[Wanted, Path], Iterator[Finding]], ...] = (
    _clock, _sync, _cpus, _limits, _memory, _disk, _gpu, _versions,
)  # fmt: skip
