"""An engine on a pretended TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pretended_gpu import plan_of

from edged.bundle.bundle import Bundle
from edged.engine.base import Engine
from edged.engine.plan_cache import Plan

Plug = Callable[..., Any]


def opened(bundle: Bundle, cuda: Any, memory: str = "auto", plan: Plan | None = None) -> Engine:
    from edged.engine.tensorrt import open_tensorrt

    return open_tensorrt(bundle, plan or plan_of(bundle), cuda, memory)
