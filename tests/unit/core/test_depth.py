"""What nests too deep is found without going deep."""

from __future__ import annotations

from typing import Any

import pytest

from edged.core.depth import MAX_DEPTH, check_depth


def nested(levels: int, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_as_deep_as_allowed_and_no_deeper(kind: type[list[Any]] | type[dict[str, Any]]) -> None:
    check_depth([nested(MAX_DEPTH, kind), 2])
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(ValueError, match="nests deeper than 16"):
            check_depth([2, nested(levels, kind)])


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, [{}, []]])
def test_what_does_not_nest_passes(value: Any) -> None:
    check_depth(value)
