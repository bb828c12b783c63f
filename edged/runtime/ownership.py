"""What a daemon owns alone: its runtime folder, its operator's hold, and the engine of a store."""

from __future__ import annotations

import contextlib
import logging
import os

from edged.config import Config
from edged.core.errors import EdgedError, MachineryError
from edged.core.locks import AlreadyRunning, only_one

log = logging.getLogger("edged")


def lock(config: Config, stack: contextlib.ExitStack) -> None:
    """One daemon of a name per runtime folder, since a second ipc bind would silently steal the subscribers of the
    first; one per hold file, since the other's resume would take our hold off the disk; and one per engine of a store,
    since what one of them commits, drops and prunes would be the other's too."""
    name, store, engine = config.daemon.name, config.daemon.store, config.engine.name
    same = (f"daemon {name} is already running", "stop it first, or give this one another name")
    stack.enter_context(only_one(config.daemon.runtime / "lock", *same, "check [daemon] runtime and its owner"))
    other = (f"another daemon runs {engine} from {store},", "give this one a [daemon] store of its own")
    locks = [(store / f".{engine}.lock", *other)]
    if config.stream == "action":
        locks.insert(0, (config.hold_file.with_suffix(".lock"), *same))
    for path, taken, instead in locks:
        try:
            stack.enter_context(only_one(path, taken, instead, "make the store writable"))
        except AlreadyRunning:
            raise
        except EdgedError as error:  # a store that is full or read-only is reported by what needs it
            log.warning("%s: a second daemon on this store would not be noticed", error)


def claim(config: Config, stack: contextlib.ExitStack) -> None:
    """Make a runtime folder that was removed again, as ours. Raises `MachineryError` when another daemon has it now."""
    try:
        same = (f"daemon {config.daemon.name} is already running", "stop one of them")
        stack.enter_context(only_one(config.daemon.runtime / "lock", *same, "check [daemon] runtime and its owner"))
    except AlreadyRunning as error:
        if f"with pid {os.getpid()} " not in error.fact:
            raise MachineryError(error.fact, error.remedy) from None
