"""How each process of the cell behaves: it ends on a signal, and writes JSON lines."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any


def until_signal() -> Callable[[], bool]:
    """From now on SIGTERM and SIGINT only set what the returned function returns."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: ended.append(signum))
    return lambda: bool(ended)


def write_line(facts: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
