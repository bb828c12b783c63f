"""What a daemon counts of its ticks in a stretch of time, from its own histograms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edged.client import Kind, Subscription
from edged.services.ui.series import between, quantile

if TYPE_CHECKING:
    from rig import Daemon

Figures = tuple[float, float]


def watch(daemon: Daemon, seconds: float, names: Sequence[str]) -> dict[str, Figures]:
    """p50 and p99 in us of so many seconds, by figure; 0 of what was not counted."""
    with Subscription(daemon.endpoint("health"), queue=64) as heard:

        def newest() -> dict[str, Any]:
            while True:
                message = heard.receive(5000)
                assert message is not None, daemon.said
                if message.kind is Kind.HEALTH:
                    return dict(message.header["histograms"])

        before, end_s = newest(), time.monotonic() + seconds
        while True:
            after = newest()
            if time.monotonic() >= end_s:
                break
    counted = {name: between(before, after, name) for name in names}
    return {name: (quantile(one, 0.5, 1.0) or 0.0, quantile(one, 0.99, 1.0) or 0.0) for name, one in counted.items()}
