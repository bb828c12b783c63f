"""A plant as a gateway has it, of a daemon that a test pretends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.services.gateway.plant import Plant

MS = 1_000_000
ENGINE = bytes(range(1, 9))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant([tmp_path / "elsewhere", tmp_path], "line", result_ms=400)
    yield made
    made.close()
