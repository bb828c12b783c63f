"""What the control socket offers about engines: swap, rollback, reset, engines. Answers at once; jobs go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edged.bundle.bundle import read_digest
from edged.bundle.manifest import is_version
from edged.bundle.minimum import refuse_below
from edged.bundle.store import CURRENT, Store
from edged.config import Config
from edged.core.errors import EdgedError, EngineError, RefusedError, UsageError
from edged.runtime.motion import MotionState
from edged.runtime.slot import Slot
from edged.swap.history import History
from edged.swap.job_queue import JobQueue
from edged.swap.listing import list_versions
from edged.swap.minimum import RaisableMinimum


class Operations:
    """Called on the control thread."""

    def __init__(
        self, config: Config, store: Store, slot: Slot, motion: MotionState, history: History, jobs: JobQueue,
        minimum: RaisableMinimum,
    ) -> None:  # fmt: skip
        self._name, self._version, self._daemon = config.engine.name, config.engine.version, config.daemon.name
        self._store, self._slot, self._motion = store, slot, motion
        self._history, self._jobs, self._minimum = history, jobs, minimum

    def swap(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """`{version, name?, allow_contract_change?}` -> `{job}`."""
        version, name = args.get("version"), args.get("name", self._name)
        if not isinstance(version, str):
            raise UsageError("swap needs a version", "give args.version")
        if name != self._name:
            raise RefusedError(f"{self._daemon} runs {self._name}, not {name}", "ask the daemon that runs it")
        path = self._store.resolve(name, version)
        refuse_below(self._store.root, name, path.name)
        allow = args.get("allow_contract_change", False) is True
        job = self._jobs.ask(path.name, _who(args), contract_change=allow, digest=_digest(path))
        return {"job": job.id, "token": job.token, "name": name, "version": path.name}

    def rollback(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """End the job under way or that waits; without one, go back to the version committed before. -> `{job}`."""
        running = self._slot.running
        if (ended := self._jobs.end_active(_who(args))) is not None:
            stays = ended.before or (running.version if running else "")
            return {"job": ended.id, "token": ended.token, "name": self._name, "version": stays}
        there = self._store.versions(self._name)  # one that somebody removed is no way back, and bars none
        at = running.version if running else self._chosen
        version = self._history.previous(at, there)
        if version is None:
            remedy = f"choose one of the store: edged swap {self._daemon} VERSION"
            fact = f"no other version of {self._name} was ever committed"
            if set(self._history.order) - {at}:
                fact = f"no version of {self._name} was committed before {at}"
            raise EngineError(fact, remedy)
        if (why := self._minimum.below(version)) is not None:
            remedy = f"choose a newer one of the store: edged swap {self._daemon} VERSION"
            raise RefusedError(f"{self._name} {version}, committed before, {why}", remedy)
        job = self._jobs.ask(version, _who(args), back=True)
        return {"job": job.id, "token": job.token, "name": self._name, "version": version}

    @property
    def _chosen(self) -> str:
        """What would run now if it could be loaded; "" where nothing is chosen."""
        try:
            return self._store.resolve(self._name, self._version).name
        except EdgedError:
            return "" if self._version == CURRENT else self._version

    def set(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """`{input, value}` -> `{input, value, version}`: a constant of the running engine, before its next run; a value
        of null: as packed."""
        name = args.get("input")
        if not isinstance(name, str) or "value" not in args:
            raise UsageError(
                "set needs an input and a value", "give args.input and args.value; null is what was packed"
            )
        if (running := self._slot.set(name, args["value"])) is None:
            raise EngineError(f"{self._daemon} runs no engine of which anything could be set", "wait for one")
        shown = running.inference.encoder.settings.describe()[name]
        return {"input": name, "value": shown, "version": running.version}

    def reset(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Forget: with `version` its crashes, so that it may be tried again; else what the running engine remembers."""
        version = args.get("version")
        if version is None:
            self._motion.ask_to_forget()
            return {"reset": "recurrent state and running command"}
        if not isinstance(version, str) or version not in self._history.entries:
            raise EngineError(f"nothing is known of {self._name} {version}", f"see 'edged engines {self._daemon}'")
        self._history.forget(version, _who(args))
        return {"reset": f"crashes of {self._name} {version}"}

    def minimum(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """`{version}` -> `{name, minimum, before}`: raise it, unless it would rule out what runs."""
        version = args.get("version")
        if not isinstance(version, str) or not is_version(version):
            raise UsageError(f"{version!r} cannot be a version", "give one, such as 3 or 1.4.2")
        running = self._slot.running
        before = self._minimum.raise_to(version, _who(args), running.version if running else "")
        return {"name": self._name, "minimum": version, "before": before}

    def engines(self, args: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The versions of this daemon's engine, see `list_versions`."""
        running, minimum = self._slot.running, self._minimum.look()
        return list_versions(self._store, self._name, self._history, running.version if running else "", minimum)


def _digest(version: Path) -> bytes:
    """What lies there now: that is asked for, whenever it is begun. Empty where its trial will find fault with it."""
    try:
        return read_digest(version)
    except OSError:
        return b""


def _who(args: Mapping[str, Any]) -> str:
    return str(args.get("who", "unknown"))
