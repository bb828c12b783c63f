"""A name for a ring of frames in shared memory that is gone after the test."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from edged.wire.shm import ring_path


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"test-{os.getpid()}-{random.getrandbits(32):x}"
    yield name
    ring_path(name).unlink(missing_ok=True)
