"""What becomes a message is bounded where it is made: texts are cut and lists end before the encoder sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST_TEXT = 2000  # characters; more is read in no log and on no terminal
LONGEST_LIST = 1000


def cut(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text`, or its beginning and how many characters it had."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def bounded(value: Any) -> Any:
    """`value` with its texts cut and its lists and maps ended, at any depth."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, Mapping):
        return {cut(str(key), 200): bounded(one) for key, one in list(value.items())[:LONGEST_LIST]}
    if isinstance(value, list | tuple):
        return [bounded(one) for one in value[:LONGEST_LIST]]
    return value
