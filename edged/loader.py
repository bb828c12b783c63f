"""The loader: the thread that makes engines ready and frees them, while the loop goes on without waiting.

resolve -> read and hash -> signature -> contract -> open -> golden samples (which also warm it) -> slot. Whatever fails
leaves the daemon up and holding, with the reason in the Hold.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edged.config import Config
from edged.engine import open_engine
from edged.errors import EdgedError, RefusedError
from edged.fits import fits
from edged.golden import golden_check, require
from edged.records import Event, Hold, Reason
from edged.sign import check_signature
from edged.slot import Installed, Slot, install
from edged.store import Store

log = logging.getLogger("edged")


def load(config: Config, store: Store, warn: Callable[[str], None] = log.warning) -> Installed:
    """The engine the config asks for, proved and ready to run. Raises `EdgedError` with the remedy.

    `warn` is told what is less than it should be: an engine that nobody signed.
    """
    bundle = store.read(config.engine.name, config.engine.version)
    if warning := check_signature(bundle, config.engine.trusted, config.engine.require_signature):
        warn(warning)
    if problems := fits(bundle.manifest, config):
        raise RefusedError(f"{bundle.name} {bundle.version} does not fit this cell: {'; '.join(problems)}")
    engine = open_engine(bundle, config.engine.backend, config.engine.threads)
    try:
        require(golden_check(engine, bundle), f"{bundle.name} {bundle.version} on {engine.backend}")
        return install(engine, config)
    except BaseException:
        engine.close()
        raise


class Loader(threading.Thread):
    """Loads the configured engine into the slot once; what goes wrong becomes the slot's vacancy."""

    def __init__(
        self,
        config: Config,
        store: Store,
        slot: Slot,
        tell: Callable[[Event], None],
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        super().__init__(name="loader", daemon=True)
        self._config = config
        self._store = store
        self._slot = slot
        self._tell = tell
        self._warn = warn

    def run(self) -> None:
        engine = self._config.engine
        self._slot.vacancy = Hold(Reason.STARTING, f"loading engine {engine.name} {engine.version}")
        try:
            installed = load(self._config, self._store, self._warn)
        except EdgedError as error:
            self._fail(str(error))
        except Exception as error:  # a bug or an exhausted machine: the daemon stays up and says so
            log.exception("loading failed")
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self._slot.offer(installed)
            manifest = installed.engine.manifest
            facts = {"name": manifest.name, "version": manifest.version, "backend": installed.engine.backend}
            self._tell(Event("loaded", {**facts, "engine": installed.engine.identity.hex()}))

    def _fail(self, why: str) -> None:
        self._slot.vacancy = Hold(Reason.ENGINE, why)
        self._tell(Event("alarm", {"what": "engine", "detail": why}))
