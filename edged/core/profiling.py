"""Spans: named stretches of time for NVIDIA's profilers (`EDGED_NVTX=1 nsys profile edged run …`).

Without the variable, or without the `nvtx` package, a span is an object that does nothing, made once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

VARIABLE = "EDGED_NVTX"


def spans(*names: str, environ: Mapping[str, str] = os.environ) -> tuple[AbstractContextManager[Any], ...]:
    """A reusable `with` object for each name, for one thread.

    Without profiling it is a lock that nothing else uses: entering that runs no Python code at all, while
    `contextlib.nullcontext` is two calls, which are cold ones after an inference.
    """
    nvtx = _nvtx() if environ.get(VARIABLE) else None
    if nvtx is None:
        return (threading.RLock(),) * len(names)
    return tuple(nvtx.annotate(name, domain="edged") for name in names)


def _nvtx() -> Any:
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx
