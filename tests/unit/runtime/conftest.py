"""What a test of the loop leaves behind for the next one: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted import ScriptedWorker
from traced import LateWorker


@pytest.fixture(autouse=True)
def usual_runs() -> Iterator[None]:
    """How long an engine's runs take is a matter of one test."""
    scripted, late = ScriptedWorker.took_ns, LateWorker.took_ns
    yield
    ScriptedWorker.took_ns, LateWorker.took_ns = scripted, staticmethod(late)
