"""The config of one daemon: a TOML file, checked once at the edge and trusted inside."""

from edged.config.engine import EngineConfig
from edged.config.execution import ExecutionConfig
from edged.config.guard import GuardConfig, LimitConfig
from edged.config.load import DaemonPlaces, load_config, load_daemon, read_config
from edged.config.paths import default_runtime, default_store, runtime_roots, unit_environ
from edged.config.schema import HISTORY, RECORDINGS, Config
from edged.config.sections import (
    BusConfig,
    CameraConfig,
    DaemonConfig,
    LogConfig,
    LoopConfig,
    SensorConfig,
    SwapConfig,
)
from edged.config.validation import camera_kind, cross_checks, endpoints, quotas, streams

__all__ = [
    "HISTORY",
    "RECORDINGS",
    "BusConfig",
    "CameraConfig",
    "Config",
    "DaemonConfig",
    "DaemonPlaces",
    "EngineConfig",
    "ExecutionConfig",
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
    "load_daemon",
    "quotas",
    "read_config",
    "runtime_roots",
    "streams",
    "unit_environ",
]
