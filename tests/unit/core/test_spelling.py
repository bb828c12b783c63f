"""Which known word was meant."""

from __future__ import annotations

import pytest

from edged.core.spelling import did_you_mean


@pytest.mark.parametrize(
    ("word", "meant"),
    [("raech", "reach"), ("REACH", "reach"), ("deadline", "deadline_ms"), ("plate", ""), ("reach", ""), ("", "")],
)
def test_the_nearest_word_or_none(word: str, meant: str) -> None:
    told = did_you_mean(word, ["pick", "reach", "deadline_ms"])
    assert told == (f"; did you mean {meant}?" if meant else "")


def test_nothing_is_meant_where_nothing_is_known() -> None:
    assert did_you_mean("reach", []) == ""
