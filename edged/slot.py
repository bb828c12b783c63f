"""The slot: where the loop finds its engine. A new one takes effect between two ticks, here and nowhere else.

An engine has one owner at a time: the loader until `offer`, the loop while it is current, the loader again once it
lies in `retired`.
"""

from __future__ import annotations

import queue
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edged.config import Config
from edged.decode.policy import PolicyDecoder
from edged.decode.semantic import SemanticDecoder
from edged.encode import Encoder
from edged.engine import Engine
from edged.errors import EngineError
from edged.guard import Rules, rules
from edged.manifest import Manifest
from edged.observe import Wanted, wanted
from edged.records import Hold, Reason


@dataclass(frozen=True, slots=True, eq=False)
class Installed:
    """An engine with everything the flow precomputed for it. `meaning`: header entries of its predictions."""

    engine: Engine
    encoder: Encoder
    decoder: PolicyDecoder | SemanticDecoder
    want: Wanted
    rule: Rules
    meaning: Mapping[str, Any]


def install(engine: Engine, config: Config) -> Installed:
    """Prepare the flow for a loaded, warmed and proved engine."""
    manifest = engine.manifest
    names = {name: sensor.names for name, sensor in config.sensors.items()}
    decoder: PolicyDecoder | SemanticDecoder
    match manifest.task:
        case "policy":
            decoder = PolicyDecoder(manifest, engine.outputs, names)
        case "semantic":
            decoder = SemanticDecoder(manifest, engine.outputs)
        case "instance":
            raise EngineError(
                f"{manifest.name} {manifest.version} finds instances, which this version does not decode",
                "use a semantic engine",
            )
    return Installed(
        engine=engine,
        encoder=Encoder(manifest, engine.inputs, engine.outputs, names),
        decoder=decoder,
        want=wanted(config, manifest),
        rule=rules(config, manifest),
        meaning=meaning_of(manifest),
    )


def meaning_of(manifest: Manifest) -> dict[str, Any]:
    """What a reader needs to know about the numbers, in every message: WIRE.md lists the keys."""
    if (action := manifest.action) is not None:
        axes = action[1].axes
        return {"names": [axis.name for axis in axes], "units": [axis.unit for axis in axes]}
    return {"classes": list(manifest.classes)}


class Slot:
    """Holds the current engine. The loader offers and says why there is none; the loop takes."""

    def __init__(self) -> None:
        self.vacancy = Hold(Reason.STARTING, "no engine loaded yet")
        self.retired: queue.SimpleQueue[Installed] = queue.SimpleQueue()
        self._current: Installed | None = None
        self._offered: Installed | None = None

    def offer(self, installed: Installed) -> None:
        """Hand an engine over; it is the loop's from the next tick on."""
        self._offered = installed

    def current(self) -> Installed | None:
        """The engine of this tick. Called by the loop alone, once per tick; swaps when one was offered."""
        if self._offered is not None:
            before, self._current, self._offered = self._current, self._offered, None
            if before is not None:
                self.retired.put(before)
        return self._current

    def describe(self) -> dict[str, Any]:
        """The engine section of health and status."""
        installed = self._current
        if installed is None:
            return {"loaded": False, "detail": self.vacancy.detail}
        engine = installed.engine
        return {
            "loaded": True,
            "name": engine.manifest.name,
            "version": engine.manifest.version,
            "task": engine.manifest.task,
            "precision": engine.manifest.precision,
            "backend": engine.backend,
            "identity": engine.identity.hex(),
        }

    def close(self) -> None:
        """Free every engine still here. After the loop has ended."""
        left = [self._current, self._offered]
        self._current = self._offered = None
        while not self.retired.empty():
            left.append(self.retired.get())
        for installed in left:
            if installed is not None:
                installed.engine.close()
