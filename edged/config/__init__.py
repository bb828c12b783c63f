"""The config of one daemon: a TOML file, checked once at the edge and trusted inside."""

from edged.config.load import load_config
from edged.config.paths import default_runtime, default_store, running_runtime
from edged.config.schema import (
    BusConfig,
    CameraConfig,
    Config,
    DaemonConfig,
    EngineConfig,
    GuardConfig,
    LimitConfig,
    LogConfig,
    LoopConfig,
    SensorConfig,
    SwapConfig,
)
from edged.config.validation import camera_kind, cross_checks, endpoints, streams

__all__ = [
    "BusConfig",
    "CameraConfig",
    "Config",
    "DaemonConfig",
    "EngineConfig",
    "GuardConfig",
    "LimitConfig",
    "LogConfig",
    "LoopConfig",
    "SensorConfig",
    "SwapConfig",
    "camera_kind",
    "cross_checks",
    "default_runtime",
    "default_store",
    "endpoints",
    "load_config",
    "running_runtime",
    "streams",
]
