"""What the supply of engines reports to the rest of the daemon."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from edged.core.types import Event

log = logging.getLogger("edged")


@dataclass(frozen=True, slots=True)
class Notifier:
    """`emit`: an event for the bus; `warn`: a warning that stays until it is taken back with `withdraw`."""

    emit: Callable[[Event], None] = lambda event: None
    warn: Callable[[str], None] = log.warning
    withdraw: Callable[[str], None] = lambda text: None
