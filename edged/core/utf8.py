"""Texts that are not UTF-8: names of files, words of an old terminal.

Python has them with surrogates in the place of their bytes (PEP 383), which no message and no JSON takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def utf8(value: Any) -> Any:
    """`value`, lists and maps included, with what is not UTF-8 in its texts spelt out, as in `caf\\udce9`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {utf8(key): utf8(one) for key, one in value.items()}
    return [utf8(one) for one in value] if isinstance(value, list | tuple) else value
