"""From a version in the store to an engine that may be handed to the loop: read, hash, load, warm, prove."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable

from edged.bundle.bundle import Bundle
from edged.bundle.cell_check import misfits
from edged.bundle.minimum import refuse_below
from edged.bundle.replayed import refuse_replayed
from edged.bundle.signature import check_signature
from edged.bundle.store import Store
from edged.config import Config
from edged.core.clock import Now, monotonic_ns
from edged.core.errand import Beat, run_errand
from edged.core.errors import RefusedError
from edged.engine.base import Engine
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check
from edged.pipeline.pipeline import Pipeline, make_pipeline
from edged.swap.job import State

WARM_RUNS = 10
TIMED_RUNS = 5

log = logging.getLogger("edged")


def load_engine(
    config: Config,
    store: Store,
    version: str,
    digest: bytes = b"",
    warn: Callable[[str], None] = log.warning,
    reached: Callable[[State], None] = lambda state: None,
    quiet: Callable[[], None] = lambda: None,
) -> Pipeline:
    """A version of the configured engine, proved and ready to run. Raises `EdgedError` with the remedy.

    `digest`: what its trial saw, refused if it is something else by now; `warn` gets what is less than it should be;
    `reached` gets "loaded", "warmed" and "golden"; `quiet` returns when it is a good moment to hold the interpreter.
    """
    bundle = store.read(config.engine.name, version)
    if digest and bundle.digest != digest:
        raise RefusedError(f"{bundle.name} {bundle.version} changed since its trial", "fetch this engine again")
    for warning in vet(bundle, config):
        warn(warning)
    quiet()
    engine = open_for(bundle, config, warn)
    try:
        reached("loaded")
        warm(engine)
        reached("warmed")
        golden_check(engine, bundle)
        reached("golden")
        installed = make_pipeline(engine, config, run_time)
        for doubt in installed.schedule.doubts():
            warn(f"{bundle.name} {bundle.version}: {doubt}")
        log.info("%s %s: %s", bundle.name, bundle.version, installed.schedule.describe())
        quiet()
        del bundle  # 176 MB take 15 ms to be given back, and no other thread may run meanwhile
        return installed
    except BaseException:
        engine.close()
        raise


def load_in_time(
    config: Config,
    store: Store,
    version: str,
    digest: bytes = b"",
    warn: Callable[[str], None] = log.warning,
    reached: Callable[[State], None] = lambda state: None,
    quiet: Callable[[], None] = lambda: None,
    ending: Callable[[], bool] = lambda: False,
) -> Pipeline:
    """`load_engine` on a thread that is left behind when it hangs: `HungError` when a step takes longer than a trial
    may, or when it does not end although the daemon is `ending()`."""

    def work(beat: Beat) -> Pipeline:
        def step(state: State) -> None:
            beat()
            reached(state)

        made = load_engine(config, store, version, digest, warn, step, quiet)
        made.engine.hand_over(live=False)
        return made

    return run_errand(f"loading {config.engine.name} {version}", work, config.swap.trial_seconds, ending)


def vet(bundle: Bundle, config: Config) -> list[str]:
    """Refuse what manifest, minimum, signature and journal rule out; returns what is less than it should be."""
    if bundle.name != config.engine.name:
        fact = f"this is {bundle.name} {bundle.version}, the daemon runs {config.engine.name}"
        raise RefusedError(fact, "put it where it belongs")
    refuse_below(config.daemon.store, bundle.name, bundle.version)
    warning = check_signature(bundle, config.engine.trusted, config.engine.require_signature)
    if config.engine.require_signature:
        refuse_replayed(Store(config.daemon.store), bundle)
    if problems := misfits(bundle.manifest, config):
        more = f" (and {len(problems) - 1} more, see 'edged check FILE')" if len(problems) > 1 else ""
        raise RefusedError(f"{bundle.name} {bundle.version} does not fit this cell: {problems[0]}{more}")
    return [warning] if warning else []


def open_for(bundle: Bundle, config: Config, warn: Callable[[str], None] = log.warning) -> Engine:
    """The bundle on the back end that the config asks for; `warn` is called when a GPU is left idle."""
    wants = config.engine
    device = None if wants.gpu is not None else wants.device
    cache = config.daemon.cache
    return open_engine(bundle, wants.backend, wants.threads, memory=wants.memory, device=device, cache=cache, warn=warn)


def warm(engine: Engine) -> None:
    """First runs are slow: caches, arenas, lazy kernels."""
    for _ in range(WARM_RUNS):
        engine.run()


def run_time(engine: Engine, now: Now = monotonic_ns) -> int:
    """What a run of a warm engine takes here in ns: the median of some."""
    took = []
    for _ in range(TIMED_RUNS):
        began_ns = now()
        engine.run()
        took.append(now() - began_ns)
    return round(statistics.median(took))
