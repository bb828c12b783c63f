"""The config's vocabulary: one daemon's sections together, and what follows from several of them.

Fields are trusted once `load_config` has returned: nothing behind it checks a range again. Paths are absolute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edged.config.engine import EngineConfig
from edged.config.evidence import EvidenceConfig
from edged.config.execution import ExecutionConfig
from edged.config.guard import GuardConfig
from edged.config.recording import RecordConfig
from edged.config.sections import (
    BusConfig,
    CameraConfig,
    DaemonConfig,
    InspectionConfig,
    LogConfig,
    LoopConfig,
    Name,
    SensorConfig,
    SwapConfig,
)
from edged.config.trigger import TriggerConfig
from edged.core.clock import NS_PER_MS, NS_PER_S, ns

HISTORY = ".history"  # folder of a store: one of each daemon
RECORDINGS = ".recordings"  # likewise
VALID_NS = 100 * NS_PER_MS
VALID_PERIODS = 3
VALID_SPARE_NS = 10 * NS_PER_MS


class Config(BaseModel):
    """One daemon's whole config, as `load_config` returns it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    daemon: DaemonConfig
    loop: LoopConfig = LoopConfig()
    cameras: dict[Name, CameraConfig] = Field(default={}, description="cameras by name")
    sensors: dict[Name, SensorConfig] = Field(default={}, description="sensors by name")
    engine: EngineConfig
    execution: ExecutionConfig = ExecutionConfig()
    guard: GuardConfig = GuardConfig()
    inspection: InspectionConfig = InspectionConfig()
    trigger: TriggerConfig | None = None
    evidence: EvidenceConfig | None = None
    bus: BusConfig = BusConfig()
    swap: SwapConfig = SwapConfig()
    record: RecordConfig = RecordConfig()
    log: LogConfig = LogConfig()

    @property
    def stream(self) -> str:
        """The stream verdicts go to, known even without an engine: `action` with a [guard], else `masks`."""
        return "action" if "guard" in self.model_fields_set else "masks"

    @property
    def inspects(self) -> bool:
        """Whether results are judged and published: with an [inspection], even without rules."""
        return self.stream == "masks" and "inspection" in self.model_fields_set

    @property
    def triggered(self) -> bool:
        """Whether the camera takes a frame only when it is triggered."""
        return self.trigger is not None and self.trigger.camera == "hardware"

    @property
    def shows_frames(self) -> bool:
        """Whether a recorder wants every camera's frames on the bus."""
        return "record" in self.model_fields_set and self.record.pictures != "none"

    @property
    def clock_camera(self) -> str | None:
        """The camera whose frames are the ticks, if that is the clock."""
        return self.loop.clock.removeprefix("camera:") if self.loop.clock != "timer" else None

    @property
    def rate_hz(self) -> float:
        """Nominal ticks per second: the timer's rate, or the clock camera's fps."""
        camera = self.clock_camera
        return self.loop.rate_hz if camera is None else self.cameras[camera].fps

    @property
    def period_ns(self) -> int:
        return round(NS_PER_S / self.rate_hz)

    @property
    def valid_ns(self) -> int:
        """From publishing to the moment after which a verdict must not be obeyed."""
        return max(VALID_NS, self.least_valid_ns) if self.bus.valid_ms is None else ns(self.bus.valid_ms)

    @property
    def least_valid_ns(self) -> int:
        """What lets two messages in a row get lost or late."""
        return VALID_PERIODS * self.period_ns + VALID_SPARE_NS

    @property
    def deadline_ns(self) -> int:
        """Inline: from a tick's due time to the last moment its prediction may be published."""
        return self.period_ns if self.loop.deadline_ms is None else ns(self.loop.deadline_ms)

    @property
    def effective_guard(self) -> dict[str, Any]:
        """The guard as plain data, for the log and the health stream; absent limits are left out."""
        return self.guard.model_dump(exclude_none=True)

    @property
    def hold_file(self) -> Path:
        """Where `edged hold` is written before it is answered: in the store, which survives crash and reboot."""
        return self.daemon.store / ".hold" / self.daemon.name

    @property
    def recordings(self) -> Path:
        """Where recordings of this daemon go."""
        return self.record.folder or self.daemon.store / RECORDINGS / self.daemon.name

    @property
    def folders(self) -> dict[str, str]:
        """Where files of this daemon lie, by what they are."""
        places = {
            "store": self.daemon.store,
            "cache": self.daemon.cache,
            "runtime": self.daemon.runtime,
            "history": self.history_folder,
            "recordings": self.recordings,
            "incoming": self.daemon.store / self.engine.name / "incoming",
        }
        return {name: str(path.absolute()) for name, path in places.items()}

    @property
    def history_folder(self) -> Path:
        """Where the journal of this daemon lies: beside its engines, so that it survives what they survive."""
        return self.daemon.store / HISTORY / self.daemon.name
