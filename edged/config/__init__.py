"""The config of one daemon: a TOML file, checked once at the edge and trusted inside."""

from edged.config.guard import GuardConfig, LimitConfig
from edged.config.load import load_config, load_daemon, read_config
from edged.config.paths import default_store, runtime_roots, unit_environ
from edged.config.schema import HISTORY, RECORDINGS, Config
from edged.config.sections import (
    BusConfig,
    CameraConfig,
    LogConfig,
    LoopConfig,
    SensorConfig,
    SwapConfig,
)
from edged.config.validation import camera_kind, endpoints, quotas, streams

__all__ = [
    "HISTORY",
    "RECORDINGS",
    "BusConfig",
    "CameraConfig",
    "Config",
    "GuardConfig",
    "LimitConfig",
    "LogConfig",
    "LoopConfig",
    "SensorConfig",
    "SwapConfig",
    "camera_kind",
    "default_store",
    "endpoints",
    "load_config",
    "load_daemon",
    "quotas",
    "read_config",
    "runtime_roots",
    "streams",
    "unit_environ",
]
