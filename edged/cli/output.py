"""What several files of commands need."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edged.core.errors import UsageError
from edged.core.files import write_file
from edged.core.utf8 import utf8

T = TypeVar("T")


def who() -> str:
    """Who asks, for the daemon's audit line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return "unknown"


def check_place(path: Path | None, option: str) -> None:
    """`UsageError` for a file that could not be written: before the run, whose findings would be lost at its end."""
    if path is not None and not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: {path.parent} is no folder to write to", f"give another {option}")
    if path is not None and path.is_dir():
        raise UsageError(f"{path} cannot be written: it is a folder", f"give a file with {option}")


def write_given(path: Path, content: bytes, option: str) -> None:
    """Write the file that a person named by `option`. `UsageError` where that cannot be."""
    try:
        write_file(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"give another with {option}") from None


def exists(path: Path) -> bool:
    """Whether there is something at `path`, as far as we may look: what lies in a closed folder is not there for us."""
    return os.path.exists(path)  # noqa: PTH110 - which raises where a folder is closed


def discard_output() -> None:
    """Send what is still to be written nowhere: a flush at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_answer(
    as_json: bool, value: T, show: Callable[[T], str], facts: Callable[[T], Any] = lambda value: value
) -> None:
    """What a command found: for programs as one JSON object of its `facts`, for people as `show` has it."""
    try:
        print(to_json(facts(value)) if as_json else printable(show(value)))
    except BrokenPipeError:  # the exit code is still what was found
        discard_output()


def printable(text: str) -> str:
    """Lines for a terminal that none of what they quote can steer."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def to_json(value: Any) -> str:
    """JSON on one line, also of what came over the wire: maps of msgpack may have nil, booleans or lists for keys, and
    texts of others surrogates."""
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, TypeError):
        return msgspec.json.encode(utf8(_keyed(msgspec.to_builtins(value)))).decode()


def _keyed(value: Any) -> Any:
    """With texts for keys."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _keyed(one) for key, one in value.items()}
    return [_keyed(one) for one in value] if isinstance(value, list) else value
