"""How deep lists and maps of others may lie within each other.

Parsers take what nests nearly as deep as the stack; whoever then prints, copies, merges or encodes it runs out of it.
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 16
CONTAINERS = frozenset({dict, list, tuple})


def check_depth(value: Any) -> None:
    """Raise ValueError for lists and maps that nest deeper than `MAX_DEPTH` within `value`, itself not counted."""
    level = [value] if type(value) in CONTAINERS else []
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for one in level:
            parts = (*one, *one.values()) if type(one) is dict else one  # a list that is a key is a tuple
            inner += [part for part in parts if type(part) in CONTAINERS]
        if not inner:
            return
        level = inner
    raise ValueError(f"nests deeper than {MAX_DEPTH}")
