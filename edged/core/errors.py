"""Errors that name the fact and the remedy, and the exit code each of them means.

Expected trouble on the loop's path is a value (`records.Hold`); these exceptions are for the edges:
files, sockets, command lines, and machinery that is broken for good.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1  # it was tried and failed: endpoint in use, machinery broken, nothing to verify with
EXIT_USAGE = 2  # decided by the command line or the config alone; systemd does not restart on it
EXIT_REFUSED = 3  # digest, signature, parity or contract does not hold


UNREADABLE = (ValueError, RecursionError)
"""What parsers of JSON, TOML and msgpack raise for bytes of others: their own errors are ValueErrors, and what nests
deeper than the stack is a RecursionError."""

LONGEST = 2000  # characters; who writes more quotes a file or a message


class EdgedError(Exception):
    """Something a person has to act on.

    `fact` is what is wrong, `remedy` what to do about it; `code` is a stable word for programs. Both are made to be
    shown: they may quote what somebody else wrote, which must neither steer a terminal nor forge a line of the log.
    """

    exit_code = EXIT_FAILED
    code = "failed"
    has_lines = False  # of our own

    def __init__(self, fact: str, remedy: str = "") -> None:
        self.fact, self.remedy = (text if self.has_lines else legible(text, LONGEST) for text in (fact, remedy))
        super().__init__(f"{self.fact}; {self.remedy}" if remedy else self.fact)


def legible(text: str, longest: int) -> str:
    """`text` on one line, cut to `longest` characters; whatever could steer a terminal or forge a line is a blank."""
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def in_words(error: Exception) -> str:
    """What an error says; of the system's errors the words alone, without `[Errno 2]` and the path in quotes."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class UsageError(EdgedError):
    """A command line that cannot mean anything."""

    has_lines = True
    exit_code = EXIT_USAGE
    code = "usage"


class ConfigError(EdgedError):
    """A config file that is wrong by itself: names file, key, value and the allowed range."""

    has_lines = True
    exit_code = EXIT_USAGE
    code = "config"


class WireError(EdgedError):
    """Bytes that are not a valid message."""

    code = "wire"


class RefusedError(EdgedError):
    """Something that did not prove itself: digest, signature, parity, contract."""

    exit_code = EXIT_REFUSED
    code = "refused"


class EngineError(EdgedError):
    """An engine that cannot be opened or whose run failed."""

    code = "engine"


class MachineryError(EdgedError):
    """Broken for good (such as a dead device context): the process ends and systemd starts a new one."""

    code = "machinery"
