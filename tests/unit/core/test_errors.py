"""Errors can be shown: what they quote steers no terminal, forges no line and is not endless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.errors import LONGEST, ConfigError, EdgedError, EngineError, RefusedError, WireError


@pytest.mark.parametrize("kind", [EdgedError, EngineError, RefusedError, WireError])
@given(st.text(max_size=50), st.text(max_size=50))
def test_what_is_quoted_stays_on_one_printable_line(kind: type[EdgedError], fact: str, remedy: str) -> None:
    error = kind(fact, remedy)
    assert str(error).isprintable()
    assert len(error.fact) == len(fact)


def test_it_ends() -> None:
    error = RefusedError(f"unknown field {'x' * 100_000}", "pack again")
    assert len(str(error)) < LONGEST + 20
    assert error.fact.endswith("xxx...")
    assert str(error).endswith("; pack again")


def test_a_list_of_faults_keeps_its_lines() -> None:
    assert str(ConfigError("one\ntwo")).splitlines() == ["one", "two"]
