"""edged: a daemon that runs policies and segmenters in a steady loop beside a robot."""

__version__ = "0.1.0"
