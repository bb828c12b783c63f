"""Spans: named stretches of time for NVIDIA's profilers (`EDGED_NVTX=1 nsys profile edged run …`).

Without the variable, or without the `nvtx` package, a function with a span is that function itself: after an inference
even an empty `with` block costs a quarter of a microsecond.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

VARIABLE = "EDGED_NVTX"

Asked = ParamSpec("Asked")
Given = TypeVar("Given")


def span(
    name: str, environ: Mapping[str, str] = os.environ
) -> Callable[[Callable[Asked, Given]], Callable[Asked, Given]]:
    """Decorates the function that is this step of a tick; on any thread."""
    nvtx = _nvtx() if environ.get(VARIABLE) else None

    def decorate(function: Callable[Asked, Given]) -> Callable[Asked, Given]:
        if nvtx is None:
            return function

        @wraps(function)
        def spanned(*args: Asked.args, **named: Asked.kwargs) -> Given:
            with nvtx.annotate(name, domain="edged"):
                return function(*args, **named)

        return spanned

    return decorate


def _nvtx() -> Any:
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx
