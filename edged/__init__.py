"""edged: a daemon that runs policies and segmenters in a steady loop beside a robot."""

from edged.core.environment import silence_telemetry

__version__ = "0.1.0"

silence_telemetry()
