"""`edged doctor`: whether this machine lets a loop be on time, and what to do where it does not.

Of a config it is asked whether the machine gives what that wants; without one what a real-time loop in general wants.
Nothing is changed; two files are written for a moment, beside the store, to see how long its disk takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edged.cli.doctor_cpu import check_clock, check_cpus
from edged.cli.doctor_system import check_disk, check_gpu, check_limits, check_memory, check_sync, check_versions
from edged.cli.finding import Finding, fault
from edged.config import default_store, load_config, unit_environ
from edged.config.paths import default_cache
from edged.config.sections import LoopConfig
from edged.core.errors import EXIT_USAGE, ConfigError

ROOT = Path("/")  # where /proc, /sys and /etc are looked for


def doctor(file: Path | None = None, sets: Sequence[str] = ()) -> list[Finding]:
    """Everything found, a finding or more for each subject."""
    config = None
    if file is not None:
        try:
            config = load_config(file, sets, unit_environ(file))
        except ConfigError as error:
            return [fault("config", line, "", EXIT_USAGE) for line in str(error).splitlines()]
    is_service = file is not None and unit_environ(file, {}) != {}
    loop = LoopConfig() if config is None else config.loop
    backend, gpu = ("auto", None) if config is None else (config.engine.backend, config.engine.gpu)
    store, cache = (default_store(), default_cache()) if config is None else (config.daemon.store, config.daemon.cache)
    return [
        *check_clock(ROOT),
        *check_sync(ROOT),
        *check_cpus(loop.cpus, loop.fifo, ROOT),
        *check_limits(loop.fifo, loop.mlock, is_service, config is not None),
        *check_memory(loop.mlock, ROOT),
        *check_disk(store, cache, ROOT),
        *check_gpu(backend, gpu, ROOT),
        *check_versions(ROOT),
    ]
