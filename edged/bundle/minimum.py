"""The minimum: the oldest version of an engine that a store still lets run. It is only ever raised.

A signature says who made an engine, not that it is still wanted: without a minimum every version that was ever signed
could be put back. It lies in `<store>/<name>/minimum`, one line, whole and on disk or as it was before.

Versions are compared as they count up: numbers as numbers, up to the first difference. A longer version is later where
it goes on with a number (2 < 2.1 < 2.1+1) and earlier where it goes on with a word, as a release candidate is
(2-rc1 < 2). What may be either way cannot be compared and is not let in: versions of different forms (1.2 and 1-2, v3
and 3, 2 and 2-1), words without numbers, and two spellings of one number (1.1 and 1.01).
"""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

from edged.bundle.manifest import is_version
from edged.core.errors import EngineError, RefusedError
from edged.core.files import TooLongError, make_folder, read_bounded, write_file

MINIMUM = "minimum"
MOST_BYTES = 128


def compare(one: str, other: str) -> int | None:
    """Less than, equal to or greater than 0 as `one` is older than, the same as or newer than `other`; None where that
    cannot be told."""
    if one == other:
        return 0
    left, right = re.split(r"(\d+)", one, flags=re.ASCII), re.split(r"(\d+)", other, flags=re.ASCII)
    if left[0] != right[0] or 1 in (len(left), len(right)):
        return None  # of two series, or without a number
    for number, mine, theirs in zip_longest(range(1, max(len(left), len(right))), left[1:], right[1:]):
        if number % 2 and (mine is None or theirs is None):
            return None  # 1_ and 1_0
        if number % 2 and int(mine) != int(theirs):
            return -1 if int(mine) < int(theirs) else 1
        if number % 2 == 0 and mine != theirs:
            return _between(mine or "", theirs or "", left[number + 1 :], right[number + 1 :])
    return None  # 1.1 and 1.01


def _between(mine: str, theirs: str, more: list[str], their_more: list[str]) -> int | None:
    """By what follows the last number they share, "" = nothing does; `more`: what comes after that."""
    words = _candidate(mine), _candidate(theirs)
    if words[0] and words[1]:
        return None if words[0] == words[1] else (-1 if words[0] < words[1] else 1)
    if words[0] or words[1]:
        return -1 if words[0] else 1
    if mine and theirs:
        return None  # 1.2 and 1_2
    goes_on = (mine or theirs).startswith(("+", ".", "_")) and bool(more or their_more)
    return (1 if mine else -1) if goes_on else None


def _candidate(text: str) -> str:
    """The word that makes a version one that came before, such as rc; "" = none does."""
    return "" if text.startswith("+") else "".join(one for one in text if one.isalpha()).lower()


def read_minimum(root: Path, name: str) -> str:
    """The minimum of engine `name` in the store `root`, "" = none. Raises `EngineError` for one that is not readable:
    then nothing is let in."""
    path = root / name / MINIMUM
    remedy = f"write the oldest version that may run into it, or remove {path}"
    try:
        text = read_bounded(path, MOST_BYTES).decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except (TooLongError, UnicodeDecodeError):
        text = ""
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}", "check its owner; until then none runs") from None
    if not is_version(text):
        raise EngineError(f"{path} holds no version: nobody knows which engines may run", remedy)
    return text


def write_minimum(root: Path, name: str, version: str) -> None:
    """Keep `version` as the minimum; on disk on return. `RefusedError` where it would not rise, `EngineError`."""
    before = read_minimum(root, name)
    order = compare(version, before) if before else 1
    if order is None or order < 0:
        why = "is older" if order else "cannot be compared with it"
        fact = f"the minimum of {name} is {before}, and {version} {why}"
        raise RefusedError(fact, "a minimum is only raised: give a newer version of the same form")
    try:
        make_folder(root / name)
        write_file(root / name / MINIMUM, f"{version}\n".encode(), 0o644)
    except OSError as error:
        fact = f"cannot write {root / name / MINIMUM}: {error.strerror}"
        raise EngineError(fact, "check the owner of the store and the disk") from None


def refuse_below(root: Path, name: str, version: str) -> None:
    """Raise `RefusedError` for a version that the minimum rules out, `EngineError` where that cannot be known."""
    if (why := below(read_minimum(root, name), version)) is not None:
        raise RefusedError(f"{name} {version} {why}", "pack or fetch a newer one")


def below(minimum: str, version: str) -> str | None:
    """Why `version` may not run, None = it may. `minimum` "" lets everything in."""
    order = compare(version, minimum) if minimum else 0
    if order is None:
        return f"cannot be compared with the minimum {minimum}, so it is not let in"
    return f"is older than the minimum {minimum}" if order < 0 else None
