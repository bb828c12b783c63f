"""Spelling: which known word somebody meant who wrote another one."""

from __future__ import annotations

from collections.abc import Iterable

NEAR = 0.6  # of difflib's ratio: 'deadline' for 'deadline_ms', 'raech' for 'reach', and not 'plate' for 'reach'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean reach?`, the end of a remedy; empty where none of `known` is near."""
    from difflib import get_close_matches  # not for the way on which nothing is wrong

    words = {one.lower(): one for one in known if one != word}
    near = get_close_matches(word.lower(), words, 1, NEAR)
    return f"; did you mean {words[near[0]]}?" if near else ""
